"""Memory: flat over thousands of units, nothing allocated that stays, weights held once."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit
from tests.sharing import made_once

FLAT_BYTES = 200
"""Growth of resident memory by a unit that still counts as flat. Measured over 10,000 units: 80."""
TRACED_BYTES = 1_000
"""Growth of Python's own allocations over TRACED_UNITS units that is no leak; one small object a unit makes 5,600."""
WINDOWS = 3
TRACED_UNITS = 200
ONCE = 1.15
"""Resident memory may grow by so many times the weights when a session opens. Measured at 261 MB: 1.08."""


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_memory_is_flat_over_thousands_of_units(count: int, tiny_bundle: Path) -> None:
    session = open_session(tiny_bundle, engine=OrtEngine(threads=1))
    units = [made_unit(session.media, 1, k) for k in range(8)]
    process = psutil.Process()
    for k in range(500):
        session.step(units[k % 8])
    gc.collect()
    before = process.memory_info().rss
    for k in range(count):
        session.step(units[k % 8])
        if k % 2:
            session.settle()
    gc.collect()
    assert process.memory_info().rss - before < FLAT_BYTES * count
    assert session.program.host()["unit"] == count + 500


def test_a_unit_leaves_no_allocation_behind(tiny_bundle: Path) -> None:
    session = open_session(tiny_bundle, engine=OrtEngine(threads=1))
    units = [made_unit(session.media, 1, k) for k in range(8)]
    for k in range(50):
        session.step(units[k % 8])
    tracemalloc.start()
    try:
        traced = [after_units(session, units) for _ in range(WINDOWS + 1)]
    finally:
        tracemalloc.stop()
    # What a unit leaves behind grows in every window; a cache somewhere that fills once does not.
    assert min(after - before for before, after in pairwise(traced)) < TRACED_BYTES


def after_units(session: Session, units: list[Unit]) -> int:
    """Bytes that Python holds after TRACED_UNITS more units."""
    for k in range(TRACED_UNITS):
        session.step(units[k % 8])
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_step_writes_into_the_same_buffers(tiny_bundle: Path) -> None:
    session = open_session(tiny_bundle, engine=OrtEngine(threads=1))
    unit = made_unit(session.media, 1, 0)
    seen = {(r.samples.ctypes.data, r.frames.ctypes.data) for r in (session.step(unit) for _ in range(5))}
    assert len(seen) == 1


MEASURE = """
import json, sys, psutil
from pathlib import Path
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit
import onnxruntime
NAMES = ("encode", "core", "slot", "solve_in", "solve_out", "decode")
process = psutil.Process()
bundle = Bundle.open(Path(sys.argv[1]))
before = process.memory_info().rss
session = open_session(bundle, verify=False)
for name in NAMES:
    session.place.graph(name)
grown = process.memory_info().rss - before
opened = sum(session.place.graph(name).spec.weight_bytes for name in NAMES)
print(json.dumps({"grown": grown, "weights": opened, "state": session.state_bytes}))
"""


@pytest.fixture(scope="module")
def heavy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights (246 MB) outweigh everything else a session needs."""
    from dataclasses import replace

    from edge_streamer.export.wan_streamer.config import PRESETS
    from edge_streamer.export.wan_streamer.model import build
    from edge_streamer.export.wan_streamer.tokenizer import byte_level
    from edge_streamer.export.write import Origin, export_bundle

    def make(folder: Path) -> Path:
        tiny = PRESETS["tiny"]
        wide = replace(tiny.transformer, width=896, heads=14, kv_heads=2, head_size=64, feed_forward=9728, layers=2)
        model = build(replace(tiny, transformer=wide), 0)
        return export_bundle(model, byte_level(), Origin("random", "none"), folder).path

    return made_once(tmp_path_factory, "heavy", make)


def test_weights_are_held_once_on_disk_and_in_memory(heavy_bundle: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(heavy_bundle)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    measured = json.loads(answer.stdout)
    assert measured["weights"] > 200e6
    grown = measured["grown"] - measured["state"]
    assert grown <= ONCE * measured["weights"], f"{grown / measured['weights']:.2f} times the weights"
    on_disk = sum(f.stat().st_size for f in heavy_bundle.rglob("*") if f.is_file())
    all_weights = sum(g.weight_bytes for g in json_manifest(heavy_bundle))
    assert on_disk < 1.02 * all_weights


def json_manifest(bundle: Path) -> list[GraphSpec]:
    from edge_streamer.runtime.bundle.reader import Bundle

    return list(Bundle.open(bundle, verify=False).manifest.graphs)


def test_a_tied_table_and_its_head_are_the_same_bytes(tiny_bundle: Path) -> None:
    from edge_streamer.export.wan_streamer.config import PRESETS
    from edge_streamer.export.wan_streamer.model import build
    from edge_streamer.runtime.bundle.reader import Bundle
    from tests.bundles import SEED

    bundle = Bundle.open(tiny_bundle)
    assert [table.file for table in bundle.manifest.embeddings] == ["graphs/slot.weights"]
    table = build(PRESETS["tiny"], SEED).embedding_columns
    assert table is not None
    out = np.empty((2, table.shape[0]), np.float32)
    bundle.embedding_rows("text").rows([5, 300], out)
    np.testing.assert_array_equal(out, table[:, [5, 300]].detach().numpy().T)
