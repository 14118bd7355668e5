"""The program ``chain``: run graphs in order, carry their states. Serves codecs, detectors, enhancers.

Receives arrays by name; hands on arrays by name. A graph's inputs that are not state come from the step's inputs or
from an earlier graph's output of the same name; that is all the wiring there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import Manifest, Name, TensorSpec
from edge_streamer.runtime.engines.contract import Buffer, Side
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.programs.base import Prefix, UnitIndex, Workplace, read_host
from edge_streamer.runtime.programs.passes import Pass, Script, free_inputs, free_outputs, sizes
from edge_streamer.runtime.unit import Knobs, Response, Unit


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``manifest.constants`` of a chain."""

    order: tuple[Name, ...]
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]


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
    there: dict[str, TensorSpec] = {}
    given: set[str] = set()
    read: set[str] = set()
    for graph in map(manifest.graph, constants.order):
        if graph.lengths:
            raise BundleError(f"graph {graph.name!r} has tensors of any length; a chain has fixed ones")
        for spec in free_inputs(graph):
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
            read.add(spec.name)
        for spec in free_outputs(graph):
            if spec.name in there:
                raise BundleError(f"graph {graph.name!r} gives {spec.name!r}, which the chain has already")
            there[spec.name] = spec
            given.add(spec.name)
    missing = ({*constants.inputs} - (read - given)) | ({*constants.outputs} - there.keys())
    if missing:
        raise BundleError(f"no graph of the chain has the tensors {sorted(missing)[:20]}")


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
        self.constants = read_constants(place.bundle.manifest)
        if place.store.rings:
            raise BundleError(f"a chain cannot fill rings, the bundle has {sorted(place.store.rings)}")
        check_wiring(self.constants, place.bundle.manifest)
        self._buffers: dict[str, Buffer] = {}
        self._script = Script("chain", place.meter)
        for name in self.constants.order:
            self._script.run(name, self._link(name))

    def _link(self, name: str) -> Pass:
        place = self._place
        graph = place.graph(name)
        for tensor, (shape, dtype) in sizes([*free_inputs(graph.spec), *free_outputs(graph.spec)]).items():
            if tensor not in self._buffers:
                self._buffers[tensor] = place.engine.buffer(shape, dtype, self._side(tensor))
        ins = {t.name: self._buffers[t.name] for t in free_inputs(graph.spec)}
        outs = {t.name: self._buffers[t.name] for t in free_outputs(graph.spec)}
        return Pass(graph, ins, outs, place.engine, place.store.carries.get(name))

    def _side(self, tensor: str) -> Side:
        if tensor in self.constants.inputs:
            return "in"
        return "out" if tensor in self.constants.outputs else "inner"

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        start = perf_counter()
        self._take_in(unit, forced)
        self._script.play()
        index, self._index = self._index, self._index + 1
        return Response(
            index=index, samples=None, frames=None,
            arrays={name: self._buffers[name].host for name in self.constants.outputs},
            seconds=perf_counter() - start, engine_seconds=self._place.meter.engine_seconds,
        )  # fmt: skip

    def _take_in(self, unit: Unit, forced: Sequence[int] | None) -> None:
        if forced:
            raise ValueError(f"{len(forced)} tokens came; a chain chooses none")
        if unit.samples is not None or unit.frames is not None or unit.text:
            raise ValueError(f"{unit!r} came; a chain takes arrays alone: {sorted(self.constants.inputs)}")
        if unit.arrays.keys() != set(self.constants.inputs):
            raise ValueError(f"the unit has the arrays {sorted(unit.arrays)}; wanted {sorted(self.constants.inputs)}")
        for name, array in unit.arrays.items():
            wanted = self._buffers[name].host
            if array.shape != wanted.shape or array.dtype != wanted.dtype:
                raise ValueError(f"input {name!r} is {array.dtype} {array.shape}; wanted {wanted.dtype} {wanted.shape}")
            np.copyto(wanted, array)

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
