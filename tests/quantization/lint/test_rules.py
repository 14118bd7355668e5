"""What a TensorRT refuses is named: planted violations in graphs of one node, each caught by rule and name."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edge_streamer.quantization.lint.check import together
from edge_streamer.quantization.lint.rules import Finding, refusals, table, typed
from edge_streamer.quantization.lint.targets import BOARDS, TARGETS, named

FLOAT, INT8, INT64 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64
Shape = Sequence[int | str]


def graph(
    node: tuple[str, list[str], dict[str, object]], inputs: dict[str, tuple[int, Shape]],
    output: tuple[int, Shape | None],
    constants: Sequence[object] = (), domain: str = "",
) -> ir.Model:  # fmt: skip
    """One node called ``planted``, its output ``y``."""
    operator, names, attributes = node
    outputs = ["y", "i"] if operator == "TopK" else ["y"]
    made = helper.make_node(operator, names, outputs, name="planted", domain=domain, **attributes)
    values = [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()]
    body = helper.make_graph([made], "planted", values, [helper.make_tensor_value_info("y", *output)], constants)
    opsets = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return ir.from_proto(helper.make_model(body, opset_imports=opsets, ir_version=10))


def row(values: Shape, kind: int = FLOAT) -> tuple[int, Shape]:
    return kind, values


def number(name: str, value: int, kind: int = INT64, shape: Sequence[int] = (1,)) -> object:
    count = 1
    for n in shape:
        count *= n
    return helper.make_tensor(name, kind, list(shape), [value] * count)


def weights(kind: int, zero: int = 0, **attributes: object) -> ir.Model:
    """A DequantizeLinear of a constant in ``kind``."""
    scales = (2, 8) if "block_size" in attributes else (8,)
    constants = [
        number("codes", 1, kind, (32, 8)),
        number("scales", 1, FLOAT, scales),
        number("zeros", zero, kind, scales),
    ]
    return graph(("DequantizeLinear", ["codes", "scales", "zeros"], attributes), {}, row((32, 8)), constants)


TOPK = ("TopK", ["x", "k"], {})
BF16, UINT8, INT32 = TensorProto.BFLOAT16, TensorProto.UINT8, TensorProto.INT32
KERNEL = helper.make_tensor("w", BF16, [2, 2, 4], [1.0] * 16)
PRODUCT = graph(("MatMulInteger", ["a", "b"], {}), {"a": row((4, 4), INT8), "b": row((4, 4), INT8)}, row((4, 4), INT32))
BATCH = graph(("Relu", ["x"], {}), {"x": row(("batch", 4))}, row(("batch", 4)))
GELU = graph(("FastGelu", ["x"], {}), {"x": row((3, 4))}, row((3, 4)), domain="com.microsoft")
SOFTMAX = graph(("Softmax", ["x"], {"axis": 0}), {"x": row((8,))}, row((8,)))
ARGMAX = graph(("ArgMax", ["x"], {"axis": 0}), {"x": row((8,))}, row((1,), INT64))
MANY = graph(TOPK, {"x": row((1, 5000))}, row((1, 4000)), [number("k", 4000)])
DECONVOLUTION = graph(("ConvTranspose", ["x", "w"], {}), {"x": row((1, 2, 8), BF16)}, row((1, 2, 11), BF16), [KERNEL])
AXES = graph(("Unsqueeze", ["x", "a"], {}), {"x": row((3,)), "a": row((1,), INT64)}, row((1, 3)))
TURNED = graph(("Transpose", ["x"], {}), {"x": row((3, 4), UINT8)}, row((4, 3), UINT8))
LATER = graph(("RMSNormalization", ["x", "s"], {}), {"x": row((3, 4)), "s": row((4,))}, row((3, 4)))
OFF_ZERO = weights(TensorProto.INT4, zero=3, axis=0, block_size=16)
PLANTED = {
    "MatMulInteger": (PRODUCT, "operator", "TensorRT 10.3 does not take MatMulInteger; it is for CPUs"),
    "int4 zero point 3": (OFF_ZERO, "zero point", "the zero point zeros is 3; TensorRT 10.3 takes 0 alone"),
    "a symbolic batch": (BATCH, "symbolic length", "a size of this input is batch"),
    "com.microsoft": (GELU, "operator", "com.microsoft.FastGelu is an operator of one engine alone"),
    "FP8 for Orin": (weights(TensorProto.FLOAT8E4M3FN, axis=1), "type", "an Orin does not compute in float8e4m3fn"),
    "1-D Softmax": (SOFTMAX, "axis", "Softmax of an array with 1 axis"),
    "TopK of 4000": (MANY, "size", "TopK of 4000; TensorRT 10.3 gives at most 3840"),
    "bf16 ConvTranspose": (DECONVOLUTION, "type", "TensorRT 10.3 does not take ConvTranspose in bfloat16"),
    "1-D ArgMax": (ARGMAX, "axis", "ArgMax of an array with 1 axis"),
    "axes that are no constant": (AXES, "initialiser", "input 1 (a) of Unsqueeze must be a constant"),
    "uint8 in Transpose": (TURNED, "type", "does not take Transpose in uint8"),
    "codes in int32": (weights(INT32, axis=1), "type", "has no codes in int32"),
    "a later operator": (LATER, "operator", "does not know RMSNormalization, which came with 10.15"),
}
"""What is planted -> (its graph, the rule that catches it, what is said), for JetPack 6.2."""


def found(model: ir.Model, target: str, lengths: Sequence[int] = (), board: str | None = None) -> list[Finding]:
    return refusals(typed(model), "g", lengths, TARGETS[target], BOARDS[board] if board else None)[0]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_caught_by_name(name: str) -> None:
    model, rule, words = PLANTED[name]
    one = next(finding for finding in found(model, "jetpack6.2") if finding.rule == rule)
    assert one.node == ("x" if rule == "symbolic length" else "planted")
    assert words in one.words
    assert one.targets == ("jetpack6.2",)


def test_what_a_later_version_or_a_cpu_takes_is_not_refused_there() -> None:
    assert not found(PLANTED["a later operator"][0], "jetpack7.2")
    assert found(PLANTED["a later operator"][0], "jetpack7.1")
    for name in ("MatMulInteger", "com.microsoft", "1-D Softmax", "TopK of 4000"):
        assert not found(PLANTED[name][0], "cpu"), name
    assert [one.rule for one in found(PLANTED["bf16 ConvTranspose"][0], "cpu")] == ["type"]


def test_what_only_one_of_two_boards_lacks_is_a_note_unless_it_is_chosen() -> None:
    fp8 = PLANTED["FP8 for Orin"][0]
    refused, notes = refusals(typed(fp8), "g", (), TARGETS["jetpack7.2"])
    assert not refused
    assert [note.words for note in notes] == ["an Orin does not compute in float8e4m3fn"]
    assert found(fp8, "jetpack7.2", board="orin")
    assert not found(fp8, "jetpack7.2", board="thor")
    assert not found(fp8, "jetpack7.1")


def test_a_listed_length_is_no_violation() -> None:
    model = graph(("Relu", ["x"], {}), {"x": row(("T", 4))}, row(("T", 4)))
    assert not found(model, "jetpack6.2", lengths=(1, 9))
    (one,) = found(model, "jetpack6.2")
    assert one.words == "a size of this input is T; wanted numbers"


def test_zero_points_of_zero_and_blocks_pass() -> None:
    for target in ("jetpack6.2", "jetpack7.2.2", "rtx"):
        assert not found(weights(TensorProto.INT4, axis=0, block_size=16), target)
        assert not found(weights(INT8, axis=1), target)
        assert not found(graph(TOPK, {"x": row((1, 5000))}, row((1, 3840)), [number("k", 3840)]), target)


def test_targets_that_share_a_refusal_are_told_together() -> None:
    model = PLANTED["1-D Softmax"][0]
    some = [one for target in named("portable") for one in refusals(typed(model), "g", (), target)[0]]
    (one,) = together(some)
    assert one.targets == ("jetpack6.2", "jetpack7.1", "jetpack7.2", "jetpack7.2.2", "rtx")


def test_notes_say_for_each_target_what_lacks() -> None:
    model = typed(PLANTED["FP8 for Orin"][0])
    notes = [one for target in named("portable") for one in refusals(model, "g", (), target)[1]]
    assert {one.words: one.targets for one in together(notes, words=True)} == {
        "an Orin does not compute in float8e4m3fn": ("jetpack7.2", "jetpack7.2.2"),
        "a card before Ada does not compute in float8e4m3fn": ("rtx",),
    }


def test_the_table_knows_its_operators() -> None:
    assert len(table()) > 190
    assert table()["MatMulInteger"] == {"refused": True}
    assert "bfloat16" not in table()["ConvTranspose"]["types"]
