"""``run --health`` and ``edge-streamer health``: what is told of real runs, from their opening to a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.commands import cli, run
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.health import publish
from edge_streamer.runtime.health.unix_socket import ask
from tests.fakes import FakeSession, use
from tests.media_files import write_wav


@pytest.fixture
def mic(tmp_path: Path) -> Path:
    """20 units."""
    return write_wav(tmp_path / "mic.wav", np.zeros(16000 * 32 // 10), 16000)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


def told(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_bytes())
    return found


def started(mic: Path, *places: object) -> int:
    return cli.main(["run", "bundle", "--mic", str(mic), *(str(word) for one in places for word in ("--health", one))])


def test_the_end_is_told_with_every_figure(mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakeSession(failing=[3]), monkeypatch)
    assert started(mic, place / "h.json", place / "h.prom", f"unix:{place}/socket") == 0
    found = told(place / "h.json")
    assert [found[key] for key in ("state", "why", "exit_status", "units", "answered", "failed", "pace")] == [
        "stopped", "ended as asked", 0, 20, 19, 1, "fast",
    ]  # fmt: skip
    assert found["bundle"] == {"name": "fake", "hash": "f" * 64}
    assert found["engine"] == "fake 1.0"
    assert "unit 3: core gave a NaN" in str(found["last_error"])
    assert sorted(path.name for path in place.iterdir()) == ["h.json", "h.prom"]
    assert "edge_streamer_units_answered_total 19\n" in (place / "h.prom").read_text()


def test_the_opening_is_told_and_so_is_what_ends_it(mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "EVERY_SECONDS", 0.01)
    seen: list[dict[str, object]] = []

    def opened(bundle: Path, *, knobs: object, engine: str, tell: Callable[[str, int, int], None]) -> None:
        tell("core", 2, 7)
        time.sleep(0.2)
        seen.append(told(place / "h.json"))
        raise BundleError("its manifest is damaged")

    monkeypatch.setattr(run, "open_session", opened)
    assert started(mic, place / "h.json") == 2
    assert [seen[0][key] for key in ("state", "at", "units", "bundle")] == ["opening", "core 2 of 7", 0, None]
    end = told(place / "h.json")
    assert [end[key] for key in ("state", "why", "exit_status")] == ["stopped", "its manifest is damaged", 2]


def test_a_unit_that_hangs_is_told_of_while_it_does(
    mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "EVERY_SECONDS", 0.01)
    verdicts: list[int] = []

    def hang(step: int) -> None:
        if step == 5:
            time.sleep(0.3)
            for limit in ("0.2", "60"):
                verdicts.append(cli.main(["health", str(place / "h.json"), "--no-unit", limit]))
                verdicts.append(cli.main(["health", f"unix:{place}/s", "--no-unit", limit]))

    use(FakeSession(during=hang), monkeypatch)
    assert started(mic, place / "h.json", place / "s.sock", f"unix:{place}/s") == 0
    assert verdicts == [1, 1, 0, 0]
    assert "not healthy: hangs: a step has taken 0." in capsys.readouterr().out


def test_many_failures_end_a_run_and_are_its_end(mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakeSession(failing=range(2, 20)), monkeypatch)
    assert started(mic, place / "h.json") == 1
    found = told(place / "h.json")
    assert (found["exit_status"], found["failed"]) == (1, 5)
    assert str(found["why"]).startswith("5 units failed in a row")


def test_a_signal_is_the_end_that_is_told(mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    use(FakeSession(during=interrupt), monkeypatch)
    assert started(mic, place / "h.json") == 143
    found = told(place / "h.json")
    assert (found["why"], found["exit_status"], found["units"]) == ("ended by SIGTERM", 143, 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--health", "{0}/none/h.json"], "--health {0}/none/h.json: the folder {0}/none does not exist"),
        (["--health", "{0}"], "--health {0} is a folder"),
        (["--health", "{0}/a", "--health", "{0}/a"], "--health and --health (2) are the same file"),
        (["--health", "{0}/a.sock", "--health", "unix:{0}/a.sock"], "--health and --health (2) are the same file"),
        (["--health", "{0}/a", "--json", "{0}/a"], "--json and --health are the same file"),
        (["--health", "{0}/bundle/h.json"], "lies inside BUNDLE"),
        (["--health", "{0}/bundle/h.sock"], "lies inside BUNDLE"),
        (["--health", "{0}/../mic.wav"], "--health and --mic are the same file"),
        (["--health", "unix:{0}/file"], "exists and is no socket"),
        (["--health", "/dev/null"], "is not a regular file"),
        (["--health", "unix:"], "names nothing; wanted a file, unix:SOCKET, or none"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(
    words: list[str], said: str, mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    use(FakeSession(), monkeypatch)
    (place / "bundle").mkdir()
    (place / "file").write_text("mine")
    line = ["run", f"{place}/bundle", "--mic", str(mic), *(word.format(place) for word in words)]
    assert cli.main(line) == 2
    error = capsys.readouterr().err
    assert said.format(place) in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == ["bundle", "file"]


def test_places_come_from_a_file_of_options_and_the_command_line_has_the_last_word(
    mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FakeSession(), monkeypatch)
    (place / "options.toml").write_text('health = ["a.json", "b.prom"]\n')
    line = ["run", "bundle", "--mic", str(mic), "--config", f"{place}/options.toml"]
    assert cli.main(line) == 0
    assert sorted(path.name for path in place.iterdir()) == ["a.json", "b.prom", "options.toml"]
    before = (place / "a.json").read_bytes()
    assert cli.main([*line, "--health", f"{place}/c.json"]) == 0
    assert cli.main([*line, "--health", "none"]) == 0
    assert (place / "c.json").exists()
    assert (place / "a.json").read_bytes() == before


def test_the_verdict_as_json(mic: Path, place: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    use(FakeSession(), monkeypatch)
    assert started(mic, place / "h.json") == 0
    capsys.readouterr()
    assert cli.main(["health", str(place / "h.json"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["healthy"], found["reasons"]) == (False, ["stopped: ended as asked (exit status 0)"])
    assert found["health"]["units"] == 20
    assert cli.main(["health", str(place / "none.json")]) == 2
    assert cli.main(["health", str(mic)]) == 2
    assert cli.main(["health", str(mic), "--misses", "2"]) == 2
    assert capsys.readouterr().out == ""


def test_a_killed_run_is_known_by_its_age_and_the_next_one_clears_up(tiny_bundle: Path, place: Path) -> None:
    words = ["--mic", "none", "--speaker", "none", "--camera", "pattern", "--display", "none", "--seconds"]
    line = [sys.executable, "-m", "edge_streamer", "run", str(tiny_bundle), *words]
    both = ["--health", f"{place}/h.json", "--health", f"{place}/h.sock"]
    process = subprocess.Popen([*line, "60", *both], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        ends = time.monotonic() + 60
        while not ((place / "h.json").exists() and told(place / "h.json")["answered"]):
            assert time.monotonic() < ends
            time.sleep(0.1)
        live = json.loads(ask(place / "h.sock", 10))
        assert (live["state"], live["pace"], live["pid"]) == ("running", "live", process.pid)
        assert set(live["devices"]) == {"mic", "speaker", "camera", "display"}
        assert cli.main(["health", f"{place}/h.json", "--max-age", "60", "--misses", "1"]) == 0
    finally:
        process.kill()
        process.wait()
    assert told(place / "h.json")["state"] == "running", "as it stood"
    time.sleep(0.3)
    assert cli.main(["health", f"{place}/h.json", "--max-age", "0.2"]) == 1
    assert cli.main(["health", f"{place}/h.sock"]) == 1
    assert list(place.glob(".edge-streamer.*"))
    done = subprocess.run([*line, "1", *both], capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in place.iterdir()] == ["h.json"]
    assert told(place / "h.json")["why"] == "ended as asked"


def test_telling_costs_a_unit_nothing_that_can_be_measured(mic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread that steps does for it: less than a twentieth of a millisecond."""
    from edge_streamer.runtime.commands.vital_signs import of_report
    from edge_streamer.runtime.health.vitals import Vitals
    from edge_streamer.runtime.loop.report import RunReport

    vitals, report, rounds = Vitals("fast"), RunReport(unit_seconds=0.16), 2000
    began = time.thread_time()
    for _ in range(rounds):
        vitals.begin()
        vitals.end()
        report.units += 1
        of_report(vitals, report)
    assert (time.thread_time() - began) / rounds < 50e-6
