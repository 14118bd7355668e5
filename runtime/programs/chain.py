"""The program ``chain``: graphs in a row, each once per unit, with their states. Serves codecs, detectors, enhancers.

Receives sound and pictures where the bundle's media contract names the inputs that they are, all else as arrays by
name; hands on the same. A graph's inputs that are not state come from the unit or from an earlier graph's output of the
same name; that is all the wiring there is. Carries are carried, rings filled (``chain_rings.py``); an input
``host.unit``, int32 [1], is the unit's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import msgspec

from edge_streamer.runtime.bundle.arrays import Array, Form
from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import Manifest, Name, TensorSpec
from edge_streamer.runtime.engines.contract import Buffer, Side
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.programs.base import Prefix, UnitIndex, Workplace, form_of, read_host
from edge_streamer.runtime.programs.chain_media import Parts
from edge_streamer.runtime.programs.chain_rings import ChainRing
from edge_streamer.runtime.programs.passes import Pass, Script, free_inputs, free_outputs, sizes
from edge_streamer.runtime.unit import Knobs, Response, Unit


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``manifest.constants`` of a chain."""

    order: tuple[Name, ...]
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]


UNIT = "host.unit"
"""An input that the host fills: the unit's index, int32 [1]; after 2**31 - 1 it begins again at 0."""


def read_constants(manifest: Manifest) -> Constants:
    """A chain's constants, checked. BundleError names the key."""
    try:
        return msgspec.convert(manifest.constants, Constants)
    except msgspec.ValidationError as error:
        raise BundleError(f"manifest.json, constants: {error}") from None


def check_wiring(constants: Constants, manifest: Manifest) -> None:
    """The graphs hang together as ``constants`` say. Raises BundleError naming the graph and the tensor at fault."""
    if len(set(constants.order)) < len(constants.order) or not constants.order:
        raise BundleError(f"the chain's order is {list(constants.order)[:20]}; wanted every graph once")
    graphs = [manifest.graph(name) for name in constants.order]
    read = {spec.name for graph in graphs for spec in free_inputs(graph)} - {UNIT}
    made = {spec.name for graph in graphs for spec in free_outputs(graph)}
    _check_names("inputs", constants.inputs, read - made, "takes from outside")
    there: dict[str, TensorSpec] = {}
    given: set[str] = set()
    for graph in graphs:
        if graph.lengths:
            raise BundleError(f"graph {graph.name!r} has tensors of any length; a chain has fixed ones")
        for spec in free_inputs(graph):
            if spec.name == UNIT:
                if (spec.dtype, spec.shape) != ("int32", (1,)):
                    raise BundleError(
                        f"graph {graph.name!r} wants {UNIT} as {spec.dtype} {list(spec.shape)}; it is int32 [1]"
                    )
                there[UNIT] = spec
                continue
            if spec.name not in given and spec.name not in constants.inputs:
                raise BundleError(
                    f"graph {graph.name!r} wants {spec.name!r}, which no earlier graph of the chain gives"
                )
            before = there.setdefault(spec.name, spec)
            if (before.dtype, before.shape) != (spec.dtype, spec.shape):
                raise BundleError(
                    f"graph {graph.name!r} wants {spec.name!r} as {spec.dtype} {list(spec.shape)}; elsewhere in the "
                    f"chain it is {before.dtype} {list(before.shape)}"
                )
        for spec in free_outputs(graph):
            if spec.name in there:
                raise BundleError(f"graph {graph.name!r} gives {spec.name!r}, which the chain has already")
            there[spec.name] = spec
            given.add(spec.name)
    _check_names("outputs", constants.outputs, read | made, "has")


