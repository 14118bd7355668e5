"""Files that tell how a run stands: whole at every moment, written whatever the run does, and never in its way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_streamer.runtime import ending
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health import publish
from edge_streamer.runtime.health.judge import read
from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.health.publish import Publisher
from edge_streamer.runtime.health.record import Health, Zone
from edge_streamer.runtime.health.unix_socket import ask
from edge_streamer.runtime.health.vitals import Counts, Vitals
from edge_streamer.runtime.timing import Durations


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "EVERY_SECONDS", 0.01)


def places(folder: Path, *names: str) -> list[Place]:
    return [Place.of(f"{folder}/{name}") for name in names]


def told(path: Path) -> Health:
    return read(path.read_bytes(), path)


def until(what: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_run_is_told_from_its_opening_to_its_end(tmp_path: Path) -> None:
    vitals, path = Vitals("real", lambda: {"cpu": 40.0, "gpu": 45.0}), tmp_path / "h.json"
    with Publisher(vitals, places(tmp_path, "h.json", "h.prom", "h.sock"), pytest.fail):
        begun = told(path)  # at once, before anything is opened
        assert (begun.state, begun.pid, begun.units, begun.hottest) == ("opening", os.getpid(), 0, Zone("gpu", 45.0))
        vitals.opening("core", 1, 7)
        until(lambda: told(path).at == "core 1 of 7")
        vitals.opened("demo", "ab" * 32, "cpu")
        until(lambda: told(path).state == "warming up")
        vitals.enter("running")
        vitals.begin()
        until(lambda: (told(path).step_seconds or 0) > 0.05)  # a step that hangs is told of all the same
        vitals.end()
        times = Durations()
        for ms in (30, 50, 20):
            times.add(ms / 1000)
        vitals.counted(lambda: Counts(4, 3, 1, 0, 2, 0.16, times))
        vitals.unit(3, 1, "core gave\n a NaN")
        until(lambda: told(path).units == 4)
        run = told(path)
        assert (run.answered, run.failed, run.deadline_misses, run.unit_ms, run.step_seconds) == (3, 1, 2, 160.0, None)
        assert (run.recent.last_ms, run.recent.p50_ms, run.recent.p99_ms) == (20, 30, 50)
        assert run.last_error is not None
        assert run.last_error.what == "core gave a NaN"
        assert run.unit_age_seconds is not None
        assert abs(run.last_error.time - time.time()) < 20
        assert json.loads(ask(tmp_path / "h.sock", 5))["units"] == 4
        vitals.stop("the disk is full", 2)
        vitals.stop("ended as asked", 0)  # the first end counts
    last = told(path)
    assert (last.state, last.why, last.exit_status) == ("stopped", "the disk is full", 2)
    families = {family.name: family for family in text_string_to_metric_families((tmp_path / "h.prom").read_text())}
    assert families["edge_streamer_exit_status"].samples[0].value == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.json", "h.prom"]


def test_no_reader_ever_sees_a_torn_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "EVERY_SECONDS", 0.0)
    vitals, stamps, seen = Vitals("fast"), set(), 0
    with Publisher(vitals, places(tmp_path, "h.json", "h.prom"), pytest.fail):
        ends = time.monotonic() + 20
        while (seen < 4000 or len(stamps) < 100) and time.monotonic() < ends:
            stamps.add(told(tmp_path / "h.json").written.monotonic)
            text = (tmp_path / "h.prom").read_bytes()
            assert text.endswith(b"\n")
            assert text.count(b"# TYPE") == text.count(b"# HELP") >= 12
            seen += 1
    assert len(stamps) >= 100, "it was not written meanwhile"


def test_what_is_written_to_is_no_name_that_a_collector_takes(tmp_path: Path) -> None:
    with Publisher(Vitals("fast"), places(tmp_path, "h.prom"), pytest.fail):
        time.sleep(0.05)
        assert [path.name for path in tmp_path.iterdir() if path.suffix in (".prom", ".json")] == ["h.prom"]


def test_a_folder_that_vanishes_is_told_once_and_written_to_when_it_is_back(tmp_path: Path) -> None:
    folder, said = tmp_path / "shelf", list[str]()
    folder.mkdir()
    with Publisher(Vitals("fast"), places(folder, "h.json"), said.append):
        shutil.rmtree(folder)
        until(lambda: said)
        time.sleep(0.05)
        folder.mkdir()
        until((folder / "h.json").exists)
    assert said == [f"--health {folder}/h.json is not written: No such file or directory; tried again each second"]
    assert told(folder / "h.json").pid == os.getpid()


def test_a_disk_that_fills_is_told_once_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, full, write = list[str](), threading.Event(), Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        if full.is_set() and "partial" in path.name:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", half)
    with Publisher(Vitals("fast"), places(tmp_path, "h.json"), said.append):
        full.set()
        until(lambda: said)
        time.sleep(0.05)
        assert told(tmp_path / "h.json").state == "opening"
        assert not list(tmp_path.glob("*partial*")), "what is half written takes no room"
    assert said == [f"--health {tmp_path}/h.json is not written: No space left on device; tried again each second"]


def test_a_disk_that_does_not_answer_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LAST_SECONDS", 0.1)
    release, write = threading.Event(), Path.write_bytes
    vitals, stuck = Vitals("fast"), threading.Event()

    def slow(path: Path, data: bytes) -> int:
        if vitals.stopped:
            stuck.set()
            release.wait(20)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", slow)
    publisher = Publisher(vitals, places(tmp_path, "h.json", "h.sock"), pytest.fail)
    with publisher:
        vitals.stop("ended as asked", 0)
        assert stuck.wait(20)
        assert json.loads(ask(tmp_path / "h.sock", 5))["state"] == "stopped"
        began = time.monotonic()
        publisher.finish(0.1)
        assert time.monotonic() - began < 5
        release.set()


def test_a_run_that_is_given_up_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[int, str]] = []
    monkeypatch.setattr(ending, "_one_end", threading.Lock())
    monkeypatch.setattr(ending, "_end", lambda status, why: ends.append((status, why)))
    with Publisher(Vitals("real"), places(tmp_path, "h.json"), pytest.fail):
        ending.give_up("the run of graph 'core' has not returned for 300 s")
        run = told(tmp_path / "h.json")
        assert (run.state, run.exit_status) == ("stopped", 1)
        assert run.why == "the run of graph 'core' has not returned for 300 s"
    assert ends == [(1, "the run of graph 'core' has not returned for 300 s")]


@pytest.mark.parametrize("name", ["none/h.json", "none/h.prom"])
def test_what_cannot_be_written_at_the_beginning_is_refused(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=rf"cannot write --health .*{name}: No such file"),
        Publisher(Vitals("fast"), places(tmp_path, "h.sock", name), pytest.fail),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "h.json").symlink_to("run/h.json")
    with Publisher(Vitals("fast"), places(tmp_path, "h.json"), pytest.fail):
        pass
    assert (tmp_path / "h.json").is_symlink()
    assert told(tmp_path / "run/h.json").state == "opening"


def test_without_places_there_is_no_thread_and_no_question() -> None:
    with Publisher(Vitals("fast", pytest.fail), [], pytest.fail):
        assert "health" not in {thread.name for thread in threading.enumerate()}
