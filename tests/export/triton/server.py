"""Stand-ins for Triton: its schema, its rules of implicit state on ONNX Runtime, and what its Python backend calls.

Hands on ``read_config`` (a config.pbtxt by Triton's own protobuf schema), ``Model`` (a graph's model with its
sequences' states, kept as Triton keeps them) and ``UnitModel`` (the whole bundle's model.py, asked as the Python
backend asks it).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import json_format, text_format

DTYPES = {
    "TYPE_FP32": "float32", "TYPE_FP16": "float16", "TYPE_INT8": "int8", "TYPE_UINT8": "uint8", "TYPE_INT32": "int32",
    "TYPE_INT64": "int64", "TYPE_BOOL": "bool",
}  # fmt: skip
START, END = 1, 2
Arrays = dict[str, np.ndarray[Any, Any]]


def schema() -> ModuleType:
    """Triton's model_config.proto, compiled by its makers; its package would import grpc."""
    if (name := "tritonclient_model_config") not in sys.modules:
        path = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
        spec = importlib.util.spec_from_file_location(name, str(path))
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def read_config(model: Path) -> Any:
    """A model's config.pbtxt. text_format.ParseError for what Triton's schema does not have."""
    return text_format.Parse((model / "config.pbtxt").read_text("ascii"), schema().ModelConfig())


def type_name(number: int) -> str:
    return str(schema().DataType.Name(number))


class Model:
    """A model of Triton's ONNX Runtime backend: a state is what the same sequence's last request gave. ``options``:
    those that what it is compared with opens the same graph with."""

    def __init__(self, folder: Path, options: onnxruntime.SessionOptions | None = None):
        self.folder, self.config = folder, read_config(folder)
        self.session = onnxruntime.InferenceSession(
            folder / "1/model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.states = list(self.config.sequence_batching.state)
        self.sequences: dict[int, Arrays] = {}

    def infer(self, sequence: int, start: bool = False, **inputs: Any) -> Arrays:
        assert inputs.keys() == {spec.name for spec in self.config.input}
        if start:
            self.sequences[sequence] = {state.input_name: self._initial(state) for state in self.states}
        held = self.sequences[sequence] if self.states else {}
        names = [output.name for output in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(names, {**inputs, **held}), strict=True))
        if self.states:
            self.sequences[sequence] = {state.input_name: outputs[state.output_name] for state in self.states}
        return {spec.name: outputs[spec.name] for spec in self.config.output}

    def _initial(self, state: Any) -> np.ndarray[Any, Any]:
        (first,) = state.initial_state
        dtype, dims = DTYPES[type_name(first.data_type)], tuple(first.dims)
        if first.WhichOneof("state_data") == "zero_data":
            return np.zeros(dims, dtype)
        data = (self.folder / "initial_state" / first.data_file).read_bytes()
        return np.frombuffer(data, dtype).reshape(dims)


class _TritonError(Exception):
    INVALID_ARG = 3

    def __init__(self, text: str, code: int = 1):
        super().__init__(text)
        self.code = code


class _Tensor:
    def __init__(self, name: str, array: np.ndarray[Any, Any]):
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self._array


def backend_utils() -> ModuleType:
    """What a model.py imports, as the Python backend has it."""
    module = ModuleType("triton_python_backend_utils")
    module.__dict__.update(
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=START, TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=END, Tensor=_Tensor,
        TritonError=_TritonError,
        InferenceResponse=lambda output_tensors=(), error=None: SimpleNamespace(tensors=output_tensors, error=error),
    )  # fmt: skip
    return module


class UnitModel:
    """A model of Triton's Python backend."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.config = read_config(folder)
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend_utils())
        spec = importlib.util.spec_from_file_location("model", folder / "1/model.py")
        assert spec
        assert spec.loader
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.model = self.module.TritonPythonModel()
        config = json_format.MessageToJson(
            self.config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        self.model.initialize({"model_config": config, "model_repository": str(folder), "model_version": "1"})

    def ask(self, *requests: tuple[int | str, int, dict[str, Any], Arrays]) -> list[Any]:
        """Of each request (sequence, flags, parameters, inputs) its outputs, or the error it was answered with."""
        answers = self.model.execute([
            SimpleNamespace(
                correlation_id=lambda sequence=sequence: sequence, flags=lambda flags=flags: flags,
                parameters=lambda given=given: json.dumps(given) if given else "",
                inputs=lambda arrays=arrays: [_Tensor(name, array) for name, array in arrays.items()],
            )
            for sequence, flags, given, arrays in requests
        ])  # fmt: skip
        return [answer.error or {t.name(): t.as_numpy() for t in answer.tensors} for answer in answers]
