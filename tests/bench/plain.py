"""A bundle's graphs through plain ``InferenceSession.run``, as one would write it without a session of ours.

Receives a bundle and a snapshot; hands on :class:`Plain`, a way of the bench. Numpy arrays go in by name, new arrays
come out, carries are what came out last. Rings come in two kinds:

    in place   preallocated; new rows are written over the oldest unit's by slices
    concat     ``ring = concatenate([ring[n:], new n rows])``: a new array per ring and pass

ONNX Runtime takes contiguous numpy inputs without a copy, so what the first kind pays beside our session is the new
outputs and the names. Rows lie in another order in the second kind; attention does not mind, for keys are stored
already rotated. The graphs are opened with the very options of our engine.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import MASKED, CarrySpec, RingSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.programs.wan_streamer.core_pass import AGENT, USER, RotaryRows, RotaryTable
from edge_streamer.runtime.programs.wan_streamer.layout import GROUP_AGENT, GROUP_START, GROUP_USER, Layout
from edge_streamer.runtime.session.snapshot import Snapshot
from edge_streamer.runtime.unit import Unit
from tests.bench.engines import Answer, Host

GRAPHS = ("encode", "solve_in", "core", "slot", "solve_out", "decode")


class Rows(NamedTuple):
    """Rows of a pass that go to places inside the unit's places of a ring."""

    ring: str
    rows: slice
    places: slice


class Rings(Protocol):
    """The Transformer's memory between passes."""

    feeds: dict[str, Array]
    """``state.<path>`` and ``valid.<ring>``, as the graph wants them."""

    def open_unit(self) -> None:
        """A new unit begins: forget what fell out of the window."""

    def write(self, routes: list[Rows], new: dict[str, Array]) -> None:
        """Take up rows of a pass's ``append.`` outputs."""


def start_feeds(bundle: Bundle, start: Snapshot) -> dict[str, Array]:
    """Every ring and validity row of a snapshot, at full capacity."""
    feeds = {f"valid.{ring}": start.arrays[f"valid/{ring}"].copy() for ring in start.stamp.rings}
    for spec in ring_specs(bundle):
        feeds[f"state.{spec.path}"] = np.zeros(spec.shape, np.float32)
        stored = start.arrays[f"ring/{spec.path}"]
        np.moveaxis(feeds[f"state.{spec.path}"], spec.axis, 0)[: len(stored)] = stored
    return feeds


def ring_specs(bundle: Bundle) -> list[RingSpec]:
    """The bundle's rings."""
    return [spec for spec in bundle.manifest.states if isinstance(spec, RingSpec)]


class InPlace:
    """Rings in preallocated arrays."""

    def __init__(self, bundle: Bundle, start: Snapshot) -> None:
        self.feeds = start_feeds(bundle, start)
        self._specs = ring_specs(bundle)
        self._sizes = {s.ring: (s.window_units + 1, s.places_per_unit) for s in self._specs if s.window_units}
        self._unit = start.stamp.rings["main"]

    def open_unit(self) -> None:
        for ring, (units, places) in self._sizes.items():
            begin = self._unit % units * places
            self.feeds[f"valid.{ring}"][:, begin : begin + places] = MASKED
        self._unit += 1

    def write(self, routes: list[Rows], new: dict[str, Array]) -> None:
        for route in routes:
            units, places = self._sizes[route.ring]
            begin = (self._unit - 1) % units * places
            at = slice(begin + route.places.start, begin + route.places.stop)
            for spec in self._specs:
                if spec.ring == route.ring:
                    self.feeds[f"state.{spec.path}"][:, at] = new[spec.append][:, route.rows]
            self.feeds[f"valid.{route.ring}"][:, at] = 0.0


