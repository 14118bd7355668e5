"""What a target refuses of one graph, node by node, by the table of operators

Receives a graph and a target; hands on a :class:`Finding` for each thing that the target refuses, with the node's name
and what to do. The rules, by the word that a finding carries:

    operator         the target does not know it, or only a later version does; of a maker's own domain
    type             data of a type that the operator is not computed in there, or that the board has no products for
    zero point       codes around another number than 0
    axis             fewer axes than the operator takes
    size             a number that is larger than the operator takes, an attribute or output that it has not
    symbolic length  an input's size that is no number, and not one of the lengths T that the manifest lists
    initialiser      an input that must be a constant of the graph and is none; a constant of an unknown type
    opset            a newer set of operators than the target reads

It reads types and shapes where the file says them and infers the others. Nothing is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edge_streamer.quantization.lint.targets import Board, LintTarget, Version

STANDARD = ("", "ai.onnx")
LENGTH = "T"
CODES = ("int8", "int4", "float8e4m3fn", "float4e2m1")
"""What a DequantizeLinear reads."""
WEIGHTS_ALONE = ("int4",)
"""Codes that are read from constants, never computed."""
CONSTANTS = ("float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8", "bool", *CODES)
FP4, FP4_SINCE, FP4_OPSET = "float4e2m1", (10, 8), 23
OPSET = 21
"""The newest that our graphs are of on every board; a graph with NVFP4 says 23."""
NO_CPU_TYPES = ("bfloat16", FP4)
"""Types that ONNX Runtime's CPU has no products for."""
FOR_CPUS = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv")
"""Operators that mark a graph as one for CPUs."""
CPU_DOMAINS = (*STANDARD, "com.microsoft")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a target refuses."""

    graph: str
    node: str
    """Its name; of an input or a constant, the value's."""
    operator: str
    """Empty where it is no node."""
    rule: str
    words: str
    targets: tuple[str, ...] = ()
    """Those that refuse it."""


def refusals(model: ir.Model, graph: str, lengths: Sequence[int], target: LintTarget, board: Board | None = None
             ) -> tuple[list[Finding], list[Finding]]:  # fmt: skip
    """(what ``target`` refuses of ``model``, notes: what only some of its boards do). ``board`` alone counts where one
    is named. ``model`` is one that :func:`typed` made."""
    if target.tensorrt is None:
        return list(_Cpu(graph, target).all(model, lengths)), []
    boards = (board,) if board else target.boards
    rules = _TensorRT(graph, target, target.tensorrt)
    lacking = [rules.lacking(model, one) for one in boards]
    if all(lacking):
        return [*rules.all(model, lengths), *lacking[0]], []
    return list(rules.all(model, lengths)), [finding for some in lacking for finding in some]


def typed(model: ir.Model) -> ir.Model:
    """A copy whose values have the types and shapes that the file does not say, where they can be inferred."""
    copy = model.clone()
    ShapeInferencePass()(copy)
    return copy


def lacks(model: ir.Model, board: Board) -> bool:
    """Whether ``model`` holds data of a type that ``board`` has no products for."""
    return any(_type(v) in board.lacks for node in model.graph.all_nodes() for v in (*node.inputs, *node.outputs))


@cache
def table() -> dict[str, dict[str, Any]]:
    """Operator -> what TensorRT takes of it."""
    found: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("operators.json").read_text("utf-8"))[
        "operators"
    ]
    return found


@dataclass(frozen=True)
class _Rules:
    """What all targets share."""

    graph: str
    target: LintTarget

    def found(self, node: ir.Node | ir.Value, rule: str, words: str) -> Finding:
        operator = node.op_type if isinstance(node, ir.Node) else ""
        name = str(node.name) or operator
        return Finding(graph=self.graph, node=name, operator=operator, rule=rule, words=words,
                       targets=(self.target.name,))  # fmt: skip

    def symbols(self, model: ir.Model, lengths: Sequence[int]) -> Iterator[Finding]:
        """Inputs whose sizes are not known when an engine is made."""
        for value in model.graph.inputs:
            if value.const_value is not None:
                continue
            strange = [str(n) for n in value.shape or ("?",) if not isinstance(n, int) and not _is_length(n, lengths)]
            if strange:
                wanted = f"numbers, or {LENGTH} where the manifest lists lengths" if lengths else "numbers"
                yield self.found(
                    value, "symbolic length", f"a size of this input is {', '.join(strange)}; wanted {wanted}"
                )


