"""The program ``wan_streamer``: one unit of a full-duplex audio-visual conversation.

Receives a :class:`~edge_streamer.runtime.unit.Unit` (what the user said and showed); hands on a
:class:`~edge_streamer.runtime.unit.Response`. Which token stands where is drawn in ``layout.py``; per unit k::

    encode u_k ─► core block [clean y_{k-1} | u_k | start] ─► slot ─► core slot ─► slot ... ─► core slot
                                                                                                  │
    response ◄─ decode ◄─ y_k clean ◄─ N x (solve_in ─► core solve ─► solve_out) ◄─ noise ────────┘

All of it is one tape: what the host decides (sound, pictures and words, noise, angles, which places of the rings are
to be seen) is prepared before it is played, and what it wants to know is read after.

The clean pass of y_{k-1} rides in the block, or runs ahead in the idle time after unit k-1 (:meth:`settle`): same
groups, places and window, so the same numbers up to float rounding. In the first unit there is no y_{-1}: its places
stay hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from time import perf_counter
from typing import Annotated

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array, Form
from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import TEXT, Manifest
from edge_streamer.runtime.engines.contract import Buffer
from edge_streamer.runtime.errors import BundleError, StepError
from edge_streamer.runtime.programs.base import Prefix, Program, UnitIndex, Workplace, read_host
from edge_streamer.runtime.programs.noise import SLOTS, SOLVER, Noise
from edge_streamer.runtime.programs.wan_streamer.contract import check_contract
from edge_streamer.runtime.programs.wan_streamer.intake import check_tokens, take_in
from edge_streamer.runtime.programs.wan_streamer.layout import Layout, read_constants
from edge_streamer.runtime.programs.wan_streamer.prefill import Prefill
from edge_streamer.runtime.programs.wan_streamer.text import LONGEST_TAIL, TextIn, TextOut
from edge_streamer.runtime.programs.wan_streamer.wiring import Wiring
from edge_streamer.runtime.unit import Knobs, Response, Unit

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
        embedding = place.bundle.manifest.embedding(TEXT)
        assert embedding is not None  # or the contract does not hold
        self.table = place.engine.table(place.bundle.file(embedding.file), embedding)
        self.wiring = Wiring(place, self.constants, self.layout, self.table)
        (video, audio), slots = (self.constants.video_latent, self.constants.audio_latent), self.layout.slots
        self._solver_noise = np.empty(prod(video) + prod(audio), np.float32)
        """One draw, dealt out to picture and sound in this order."""
        self._slot_noise = np.empty((slots, self.constants.candidates), np.float32)
        self._states = {self.constants.token_speak: True, self.constants.token_listen: False}
        self._host = Host(unit=0)
        self.noise_offset = 0
        """Added to the unit index when noise is drawn: lets two runs at different hours share noise."""
        self.turn(place.knobs)

    @property
    def default_steps(self) -> int:
        return self.constants.default_steps

    @property
    def slots(self) -> int:
        return self.layout.slots

    @property
    def token_count(self) -> int:
        return self.table.rows

    def turn(self, knobs: Knobs) -> None:
        if knobs.top_k > self.constants.candidates:
            raise ValueError(f"top_k is {knobs.top_k}; this bundle offers {self.constants.candidates} candidates")
        self._knobs = knobs
        self._steps = knobs.steps or self.default_steps
        self.wiring.solver(self._steps)
        self._noise = Noise(knobs.seed)
        greedy = knobs.temperature == 0.0
        sampling = self.wiring.sampling
        sampling["temperature"].host[:] = 1.0 if greedy else knobs.temperature
        sampling["top_k"].host[:] = 1 if greedy else knobs.top_k or self.constants.candidates
        sampling["top_p"].host[:] = 1.0 if greedy else knobs.top_p

    # -- one unit

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        start = perf_counter()
        if forced is not None and len(forced) != self.slots:
            raise ValueError(f"{len(forced)} tokens came; this bundle has {self.slots} slots")
        if unit.arrays:
            raise ValueError(f"the unit has the arrays {sorted(unit.arrays)}; this bundle takes none")
        wiring, store, k = self.wiring, self.place.store, self._host.unit
        sections = self.place.meter.sections
        with sections("prepare"):
            waiting = self._prepare(unit, forced, k)
        wiring.unit(self._host.past, self._steps, forced is not None).play()
        with sections("finish"):
            spoken = tuple(forced) if forced is not None else self._chosen()
            words, tail = self._text_out.add(self._host.tail, spoken[1:])
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
        """Commit y_{k-1} ahead of the next unit. Does nothing where there is nothing to commit."""
        if self._host.past:
            self.wiring.rotary.turn(self._host.unit - 1)
            self.wiring.validity.turn(past=False)
            self.wiring.settle.play()
            for ring in ("main", "video"):
                self.place.store.rings[ring].ahead = True
            self._host = msgspec.structs.replace(self._host, past=False)

    def _prepare(self, unit: Unit, forced: Sequence[int] | None, k: int) -> tuple[int, ...]:
        """Write down all that the host decides for unit ``k``; returns the tokens of typed text that still wait."""
        wiring, index = self.wiring, k + self.noise_offset
        take_in(wiring.user, unit)
        text, waiting = self.text_in.take(self._host.waiting, unit.text)
        check_tokens(text, self.table)
        wiring.text.host[:-1] = text
        if forced is not None:
            check_tokens(forced, self.table)
            wiring.forced.host[:, 0] = forced
        wiring.rotary.turn(k)
        wiring.validity.turn(self._host.past)
        if self._knobs.temperature > 0.0:
            self._noise.gumbel(SLOTS, index, self._slot_noise)
            wiring.slot_noise.host[...] = self._slot_noise
        self._noise.normal(SOLVER, index, self._solver_noise)
        start = 0
        for latents in wiring.noise.values():
            size = latents.host.size
            latents.host[...] = self._solver_noise[start : start + size].reshape(latents.shape)
            start += size
        return waiting

    def _chosen(self) -> tuple[int, ...]:
        """The slots' tokens. StepError for one without an embedding row."""
        tokens = tuple(sampled["token"].host.item() for sampled in self.wiring.sampled)
        for s, token in enumerate(tokens):
            if not 0 <= token < self.table.rows:
                raise StepError(
                    f"slot {s} gave token {token}; the embedding table has {self.table.rows} rows; the unit was rolled "
                    "back"
                )
        return tokens

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Token numbers of ``text``."""
        return self.text_in.encode(text)

    def probe(self) -> dict[str, Array]:
        sampled, read = self.wiring.sampled, self.place.engine.read
        return {
            "tokens": np.array([slot["token"].host[0] for slot in sampled], np.int32),
            "scores": np.stack([slot["scores"].host for slot in sampled]),
            **{name: read(buffer) for name, buffer in self.wiring.past.items()},
        }

    def takes(self) -> dict[str, Form]:
        return {}

    def gives(self) -> dict[str, Form]:
        return {}

    def prefix(self) -> Prefix:
        return Prefill(self.place, self.constants, self.layout, self.wiring, self.table, self.encode_text)

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


def wan_streamer(program: Program) -> WanStreamer:
    """``program`` itself, for what works with this one alone. BundleError where it is another."""
    if not isinstance(program, WanStreamer):
        raise BundleError(f"this needs a wan_streamer bundle; a {type(program).__name__} came")
    return program
