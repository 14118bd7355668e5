"""The reference model unit by unit in torch, with preallocated rings: what a bundle must reproduce.

Receives a :class:`~edge_streamer.export.wan_streamer.model.WanStreamer` and, per unit, a :class:`UnitInput` with all
its chance (noise) in it; hands on a :class:`UnitOutput` and, where asked, a :class:`Recording` of every pass's inputs
and outputs under the names that the bundle's graphs use. Which token stands where comes from
``runtime/programs/wan_streamer/layout.py``.

A unit: open the ring block (evict what falls out of the window), encode, one block pass with the clean tokens of the
last answer (unless :meth:`TorchStreamer.settle` committed them early), the slots one token at a time, the solver,
decode. Early and late commit see the same window, that of the coming unit, and so give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_streamer.export.wan_streamer.config import layout
from edge_streamer.export.wan_streamer.model import Latents, WanStreamer
from edge_streamer.export.wan_streamer.transformer import KeyValue, rotary
from edge_streamer.runtime.bundle.manifest import MASKED
from edge_streamer.runtime.programs.wan_streamer.layout import (
    AGENT,
    GROUP_AGENT,
    GROUP_START,
    GROUP_USER,
    USER,
    Layout,
    RingName,
)

MAIN_AND_VIDEO: tuple[RingName, RingName] = ("main", "video")


@dataclass(frozen=True)
class Sampling:
    """What a slot needs to choose. The defaults are greedy."""

    noise: Tensor | None = None
    """Gumbel noise [slots, candidates]; None is zeros."""
    temperature: float = 1.0
    top_k: int = 1
    top_p: float = 1.0


@dataclass(frozen=True)
class UnitInput:
    """160 ms of the user, and the chance of that unit."""

    samples: Tensor
    """[unit_samples] float32."""
    frames: Tensor
    """[4, height, width, 3] uint8."""
    video_noise: Tensor
    """[tokens, values] float32: the agent's picture at t = 1."""
    audio_noise: Tensor
    """[tokens, values] float32: the agent's sound at t = 1."""
    text: tuple[int, ...] = ()
    """Typed tokens, at most as many as the unit has places for."""
    tokens: tuple[int, ...] | None = None
    """Forces the slots; None lets the model choose."""
    sampling: Sampling = Sampling()


class UnitOutput(NamedTuple):
    """160 ms of the agent."""

    samples: Tensor
    """[unit_samples] float32."""
    frames: Tensor
    """[4, height, width, 3] uint8."""
    tokens: tuple[int, ...]
    """Of all slots, the state slot first."""
    video: Tensor
    """Clean latents [tokens, values]."""
    audio: Tensor
    """Clean latents [tokens, values]."""


Pass = dict[str, Tensor]
"""Inputs and outputs of one run of one graph, by the graph's own names; rings and tails left out."""


@dataclass(frozen=True)
class UnitRecord:
    """Everything that one unit computed."""

    index: int
    """The unit's index k."""
    text: tuple[int, ...]
    """The user's text tokens, padded."""
    tokens: list[int] = field(default_factory=list)
    """What the slots said (forced or chosen)."""
    passes: dict[str, Pass] = field(default_factory=dict)
    """In the order of computation: clean, settle (if early), encode, block, token.s, slot.s, solve.i.in, solve.i,
    solve.i.out, decode."""


@dataclass(frozen=True)
class Recording:
    """A run from a reset on."""

    prefix: list[tuple[int, ...] | Latents] = field(default_factory=list)
    """What was prefilled, in order: text tokens, or a unit of the agent as latents (picture, sound)."""
    units: list[UnitRecord] = field(default_factory=list)


