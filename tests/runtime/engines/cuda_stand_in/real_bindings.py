"""Our calls through the real ``cuda-bindings``: ``python -m tests.runtime.engines.cuda_stand_in.real_bindings BUNDLE``.

Wants the bindings on the path and, in LD_LIBRARY_PATH, a folder with the ``libcuda.so.1`` that is made of
``libcuda.cc``. Plays tapes of every operation plainly, captured and timed, and steps BUNDLE, a chain; then looks
whether everything was given back.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine, OrtGraph
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.timing import Tell, untold
from edge_streamer.runtime.unit import Unit


class Copied:
    """A run that a capture can write down: y is x."""

    graph, capturable = "copy", True

    def __init__(self, engine: CudaEngine, x: Buffer, y: Buffer):
        self.inputs: Mapping[str, Buffer] = {"x": x}
        self.outputs: Mapping[str, Buffer] = {"y": y}
        self._cuda = engine.cuda

    def enqueue(self, stream: int) -> None:
        x, y = self.inputs["x"], self.outputs["y"]
        self._cuda.copy(y.address, x.address, y.nbytes)


class Computed:
    """A run of ONNX Runtime's, at once, as this driver does everything."""

    capturable = False

    def __init__(self, run: Any):
        self.graph, self.inputs, self.outputs, self._run = run.graph, run.inputs, run.outputs, run

    def enqueue(self, stream: int) -> None:
        self._run.run()


class Graph:
    def __init__(self, graph: OrtGraph):
        self.spec, self._graph = graph.spec, graph

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Computed:
        return Computed(self._graph.bind(inputs, outputs))


class Engine(CudaEngine):
    name = "onnxruntime on a computer"

    def open(self, graph: GraphFile, tell: Tell = untold) -> Graph:
        opened, memory = OrtEngine(threads=1).open(graph, tell), self
        return Graph(OrtGraph(opened._session, opened.spec, memory))  # type: ignore[arg-type]


def play(engine: Engine, folder: Path) -> None:
    """Every operation, and a NaN, by itself and captured."""
    table = np.random.default_rng(1).integers(-9, 9, (5, 4)).astype(np.int8)
    scales = np.arange(1, 6, dtype="<f4")
    (folder / "table").write_bytes(table.tobytes() + scales.tobytes())
    spec = EmbeddingSpec(
        name="text", file="table", offset=0, dtype="int8", scales_offset=20, rows=5, width=4, layout="row"
    )
    words = engine.table(folder / "table", spec)
    tokens, first = engine.buffer((2,), "int32", "in"), engine.buffer((1,), "int32", "in")
    rows, came, out = (engine.buffer((2, 4), "float32", side) for side in ("inner", "out", "out"))  # type: ignore[arg-type]
    ring, appended = engine.stack(3, (6, 4), "float32", 0), engine.stack(3, (2, 4), "float32", 0, "in")
    given = engine.buffer((2, 4), "float32", "in")
    tape = engine.tape("all")
    tape.look_up(words, tokens, rows)
    tape.copy(came, rows)
    tape.run("one", Copied(engine, given, out), [out])
    tape.store(ring, appended, slice(0, 2), first, 1)
    for number in range(6):
        tokens.host[:], first.host[0] = (number % 5, 7), number % 3
        appended.host[...] = number + 1
        given.host[...] = np.nan if number in (2, 4) else number
        played = tape.play(timed=number == 5)
        assert played.not_finite == ("one" if number in (2, 4) else None)
        wanted = table[number % 5] * scales[number % 5]
        assert np.array_equal(came.host, [wanted, np.zeros(4)]), came.host
        assert np.array_equal(out.host, given.host, equal_nan=True)
        assert all((engine.read(buffer)[number % 3 + 1 : number % 3 + 3] == number + 1).all() for buffer in ring)
    assert played.runs["one"] > 0
    first.host[0] = 5
    with pytest.raises(EngineError, match="past the end of a ring"):
        tape.play()


def main(bundle: str) -> None:
    engine = Engine()
    with tempfile.TemporaryDirectory() as folder:
        play(engine, Path(folder))
    row = np.array([[1, 2, 3, 4]], np.float32)
    with open_session(bundle, engine=engine, verify=False) as session:
        for k in range(1, 5):
            assert np.array_equal(session.step(Unit(arrays={"x": row})).arrays["z"], 2 * k * row)
    del session
    engine.close()
    left = ctypes.CDLL("libcuda.so.1").standing()
    assert left == 0, f"{left} not given back"
    print(f"played through the real bindings on {engine.cuda}")


if __name__ == "__main__":
    main(*sys.argv[1:])
