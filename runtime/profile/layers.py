"""Where a graph's time goes, layer by layer: one table, whichever engine tells.

Receives an open session; hands on :class:`Layer`, the longest first. Engines tell by their own profiles, which cost
time: so units are run once more for it, apart from those that are timed. An engine more is a line in ``TELLERS``.

ONNX Runtime writes a record of nodes, on the CPU and with CUDA alike, which takes sessions of their own. Of nodes on a
GPU it knows only how long they took to put on the stream; where it was built to ask the device, kernels stand beside
them, with the node that they belong to, and their time counts. TensorRT's profiler is told every layer's time by the
device, its inspector says what each became; its units run on the same engines, call by call and never captured.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import onnxruntime as ort

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.engines.contract import Engine, GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine, OrtGraph
from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine, OrtCudaGraph, Records
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine
from edge_streamer.runtime.engines.tensorrt.layers import Form
from edge_streamer.runtime.errors import EngineError, one_line
from edge_streamer.runtime.profile.graphs import name_of
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Tell, untold

UNITS, WARM = 10, 2
KERNEL = "_kernel_time"
"""How ONNX Runtime ends the name of a node's own time."""
HOW = f"{UNITS} units apart from those that are timed, with the engine's own profile on"
Step = Callable[[Session], object]
"""Runs a unit of a session."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One operator of one graph, all its runs of a unit together."""

    graph: str
    """On TensorRT at its length: ``core at 9``."""
    layer: str
    operator: str
    takes: str
    """Types of its inputs."""
    gives: str
    runs: float
    """Per unit."""
    unit_ms: float
    share: float
    """Of all layers."""
    provider: str = ""
    """Of ONNX Runtime: where it ran, ``CPU`` or ``CUDA``."""
    kernel: str = ""
    """What computed it on a GPU, where the engine tells."""
    formats: str = ""
    """How TensorRT's inspector describes its inputs and outputs."""


class What(NamedTuple):
    """A layer, without its time."""

    graph: str
    layer: str
    operator: str
    takes: str
    gives: str
    provider: str = ""
    formats: str = ""


@dataclass
class Spent:
    """On one layer."""

    runs: int = 0
    ms: float = 0.0
    kernels: dict[str, None] = field(default_factory=dict)
    """Names, in the order in which they came."""


class ToldEngine(OrtEngine):
    """ONNX Runtime with its own profile on: a record per graph in ``folder``."""

    def __init__(self, folder: Path):
        super().__init__()
        self._folder = folder
        self._sessions: dict[str, ort.InferenceSession] = {}

    def options_for(self, spec: GraphSpec) -> ort.SessionOptions:
        options = super().options_for(spec)
        options.enable_profiling = True
        options.profile_file_prefix = str(self._folder / f"{len(self._sessions)}")
        return options

    def open(self, graph: GraphFile, tell: Tell = untold) -> OrtGraph:
        opened = super().open(graph, tell)
        self._sessions[graph.spec.name] = opened._session
        return opened

    def records(self) -> dict[str, Path]:
        """Graph -> its record, closed."""
        return {name: Path(session.end_profiling()) for name, session in self._sessions.items()}


class ToldCuda(OrtCudaEngine):
    """The same with CUDA, set as ``like``; graphs hold their weights a second time."""

    def __init__(self, like: OrtCudaEngine):
        super().__init__(like.ordinal, like.cuda.api, like.search, tf32=like.tf32, library=like.ort)
        self._sessions: dict[str, Any] = {}
        self._kept: list[Records | None] = []

    def open(self, graph: GraphFile, tell: Tell = untold) -> OrtCudaGraph:
        opened = super().open(graph, tell)
        self._kept.append(opened.go_on_recording())
        self._sessions[graph.spec.name] = opened.session
        return opened

    def records(self) -> dict[str, Path]:
        """Graph -> its record, closed."""
        return {name: Path(session.end_profiling()) for name, session in self._sessions.items()}


def layers(session: Session, step: Step) -> tuple[tuple[Layer, ...], str]:
    """The layers of the session's bundle on an engine like its own, and how they were measured or why there are none.
    EngineError where what is told cannot be read, or where there is no room for it."""
    engine = session.engine
    tell = next((teller for fits, teller in TELLERS if fits(engine)), None)
    return tell(session, step) if tell else ((), f"{engine.name} does not tell its layers")


def _on_cpu(session: Session, step: Step) -> tuple[tuple[Layer, ...], str]:
    with tempfile.TemporaryDirectory(prefix="edge-streamer-") as folder:
        engine = ToldEngine(Path(folder))
        _run(engine, session, step)
        return table(_read(engine.records())), HOW


