"""The keeper's decisions, one by one: what is counted, what is believed of a health file, and what survives a cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.jetson.releases import keeper, service
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.keeper import Judge, begin, pause, stopped, watch
from edge_streamer.devices.jetson.releases.places import Root, State, Trial, point, read_state, write_state
from edge_streamer.devices.jetson.releases.switching import Terms, activate
from edge_streamer.runtime.health.record import Stamp
from tests.devices.jetson.releases.made import plain

CRASHED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "SEGV"}
CLEAN = {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}


class Device:
    """Two releases, the second on trial."""

    def __init__(self, folder: Path, crashes: int = 3) -> None:
        self.root = Root(folder / "root")
        self.old, self.new = (add(self.root, plain(folder / f"{n}", {"bundle/n": b"%d" % n})).id for n in range(2))
        activate(self.root, self.old, None, check=False)
        activate(self.root, self.new, Terms(units=10, seconds=0.5, crashes=crashes), check=False)

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)

    @property
    def trial(self) -> Trial:
        trial = read_state(self.root).trial
        assert trial is not None
        return trial


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_power_cuts_count_across_reboots(device: Device) -> None:
    """Nobody tells how such a start ended."""
    for attempt in range(1, 4):
        begin(device.root, {})
        assert device.trial.attempts == attempt
    begin(device.root, {})
    state = read_state(device.root)
    assert device.current == device.old
    assert state.rollback is not None
    assert state.rollback.reason == "crashed 3 times after the update: without a word, as where power goes"


def test_a_clean_stop_is_no_crash(device: Device) -> None:
    for _ in range(10):
        begin(device.root, {})
        stopped(device.root, CLEAN)
    assert (device.current, device.trial.attempts) == (device.new, 0)


def test_a_start_that_is_never_ready_is_given_up_at_once(device: Device) -> None:
    begin(device.root, {})
    stopped(device.root, {"SERVICE_RESULT": "timeout", "EXIT_CODE": "killed", "EXIT_STATUS": "TERM"})
    state = read_state(device.root)
    assert (device.current, state.trial) == (device.old, None)
    assert state.rollback is not None
    assert state.rollback.reason == "not ready in time (timeout killed TERM)"


@pytest.mark.parametrize("before", [{"state": "running", "last_error": {"what": "no camera"}},
                                    {"state": "stopped", "why": "ended by SIGTERM"}])  # fmt: skip
def test_what_the_run_before_told_is_no_word_of_this_one(
    device: Device, tmp_path: Path, before: Mapping[str, Any]
) -> None:
    env = {"RUNTIME_DIRECTORY": str(tmp_path)}
    (tmp_path / keeper.HEALTH).write_text(json.dumps(before))
    begin(device.root, env)
    stopped(device.root, {**CRASHED, **env})
    assert device.trial.last == "signal killed SEGV"
    (tmp_path / keeper.HEALTH).write_text(json.dumps(before))
    (tmp_path / "restarts.json").unlink()  # no pause
    begin(device.root, env)
    stopped(device.root, {**env, "SERVICE_RESULT": "timeout", "EXIT_CODE": "killed", "EXIT_STATUS": "TERM"})
    rollback = read_state(device.root).rollback
    assert rollback is not None
    assert rollback.reason == "not ready in time (timeout killed TERM)"


@pytest.mark.parametrize("cut", ["verdict", "switch"])
def test_a_going_back_that_was_cut_short_is_completed(device: Device, cut: str) -> None:
    state = read_state(device.root)
    assert state.trial is not None
    state.trial.verdict = "too slow"
    write_state(device.root, state)
    if cut == "switch":
        point(device.root, device.root.current, device.old)
    begin(device.root, {})
    found = read_state(device.root)
    assert (device.current, found.trial) == (device.old, None)
    assert found.rollback is not None
    assert (found.rollback.source, found.rollback.reason) == (device.new, "too slow")


def test_a_switch_that_was_cut_short_never_was(device: Device) -> None:
    point(device.root, device.root.current, device.old)
    begin(device.root, {})
    assert (device.current, read_state(device.root).trial) == (device.old, None)


def test_a_trial_that_is_begun_again_is_no_rollback(device: Device) -> None:
    begin(device.root, {})
    activate(device.root, device.new, Terms(units=3), check=False)
    state = read_state(device.root)
    assert (device.current, state.rollback) == (device.new, None)
    assert (device.trial.units, device.trial.attempts) == (3, 0)
    assert device.root.led_to(device.root.previous) == device.old


def test_without_a_release_to_go_back_to_it_stays(tmp_path: Path) -> None:
    root = Root(tmp_path / "root")
    only = add(root, plain(tmp_path / "only", {})).id
    activate(root, only, Terms(crashes=1), check=False)
    begin(root, {})
    stopped(root, CRASHED)
    state = read_state(root)
    assert root.led_to(root.current) == only
    assert state.rollback is not None
    assert (state.rollback.target, state.trial) == ("", None)


def test_a_damaged_state_is_put_aside_and_the_start_goes_on(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.root.state.write_text("{")
    assert keeper.main(["begin", str(device.root.path)], {}) == 0
    assert "state.json is put aside" in capsys.readouterr().err
    assert read_state(device.root) == State()
    assert device.current == device.new


def test_a_disk_that_refuses_keeps_nothing_from_starting(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    for word in ("begin", "stopped"):
        assert keeper.main([word, str(device.root.path)], CRASHED) == 0
        assert "No space left on device" in capsys.readouterr().err


def test_the_copy_runs_by_itself(tmp_path: Path, device: Device) -> None:
    """Without the package, by a Python that is told to look nowhere else."""
    for name, text in service.keeper_files().items():
        path = device.root.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    words = [sys.executable, "-I", "-S", "-B", str(device.root.path / "keeper/keeper.py")]
    done = subprocess.run([*words, "begin", str(device.root.path)], env={}, cwd="/", capture_output=True, check=False)
    assert (done.returncode, device.trial.attempts) == (0, 1), done.stderr
    done = subprocess.run([*words, "start", str(device.root.path)], env={}, cwd="/", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    device.root.current.unlink()
    done = subprocess.run([*words, "start", str(device.root.path)], env={}, cwd="/", capture_output=True, check=False)
    assert done.returncode == keeper.UNUSABLE
    assert b"leads to no release" in done.stderr


def test_what_is_started(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own path, since ``current`` may lead elsewhere while it runs; older on purpose once gone back to."""
    started: list[tuple[list[str], Mapping[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, words, env: started.append((words, env)))
    env = {"RUNTIME_DIRECTORY": "/run/x", "CACHE_DIRECTORY": "/var/cache/x:/other"}
    keeper.start(device.root, env)
    begin(device.root, {})
    stopped(device.root, {"SERVICE_RESULT": "timeout"})
    keeper.start(device.root, env)
    folders = [device.root.release(name) for name in (device.new, device.old)]
    words = [[str(folder / "env/bin/python"), "-m", "edge_streamer", "run", str(folder / "bundle"), "--health",
              "/run/x/health.json"] for folder in folders]  # fmt: skip
    assert [found for found, _ in started] == [words[0], [*words[1], "--allow-downgrade"]]
    assert started[1][1]["PYTHONPYCACHEPREFIX"] == f"/var/cache/x/bytecode/{device.old}"


def test_the_pause_grows_and_ends_with_a_run_that_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env, slept = {"RUNTIME_DIRECTORY": str(tmp_path)}, list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    for _ in range(9):
        pause(env)
        keeper.note_end(env, clean=False)
    assert slept == [1, 2, 4, 8, 16, 32, 60, 60]
    keeper.write_restarts(env, 9, time.monotonic() - 100)
    keeper.note_end(env, clean=False)
    assert keeper.read_restarts(env)["failures"] == 1
    keeper.note_end(env, clean=True)
    assert keeper.read_restarts(env)["failures"] == 0


# -- what a health file says


def told(**other: object) -> Mapping[str, Any]:
    stamp = Stamp.now()
    written = {"boot": stamp.boot, "monotonic": stamp.monotonic}
    return {"state": "running", "pid": 7, "units": 0, "deadline_misses": 0, "failed": 0, "skipped": 0, "devices": {},
            "written": written, **other}  # fmt: skip


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"pid": 8}, "it has not told anything of itself yet"),
        ({"written": {"boot": "another", "monotonic": 0}}, "what it told is old"),
        ({"state": "warming up"}, "it is warming up"),
        ({"devices": {"mic": {"name": "USB", "open": False, "error": "unplugged"}}}, "mic is not open: unplugged"),
        ({"units": 3}, "only 0 units were seen; wanted 10"),
    ],
)
def test_what_is_not_healthy(health: Mapping[str, Any], why: str) -> None:
    assert Judge(Trial("0" * 16, 0, 10, 1, 0.2, 3)).look(told(**health), 7) == why