class Concatenated:
    """Rings as the last rows, newest at the end; each row remembers its unit."""

    def __init__(self, bundle: Bundle, start: Snapshot) -> None:
        self.feeds = start_feeds(bundle, start)
        self._specs = ring_specs(bundle)
        self._unit = start.stamp.rings["main"]
        self._windows = {s.ring: s.window_units for s in self._specs if s.window_units}
        self._unit_of: dict[str, Array] = {}
        for spec in self._specs:
            if spec.window_units:
                self._oldest_first(spec)

    def _oldest_first(self, spec: RingSpec) -> None:
        """Turn a ring so that the block which the next unit would overwrite comes first, then unit by unit."""
        window, places = spec.window_units, spec.places_per_unit
        begin = self._unit % (window + 1) * places
        self.feeds[f"state.{spec.path}"] = np.roll(self.feeds[f"state.{spec.path}"], -begin, 1)
        if spec.ring not in self._unit_of:
            unit_of = self._unit - (window + 1) + np.arange((window + 1) * places) // places
            hidden = np.roll(self.feeds[f"valid.{spec.ring}"][0], -begin) != 0
            self._unit_of[spec.ring] = np.where(hidden, self._unit - (window + 1), unit_of)

    def open_unit(self) -> None:
        for ring in self._windows:
            self._mark(ring)
        self._unit += 1

    def _mark(self, ring: str) -> None:
        """Rows of units inside the window of the unit that is computed are visible."""
        seen = self._unit_of[ring] >= self._unit - self._windows[ring]
        self.feeds[f"valid.{ring}"] = np.where(seen, 0.0, MASKED).astype(np.float32)[None]

    def write(self, routes: list[Rows], new: dict[str, Array]) -> None:
        for ring, group in groupby(sorted(routes, key=lambda r: r.ring), key=lambda r: r.ring):
            rows = [route.rows for route in group]
            count = sum(r.stop - r.start for r in rows)
            for spec in self._specs:
                if spec.ring == ring:
                    old, fresh = self.feeds[f"state.{spec.path}"], new[spec.append]
                    self.feeds[f"state.{spec.path}"] = np.concatenate([old[:, count:], *(fresh[:, r] for r in rows)], 1)
            units = np.full(count, self._unit - 1)
            self._unit_of[ring] = np.concatenate([self._unit_of[ring][count:], units])
            valid = self.feeds[f"valid.{ring}"]
            self.feeds[f"valid.{ring}"] = np.concatenate([valid[:, count:], np.zeros((1, count), np.float32)], 1)


RINGS: dict[str, type[InPlace] | type[Concatenated]] = {"plain": InPlace, "concat": Concatenated}


