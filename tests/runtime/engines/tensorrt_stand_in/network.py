"""The stand-in's parser and network: the layers of an ONNX file, as TensorRT's parser names and types them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.runtime.engines.tensorrt_stand_in.strict import Strict, Surface

TYPES = {
    TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.BFLOAT16: "BF16", TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8", TensorProto.INT32: "INT32", TensorProto.INT64: "INT64", TensorProto.BOOL: "BOOL",
    TensorProto.INT4: "INT4", TensorProto.FLOAT8E4M3FN: "FP8",
}  # fmt: skip
LAYERS = {
    "MatMul": "MATRIX_MULTIPLY", "Gemm": "MATRIX_MULTIPLY", "Conv": "CONVOLUTION", "ConvTranspose": "DECONVOLUTION",
    "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "Reshape": "SHUFFLE", "Transpose": "SHUFFLE",
    "Squeeze": "SHUFFLE", "Unsqueeze": "SHUFFLE", "Slice": "SLICE", "Concat": "CONCATENATION", "Cast": "CAST",
    "Identity": "IDENTITY", "Gather": "GATHER", "Softmax": "SOFTMAX", "TopK": "TOPK",
}  # fmt: skip


class Tensor(Strict):
    kind = "ITensor"

    def __init__(self, surface: Surface, name: str, element: int, shape: tuple[int, ...]):
        super().__init__(surface)
        self.name, self.shape = name, shape
        self.dtype = surface.enums["DataType"][TYPES.get(element, "FLOAT")]


class Layer(Strict):
    kind = "ILayer"

    def __init__(self, surface: Surface, node: Any, inputs: list[Tensor], outputs: list[Tensor]):
        super().__init__(surface)
        self.name, self.metadata = node.name, f"[ONNX Layer: {node.name}]"
        self.type = surface.enums["LayerType"][LAYERS.get(node.op_type, "ELEMENTWISE")]
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self._inputs, self._outputs, self._operator = inputs, outputs, node.op_type

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class Network(Strict):
    """Filled by the parser."""

    kind = "INetworkDefinition"

    def __init__(self, surface: Surface):
        super().__init__(surface)
        self._path: Path | None = None
        self._layers: list[Layer] = []
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def _fill(self, path: Path) -> None:
        self._path = path
        graph = onnx.load(str(path), load_external_data=False).graph
        elements = {weight.name: weight.data_type for weight in graph.initializer}
        elements |= {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        made: set[str] = set()

        def tensor(name: str) -> Tensor:
            return Tensor(self._surface, name, elements.get(name, TensorProto.FLOAT), ())  # type: ignore[attr-defined]

        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                elements[node.output[0]] = elements.get(node.input[2], 0) if len(node.input) > 2 else 0
            # Weights of a convolution are no inputs, unless they come out of a layer.
            drops = node.op_type in ("Conv", "ConvTranspose")
            names = [name for i, name in enumerate(node.input) if name and not (drops and i and name not in made)]
            made |= set(node.output)
            layer = Layer(self._surface, node, [*map(tensor, names)], [*map(tensor, node.output)])  # type: ignore[attr-defined]
            self._layers.append(layer)
        for values, into in ((graph.input, self._inputs), (graph.output, self._outputs)):
            for value in values:
                kind = value.type.tensor_type
                shape = tuple(-1 if size.HasField("dim_param") else size.dim_value for size in kind.shape.dim)
                into.append(Tensor(self._surface, value.name, kind.elem_type, shape))  # type: ignore[attr-defined]

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_layer(self, index: int) -> Layer:
        return self._layers[index]

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class Error(Strict):
    kind = "ParserError"

    def __init__(self, surface: Surface, number: int, operator: str, node: str, text: str):
        super().__init__(surface)
        self._number, self._said = number, (operator, node, text)

    def node(self) -> int:
        return self._number

    def node_operator(self) -> str:
        return self._said[0]

    def node_name(self) -> str:
        return self._said[1]

    def desc(self) -> str:
        return self._said[2]


class Parser(Strict):
    kind = "OnnxParser"

    def __init__(self, surface: Surface, network: Network, refuses: dict[str, str]):
        """``refuses``: operator -> what is said of it."""
        super().__init__(surface)
        self._network, self._refuses = network, refuses
        self._errors: list[Error] = []

    def parse_from_file(self, model: str) -> bool:
        self._network._fill(Path(model))
        surface: Surface = self._surface  # type: ignore[attr-defined]
        for number, layer in enumerate(self._network._layers):
            if layer._operator in self._refuses:
                said = self._refuses[layer._operator]
                self._errors.append(Error(surface, number, layer._operator, layer.name, said))
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Error:
        return self._errors[index]


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Of a tensor."""
    sizes = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT8": 1, "UINT8": 1, "INT32": 4, "INT64": 8, "BOOL": 1}
    return math.prod(shape) * sizes[dtype]


def numpy_type(dtype: str) -> Any:
    """numpy's, of a member of ``DataType``."""
    number = next(number for number, name in TYPES.items() if name == dtype)
    return helper.tensor_dtype_to_np_dtype(number)