def test_nothing_told_is_not_healthy() -> None:
    assert Judge(Trial("0" * 16, 0, 10, 1, 0.2, 3)).look(None, 7) == "it told nothing of itself"


def test_old_word_is_not_believed() -> None:
    health = told()
    health["written"]["monotonic"] -= 60
    assert Judge(Trial("0" * 16, 0, 10, 1, 0.2, 3)).look(health, 7).startswith("it told nothing for 60.")


def test_units_are_judged_by_the_newest_in_a_row() -> None:
    judge = Judge(Trial("0" * 16, 0, 10, 1, 0.2, 3))
    for units, bad in ((1, 0), (6, 5), (11, 10)):
        why = judge.look(told(units=units, deadline_misses=bad), 7)
    assert why == "too slow: 10 of the newest 10 units were late, failed or skipped; at most 20% may be"
    assert judge.look(told(units=21, deadline_misses=12), 7) == ""
    assert (judge.passed, judge.bad) == (10, 2)


def test_a_record_that_cannot_be_read_is_a_reason(device: Device, tmp_path: Path) -> None:
    (tmp_path / "health.json").write_text(json.dumps(told(units="many", pid=os.getpid())))
    begin(device.root, {})
    assert watch(device.root, {"RUNTIME_DIRECTORY": str(tmp_path), "MAINPID": str(os.getpid())}) == 1
    found = read_state(device.root).rollback
    assert found is not None
    assert "what it told cannot be read" in found.reason
    assert device.current == device.old