def _is_length(size: Any, lengths: Sequence[int]) -> bool:
    return bool(lengths) and getattr(size, "value", size) == LENGTH


class _Cpu(_Rules):
    """ONNX Runtime's CPU provider."""

    def all(self, model: ir.Model, lengths: Sequence[int]) -> Iterator[Finding]:
        yield from self.symbols(model, lengths)
        for node in model.graph.all_nodes():
            if node.domain not in CPU_DOMAINS:
                yield self.found(node, "operator", f"{node.domain}.{node.op_type}: ONNX Runtime has no such operator")
            if node.op_type == "Cast":
                continue
            strange = sorted({kind for value in _data(node) if (kind := _type(value)) in NO_CPU_TYPES})
            if strange:
                yield self.found(node, "type", f"a CPU does not compute {node.op_type} in {' or '.join(strange)}")


@dataclass(frozen=True)
class _TensorRT(_Rules):
    """A version of TensorRT."""

    version: Version

    @property
    def words(self) -> str:
        return f"TensorRT {self.version[0]}.{self.version[1]}"

    def all(self, model: ir.Model, lengths: Sequence[int]) -> Iterator[Finding]:
        yield from self.symbols(model, lengths)
        yield from self.constants(model)
        newest = FP4_OPSET if any(_type(v) == FP4 for v in model.graph.initializers.values()) else OPSET
        if model.opset_imports.get("", OPSET) > newest:
            yield Finding(graph=self.graph, node=self.graph, operator="", rule="opset", targets=(self.target.name,),
                          words=f"it is of opset {model.opset_imports['']}; wanted at most {newest}")  # fmt: skip
        for node in model.graph.all_nodes():
            known = table().get(node.op_type)
            refused = self.operator(node, known)
            if refused is not None:
                yield refused
            elif known is not None:
                yield from self.types(node, known["types"])
                yield from self.limits(node, known)
                if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                    yield from self.codes(node)

    def lacking(self, model: ir.Model, board: Board) -> list[Finding]:
        """Nodes with data of types that the board has no products for."""
        found = []
        for node in model.graph.all_nodes():
            kinds = sorted({kind for v in (*node.inputs, *node.outputs) if (kind := _type(v)) in board.lacks})
            if kinds:
                found.append(self.found(node, "type", f"{board.about} does not compute in {' or '.join(kinds)}"))
        return found

    def constants(self, model: ir.Model) -> Iterator[Finding]:
        for value in model.graph.initializers.values():
            kind = _type(value)
            if kind is not None and (kind not in CONSTANTS or (kind == FP4 and self.version < FP4_SINCE)):
                yield self.found(value, "initialiser", f"a constant in {kind}, which {self.words} does not read")

    def operator(self, node: ir.Node, known: dict[str, Any] | None) -> Finding | None:
        name = node.op_type
        if node.domain not in STANDARD:
            words = f"{node.domain}.{name} is an operator of one engine alone; wanted ONNX's standard ones"
        elif known is None:
            words = f"{self.words} does not know {name}"
        elif known.get("refused"):
            cpu = "; it is for CPUs" if name in FOR_CPUS else ""
            words = f"{self.words} does not take {name}{cpu}"
        elif "since" in known and self.version < tuple(map(int, known["since"].split("."))):
            words = f"{self.words} does not know {name}, which came with {known['since']}"
        else:
            return None
        return self.found(node, "operator", words)

    def types(self, node: ir.Node, types: Sequence[str]) -> Iterator[Finding]:
        strange = sorted({kind for value in _data(node) if (kind := _type(value)) is not None and kind not in types})
        if strange and node.op_type != "DequantizeLinear":  # its codes have rules of their own
            words = f"{self.words} does not take {node.op_type} in {' or '.join(strange)}"
            yield self.found(node, "type", f"{words}; wanted one of {', '.join(types)}")

    def limits(self, node: ir.Node, known: dict[str, Any]) -> Iterator[Finding]:
        name, data = node.op_type, node.inputs[0] if node.inputs else None
        axes = known.get("axes", 0)
        if data is not None and data.shape is not None and len(data.shape) < axes:
            words = f"{name} of an array with {len(data.shape)} axis; {self.words} wants {axes} or more"
            yield self.found(node, "axis", f"{words}: give it a leading one")
        for number in known.get("constant", ()):
            if number < len(node.inputs) and (value := node.inputs[number]) is not None and not _constant(value):
                yield self.found(node, "initialiser", f"input {number} ({value.name}) of {name} must be a constant")
        for number, most in known.get("largest", {}).items():
            largest = _largest(node.inputs[int(number)]) if int(number) < len(node.inputs) else None
            if largest is not None and largest > most:
                yield self.found(node, "size", f"{name} of {largest}; {self.words} gives at most {most}")
        for key, allowed in known.get("attributes", {}).items():
            if key in node.attributes and (value := node.attributes[key].value) not in allowed:
                yield self.found(node, "size", f"{key} of {name} is {value}; wanted {' or '.join(map(str, allowed))}")
        if sum(bool(value.uses()) or value.is_graph_output() for value in node.outputs[known.get("outputs", 99) :]):
            yield self.found(node, "size", f"only the first output of {name} can be had")

    def codes(self, node: ir.Node) -> Iterator[Finding]:
        """Of a QuantizeLinear or DequantizeLinear: codes, scales and zero points."""
        values = [*node.inputs, None, None][:3]
        coded = node.outputs[0] if node.op_type == "QuantizeLinear" else values[0]
        kind = _type(coded)
        if kind is not None and (kind not in CODES or (kind == FP4 and self.version < FP4_SINCE)):
            yield self.found(node, "type", f"{self.words} has no codes in {kind}; wanted one of {', '.join(CODES)}")
        if coded is not None and kind in WEIGHTS_ALONE and not _constant(coded):
            yield self.found(node, "initialiser", f"codes in {kind} are for weights alone: wanted a constant")
        if values[1] is not None and not _constant(values[1]):
            yield self.found(node, "initialiser", f"the scale {values[1].name} must be a constant")
        zero = values[2]
        if zero is None:
            return
        if zero.const_value is None:
            yield self.found(node, "initialiser", f"the zero point {zero.name} must be a constant")
        elif np.any(numbers := np.asarray(zero.const_value.numpy(), np.float32)):
            other = numbers.ravel()[np.flatnonzero(numbers)[0]]
            yield self.found(node, "zero point", f"the zero point {zero.name} is {other:g}; {self.words} takes 0 alone")


