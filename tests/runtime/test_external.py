"""The files that a graph reads are found without onnx, wherever the graph hides them, and must be listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from edge_streamer.runtime.bundle import Bundle, write_bundle
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.external import external_locations


def outside(location: str) -> TensorProto:
    """A tensor whose numbers are in the file ``location``."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("offset", "0"), ("location", location), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(location: str) -> onnx.NodeProto:
    """A node that holds such a tensor."""
    return helper.make_node("Constant", [], ["c"], value=outside(location))


def graph(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.GraphProto:
    """A graph of these, with some megabytes of weights of its own to step over."""
    own = helper.make_tensor("own", TensorProto.FLOAT, [1 << 18], bytes(1 << 20), raw=True)
    return helper.make_graph(nodes, "g", [], [], [own, *tensors])


def model(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.ModelProto:
    return helper.make_model(graph(nodes, tensors))


def in_a_function(location: str) -> onnx.ModelProto:
    function = helper.make_function("d", "f", [], ["c"], [constant(location)], [helper.make_opsetid("", 21)])
    return helper.make_model(graph([], []), functions=[function])


def sparse(location: str) -> onnx.ModelProto:
    found = model([], [])
    found.graph.sparse_initializer.add().values.CopyFrom(outside(location))
    return found


HIDING: dict[str, Callable[[str], onnx.ModelProto]] = {
    "an initializer": lambda location: model([], [outside(location)]),
    "a node": lambda location: model([constant(location)], []),
    "a subgraph": lambda location: model(
        [helper.make_node("If", ["x"], ["y"], then_branch=graph([constant(location)], []))], []
    ),
    "a list of tensors": lambda location: model([helper.make_node("Op", [], [], many=[outside(location)])], []),
    "a function": in_a_function,
    "a sparse initializer": sparse,
}


@pytest.mark.parametrize("where", HIDING)
def test_external_data_is_found_in(tmp_path: Path, where: str) -> None:
    (tmp_path / "m.onnx").write_bytes(HIDING[where]("../secret").SerializeToString())
    assert external_locations(tmp_path / "m.onnx") == {"../secret"}


def test_a_graph_with_all_its_weights_names_none(made_counter: Path) -> None:
    assert external_locations(made_counter / "graphs/second.onnx") == set()


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x3a\xff\xff\x01", b"\x3a\x80", b"\xff" * 20, b"\x0b"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"m\.onnx is not an ONNX file \("):
        external_locations(tmp_path / "m.onnx")


def test_a_file_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    inner = b""
    for _ in range(100):
        inner = block(1, block(5, block(6, inner)))  # graph > node > attribute > graph
    (tmp_path / "m.onnx").write_bytes(block(7, inner))
    with pytest.raises(BundleError, match="nest deeper than 64"):
        external_locations(tmp_path / "m.onnx")


def block(number: int, content: bytes) -> bytes:
    """A protobuf field with a length."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("../../secret", "path '../../secret' is not allowed"),
        ("../table.bin", "path '../table.bin' is not allowed"),  # listed, but newer ONNX Runtimes refuse to go up
        ("/etc/hostname", "path '/etc/hostname' is not allowed"),
        ("absent.bin", "keeps weights in 'absent.bin', which manifest.json does not list as 'graphs/absent.bin'"),
    ],
)
def test_a_bundle_whose_graph_reads_another_file_is_refused(counter: Path, location: str, says: str) -> None:
    manifest = msgspec.structs.replace(Bundle.open(counter).manifest, files=())
    (counter / "table.bin").write_bytes(bytes(16))
    (counter / "graphs/second.onnx").write_bytes(model([], [outside(location)]).SerializeToString())
    with pytest.raises(BundleError, match=says):
        write_bundle(counter, manifest)


def test_a_bundle_whose_graph_reads_a_listed_file_opens(counter: Path) -> None:
    manifest = msgspec.structs.replace(Bundle.open(counter).manifest, files=())
    (counter / "graphs/second.weights").write_bytes(bytes(16))
    (counter / "graphs/second.onnx").write_bytes(model([], [outside("second.weights")]).SerializeToString())
    assert len(write_bundle(counter, manifest).manifest.files) == 3
