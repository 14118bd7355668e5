"""The program ``wan_streamer``: one unit of a full-duplex audio-visual conversation.

Receives a :class:`~edge_streamer.runtime.unit.Unit` (what the user said and showed); hands on a
:class:`~edge_streamer.runtime.unit.Response`. Which token stands where is drawn in ``layout.py``; per unit k::

    encode u_k ─► core block [clean y_{k-1} | u_k | start] ─► slot ─► core slot ─► slot ... ─► core slot
                                                                                                  │
    response ◄─ decode ◄─ y_k clean ◄─ N x (solve_in ─► core solve ─► solve_out) ◄─ noise ────────┘

The clean pass of y_{k-1} rides in the block, or runs ahead in the idle time after unit k-1 (:meth:`settle`): same
groups, places and window, so the same numbers up to float rounding. In the first unit there is no y_{-1}: its places
stay hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from time import perf_counter
from typing import Annotated

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import TEXT, Manifest
from edge_streamer.runtime.engines.contract import Buffer, between_runs
from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.programs.base import UnitIndex, Workplace, read_host
from edge_streamer.runtime.programs.noise import SLOTS, SOLVER, Noise
from edge_streamer.runtime.programs.passes import run_carried
from edge_streamer.runtime.programs.wan_streamer.contract import check_contract
from edge_streamer.runtime.programs.wan_streamer.core_pass import CorePass
from edge_streamer.runtime.programs.wan_streamer.layout import Layout, read_constants
from edge_streamer.runtime.programs.wan_streamer.text import LONGEST_TAIL, TextIn, TextOut
from edge_streamer.runtime.programs.wan_streamer.wiring import Wiring
from edge_streamer.runtime.unit import Knobs, Response, Unit

GREY = 128
"""Every pixel where there is no camera."""


Token = Annotated[int, msgspec.Meta(ge=0)]


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The history that is not a tensor."""

    unit: UnitIndex
    """Index of the next unit."""
    past: bool = False
    """y_{k-1} exists and its clean tokens are not in the rings yet."""
    waiting: tuple[Token, ...] = ()
    """Tokens of typed text that no unit had room for yet."""
    tail: Annotated[tuple[Token, ...], msgspec.Meta(max_length=LONGEST_TAIL - 1)] = ()
    """Tokens of a half character of the agent's text."""


