"""Where a graph's time goes, operator by operator: one table, whichever engine tells.

Receives a bundle that is open on an engine; hands on :class:`Layer`, the longest first. ONNX Runtime on the CPU tells
by its own profile, which costs time: so units are run once more for it, apart from those that are timed. An engine more
is a line in ``TELLERS``.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime as ort

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import Engine, GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine, OrtGraph
from edge_streamer.runtime.errors import EngineError, one_line
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Tell, untold

UNITS, WARM = 10, 2
KERNEL = "_kernel_time"
"""How ONNX Runtime ends the name of a node's own time."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One operator of one graph, all its runs of a unit together."""

    graph: str
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


def layers(engine: Engine, bundle: Bundle, step: Callable[[Session], object]) -> tuple[tuple[Layer, ...], str]:
    """The layers of ``bundle`` on an engine like ``engine``, and how they were measured or why there are none.
    ``step`` runs a unit of a session."""
    tell = next((teller for kind, teller in TELLERS.items() if type(engine) is kind), None)
    if tell is None:
        return (), f"{engine.name} does not tell its layers"
    return tell(bundle, step), f"{UNITS} units apart from those that are timed, with the engine's own profile on"


def _on_cpu(bundle: Bundle, step: Callable[[Session], object]) -> tuple[Layer, ...]:
    with tempfile.TemporaryDirectory(prefix="edge-streamer-") as folder:
        engine = ToldEngine(Path(folder))
        with open_session(bundle, engine=engine) as session:
            for _ in range(WARM + UNITS):
                step(session)
            records = engine.records()
        return table((name, event) for name, path in records.items() for event in _events(path))


TELLERS: dict[type[Engine], Callable[[Bundle, Callable[[Session], object]], tuple[Layer, ...]]] = {OrtEngine: _on_cpu}
"""Engine -> what asks one like it for its layers."""


def table(events: Iterable[tuple[str, Any]], units: int = WARM + UNITS) -> tuple[Layer, ...]:
    """Of (graph, event) of ONNX Runtime's records."""
    seconds: dict[tuple[str, str, str, str, str], list[float]] = defaultdict(list)
    for graph, event in events:
        told = event["args"]
        key = (graph, event["name"].removesuffix(KERNEL), told["op_name"], _types(told.get("input_type_shape")),
               _types(told.get("output_type_shape")))  # fmt: skip
        seconds[key].append(event["dur"] / 1e3)
    total = sum(map(sum, seconds.values())) or 1.0
    made = [
        Layer(graph=graph, layer=layer, operator=operator, takes=takes, gives=gives, runs=round(len(ms) / units, 3),
              unit_ms=round(sum(ms) / units, 5), share=round(sum(ms) / total, 5))
        for (graph, layer, operator, takes, gives), ms in seconds.items()
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda one: -one.unit_ms))


def _events(path: Path) -> list[dict[str, Any]]:
    """The times of nodes in a record. EngineError for one that cannot be read."""
    try:
        return [
            event
            for event in json.loads(path.read_text("utf-8"))
            if event.get("cat") == "Node" and event["name"].endswith(KERNEL) and "op_name" in event.get("args", {})
        ]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise EngineError(f"ONNX Runtime's record of a run cannot be read: {one_line(error)}") from error


def _types(tensors: list[dict[str, Any]] | None) -> str:
    """``float32 x2, int64``: the types of tensors, as ONNX Runtime lists them."""
    names = [next(iter(tensor), "?").replace("float", "float32") for tensor in tensors or ()]
    names = ["float16" if name == "float3216" else name for name in names]
    return ", ".join(f"{name} x{names.count(name)}" if names.count(name) > 1 else name for name in dict.fromkeys(names))
