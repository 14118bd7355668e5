"""Every name, enum member, method and keyword of TensorRT's that the engine uses is in every version on boards."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.imports import RUNTIME
from tests.runtime.engines.tensorrt_stand_in.strict import VERSIONS, Surface

FILES = ("library", "build", "verify", "engine", "layers")
VARIABLES = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "config": "IBuilderConfig",
    "context": "IExecutionContext", "inspector": "EngineInspector", "error": "ParserError", "layer": "ILayer",
    "engine": "ICudaEngine", "_runtime": "Runtime", "profile": "IOptimizationProfile",
}  # fmt: skip
"""Under which names the code has what is TensorRT's."""
ELSEWHERE = {"config": "IRuntimeConfig", "layer": "dict"}
"""What else they stand for, in places."""


class Use(NamedTuple):
    """Something of TensorRT's that the code names."""

    where: str
    kind: str
    """A class; "" for the module's own names, "enum" for a member."""
    name: str
    keywords: tuple[str, ...]
    rtx: bool | None
    """Whether only TensorRT-RTX gets there, or only TensorRT; None: both."""


def uses() -> list[Use]:
    found: list[Use] = []
    for name in FILES:
        path = RUNTIME / f"engines/tensorrt/{name}.py"
        found += _within(ast.parse(path.read_text("utf-8")), name, None)
    return found


def _within(node: ast.AST, where: str, rtx: bool | None) -> Iterator[Use]:
    if isinstance(node, ast.If) and "is_rtx" in ast.unparse(node.test):
        assert ast.unparse(node.test).endswith(".is_rtx"), "the check is plain"
        for branch, is_rtx in ((node.body, True), (node.orelse, False)):
            for part in branch:
                yield from _within(part, where, is_rtx)
        return
    if isinstance(node, ast.IfExp) and ast.unparse(node.test).endswith(".is_rtx"):
        yield from _within(node.body, where, True)
        yield from _within(node.orelse, where, False)
        return
    keywords = ()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        keywords = tuple(word.arg for word in node.keywords if word.arg)
        yield from _use(node.func, where, rtx, keywords)
    elif isinstance(node, ast.Attribute):
        yield from _use(node, where, rtx, keywords)
    for part in ast.iter_child_nodes(node):
        yield from _within(part, where, rtx)


def _use(node: ast.Attribute, where: str, rtx: bool | None, keywords: tuple[str, ...]) -> Iterator[Use]:
    owner = ast.unparse(node.value)
    last = owner.split(".")[-1]
    at = f"{where}.py:{node.lineno}"
    if last == "trt":
        yield Use(at, "", node.attr, keywords, rtx)
    elif ".trt." in f".{owner}." and owner.split(".")[-2] == "trt" and node.attr.isupper():
        yield Use(at, f"enum {last}", node.attr, (), rtx)
    elif last in VARIABLES and (last != "error" or where == "build"):
        yield Use(at, VARIABLES[last], node.attr, keywords, rtx)


def lacking(use: Use, surface: Surface) -> str:
    """What this version does not have of it; empty where it has all."""
    if use.kind == "":
        return "" if use.name in surface.names else f"{use.where}: {use.name}"
    if use.kind.startswith("enum "):
        return "" if use.name in members(surface, use.kind[5:]) else f"{use.where}: {use.kind[5:]}.{use.name}"
    kinds = [use.kind, *(other for name, other in ELSEWHERE.items() if VARIABLES.get(name) == use.kind)]
    classes = [surface.classes[kind] for kind in kinds if kind in surface.classes]
    if use.name == "get" and "dict" in kinds:
        return ""
    own = [found[use.name] for found in classes if use.name in found]
    if not own:
        return f"{use.where}: {use.kind}.{use.name}"
    told = [way for ways in own for way in ways or []]
    unknown = [word for word in use.keywords if told and not any(word in way for way in told)]
    return f"{use.where}: {use.kind}.{use.name}({', '.join(unknown)}=)" if unknown else ""


def members(surface: Surface, enum: str) -> list[str]:
    return [member.name for member in surface.enums[enum]] if enum in surface.enums else []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_engine_uses_is_there(version: str) -> None:
    surface, found = Surface(version), uses()
    assert len(found) > 80
    here = [use for use in found if use.rtx in (None, surface.is_rtx)]
    assert [missing for use in here if (missing := lacking(use, surface))] == []


def test_the_words_in_tables_are_members_too() -> None:
    from edge_streamer.runtime.engines.tensorrt.build import DTYPES
    from edge_streamer.runtime.engines.tensorrt.verify import MULTIPLIES, NARROW, PASSES_ON

    for version in VERSIONS:
        surface = Surface(version)
        assert set(DTYPES.values()) <= set(members(surface, "DataType")), version
        assert set(MULTIPLIES) <= set(members(surface, "LayerType")), version
        assert {"INT8", "FP8", "INT4"} <= set(NARROW) & set(members(surface, "DataType")), version
        assert set(PASSES_ON) - {"SQUEEZE", "UNSQUEEZE"} <= set(members(surface, "LayerType")), version
        assert {"INTERNAL_ERROR", "ERROR"} <= set(members(surface, "ILogger.Severity")), version


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("trt.IKVCacheUpdateLayer", "IKVCacheUpdateLayer"),
        ("trt.BuilderFlag.FP4", "BuilderFlag.FP4"),
        ("config.tiling_optimization_level = 1", "IBuilderConfig.tiling_optimization_level"),
        ("context.set_tensor_address(tensor='x', memory=1)", "IExecutionContext.set_tensor_address(tensor=)"),
        ("builder.build_cuda_engine(network, config)", "Builder.build_cuda_engine"),
        ("if library.is_rtx:\n    pass\nelse:\n    config.num_compute_capabilities = 1", "num_compute_capabilities"),
    ],
)
def test_a_planted_use_of_what_another_version_has_is_seen(source: str, says: str) -> None:
    surface = Surface("tensorrt-10.3.0")
    found = [lacking(use, surface) for use in _within(ast.parse(source), "planted", None) if use.rtx is not True]
    assert any(says in missing for missing in found)


def test_six_versions_are_compared() -> None:
    assert [Surface(version).version for version in VERSIONS] == [
        "10.13.3.9", "10.16.1.11", "10.3.0", "11.4.0.106", "1.4.0.76", "1.7.1.116",
    ]  # fmt: skip
    eleven = Surface("tensorrt-11.4.0.106")
    assert "EXPLICIT_BATCH" not in members(eleven, "NetworkDefinitionCreationFlag")
    assert "FP16" not in members(eleven, "BuilderFlag"), "what is gone is gone in the surface too"
