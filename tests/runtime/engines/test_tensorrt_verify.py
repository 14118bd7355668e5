"""What was built against what was asked, from the inspector's JSON.

The fixtures have the form of what TensorRT writes at detailed verbosity: NVIDIA's pages on the engine inspector (10.16:
a "CaskConvolution" with "Format/Datatype", "Weights", "TacticName"), its page on the migration to 11.x ("Bindings"
became "I/O Tensors", of objects with "DataType"), and layers of Myelin engines that others have published ("gemm",
"kgen", "__myl_...", "Metadata" of nodes parted by control characters, types as "Half", "Int8", "FP8", "BFloat16").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_streamer.runtime.engines.tensorrt.verify import Asked, asked_of, compare, type_of
from edge_streamer.runtime.errors import EngineError
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.tensorrt_stand_in.library import library_of
from tests.runtime.engines.tensorrt_stand_in.network import Network

PRODUCT = Asked(
    "layers.0.qkv.MatMul", "int8", True, ("layers.0.qkv.MatMul", "qkv.weight.floats", "x.floats", "x.codes")
)
WEIGHTS = Asked("trunk.Conv", "int8", False, ("trunk.Conv", "trunk.weight.floats"))
FOUR = Asked("mlp.MatMul", "int4", False, ("mlp.MatMul", "mlp.weight.floats"))


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
        PRODUCT, [layer("fused", ["Half"], NODES, TacticName="sm80_xmma_gemm_i8i8_i8i32_f32_tn")], "int8",
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
    "four bits kept": (FOUR, [layer("mlp", ["Half", "Int4"], ["mlp.MatMul"])], "int4"),
    "four bits unpacked": (FOUR, [layer("mlp", ["Half", "Half"], ["mlp.MatMul"])], "fp16"),
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
    counts = asked is not WEIGHTS  # which are only stored in 8 bits: that they are unpacked is told, and no fault
    assert (verdict.untold, bool(verdict.wider)) == (built == "", counts and built not in ("", asked.precision))
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


def test_what_a_graph_asks_is_read_off_the_network(tmp_path: Path) -> None:
    node = helper.make_node
    weights = {
        "codes": np.ones((4, 2, 1), np.int8), "packed": np.ones((3, 3), np.int8), "scale": np.float32(1),
        "zero": np.int8(0), "plain": np.ones((3, 3), np.float32),
    }  # fmt: skip
    nodes = [
        node("DequantizeLinear", ["codes", "scale"], ["conv.w"], name="conv.w.floats"),
        node("Conv", ["x", "conv.w"], ["a"], name="conv"),  # only its weights
        node("DequantizeLinear", ["packed", "scale"], ["p"], name="p.floats"),
        node("Transpose", ["p"], ["turned"], name="turn", perm=[1, 0]),
        node("QuantizeLinear", ["a", "scale", "zero"], ["a.codes"], name="a.codes"),
        node("DequantizeLinear", ["a.codes", "scale"], ["a.floats"], name="a.floats"),
        node("MatMul", ["a.floats", "turned"], ["b"], name="product"),  # both, one through a transposition
        node("MatMul", ["b", "plain"], ["c"], name="wide"),  # neither
        node("Relu", ["a.floats"], ["d"], name="relu"),  # multiplies nothing
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3])
    came = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 4, 3])
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", [given], [came], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), str(tmp_path / "graph.onnx"))
    library, _ = library_of("tensorrt-11.4.0.106", StandIn())
    network = Network(library.trt.surface)
    network._fill(tmp_path / "graph.onnx")
    assert asked_of(library.trt, network) == [
        Asked("conv", "int8", False, ("conv", "conv.w.floats")),
        Asked("product", "int8", True, ("product", "a.floats", "a.codes", "p.floats")),
    ]
