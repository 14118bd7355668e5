"""The files that a graph reads are found without onnx and must be listed; other ways out of a graph are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.errors import BundleError


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


def model(nodes: list[onnx.NodeProto], tensors: list[TensorProto], opset: int = 21) -> onnx.ModelProto:
    return helper.make_model(graph(nodes, tensors), ir_version=10, opset_imports=[helper.make_opsetid("", opset)])


def block(number: int, content: bytes) -> bytes:
    """A protobuf field with a length."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def path_of(folder: Path, made: onnx.ModelProto) -> Path:
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def in_a_function(location: str) -> onnx.ModelProto:
    function = helper.make_function("d", "f", [], ["c"], [constant(location)], [helper.make_opsetid("", 21)])
    found = model([], [])
    found.functions.append(function)
    return found


def in_an_attribute_of_a_function(location: str) -> onnx.ModelProto:
    found = in_a_function(location)
    del found.functions[0].node[:]
    found.functions[0].attribute_proto.append(helper.make_attribute("value", outside(location)))
    return found


def sparse(location: str) -> onnx.ModelProto:
    found = model([], [])
    found.graph.sparse_initializer.add().values.CopyFrom(outside(location))
    return found


def training(location: str) -> onnx.ModelProto:
    found = model([], [])
    found.training_info.add().algorithm.CopyFrom(graph([constant(location)], []))
    return found


def branch(location: str, *, weights: bool) -> onnx.ModelProto:
    inner = graph([], [outside(location)]) if weights else graph([constant(location)], [])
    return model([helper.make_node("If", ["x"], ["y"], then_branch=inner)], [])


HIDING: dict[str, Callable[[str], onnx.ModelProto]] = {
    "a node": lambda location: model([constant(location)], []),
    "a node of a subgraph": lambda location: branch(location, weights=False),
    "a subgraph's initializer": lambda location: branch(location, weights=True),
    "a list of tensors": lambda location: model([helper.make_node("Op", [], [], many=[outside(location)])], []),
    "a function": in_a_function,
    "a function's attribute": in_an_attribute_of_a_function,
    "a sparse initializer": sparse,
    "training": training,
}


def test_external_data_of_an_initializer_is_found(tmp_path: Path) -> None:
    assert external_locations(path_of(tmp_path, model([], [outside("m.weights")]))) == {"m.weights"}


@pytest.mark.parametrize("where", HIDING)
def test_external_data_is_refused_in(tmp_path: Path, where: str) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx (holds|keeps) .*; export the bundle again"):
        external_locations(path_of(tmp_path, HIDING[where]("m.weights")))


@pytest.mark.parametrize(
    "location",
    ["*/_ORT_MEM_ADDR_/*", "", "/dev/stdin", "..", "a/../b", "./m.weights", "a\\b", "a\0b", "a b", "ä.weights"],
)
def test_a_location_that_is_not_a_plain_path_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(BundleError, match=r"is not allowed|wanted a name of letters"):
        external_locations(path_of(tmp_path, model([], [outside(location)])))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": "m.weights", "offset": "4", "length": "16"}, "up to byte 20 of 'm.weights', which has 16 bytes"),
        ({"location": "m.weights", "offset": "-4", "length": "16"}, "offset '-4' and length '16'; wanted numbers"),
        ({"location": "m.weights", "offset": "0", "length": "0x10"}, "wanted numbers of bytes"),
        ({"location": "m.weights", "offset": "9" * 19, "length": "16"}, "wanted numbers of bytes"),
        ({"location": "m.weights"}, r"external data with \['location'\]; wanted location, offset and length"),
        ({"length": "16"}, "wanted location, offset and length"),
        ({"location": "m.weights", "length": "16", "prepacked_0": "x"}, "wanted location, offset and length"),
    ],
)
def test_bytes_outside_of_the_file_and_other_entries_are_refused(
    tmp_path: Path, entries: dict[str, str], says: str
) -> None:
    (tmp_path / "m.weights").write_bytes(bytes(16))
    tensor = outside("m.weights")
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(BundleError, match=says):
        external_locations(path_of(tmp_path, model([], [tensor])))