def _type(value: ir.Value | None) -> str | None:
    """As the table calls it; None where it is not known."""
    if value is None or value.dtype is None:
        return None
    return _TYPES.get(value.dtype, value.dtype.name.lower())


_TYPES = {ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}


def _data(node: ir.Node) -> list[ir.Value]:
    """Inputs of the type that the operator computes in, and of what computes nothing but a type its output."""
    if node.op_type in ("Cast", "CastLike", "Constant", "ConstantOfShape", "EyeLike"):
        return [*(v for v in node.inputs[:1] if v is not None), *node.outputs]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return [v for v in node.inputs[:1] if v is not None]
    names = _formal(node.op_type)
    first = 1 if node.op_type == "Where" else 0
    kind = names[first] if first < len(names) else None
    return [v for n, v in enumerate(node.inputs) if v is not None and names[min(n, len(names) - 1)] == kind]


@cache
def _formal(operator: str) -> list[str]:
    """The type of each of an operator's inputs, as its definition calls it; the last repeats."""
    try:
        return [value.type_str for value in onnx.defs.get_schema(operator, OPSET).inputs] or [""]
    except onnx.defs.SchemaError:  # none of the standard's
        return ["T"]


def _constant(value: ir.Value) -> bool:
    """Whether it is known when an engine is made: an initialiser, or made of such by nodes that compute a constant."""
    if value.const_value is not None:
        return True
    node = value.producer()
    if node is None:
        return False
    return node.op_type == "Constant" or all(v is None or _constant(v) for v in node.inputs)


def _largest(value: ir.Value | None) -> int | None:
    if value is None or value.const_value is None or value.const_value.size == 0:
        return None
    return int(np.max(value.const_value.numpy()))