class Where(NamedTuple):
    """The places of one pass's tokens in time and among each other."""

    positions: NDArray[np.float64]
    """[T]"""
    prefix_positions: NDArray[np.float64]
    """[T], from where its queries meet the prefix."""
    groups: NDArray[np.float32]
    """[T]"""

    def then(self, after: Where) -> Where:
        """These tokens, then those of ``after``."""
        return Where(
            np.concatenate([self.positions, after.positions]),
            np.concatenate([self.prefix_positions, after.prefix_positions]),
            np.concatenate([self.groups, after.groups]),
        )


class Route(NamedTuple):
    """Rows of a pass that go to places of a ring."""

    ring: str
    rows: slice
    places: slice


class TorchStreamer:
    """A session in torch eager. ``recording`` is None unless asked for."""

    def __init__(self, model: WanStreamer, steps: int | None = None, record: bool = False) -> None:
        self.model, self.config = model, model.config
        self.layout: Layout = layout(model.config)
        self.steps = steps or model.config.default_steps
        self.record = record
        self.capacity: dict[str, int] = {"prefix": model.config.prefix_tokens} if model.config.prefix_tokens else {}
        self.capacity |= {name: self.layout.capacity(name) for name in MAIN_AND_VIDEO}
        t = model.config.transformer
        shapes = {name: (t.kv_heads, places, t.head_size) for name, places in self.capacity.items()}
        self.rings: list[dict[str, KeyValue]] = [
            {name: (torch.zeros(shape), torch.zeros(shape)) for name, shape in shapes.items()} for _ in range(t.layers)
        ]
        self.valid = {name: torch.full((1, places), MASKED) for name, places in self.capacity.items()}
        self.start_row = model.rows(torch.tensor([model.config.token_start])).detach()
        self.reset()

    def reset(self, unit: int = 0) -> None:
        """Forget all; the next unit has index ``unit``."""
        self.unit = unit
        self.computed = 0
        self.opened = -1
        self.prefix_used = 0
        self.past: Latents | None = None
        self.settled = False
        self.encode_state = self.model.start_state("encode")
        self.decode_state = self.model.start_state("decode")
        for row in self.valid.values():
            row.fill_(MASKED)
        for layer in self.rings:
            for keys, values in layer.values():
                keys.zero_()
                values.zero_()
        self.recording = Recording() if self.record else None
        self._early: dict[str, Pass] = {}
        self._passes: dict[str, Pass] = {}

    # ---- the prefix ----

    @torch.no_grad()
    def prefill_text(self, ids: Sequence[int]) -> None:
        """Pin text tokens, one pass each. Raises ValueError where the prefix is full or the model has none."""
        for row in self.model.rows(torch.tensor(list(ids), dtype=torch.long)):
            self._prefill(row[None])
        if self.recording is not None:
            self.recording.prefix.append(tuple(ids))

    @torch.no_grad()
    def prefill_agent(self, video: Tensor, audio: Tensor) -> None:
        """Pin one unit of the agent (clean latents, each [tokens, values]) as one pass."""
        self._prefill(self._clean(video, audio))
        if self.recording is not None:
            self.recording.prefix.append((video, audio))

    def _prefill(self, embeddings: Tensor) -> None:
        count, used, capacity = embeddings.shape[0], self.prefix_used, self.capacity.get("prefix", 0)
        if used + count > capacity:
            raise ValueError(f"the prefix holds {capacity} tokens and {used} are taken; {count} more do not fit")
        positions = np.arange(used, used + count, dtype=np.float64) - capacity
        where = Where(positions, positions, np.zeros(count, np.float32))
        self._core("prefix", embeddings, where, [Route("prefix", slice(0, count), slice(used, used + count))])
        self.prefix_used += count

    # ---- one unit ----

    @torch.no_grad()
    def step(self, unit: UnitInput) -> UnitOutput:
        """Compute the next unit."""
        self._passes, self._early = self._early, {}
        text = (*unit.text, *[self.config.token_pad] * (self.config.user_text - len(unit.text)))
        record = UnitRecord(self.unit, text, passes=self._passes)
        self._open_block()
        hidden = self._perceive(unit, text)
        record.tokens.extend(self._speak(unit, hidden))
        video, audio = self._solve(unit)
        samples, frames, level, self.decode_state = self.model.decode(video, audio, self.decode_state)
        self._note("decode", latents(video, audio), {"samples": samples, "frames": frames, "level": level})
        self.past, self.settled = (video, audio), False
        self.unit += 1
        self.computed += 1
        if self.recording is not None:
            self.recording.units.append(record)
        return UnitOutput(samples, frames, tuple(record.tokens), video, audio)

    @torch.no_grad()
    def settle(self) -> None:
        """Commit the last answer's clean tokens now, in idle time, into the coming unit's block."""
        if self.past is None or self.settled:
            return
        self._passes = self._early
        self._open_block()
        where = self._where(AGENT, self.unit - 1, [GROUP_AGENT] * self.layout.agent)
        self._core("settle", self._clean(*self.past), where, self._routes(AGENT))
        self.settled = True

    def _open_block(self) -> None:
        """Hide what the coming unit's places held; does nothing when they are open already."""
        if self.opened == self.computed:
            return
        for ring in MAIN_AND_VIDEO:
            self.valid[ring][:, self._block(ring)] = MASKED
        self.opened = self.computed

    def _block(self, ring: RingName) -> slice:
        """The ring places of the coming unit."""
        places = self.layout.places(ring)
        start = self.computed % (self.layout.window(ring) + 1) * places
        return slice(start, start + places)

    def _clean(self, video: Tensor, audio: Tensor) -> Tensor:
        """Tokens of clean latents: time 0, step 0."""
        zero = torch.zeros(1)
        embeddings = self.model.solve_in(video, audio, zero, zero)
        self._note("clean", latents(video, audio) | {"t": zero, "dt": zero}, {"embeddings": embeddings})
        return embeddings

    def _perceive(self, unit: UnitInput, text: tuple[int, ...]) -> Tensor:
        """The block pass -> hidden state of the start token [1, width]."""
        video, audio, self.encode_state = self.model.encode(unit.samples, unit.frames, self.encode_state)
        inputs = {"samples": unit.samples, "frames": unit.frames}
        self._note("encode", inputs, {"user.video": video, "user.audio": audio})
        tokens = [video, audio, self.model.rows(torch.tensor(text, dtype=torch.long)), self.start_row]
        where = self._where(USER, self.unit, [GROUP_USER] * self.layout.user + [GROUP_START])
        routes = self._routes(USER)
        if self.past is not None and not self.settled:
            agent = self.layout.agent
            tokens.insert(0, self._clean(*self.past))
            before = self._where(AGENT, self.unit - 1, [GROUP_AGENT] * agent)
            where = before.then(where)
            routes = self._routes(AGENT) + [
                Route(r.ring, slice(r.rows.start + agent, r.rows.stop + agent), r.places) for r in routes
            ]
        return self._core("block", torch.cat(tokens), where, routes)[-1:]

    def _speak(self, unit: UnitInput, hidden: Tensor) -> list[int]:
        """The slots, one token at a time, each committed before the next is chosen."""
        sampling, spoken = unit.sampling, []
        knobs = {
            "temperature": torch.tensor([sampling.temperature]),
            "top_k": torch.tensor([sampling.top_k], dtype=torch.int32),
            "top_p": torch.tensor([sampling.top_p]),
        }
        silent = torch.zeros(self.config.candidates)
        places = self._routes(("slots",))[0].places
        for s, offset in enumerate(self.layout.offsets("slots")):
            inputs = {"hidden": hidden, "noise": silent if sampling.noise is None else sampling.noise[s]} | knobs
            token, scores, candidates = self.model.slot(**inputs)
            self._note(f"token.{s}", inputs, {"token": token, "scores": scores, "candidates": candidates})
            spoken.append(int(token) if unit.tokens is None else unit.tokens[s])
            where = self._when(np.array([offset]), self.unit, [GROUP_AGENT])
            route = Route("main", slice(0, 1), slice(places.start + s, places.start + s + 1))
            hidden = self._core(f"slot.{s}", self.model.rows(torch.tensor([spoken[-1]])), where, [route])
        return spoken

    def _solve(self, unit: UnitInput) -> Latents:
        """From noise at t = 1 to clean latents at t = 0, in equal Euler steps."""
        video, audio = unit.video_noise, unit.audio_noise
        where = self._where(AGENT, self.unit, [GROUP_AGENT] * self.layout.agent)
        dt = torch.tensor([1.0 / self.steps])
        for i in range(self.steps):
            inputs = latents(video, audio) | {"t": torch.tensor([1.0 - i / self.steps]), "dt": dt}
            embeddings = self.model.solve_in(*inputs.values())
            self._note(f"solve.{i}.in", inputs, {"embeddings": embeddings})
            hidden = self._core(f"solve.{i}", embeddings, where, [])
            video, audio = self.model.solve_out(hidden, *inputs.values())
            outputs = {"next.latents.video": video, "next.latents.audio": audio}
            self._note(f"solve.{i}.out", inputs | {"hidden": hidden}, outputs)
        return video, audio

    # ---- passes of the Transformer ----

    def _where(self, names: tuple[str, ...], unit: int, groups: list[int]) -> Where:
        """The tokens of segments ``names`` at ``unit``."""
        return self._when(self.layout.offsets(*names), unit, groups)

    def _when(self, offsets: NDArray[np.float64], unit: int, groups: list[int]) -> Where:
        per_unit = self.layout.constants.positions_per_unit
        near = min(unit, self.layout.prefix_distance_units)
        return Where(unit * per_unit + offsets, near * per_unit + offsets, np.array(groups, np.float32))

    def _routes(self, names: tuple[str, ...]) -> list[Route]:
        """From a pass that holds segments ``names`` in order to the coming unit's ring places."""
        routes, row = [], 0
        for name in names:
            segment, place = self.layout.segment(name), self.layout.place(name)
            start = self._block(segment.ring).start
            routes.append(
                Route(segment.ring, slice(row, row + segment.count), slice(start + place.start, start + place.stop))
            )
            row += segment.count
        return routes

    def _core(self, name: str, embeddings: Tensor, where: Where, routes: list[Route]) -> Tensor:
        """Run the Transformer [T, width] -> hidden [T, width], and commit what ``routes`` say."""
        t = self.config.transformer
        cos, sin = rotary(where.positions, t.head_size, t.rope_base)
        far_cos, far_sin = rotary(where.prefix_positions, t.head_size, t.rope_base)
        group = torch.from_numpy(where.groups)
        inputs = {"embeddings": embeddings[None], "cos": cos, "sin": sin, "prefix_cos": far_cos, "prefix_sin": far_sin}
        hidden, new = self.model.transformer(*inputs.values(), group, self.valid, self.rings)
        for route in routes:
            for ring, appended in zip(self.rings, new, strict=True):
                for held, fresh in zip(ring[route.ring], appended, strict=True):
                    held[:, route.places] = fresh[:, route.rows]
            self.valid[route.ring][:, route.places] = 0.0
        if self.recording is not None:
            kept = {f"append.{i}.{w}": x for i, pair in enumerate(new) for w, x in zip("kv", pair, strict=True)}
            self._note(name, inputs | {"group": group}, {"hidden": hidden} | kept)
        return hidden.squeeze(0)

    def _note(self, name: str, inputs: Pass, outputs: Pass) -> None:
        if self.recording is not None:
            self._passes[name] = inputs | outputs


def latents(video: Tensor, audio: Tensor) -> Pass:
    """A picture and a sound under the graphs' names."""
    return {"latents.video": video, "latents.audio": audio}
