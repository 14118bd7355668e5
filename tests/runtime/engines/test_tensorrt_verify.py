"""What was built against what was asked, from the inspector's JSON.

The fixtures have the form of what TensorRT writes at detailed verbosity: NVIDIA's pages on the engine inspector (10.16:
a "CaskConvolution" with "Format/Datatype", "Weights", "TacticName"), its page on the migration to 11.x ("Bindings" became
"I/O Tensors", of objects with "DataType"), and layers of Myelin engines that others have published ("gemm", "kgen",
"__myl_...", "Metadata" of nodes parted by control characters, types as "Half", "Int8", "FP8", "BFloat16").
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_streamer.runtime.engines.tensorrt.verify import Asked, compare, type_of
from edge_streamer.runtime.errors import EngineError

PRODUCT = Asked(
    "layers.0.qkv.MatMul", "int8", True, ("layers.0.qkv.MatMul", "qkv.weight.floats", "x.floats", "x.codes")
)
WEIGHTS = Asked("trunk.Conv", "int8", False, ("trunk.Conv", "trunk.weight.floats"))


def layer(name: str, kinds: list[str], nodes: list[str], key: str = "Format/Datatype", **more: Any) -> dict[str, Any]:
    inputs = [{"Name": f"t{i}", "Location": "Device", "Dimensions": [1, 8, 64], key: k} for i, k in enumerate(kinds)]
    outputs = [{"Name": "out", "Location": "Device", "Dimensions": [1, 8, 64], key: "Half"}]
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)
    return {"Name": name, "LayerType": "gemm", "Inputs": inputs, "Outputs": outputs, "TacticName": "", "StreamId": 0,
            "Metadata": metadata, **more}  # fmt: skip


def ten(*layers: Any) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["x", "y"]})


def eleven(*layers: Any) -> str:
    io = {"Name": "x", "IOMode": "Input", "DataType": "Float", "Dimensions": [1, 8, 64], "Location": "Device",
          "IsShapeInferenceIO": False, "ProfileInfo": []}  # fmt: skip
    return json.dumps({"Layers": list(layers), "I/O Tensors": [io]})


NODES = ["x.floats", "layers.0.qkv.MatMul", "qkv.weight.floats"]
CASES: dict[str, tuple[Asked, list[Any], str]] = {
    "as asked": (PRODUCT, [layer("__myl_Fc_myl0_3", ["Int8", "Int8"], NODES)], "int8"),
    "wide": (PRODUCT, [layer("__myl_Fc_myl0_3", ["Half", "Half"], NODES)], "fp16"),
    "wider still": (PRODUCT, [layer("__myl_Fc_myl0_3", ["Float", "Float"], NODES)], "float32"),
    "weights narrow, product wide": (PRODUCT, [layer("__myl_Fc_myl0_3", ["Half", "Int8"], NODES)], "fp16"),
    "quantizes its own input": (
        PRODUCT, [layer("fused", ["Half"], NODES, TacticName="sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x64")], "int8",
    ),
    "another's trace": (PRODUCT, [layer("other", ["Int8"], ["layers.1.qkv.MatMul"])], ""),
    "two kernels for one": (
        PRODUCT, [layer("kgen_0", ["Half"], ["x.codes"]), layer("gemm_1", ["Int8"], NODES)], "int8",
    ),
    "names alone": (PRODUCT, ["layers.0.qkv.MatMul + ..."], ""),
    "no types": (PRODUCT, [layer("dynamic", ["N/A due to dynamic shapes"], NODES)], ""),
    "weights kept narrow": (
        WEIGHTS, [layer("trunk", ["Half"], ["trunk.Conv"], Weights={"Type": "Int8", "Count": 131072})], "int8",
    ),
    "weights unpacked": (
        WEIGHTS, [layer("trunk", ["Half"], ["trunk.Conv"], Weights={"Type": "Half", "Count": 131072})], "fp16",
    ),
    "weights unpacked by a layer of their own": (
        WEIGHTS, [layer("kgen_2", ["Int8"], ["trunk.weight.floats"]), layer("conv", ["Half"], ["trunk.Conv"])], "int8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", [ten, eleven])
@pytest.mark.parametrize("what", CASES)
def test_what_a_layer_became_is_read_back(what: str, form: Any) -> None:
    asked, layers, built = CASES[what]
    verdict = compare([asked], form(*layers))
    assert verdict.found[0].built == built
    assert (verdict.untold, bool(verdict.wider)) == (built == "", built not in ("", "int8"))
    assert verdict.precision == ({built: 1} if built else {})


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("Row major linear FP32 format", "float32"), ("Row major linear FP16 format", "fp16"), ("Half", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"), ("Float", "float32"), ("INT8", "int8"),
        ("Row major linear BF16 format", "bf16"), ("BFloat16", "bf16"), ("Row major FP8 format", "fp8"),
        ("E4M3", "fp8"), ("FP4", "fp4"), ("Int4", "int4"), ("Int32", ""), ("Int64", ""), ("Bool", ""), ("UInt8", ""),
        ("N/A due to dynamic shapes", ""), ("", ""), ("Channel major FP16 format where channel % 4 == 0", "fp16"),
    ],
)  # fmt: skip
def test_the_inspectors_words_for_types(said: str, ours: str) -> None:
    for key in ("Format/Datatype", "DataType", "Datatype", "Type"):
        assert type_of({"Name": "half", key: said}) == ours


def test_a_layer_built_wider_than_asked_fails_by_name_unless_it_is_allowed() -> None:
    verdict = compare(
        [PRODUCT, WEIGHTS], ten(layer("a", ["Half", "Half"], NODES), layer("b", ["Int8"], ["trunk.Conv"]))
    )
    with pytest.raises(EngineError) as caught:
        verdict.check("core", ["trunk.*"])
    for words in ("1 of 2 quantized layers of graph 'core'", "layers.0.qkv.MatMul (int8 was asked, fp16 was built)",
                  "--allow-wider NAME"):  # fmt: skip
        assert words in str(caught.value)
    for allowed in (["layers.0.qkv.MatMul"], ["layers.*.MatMul"], ["*"]):
        assert verdict.check("core", allowed) == ("layers.0.qkv.MatMul",)


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"Layers": 3}', "Layer names only"])
def test_what_is_no_json_of_the_inspectors_is_an_error(said: str) -> None:
    with pytest.raises(EngineError, match="does not tell, as JSON"):
        compare([PRODUCT], said)
