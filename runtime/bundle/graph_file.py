"""The inputs and outputs that an ONNX file declares, found without onnx and before an engine loads it.

Receives a bundle; hands on nothing, or a BundleError where a graph's file has other inputs or outputs than the manifest
says. So no buffer is made by a manifest's word alone: a few kilobytes of JSON could ask for all memory there is.

Read are the fields on this way; everything else is stepped over::

    model ──► graph ──► inputs, outputs ──► name, type ──► tensor type ──► element type, shape ──► sizes
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

from edge_streamer.runtime.bundle.external import message_fields
from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import BundleError

ELEMENTS = {
    1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16",
}  # fmt: skip
"""TensorProto.DataType, of those that a manifest has a word for."""

Declared = dict[str, tuple[str, tuple[int | str, ...]]]
"""Name -> (dtype, shape)."""
_Field = tuple[int, int, int]


def check_graph_files(bundle: Bundle) -> None:
    """Every graph's file declares what the manifest says. Raises BundleError naming the graph and the tensor."""
    for graph in bundle.manifest.graphs:
        path = bundle.file(graph.file)
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                inputs, outputs = _declared(data)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read as an ONNX file ({error}); export the bundle again") from None
        _check_side(graph, "input", inputs, graph.inputs)
        _check_side(graph, "output", outputs, graph.outputs)


def _check_side(graph: GraphSpec, kind: str, came: Declared, specs: Iterable[TensorSpec]) -> None:
    wanted: Declared = {tensor.name: (tensor.dtype, tensor.shape) for tensor in specs}
    for name in sorted(came.keys() | wanted.keys()):
        if came.get(name) != wanted.get(name):
            raise BundleError(
                f"graph {graph.name!r}, {kind} {name[:300]!r}: the file has {_words(came.get(name))}, the manifest "
                f"says {_words(wanted.get(name))}; export the bundle again"
            )


def _words(tensor: tuple[str, tuple[int | str, ...]] | None) -> str:
    return f"{tensor[0]} {list(tensor[1])}"[:300] if tensor else "none"


def _declared(data: mmap.mmap) -> tuple[Declared, Declared]:
    inputs: Declared = {}
    outputs: Declared = {}
    for graph, start, end in _fields(data, (0, 0, len(data))):
        if graph != 7:
            continue
        for side in _fields(data, (graph, start, end)):
            if side[0] in (11, 12):
                name, dtype, shape = _value(data, side)
                into = inputs if side[0] == 11 else outputs
                if name in into:
                    raise ValueError(f"it has {name[:300]!r} twice")
                into[name] = dtype, shape
    return inputs, outputs


def _value(data: mmap.mmap, message: _Field) -> tuple[str, str, tuple[int | str, ...]]:
    """Name, dtype and shape of a ValueInfoProto. A dtype or a size that a manifest has no word for is ``?``."""
    value = _only(data, message)
    tensor = _only(data, _only(data, value[2]).get(1, (0, 0, 0))) if 2 in value else {}
    dtype = ELEMENTS.get(tensor[1][1], "?") if 1 in tensor else "?"
    sizes: list[int | str] = []
    for number, start, end in _fields(data, tensor[2]) if 2 in tensor else ():
        if number == 1:
            size = _only(data, (number, start, end))
            sizes.append(size[1][1] if 1 in size else _text(data, size[2]) if 2 in size else "?")
    return _text(data, value[1]) if 1 in value else "", dtype, tuple(sizes)


def _only(data: mmap.mmap, message: _Field) -> dict[int, _Field]:
    """Number -> field, of the two that are read of any message here; each may be there once."""
    found: dict[int, _Field] = {}
    for field in _fields(data, message):
        if field[0] > 2:
            continue
        if field[0] in found:
            raise ValueError(f"it has a field twice before byte {field[2]}")
        found[field[0]] = field
    return found


def _text(data: mmap.mmap, field: _Field) -> str:
    return data[field[1] : field[2]].decode("utf-8")


def _fields(data: mmap.mmap, message: _Field) -> Iterator[_Field]:
    """(number, start, end) of a message's fields; of a number (number, value, end)."""
    _, start, end = message
    for number, _, first, last in message_fields(data, start, end):
        yield number, first, last