def _check_names(what: str, names: Sequence[str], there: set[str], verb: str) -> None:
    """``names`` are among the tensors that are ``there``."""
    if missing := sorted(set(names) - there):
        raise BundleError(
            f"manifest.json: constants.{what} names {missing[:20]}, which no graph of the order {verb}; there are "
            f"{sorted(there)[:20]}"
        )


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The history that is not a tensor."""

    unit: UnitIndex
    """Steps taken."""


class Chain:
    """Graphs in a row."""

    default_steps = None
    slots = token_count = 0

    def __init__(self, place: Workplace):
        self._place = place
        self._index = 0
        manifest = place.bundle.manifest
        self.constants = constants = read_constants(manifest)
        if replace(place.knobs, seed=0) != Knobs():
            raise ValueError(
                "a chain solves and samples nothing: leave the solver's steps and the sampling's knobs out"
            )
        check_wiring(constants, manifest)
        self._parts = Parts(constants.inputs, constants.outputs, manifest.media)
        self._rings = [ChainRing(place, ring, constants.order) for ring in place.store.rings.values()]
        self._buffers: dict[str, Buffer] = {}
        self._script = Script("chain", place.meter)
        for name in constants.order:
            self._script.run(name, self._link(name))
            for ring in self._rings:
                ring.store(self._script, name)

    def _link(self, name: str) -> Pass:
        place = self._place
        graph = place.graph(name)
        for tensor, (shape, dtype) in sizes([*free_inputs(graph.spec), *free_outputs(graph.spec)]).items():
            if tensor not in self._buffers:
                self._buffers[tensor] = place.engine.buffer(shape, dtype, self._side(tensor))
        ins = {t.name: self._buffers[t.name] for t in free_inputs(graph.spec)}
        outs = {t.name: self._buffers[t.name] for t in free_outputs(graph.spec)}
        for ring in self._rings:
            ins |= ring.inputs(graph.spec)
            outs |= ring.outputs(name)
        return Pass(graph, ins, outs, place.engine, place.store.carries.get(name))

    def _side(self, tensor: str) -> Side:
        if tensor in self.constants.inputs or tensor == UNIT:
            return "in"
        return "out" if tensor in self.constants.outputs else "inner"

    def takes(self) -> dict[str, Form]:
        return {name: form_of(self._buffers[name]) for name in self._parts.arrays_in}

    def gives(self) -> dict[str, Form]:
        return {name: form_of(self._buffers[name]) for name in self._parts.arrays_out}

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        start = perf_counter()
        if forced:
            raise ValueError(f"{len(forced)} tokens came; a chain chooses none")
        sections = self._place.meter.sections
        with sections("prepare"):
            self._parts.take_in(unit, self._buffers)
            if UNIT in self._buffers:
                self._buffers[UNIT].host[0] = self._index % 2**31
            for ring in self._rings:
                ring.begin()
        self._script.play()
        with sections("finish"):
            for ring in self._rings:
                ring.finish()
            index, self._index = self._index, self._index + 1
            sound, pictures, arrays = self._parts.given(self._buffers)
        return Response(
            index=index, samples=sound, frames=pictures, arrays=arrays, seconds=perf_counter() - start,
            engine_seconds=self._place.meter.engine_seconds,
        )  # fmt: skip

    def settle(self) -> None:
        """There is nothing to do ahead."""

    def turn(self, knobs: Knobs) -> None:
        """There is nothing to turn."""

    def probe(self) -> dict[str, Array]:
        return {}

    def prefix(self) -> Prefix:
        raise InputError("this bundle has no prefix; a chain takes none")

    @staticmethod
    def runs(manifest: Manifest) -> dict[tuple[str, str], int]:
        """(graph, length) -> runs per step: each graph of the order once."""
        return {(name, STATIC): 1 for name in read_constants(manifest).order}

    def host(self) -> dict[str, object]:
        return {"unit": self._index}

    def held(self) -> dict[str, Buffer]:
        return {}

    def set_host(self, host: dict[str, object]) -> None:
        self._index = read_host(host, Host).unit

    def reset(self, unit: int) -> None:
        self._index = unit
