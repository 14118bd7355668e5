"""The engine contract: whatever is bound is checked once, and the error names the tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine, OrtGraph
from edge_streamer.runtime.errors import EngineError

Buffers = dict[str, Array]


@pytest.fixture(scope="module")
def core() -> OrtGraph:
    """The demo's Transformer."""
    return OrtEngine(threads=1).open(GraphFile.of(Bundle.open(bundle_path()), "core"))


def made(core: OrtGraph, length: int) -> tuple[Buffers, Buffers]:
    """Buffers for it, as they should be."""
    both: list[Buffers] = []
    for specs in (core.spec.inputs, core.spec.outputs):
        shapes = {t.name: tuple(length if isinstance(n, str) else n for n in t.shape) for t in specs}
        both.append({t.name: np.zeros(shapes[t.name], t.dtype) for t in specs})
    return both[0], both[1]


def test_a_bound_graph_runs_in_place(core: OrtGraph) -> None:
    inputs, outputs = made(core, core.spec.lengths[0])
    for array in inputs.values():
        array[...] = 1
    outputs["hidden"].fill(np.nan)
    core.bind(inputs, outputs).run()
    assert np.isfinite(outputs["hidden"]).all()


def renamed(buffers: Buffers) -> None:
    buffers["other"] = buffers.pop("embeddings")


def wide(buffers: Buffers) -> None:
    buffers["embeddings"] = buffers["embeddings"].astype(np.float64)


def flat(buffers: Buffers) -> None:
    buffers["embeddings"] = buffers["embeddings"][0]


def longer(buffers: Buffers) -> None:
    buffers["cos"] = np.zeros((buffers["cos"].shape[0] + 1, *buffers["cos"].shape[1:]), np.float32)


def strided(buffers: Buffers) -> None:
    buffers["embeddings"] = np.asfortranarray(np.repeat(buffers["embeddings"], 2, 1))[:, ::2]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (renamed, "graph 'core': inputs without a buffer: .'embeddings'.; not in the graph: .'other'."),
        (wide, "graph 'core', input 'embeddings': the buffer holds float64; wanted float32"),
        (flat, r"graph 'core', input 'embeddings': the buffer's shape is \(\d+, 192\); wanted \(1, 'T', 192\)"),
        (longer, r"graph 'core', input 'cos': the buffer's shape .*; wanted \('T', \d+\) with T = \d+"),
        (strided, "graph 'core', input 'embeddings': the buffer is not contiguous"),
    ],
)
def test_a_wrong_buffer_is_named(core: OrtGraph, spoil: Callable[[Buffers], None], says: str) -> None:
    inputs, outputs = made(core, core.spec.lengths[-1])
    spoil(inputs)
    with pytest.raises(EngineError, match=says):
        core.bind(inputs, outputs)


def test_an_output_without_a_buffer_is_named(core: OrtGraph) -> None:
    inputs, outputs = made(core, core.spec.lengths[-1])
    del outputs["hidden"]
    with pytest.raises(EngineError, match=r"outputs without a buffer: .'hidden'."):
        core.bind(inputs, outputs)


def test_a_length_that_the_graph_does_not_allow_is_refused(core: OrtGraph) -> None:
    length = max(core.spec.lengths) + 1
    with pytest.raises(EngineError, match=f"bound at T = {length}; it allows"):
        core.bind(*made(core, length))
