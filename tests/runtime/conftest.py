"""A session on the tiny bundle, and units for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit
from tests.runtime.session.conversation import LONG_ENOUGH


@pytest.fixture(scope="module")
def shared(tiny_bundle: Path) -> Session:
    """The weights, loaded once; tests take twins."""
    return open_session(tiny_bundle, engine=OrtEngine(threads=1))


@pytest.fixture
def session(shared: Session) -> Session:
    return shared.twin()


@pytest.fixture(scope="module")
def units(shared: Session) -> list[Unit]:
    made = [made_unit(shared.media, 3, k) for k in range(LONG_ENOUGH + 4)]
    return [Unit(u.samples, u.frames, "hello there" if k % 5 == 0 else "") for k, u in enumerate(made)]
