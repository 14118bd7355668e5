"""A fake session as the commands open one: with a bundle, an engine and a program by name alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_streamer.runtime.commands import run
from edge_streamer.runtime.session import fake
from edge_streamer.runtime.timing import Tell
from edge_streamer.runtime.unit import Knobs
from tests.media_files import MEDIA

level = fake.level


class FakeSession(fake.FakeSession):
    """Of the test media, with what the commands' reports name."""

    def __init__(self, clock: Any = None, step_seconds: Any = (0.0,), failing: Any = (), media: Any = MEDIA,
                 during: Any = lambda step: None) -> None:  # fmt: skip
        super().__init__(media, clock, step_seconds, failing, during)
        self.bundle = SimpleNamespace(
            manifest=SimpleNamespace(name="fake", provenance=SimpleNamespace(weights="none")),
            hash="f" * 64,
            path=Path("fake"),
        )
        self.engine = SimpleNamespace(name="fake 1.0", notes=[], captures=False)
        self.engine_why, self.engine_asked = "fake: as asked", ""
        self.program = SimpleNamespace(default_steps=4, takes=dict)


def use(session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Let the commands open ``session``."""

    def opened(bundle: Path, *, knobs: Knobs, engine: str, tell: Tell) -> FakeSession:
        session.knobs, session.engine_asked = knobs, engine
        return session

    monkeypatch.setattr(run, "open_session", opened)
    return session