def test_what_two_readers_would_read_differently_is_refused(tmp_path: Path) -> None:
    twice = outside("m.weights")
    twice.external_data.add(key="location", value="../secret")
    with pytest.raises(BundleError, match="names the location of a tensor's external data twice"):
        external_locations(path_of(tmp_path, model([], [twice])))
    kept = outside("m.weights")
    kept.data_location = TensorProto.DEFAULT
    with pytest.raises(BundleError, match="has external data"):
        external_locations(path_of(tmp_path, model([], [kept])))
    for entry in (
        block(1, b"location") + block(2, b"m.weights") + block(2, b"../secret"),
        block(1, b"length") + block(1, b"location") + block(2, b"../secret"),
        block(1, b"location") + block(2, b"\xff"),
        block(1, b"location") + block(2, b"m.weights") + block(3, b""),
    ):
        (tmp_path / "m.onnx").write_bytes(block(7, block(5, block(13, entry) + b"\x70\x01")))
        with pytest.raises(BundleError, match="is not an ONNX file"):
            external_locations(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "location",
    [b"\x70\x02", b"\x70\x81\x80\x80\x80\x10", b"\x72\x01\x01"],  # a later word, 2^32 + 1, another wire type
)
def test_a_place_of_data_that_is_no_known_word_is_refused(tmp_path: Path, location: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(block(7, block(5, location)))
    with pytest.raises(BundleError, match="is not an ONNX file"):
        external_locations(tmp_path / "m.onnx")


def test_fields_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(block(7, block(5, block(15, b""))))
    with pytest.raises(BundleError, match="holds field 15 in its initializer, which no graph of a bundle may"):
        external_locations(tmp_path / "m.onnx")


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "loc"])
def test_operators_that_are_not_standard_are_refused(tmp_path: Path, domain: str) -> None:
    says = f"holds operators of '{domain}'; wanted standard ones alone"
    node = helper.make_node("EPContext", [], ["y"], domain=domain, ep_cache_context="../secret", embed_mode=0)
    with pytest.raises(BundleError, match=says):
        external_locations(path_of(tmp_path, model([node], [])))
    within = helper.make_node("If", ["x"], ["y"], then_branch=graph([node], []))
    with pytest.raises(BundleError, match=says):
        external_locations(path_of(tmp_path, model([within], [])))
    imported = model([], [])
    imported.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(BundleError, match=says):
        external_locations(path_of(tmp_path, imported))
    imported.opset_import[-1].domain = "ai.onnx"  # another name of the standard's own
    assert external_locations(path_of(tmp_path, imported)) == set()


def test_a_graph_newer_than_the_boards_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is of opset 22; wanted at most 21"):
        external_locations(path_of(tmp_path, model([], [], 22)))
    with pytest.raises(BundleError, match="is of opset 18446744073709551611; wanted"):
        external_locations(path_of(tmp_path, model([], [], -5)))
    newer = model([], [])
    newer.ir_version = 11
    with pytest.raises(BundleError, match="is of IR version 11; wanted at most 10"):
        external_locations(path_of(tmp_path, newer))
    four_bits = TensorProto(name="w", data_type=23, dims=[2], raw_data=b"\x12")
    assert external_locations(path_of(tmp_path, model([], [four_bits], 23))) == set()
    assert external_locations(path_of(tmp_path, model([], [], 17))) == set()


def test_a_file_of_onnx_runtime_s_own_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.ort").write_bytes(model([], []).SerializeToString())
    with pytest.raises(BundleError, match=r"m\.ort has not the ending \.onnx"):
        external_locations(tmp_path / "m.ort")


@pytest.mark.parametrize("tiny", [b"\x0a\x00", b"\x12\x00", block(1, b"\x2a\x02\x40\x00")])
def test_a_file_of_tiny_fields_is_refused_soon(tmp_path: Path, tiny: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(block(7, tiny * ((16 << 20) // len(tiny))))
    began = time.process_time()
    with pytest.raises(BundleError, match="has more than 250000 fields outside of its weights"):
        external_locations(tmp_path / "m.onnx")
    assert time.process_time() - began < 2.0


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
