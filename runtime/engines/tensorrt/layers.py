"""What each layer of an engine takes: times by TensorRT's profiler, types and formats by its inspector.

Receives execution contexts of bound runs; hands on :class:`LayerTimes`. The profiler is told each layer's time by the
device's own events, after every run that it is attached to, which waits for it: so such runs are never captured, and
nothing else of them is timed. For the inspector's JSON see ``verify.py``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from edge_streamer.runtime.engines.tensorrt.library import Library
from edge_streamer.runtime.engines.tensorrt.verify import type_of

Place = tuple[str, "int | None", str]
"""A graph, its length, and a layer's name."""


class Form(NamedTuple):
    """What a layer became; empty where the inspector does not tell."""

    operator: str = ""
    """TensorRT's kind of layer: ``gemm``, ``CaskConvolution``."""
    takes: tuple[str, ...] = ()
    """Types of its inputs, in our words."""
    gives: tuple[str, ...] = ()
    formats: str = ""
    """As the inspector describes inputs, and after ``to`` outputs."""
    kernel: str = ""


class LayerTimes:
    """What is told of the layers of all contexts that were attached."""

    def __init__(self, library: Library):
        self._library = library
        self.times: dict[Place, list[float]] = defaultdict(list)
        """Milliseconds of every run."""
        self.forms: dict[Place, Form] = {}

    def attach(self, graph: str, length: int | None, context: Any, inspected: str) -> object:
        """Have the runs of ``context`` told. ``inspected``: the inspector's JSON with it. Returns the profiler, which
        must live as long as the context."""
        for name, form in forms_of(inspected).items():
            self.forms[graph, length, name] = form
        profiler = profiler_of(self._library, lambda layer, ms: self.times[graph, length, layer].append(ms))
        context.profiler = profiler
        return profiler


def profiler_of(library: Library, heard: Callable[[str, float], object]) -> Any:
    """TensorRT's profiler; ``heard`` is called with a layer's name and its milliseconds."""

    class Profiler(library.trt.IProfiler):  # type: ignore[misc, name-defined]  # the base is found when it is run
        def __init__(self) -> None:
            library.trt.IProfiler.__init__(self)  # pybind11 asks for this form

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            heard(layer_name, float(ms))

    return Profiler()


def forms_of(inspected: str) -> dict[str, Form]:
    """Layer -> what it became. What the inspector does not tell as JSON is not there."""
    try:
        layers = json.loads(inspected)["Layers"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {str(layer.get("Name", "")): _form(layer) for layer in _dicts(layers)}


def _form(layer: dict[str, Any]) -> Form:
    inputs, outputs = (_dicts(layer.get(side)) for side in ("Inputs", "Outputs"))
    takes, gives = (tuple(type_of(tensor) or "?" for tensor in tensors) for tensors in (inputs, outputs))
    formats = [_formats(inputs), _formats(outputs)]
    return Form(str(layer.get("LayerType", "")), takes, gives, " to ".join(formats) if any(formats) else "",
                str(layer.get("TacticName", "")))  # fmt: skip


def _dicts(told: Any) -> list[dict[str, Any]]:
    """What is one of a list's members; some versions name tensors and layers alone."""
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _formats(tensors: Iterable[dict[str, Any]]) -> str:
    said = (str(tensor.get("Format/Datatype") or tensor.get("Format") or "") for tensor in tensors)
    return ", ".join(dict.fromkeys(word for word in said if word))
