"""Which runs are healthy, and what is told of the others."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json
from edge_streamer.runtime.health.judge import Limits, line, look_at, read, reasons
from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.health.record import VERSION, Recent, Stamp
from tests.runtime.health.runs import NOW, health, written

START = {"unit_age_seconds": None, "units": 0, "answered": 0, "recent": Recent()}


def changed(stamp: Stamp, **more: Any) -> Stamp:
    return msgspec.structs.replace(stamp, **more)


@pytest.mark.parametrize(
    ("run", "limits", "said"),
    [
        ({"written": written(4.9)}, Limits(), ""),
        ({"written": written(5.1)}, Limits(), "stale: written 5.1 s ago"),
        ({"written": written(5.1)}, Limits(max_age=6), ""),
        ({"unit_age_seconds": 10.1}, Limits(), "no unit was answered for 10.1 s"),
        ({"unit_age_seconds": None, "state_seconds": 11.0}, Limits(), "no unit was answered for 11.0 s"),
        ({"step_seconds": 12.0, "engine_at": "graph 'core'"}, Limits(), "taken 12.0 s so far (graph 'core')"),
        ({"step_seconds": 12.0}, Limits(no_unit=20), ""),
        ({"recent": Recent(units=100, deadline_misses=40, failed=11)}, Limits(), "51 of the newest 100 units"),
        ({"recent": Recent(units=100, deadline_misses=40, failed=10)}, Limits(), ""),
        ({"recent": Recent(units=24, deadline_misses=24)}, Limits(), ""),
        ({"recent": Recent(units=100, deadline_misses=2)}, Limits(misses=0.01), "at most 1% may be"),
        ({"answered": 9}, Limits(units=10), "9 units answered; wanted 10"),
        ({}, Limits(devices=True), "camera is not open: it was unplugged"),
        ({"devices": {}}, Limits(devices=True), "it is not a live run"),
        ({"state": "ending"}, Limits(), "is ending"),
        ({"state": "stopped", "why": "the disk is full", "exit_status": 2}, Limits(), "stopped: the disk is full (exit "
         "status 2)"),
        ({"state": "stopped", "why": "ended at once"}, Limits(), "stopped: ended at once"),
        ({"state": "opening", "at": "core 1 of 7", "uptime_seconds": 30.0, **START}, Limits(), "for 100 s (core 1"),
        ({"state": "opening", "uptime_seconds": 30.0, **START}, Limits(starting=31), ""),
        ({"state": "warming up", "uptime_seconds": 30.0, **START}, Limits(starting=29), "warming up for 100 s"),
        ({"state": "opening", "written": written(9), **START}, Limits(starting=1000), "stale"),
        ({"state": "running", "state_seconds": 0.1, "uptime_seconds": 30.0, **START}, Limits(starting=60), ""),
        ({"state": "running", "state_seconds": 0.1, "uptime_seconds": 30.0, **START}, Limits(), "0 units answered"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_run(run: dict[str, Any], limits: Limits, said: str) -> None:
    found = reasons(health(**run), limits, NOW)
    assert said in "; ".join(found)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("stamp", "age"),
    [
        (changed(written(3), time=0.0), 3.0),  # the date was set since: the clock that nobody sets tells
        (changed(written(3), time=NOW.time + 9e6), 3.0),
        (changed(written(3), boot="another"), None),  # the same machine, before it was started anew
        (changed(written(3), boot="another", host="other"), 3.0),
        (changed(written(3), boot="", host="other"), 3.0),
        (changed(written(-0.5), boot="another", host="other"), -0.5),
        (changed(written(-60), boot="another", host="other"), None),  # of a clock that is ahead
    ],
)
def test_how_old_a_record_is(stamp: Stamp, age: float | None) -> None:
    found = stamp.age(NOW)
    assert found == age if age is None or found is None else math.isclose(found, age)
    assert bool(reasons(health(written=stamp), Limits(), NOW)) == (age is None)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    run = health()
    (tmp_path / "h.json").write_bytes(to_json(run))
    verdict = look_at(Place.of(f"{tmp_path}/h.json"), Limits(), NOW)
    assert verdict.health == run
    said = line(verdict)
    assert said.startswith("healthy; running for 100 s, 624 of 626 units answered, unit 32 ms (p50 30, p99 45)")
    assert "51 C (tj-thermal), demo abababababab on onnxruntime 1.32.0 cpu" in said
    assert "\n" not in said


def test_a_newer_writer_may_add_keys_but_not_another_version() -> None:
    more = msgspec.to_builtins(health()) | {"mood": "good"}
    assert read(to_json(more), Path("h")) == health()
    with pytest.raises(InputError, match=f"version {VERSION + 1} of the schema"):
        read(to_json(more | {"version": VERSION + 1}), Path("h"))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"version": 1}', b'{"version": "1"}', b"[" * 100_000, b"# HELP x\n",
     to_json(msgspec.to_builtins(health()) | {"state": "happy"})],
)  # fmt: skip
def test_what_is_none_of_ours_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "h.json").write_bytes(data)
    with pytest.raises(InputError, match=r"h\.json is "):
        look_at(Place.of(f"{tmp_path}/h.json"), Limits())


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b" " * 1_000_001)
    for name, why in (("none", "No such file"), ("pipe", "not a regular file"), ("huge", "larger than"),
                      (".", "not a regular file"), ("none.sock", "No such file")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            look_at(Place.of(f"{tmp_path}/{name}"), Limits())


def test_a_socket_that_nobody_answers_is_a_run_that_is_not_well(tmp_path: Path) -> None:
    path = tmp_path / "plain name"  # known as a socket by what it is
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert look_at(Place.of(str(path)), Limits()).reasons == [f"nobody answers at {path}: the run has gone"]
        server.listen(1)
        verdict = look_at(Place.of(str(path)), Limits(max_age=0.05))
    assert verdict.reasons == [f"no answer at {path} for 0.05 s: the run stands still"]
    assert line(verdict).startswith("not healthy: no answer")
