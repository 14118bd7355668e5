"""A whole bundle in Triton's Python backend: one sequence is one conversation, one request is one unit.

Triton calls this file; `edge-streamer export --triton` puts it into a model repository as `model.py`, beside the bundle
that it opens. It needs edge-streamer in the Python that the backend runs, and no torch.

Receives requests with their sequence's id and flags, and what the user says, shows and types in a unit; hands on what
the agent says, shows and writes. A sequence's first request begins a conversation from nothing. Its parameters, and
those of any later one, may turn the knobs `steps`, `temperature`, `top_k`, `top_p` and `seed`, whose defaults are the
`parameters` of config.pbtxt. A unit that fails is answered with an error, and its conversation stands as before.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

import edge_streamer
from edge_streamer import DeviceLost, EdgeStreamerError, InputError, Knobs, Session, Unit

KNOBS = {"steps": int, "temperature": float, "top_k": int, "top_p": float, "seed": int}
SPEAKING = {True: 1, False: 0, None: -1}


class Conversation:
    """One sequence: its session, the knobs it has turned, and when it was last asked."""

    def __init__(self, session: Session, knobs: dict[str, Any]):
        self.session, self.knobs, self.asked = session, knobs, time.monotonic()


class TritonPythonModel:
    """One instance: the weights once, and a session for every conversation."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._bundle = Path(args["model_repository"], args["model_version"], "bundle")
        self._engine = given["engine"]
        self._defaults = _knobs(given)
        self._most = int(config["sequence_batching"]["oldest"]["max_candidate_sequences"])
        self._outputs = [output["name"] for output in config["output"]]
        self._live: dict[int | str, Conversation] = {}
        """By the sequence's id."""
        self._free: list[Session] = []
        self._first: Session | None = None
        """The one that has opened the graphs; the others are its twins."""
        self._free.append(self._open())

    def finalize(self) -> None:
        self._close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One unit of each request's conversation. What is wrong with one is told to that one."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        flags, sequence = request.flags(), request.correlation_id()
        try:
            if flags & backend.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self._begin(sequence)
            if sequence not in self._live:
                raise ValueError(f"there is no sequence {sequence}; its first request must have the flag START")
            conversation = self._live[sequence]
            conversation.asked = time.monotonic()
            if turned := _knobs(json.loads(request.parameters() or "{}")):
                conversation.session.turn(Knobs(**conversation.knobs | turned))
                conversation.knobs |= turned
            return backend.InferenceResponse(output_tensors=self._step(conversation.session, request))
        except DeviceLost as error:  # with every conversation on it; the next one opens the bundle anew
            self._close()
            return _refusal(error)
        except (InputError, ValueError) as error:
            return _refusal(error, backend.TritonError.INVALID_ARG)
        except EdgeStreamerError as error:
            return _refusal(error)
        finally:
            if flags & backend.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END and sequence in self._live:
                self._free.append(self._live.pop(sequence).session)

    def _begin(self, sequence: int | str) -> None:
        """A session from nothing, for a sequence that begins; or, where its client began it again, once more."""
        if sequence in self._live:
            self._free.append(self._live.pop(sequence).session)
        if len(self._live) >= self._most:
            # Triton has dropped one that was silent for too long, which it tells nobody: the one silent the longest.
            silent = min(self._live, key=lambda name: self._live[name].asked)
            self._free.append(self._live.pop(silent).session)
        session = self._free.pop() if self._free else self._open()
        session.reset()
        session.turn(Knobs(**self._defaults))
        self._live[sequence] = Conversation(session, dict(self._defaults))

    def _open(self) -> Session:
        if self._first is not None:
            return self._first.twin()
        self._first = edge_streamer.open(self._bundle, engine=self._engine, knobs=Knobs(**self._defaults))
        return self._first

    def _close(self) -> None:
        for session in (*self._free, *(conversation.session for conversation in self._live.values())):
            session.close()
        self._free, self._live, self._first = [], {}, None

    def _step(self, session: Session, request: Any) -> list[Any]:
        came = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        text = "".join(piece.decode("utf-8") for piece in came.pop("text", np.array([])).reshape(-1))
        response = session.step(
            Unit(samples=came.pop("samples", None), frames=came.pop("frames", None), text=text, arrays=came)
        )
        gives = {
            "samples": response.samples, "frames": response.frames,
            "text": np.array([response.text.encode()], np.object_), "tokens": np.array(response.tokens, np.int32),
            "speaking": np.array([SPEAKING[response.speaking]], np.int32), "unit": np.array([response.index], np.int64),
            **response.arrays,
        }  # fmt: skip
        return [backend.Tensor(name, np.array(gives[name])) for name in self._outputs]


def _knobs(given: dict[str, Any]) -> dict[str, Any]:
    """Those that are named. ValueError for a value that is none of theirs."""
    knobs = {}
    for name, kind in KNOBS.items():
        if name in given:
            try:
                knobs[name] = kind(given[name])
            except ValueError:
                raise ValueError(f"the parameter {name} is {given[name]!r}; wanted a number") from None
    return knobs


def _refusal(error: Exception, *code: int) -> Any:
    return backend.InferenceResponse(error=backend.TritonError(" ".join(str(error).split()), *code))
