"""What every test shares: a cache of its own, and the small bundles, each made when first asked for.

Imports nothing but pytest and what needs no library, because tests/device runs where only the base install is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_streamer.runtime.commands.cli import ONE_THREAD

os.environ.setdefault(ONE_THREAD, "1")  # as commands do; here, before anything imports NumPy


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
    """The tiny preset as a bundle, exported once (half a minute); do not change it.

    EDGE_STREAMER_TINY_BUNDLE names one that is there already: the device job has no torch to make it with.
    """
    if made := os.environ.get("EDGE_STREAMER_TINY_BUNDLE"):
        return Path(made)
    from tests.bundles import exported_bundle

    return exported_bundle("tiny", tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo preset with random weights as a bundle, exported once; do not change it."""
    from tests.bundles import exported_bundle

    return exported_bundle("demo", tmp_path_factory.mktemp("exported") / "demo")
