"""Which engine is taken: the best that is here, the one that is named, or one line that says what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.engines.choose import AUTO, ENGINES, NAMES, Entry, choose
from edge_streamer.runtime.errors import InputError
from tests.fakes import FakeSession, use


def entry(name: str, lacking: str = "") -> Entry:
    made: Any = name
    return Entry(name, lambda: made, lambda: lacking)


FAST, SLOW = entry("fast"), entry("slow")
AWAY = entry("fast", "needs a GPU; pip install 'edge-streamer[fast]'")


def test_auto_takes_the_first_that_is_here_and_says_why() -> None:
    assert choose(AUTO, (FAST, SLOW)) == ("fast", "fast: the best that is here")
    why = "slow: the best that is here; fast needs a GPU; pip install 'edge-streamer[fast]'"
    assert choose(AUTO, (AWAY, SLOW)) == ("slow", why)


def test_the_one_that_is_named_is_taken_and_no_other_is_looked_for() -> None:
    assert choose("slow", (AWAY, SLOW)) == ("slow", "slow: as asked")


def test_one_that_is_not_here_says_what_is_and_what_would_install_it() -> None:
    with pytest.raises(InputError) as caught:
        choose("fast", (AWAY, SLOW))
    assert str(caught.value) == "engine fast needs a GPU; pip install 'edge-streamer[fast]'; here is slow"
    with pytest.raises(InputError, match="no engine 'gpu'; there are auto, fast, slow"):
        choose("gpu", (AWAY, SLOW))


def test_the_table_has_the_cpu_last_which_is_always_here() -> None:
    engine, why = choose()
    assert engine.name.startswith("onnxruntime ")
    assert why == "cpu: the best that is here"
    assert ENGINES[-1].name == NAMES[-1] == "cpu"
    assert ENGINES[-1].lacking() == ""


@pytest.mark.parametrize("command", ["run", "demo", "check", "eval", "quantize", "replay", "prefix"])
def test_every_command_that_opens_a_bundle_takes_an_engine(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert "--engine {auto,cpu}" in capsys.readouterr().out
    assert cli.main([command, "--engine", "gpu"]) == 2
    said = capsys.readouterr().err
    assert "--engine" in said
    assert "'gpu'" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("words", "asked"), [([], "auto"), (["--engine", "cpu"], "cpu")])
def test_a_run_opens_its_bundle_on_the_engine_and_closes_it(
    words: list[str], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = use(FakeSession(), monkeypatch)
    assert cli.main(["run", "bundle", "--mic", "none", "--camera", "none", "--speaker", "none", "--display", "none",
                     "--text", "none", "--seconds", "0.5", "--pace", "fast", *words]) == 0  # fmt: skip
    assert (session.engine_asked, session.closed) == (asked, True)
