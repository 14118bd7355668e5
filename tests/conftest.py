"""What every test shares: a cache of its own, and the small bundles, each made when first asked for.

Where several workers run the tests, they share what takes long to make, each computes on one thread, and what takes
long to run begins first. Imports nothing but pytest and what needs no library, because tests/device runs where only the
base install is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge_streamer.runtime.commands.cli import ONE_THREAD
from tests.sharing import WORKERS, made_once

os.environ.setdefault(ONE_THREAD, "1")  # as commands do; here, before anything imports NumPy
if WORKERS:
    # Of torch, which otherwise takes every core in every worker: its threads then wait for one another, and what takes
    # 50 seconds was measured at 180.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = {
    "tests/runtime/evaluation/test_controls.py": 250,
    "tests/export/test_command.py": 200,
    "tests/quantization/test_command.py": 200,
    "tests/export/test_three_ways.py": 150,
    "tests/runtime/bundle/test_memory.py": 110,
    "tests/export/demo_model/test_pipeline.py": 100,
    "tests/quantization/test_gates.py": 100,
    "tests/devices/jetson/releases/test_trial.py": 90,
    "tests/runtime/evaluation/test_fakes.py": 80,
    "tests/devices/jetson/deploy/test_deploy.py": 80,
    "tests/devices/jetson/fleet/test_batches.py": 60,
    "tests/bench/test_bench.py": 60,
    "tests/devices/jetson/fleet/test_loopback.py": 40,
}
"""Files whose tests take long, and roughly how many seconds: they begin first, so that no worker ends with them while
the others have nothing left to do."""


@pytest.hookimpl(trylast=True)  # when those that are not run have gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal LONG out, where there are workers: xdist gives each a stretch of the list to begin with, of equal length."""
    if not WORKERS:
        return
    by_file: dict[str, list[pytest.Item]] = {name: [] for name in LONG}
    rest = []
    for item in items:
        by_file.get(item.nodeid.partition("::")[0], rest).append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(WORKERS)]
    seconds = [0] * WORKERS
    for name in sorted(LONG, key=lambda name: -LONG[name]):
        least = seconds.index(min(seconds))
        shares[least] += by_file[name]
        seconds[least] += LONG[name]
    left, ordered = len(items), list[pytest.Item]()
    for number, share in enumerate(shares):
        fill = max(0, left // (WORKERS - number) - len(share))
        left -= len(share) + len(rest[:fill])
        ordered += share + rest[:fill]
        del rest[:fill]
    items[:] = ordered + rest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache; subprocesses inherit this one."""
    cache = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    yield cache
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def made_counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The counter bundle, made once; do not change it."""
    from tests.bundles import counter_bundle

    return counter_bundle(tmp_path_factory.mktemp("made") / "counter")


@pytest.fixture(scope="session")
def made_ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ring bundle, made once; do not change it."""
    from tests.bundles import ring_bundle

    return ring_bundle(tmp_path_factory.mktemp("made") / "ring")


@pytest.fixture
def counter(made_counter: Path, tmp_path: Path) -> Path:
    """A counter bundle to spoil."""
    return Path(shutil.copytree(made_counter, tmp_path / "counter"))


@pytest.fixture
def ring(made_ring: Path, tmp_path: Path) -> Path:
    """A ring bundle to spoil."""
    return Path(shutil.copytree(made_ring, tmp_path / "ring"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny preset as a bundle, exported once (a minute); do not change it.

    EDGE_STREAMER_TINY_BUNDLE names one that is there already: the device job has no torch to make it with.
    """
    if made := os.environ.get("EDGE_STREAMER_TINY_BUNDLE"):
        return Path(made)
    from tests.bundles import exported_bundle

    return made_once(tmp_path_factory, "tiny", partial(exported_bundle, "tiny"))


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo preset with random weights as a bundle, exported once; do not change it."""
    from tests.bundles import exported_bundle

    return made_once(tmp_path_factory, "demo", partial(exported_bundle, "demo"))