def _on_cuda(session: Session, step: Step) -> tuple[tuple[Layer, ...], str]:
    assert isinstance(session.engine, OrtCudaEngine)
    with closing(ToldCuda(session.engine)) as engine:
        _run(engine, session, step)
        events = list(_read(engine.records()))
    on_device = any(event.get("cat") == "Kernel" for _, event in events)
    host = "this ONNX Runtime does not ask the GPU: times are those that the host took to put nodes on the stream"
    return table(events), f"{session.engine.name}, {HOW}{'' if on_device else f'; {host}'}"


def _run(engine: Engine, session: Session, step: Step) -> None:
    """Units of the same bundle on ``engine``."""
    with open_session(session.bundle, engine=engine, knobs=session.place.knobs) as other:
        for _ in range(WARM + UNITS):
            step(other)


def _on_tensorrt(session: Session, step: Step) -> tuple[tuple[Layer, ...], str]:
    engine, spent = session.engine, dict[What, Spent]()
    assert isinstance(engine, TensorRTEngine)
    with engine.layers_told() as told, closing(session.twin(session.place.knobs)) as twin:
        for number in range(WARM + UNITS):
            if number == WARM:
                told.times.clear()
            step(twin)
    for (graph, length, layer), ms in told.times.items():
        form = told.forms.get((graph, length, layer), Form())
        label = name_of(graph, "static" if length is None else str(length))
        what = What(label, layer, form.operator or "not told", _words(form.takes), _words(form.gives),
                    formats=form.formats)  # fmt: skip
        spent[what] = Spent(len(ms), sum(ms), {form.kernel: None} if form.kernel else {})
    return _rows(spent, UNITS), f"{engine.name}, {HOW}, call by call, not as one captured graph"


TELLERS: tuple[tuple[Callable[[Engine], bool], Callable[[Session, Step], tuple[tuple[Layer, ...], str]]], ...] = (
    (lambda engine: type(engine) is OrtEngine, _on_cpu),
    (lambda engine: isinstance(engine, OrtCudaEngine), _on_cuda),
    (lambda engine: isinstance(engine, TensorRTEngine), _on_tensorrt),
)
"""Which engine, and what asks one like it for its layers."""


def table(events: Iterable[tuple[str, Any]], units: int = WARM + UNITS) -> tuple[Layer, ...]:
    """Of (graph, event) of ONNX Runtime's records: nodes, and kernels that belong to nodes by their names."""
    spent: dict[What, Spent] = defaultdict(Spent)
    named: dict[tuple[str, str], What] = {}
    kernels = list[tuple[str, Any]]()
    for graph, event in events:
        if event["cat"] == "Kernel":
            kernels.append((graph, event))
            continue
        told = event["args"]
        what = What(graph, event["name"].removesuffix(KERNEL), told["op_name"], _types(told.get("input_type_shape")),
                    _types(told.get("output_type_shape")),
                    str(told.get("provider", "")).removesuffix("ExecutionProvider"))  # fmt: skip
        named[graph, event["name"]] = what
        spent[what].runs += 1
        spent[what].ms += event["dur"] / 1e3
    if kernels:
        for one in spent.values():
            one.ms = 0.0
    for graph, event in kernels:
        node = named.get((graph, event["args"]["parent_name"]))
        if node is not None:
            spent[node].ms += event["dur"] / 1e3
            spent[node].kernels[event["name"]] = None
    return _rows(spent, units)


def _rows(spent: dict[What, Spent], units: int) -> tuple[Layer, ...]:
    total = sum(one.ms for one in spent.values()) or 1.0
    made = [
        Layer(**what._asdict(), runs=round(one.runs / units, 3), unit_ms=round(one.ms / units, 5),
              share=round(one.ms / total, 5), kernel=", ".join(one.kernels))
        for what, one in spent.items()
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda one: -one.unit_ms))


def _read(records: dict[str, Path]) -> Iterable[tuple[str, Any]]:
    return ((name, event) for name, path in records.items() for event in _events(path))


def _events(path: Path) -> list[dict[str, Any]]:
    """The times of nodes in a record, and of kernels. EngineError for one that cannot be read."""
    try:
        return [event for event in json.loads(path.read_text("utf-8")) if _counts(event)]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise EngineError(f"ONNX Runtime's record of a run cannot be read: {one_line(error)}") from error


def _counts(event: dict[str, Any]) -> bool:
    told = event.get("args", {})
    if event.get("cat") == "Kernel":
        return "parent_name" in told
    return event.get("cat") == "Node" and event["name"].endswith(KERNEL) and "op_name" in told


def _types(tensors: list[dict[str, Any]] | None) -> str:
    """The types of tensors, as ONNX Runtime lists them."""
    names = [next(iter(tensor), "?").replace("float", "float32") for tensor in tensors or ()]
    return _words(["float16" if name == "float3216" else name for name in names])


def _words(names: Sequence[str]) -> str:
    """``float32 x2, int64``."""
    return ", ".join(f"{name} x{names.count(name)}" if names.count(name) > 1 else name for name in dict.fromkeys(names))