class WanStreamer:
    """The unit program over bound graphs."""

    def __init__(self, place: Workplace):
        self.place = place
        self.constants = read_constants(place.bundle.manifest.constants)
        self.layout = Layout(self.constants)
        check_contract(self.layout, place.bundle.manifest)
        tokenizer = place.bundle.tokenizer()
        self.text_in = TextIn(tokenizer, self.layout.segment("user.text").count, self.constants.token_pad)
        self._text_out = TextOut(tokenizer)
        self._rows = place.bundle.embedding_rows(TEXT)
        self.wiring = Wiring(place, self.constants, self.layout)
        self.look_up((self.constants.token_start,), self.wiring.start)
        (video, audio), slots = (self.constants.video_latent, self.constants.audio_latent), self.layout.slots
        self._solver_noise = np.empty(prod(video) + prod(audio), np.float32)
        """One draw, dealt out to picture and sound in this order."""
        self._slot_noise = np.empty((slots, self.constants.candidates), np.float32)
        self._states = {self.constants.token_speak: True, self.constants.token_listen: False}
        self._host = Host(unit=0)
        self.noise_offset = 0
        """Added to the unit index when noise is drawn: lets two runs at different hours share noise."""
        self.turn(place.knobs)

    def turn(self, knobs: Knobs) -> None:
        """Take up new knobs, from the next unit on."""
        if knobs.top_k > self.constants.candidates:
            raise ValueError(f"top_k is {knobs.top_k}; this bundle offers {self.constants.candidates} candidates")
        self._knobs = knobs
        self._steps = knobs.steps or self.constants.default_steps
        self._noise = Noise(knobs.seed)
        greedy = knobs.temperature == 0.0
        sampling = self.wiring.sampling
        sampling["temperature"].host[:] = 1.0 if greedy else knobs.temperature
        sampling["top_k"].host[:] = 1 if greedy else knobs.top_k or self.constants.candidates
        sampling["top_p"].host[:] = 1.0 if greedy else knobs.top_p

    # -- one unit

    def step(self, unit: Unit, tokens: Sequence[int] | None = None) -> Response:
        """One unit. ``tokens`` forces the slots (teacher forcing); what the model chose is in ``wiring.sampled``.

        Raises ValueError for arrays that are not the media contract's, StepError or EngineError from a pass; then
        nothing is committed and the session rolls back.
        """
        start = perf_counter()
        if tokens is not None and len(tokens) != self.layout.slots:
            raise ValueError(f"{len(tokens)} tokens came; this bundle has {self.layout.slots} slots")
        wiring, store, k = self.wiring, self.place.store, self._host.unit
        take_in(wiring.user, unit)
        text, waiting = self.text_in.take(self._host.waiting, unit.text)
        self.look_up(text, wiring.user_text)
        wiring.rotary.turn(k)
        run_carried(store.carries["encode"], wiring.encode)
        block = self._perceive()
        spoken = self._speak(block, tokens, k)
        self._solve(k)
        run_carried(store.carries["decode"], wiring.decode)
        words, tail = self._text_out.add(self._host.tail, spoken[1:])
        wiring.keep_latents()
        for ring in ("main", "video"):
            store.rings[ring].finish_unit()
        self._host = Host(unit=k + 1, past=True, waiting=waiting, tail=tail)
        return Response(
            index=k,
            samples=wiring.agent["samples"].host,
            frames=wiring.agent["frames"].host,
            text=words,
            tokens=spoken,
            seconds=perf_counter() - start,
            engine_seconds=self.place.meter.engine_seconds,
            speaking=self._states.get(spoken[0]),
        )

    def settle(self) -> None:
        """Commit y_{k-1} ahead of the next unit, in idle time. Does nothing where there is nothing to commit."""
        if self._host.past:
            self.wiring.rotary.turn(self._host.unit - 1)
            self.wiring.clean.run()
            self.wiring.settle.run()
            self.wiring.settle.commit()
            self._host = msgspec.structs.replace(self._host, past=False)

    def _perceive(self) -> CorePass:
        """The block: what the agent last said and showed, what the user says and shows now."""
        block = self.wiring.settled_block
        if self._host.past:
            self.wiring.clean.run()
            block = self.wiring.block
        block.run()
        block.commit()
        return block

    def _speak(self, block: CorePass, forced: Sequence[int] | None, k: int) -> tuple[int, ...]:
        """The slots, one token at a time; each is committed before the next is chosen."""
        wiring = self.wiring
        if self._knobs.temperature > 0.0:
            self._noise.gumbel(SLOTS, k + self.noise_offset, self._slot_noise)
            wiring.slot_noise.host[...] = self._slot_noise
        spoken = []
        for s, core in enumerate(wiring.slots):
            (wiring.tokens[s - 1] if s else wiring.first_token[block]).run()
            token = forced[s] if forced is not None else self._chosen(s)
            spoken.append(token)
            self.look_up((token,), core.embeddings)
            core.run()
            core.commit()
        return tuple(spoken)

    def _chosen(self, s: int) -> int:
        token, rows = int(self.wiring.sampled[s]["token"].host[0]), self._rows.count
        if not 0 <= token < rows:
            raise StepError(
                f"slot {s} gave token {token}; the embedding table has {rows} rows; the unit was rolled back"
            )
        return token

    def _solve(self, k: int) -> None:
        """From noise at t = 1 to clean latents at t = 0 in equal Euler steps."""
        wiring, n = self.wiring, self._steps
        self._noise.normal(SOLVER, k + self.noise_offset, self._solver_noise)
        start = 0
        for latents in wiring.latents.values():
            latents.host[...] = self._solver_noise[start : start + latents.host.size].reshape(latents.shape)
            start += latents.host.size
        wiring.time["dt"].host[:] = 1.0 / n
        for i in range(n):
            wiring.time["t"].host[:] = 1.0 - i / n
            wiring.solve_in.run(f"solve.{i}.in")
            wiring.solve.run(f"solve.{i}")
            wiring.solve_out.run(f"solve.{i}.out")
            wiring.take_step()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Token numbers of ``text``."""
        return self.text_in.encode(text)

    def look_up(self, ids: Sequence[int], out: Buffer) -> None:
        """Embedding rows of ``ids`` into ``out`` [len(ids), width]."""
        self._rows.rows(ids, between_runs(out))

    @property
    def token_count(self) -> int:
        """Tokens are 0 to one less."""
        return self._rows.count

    # -- history as one value

    @staticmethod
    def runs(manifest: Manifest) -> dict[tuple[str, str], int]:
        """(graph, length) -> runs per unit: one block, a pass per slot, one per solver step at the default number."""
        layout = Layout(read_constants(manifest.constants))
        slots, steps = layout.slots, layout.constants.default_steps
        return {
            ("encode", STATIC): 1,
            ("encode_agent", STATIC): 0,  # fills prefixes only
            ("solve_in", STATIC): steps + 1,  # once more for the clean history
            ("solve_out", STATIC): steps,
            ("slot", STATIC): slots,
            ("core", str(layout.agent + layout.user + 1)): 1,
            ("core", "1"): slots,
            ("core", str(layout.agent)): steps,
            ("decode", STATIC): 1,
        }

    def host(self) -> dict[str, object]:
        value: dict[str, object] = msgspec.to_builtins(self._host)
        return value

    def held(self) -> dict[str, Buffer]:
        return {f"past.{name}": buffer for name, buffer in self.wiring.past.items()}

    def set_host(self, host: dict[str, object]) -> None:
        came = read_host(host, Host)
        for token in came.waiting + came.tail:
            if token >= self.token_count:
                raise ValueError(f"token {token} is outside the embedding table of {self.token_count} rows")
        if not self._text_out.knows(came.tail):
            raise ValueError(f"the half character {list(came.tail)} holds a token that the tokenizer has no text for")
        self._host = came

    def reset(self, unit: int) -> None:
        self._host = Host(unit=unit)
        for buffer in self.wiring.past.values():
            self.place.engine.write(buffer, np.zeros(buffer.shape, buffer.dtype))


def take_in(buffers: Mapping[str, Buffer], unit: Unit) -> None:
    """Copy a unit's samples and frames into ``buffers``. ValueError for arrays outside the media contract."""
    samples = buffers["samples"].host
    _take(samples, unit.samples, 0, "samples")
    _take(buffers["frames"].host, unit.frames, GREY, "frames")
    if not np.isfinite(np.add.reduce(samples)):
        raise ValueError("the unit's samples hold a NaN or an infinity; wanted full scale -1..1")


def _take(buffer: Array, came: Array | None, missing: float, what: str) -> None:
    if came is None:
        buffer.fill(missing)
    elif not isinstance(came, np.ndarray):
        raise ValueError(f"the unit's {what} are a {type(came).__name__}; wanted a numpy array")
    elif came.shape != buffer.shape or came.dtype != buffer.dtype:
        raise ValueError(
            f"the unit's {what} are {came.dtype} {came.shape}; this bundle wants {buffer.dtype} {buffer.shape}"
        )
    else:
        np.copyto(buffer, came)