class Plain:
    """The unit program over ``InferenceSession.run``."""

    def __init__(self, bundle: Bundle, start: Snapshot, threads: int | None, way: str) -> None:
        engine = OrtEngine(threads)
        self._graphs: dict[str, Any] = {}
        for name in GRAPHS:
            spec = bundle.manifest.graph(name)
            path, options = str(bundle.file(spec.file)), engine.options_for(spec)
            self._graphs[name] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = {name: [o.name for o in graph.get_outputs()] for name, graph in self._graphs.items()}
        self._host, self._embeddings = Host(bundle, start), bundle.embedding_rows("text")
        self._constants = c = self._host.constants
        self._layout = Layout(c)
        self._angles = RotaryTable(engine, c, self._layout)
        self._prefix = bool(c.prefix_tokens)
        self._rings: Rings = RINGS[way](bundle, start)
        self._carries = {
            graph: {f"state.{s.path}": start.arrays[f"carry/{s.path}"]
                    for s in bundle.manifest.states if isinstance(s, CarrySpec) and s.graph == graph}
            for graph in ("encode", "decode")
        }  # fmt: skip
        self._past = {f"latents.{n}": start.arrays[f"held/past.latents.{n}"] for n in ("video", "audio")}
        zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
        self._clean = {"t": zero, "dt": zero}
        greedy: dict[str, Array] = {"temperature": one, "top_k": np.ones(1, np.int32), "top_p": one}
        self._sampling = greedy | {"noise": np.zeros(c.candidates, np.float32)}
        self._place_tokens()

    def _place_tokens(self) -> None:
        """Groups and routes, which are the same in every unit."""
        layout = self._layout
        counts = [layout.agent, layout.user, 1]
        self._groups = np.repeat(np.array([GROUP_AGENT, GROUP_USER, GROUP_START], np.float32), counts)
        self._block_routes, row = [], 0
        for name in AGENT + USER:
            segment = layout.segment(name)
            self._block_routes.append(Rows(segment.ring, slice(row, row + segment.count), layout.place(name)))
            row += segment.count
        first = layout.place("slots").start
        self._slot_routes = [Rows("main", slice(0, 1), slice(first + s, first + s + 1)) for s in range(layout.slots)]

    def step(self, unit: Unit) -> Answer:
        """Compute the next unit."""
        host = self._host
        self._angles.turn(host.unit)
        self._rings.open_unit()
        hidden = self._perceive(unit, host.text(unit))
        tokens = self._speak(hidden)
        latents = self._solve(host.latents())
        said = self._run("decode", latents | self._carries["decode"])
        self._keep_carries("decode", said)
        self._past = latents
        host.unit += 1
        return Answer(tokens, said["samples"], said["frames"], latents["latents.video"], latents["latents.audio"])

    def _perceive(self, unit: Unit, text: tuple[int, ...]) -> Array:
        """The block pass -> hidden state of the start token [1, width]."""
        assert unit.samples is not None
        assert unit.frames is not None
        given: dict[str, Array] = {"samples": unit.samples, "frames": unit.frames}
        heard = self._run("encode", given | self._carries["encode"])
        self._keep_carries("encode", heard)
        clean = self._run("solve_in", self._past | self._clean)["embeddings"]
        words = self._look_up((*text, self._constants.token_start))
        tokens = np.concatenate([clean, heard["user.video"], heard["user.audio"], words])
        hidden, new = self._core(tokens, self._angles.block, self._groups)
        self._rings.write(self._block_routes, new)
        return hidden[-1:]

    def _speak(self, hidden: Array) -> tuple[int, ...]:
        spoken = []
        for route, angles in zip(self._slot_routes, self._angles.slots, strict=True):
            spoken.append(int(self._run("slot", {"hidden": hidden} | self._sampling)["token"][0]))
            hidden, new = self._core(self._look_up(spoken[-1:]), angles, self._groups[:1])
            self._rings.write([route], new)
        return tuple(spoken)

    def _solve(self, noise: list[Array]) -> dict[str, Array]:
        latents = dict(zip(("latents.video", "latents.audio"), noise, strict=True))
        n, agent = self._constants.default_steps, self._layout.agent
        dt = np.full(1, 1.0 / n, np.float32)
        for i in range(n):
            given = latents | {"t": np.full(1, 1.0 - i / n, np.float32), "dt": dt}
            tokens = self._run("solve_in", given)["embeddings"]
            hidden, _ = self._core(tokens, self._angles.agent, self._groups[:agent], ["hidden"])
            after = self._run("solve_out", given | {"hidden": hidden})
            latents = {name: after[f"next.{name}"] for name in latents}
        return latents

    def _core(
        self, tokens: Array, angles: RotaryRows, groups: Array, wanted: list[str] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """[T, width] -> hidden [T, width] and all outputs that were ``wanted`` (None: every one)."""
        feeds = {
            "embeddings": tokens[None],
            "cos": angles.cos.host,
            "sin": angles.sin.host,
            "group": groups,
            **self._rings.feeds,
        }
        if self._prefix:
            feeds |= {"prefix_cos": angles.prefix_cos.host, "prefix_sin": angles.prefix_sin.host}
        came = self._run("core", feeds, wanted)
        return came["hidden"][0], came

    def _look_up(self, ids: tuple[int, ...] | list[int]) -> Array:
        rows = np.empty((len(ids), self._constants.width), np.float32)
        self._embeddings.rows(ids, rows)
        return rows

    def _run(self, graph: str, feeds: dict[str, Array], wanted: list[str] | None = None) -> dict[str, Array]:
        names = wanted or self._outputs[graph]
        return dict(zip(names, self._graphs[graph].run(names, feeds), strict=True))

    def _keep_carries(self, graph: str, came: dict[str, Array]) -> None:
        carries = self._carries[graph]
        self._carries[graph] = {name: came[name.replace("state.", "state_next.", 1)] for name in carries}
