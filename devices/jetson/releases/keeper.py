"""Keeps a release that proves itself and goes back from one that does not: what the service runs beside the talk.

Receives a word and a root folder; is copied into that folder and run from there by the system's Python::

    ExecStartPre=  keeper.py begin ROOT      counts the start of a trial; goes back where it has crashed too often
    ExecStart=     keeper.py start ROOT      becomes the conversation of the release that is current
    ExecStartPost= keeper.py watch ROOT      of a trial: waits for healthy units and confirms it, or goes back and fails
    ExecStopPost=  keeper.py stopped ROOT    of a trial: how it ended; goes back where it has crashed too often

There is no other process. The service manager restarts what failed, and the restart finds the release that is current
then. A start is counted before it is made and the count is taken back at a clean end, so that a power cut, or a release
that takes the whole board down, counts too, across reboots. Outside of a trial nothing is counted but for the pause
before a restart. Whatever is wrong with the state or the disk, the current release is started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from edge_streamer.devices.jetson.releases.places import (
        Root,
        State,
        Trial,
        confirm,
        go_back,
        read_state,
        state_lock,
        write_state,
    )
else:  # copied beside the releases
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from places import Root, State, Trial, confirm, go_back, read_state, state_lock, write_state

HEALTH = "health.json"
STALE_SECONDS = 5.0
"""It is written once a second."""
LOOK_SECONDS = 0.25
LONG_SECONDS = 60.0
"""A run this long has not failed at its start: the next pause is the shortest again."""
LONGEST_PAUSE = 60.0
UNUSABLE = 78
"""Exit status where there is nothing to start (EX_CONFIG)."""


def say(text: str, level: int = 5) -> None:
    """A line for the journal: 5 notice, 4 warning, 3 error."""
    before = f"<{level}>" if os.environ.get("JOURNAL_STREAM") else ""
    print(f"{before}edge-streamer releases: {text}", file=sys.stderr, flush=True)


def begin(root: Root, env: Mapping[str, str]) -> int:
    """Before a start."""
    pause(env)
    forget_health(env)
    with state_lock(root):
        state = known(root)
        trial, current = state.trial, root.led_to(root.current)
        if trial is None:
            return 0
        if trial.verdict or (trial.id == current and trial.attempts >= trial.crashes):
            return back(root, state, trial.verdict or crashed(trial))
        if trial.id != current:
            say(f"the switch to {trial.id} was interrupted before it was made; {current or 'no release'} stays")
            state.trial = None
        else:
            trial.attempts += 1
            say(f"{trial.id} is on trial, start {trial.attempts} of {trial.crashes}")
        write_state(root, state)
    return 0


def start(root: Root, env: Mapping[str, str]) -> int:
    """Become the conversation. By the release's own path: ``current`` may lead elsewhere while it runs."""
    name = root.led_to(root.current)
    if name is None:
        say(f"{root.current} leads to no release; run: edge-streamer releases list --root {root.path}", 3)
        return UNUSABLE
    folder = root.release(name)
    python, settings = folder / "env/bin/python", folder / "settings.toml"
    words = [str(python), "-m", "edge_streamer", "run"]
    words += ["--config", str(settings)] if settings.exists() else [str(folder / "bundle")]
    if env.get("RUNTIME_DIRECTORY"):
        words += ["--health", str(health_file(env))]
    if gone_back_to(root, name):
        words.append("--allow-downgrade")
    own = {"EDGE_STREAMER_RELEASE": name, "PYTHONDONTWRITEBYTECODE": "1"}
    if env.get("CACHE_DIRECTORY"):  # bytecode goes there: releases are never written to
        own = {"EDGE_STREAMER_RELEASE": name, "PYTHONPYCACHEPREFIX": f"{first(env, 'CACHE_DIRECTORY')}/bytecode/{name}"}
    try:
        os.execve(python, words, {**env, **own})
    except OSError as error:
        say(f"cannot start {python}: {error.strerror}", 3)
        return UNUSABLE


def gone_back_to(root: Root, name: str) -> bool:
    """Whether ``name`` is older on purpose: a device with keys refuses older versions otherwise."""
    try:
        state = read_state(root)
    except (ValueError, OSError):
        return False
    return name in state.good and state.rollback is not None and state.rollback.target == name


def watch(root: Root, env: Mapping[str, str]) -> int:
    """After a start: 0 where it was healthy or on no trial, 1 where it is given up or has gone."""
    with state_lock(root):
        trial = known(root).trial
    if trial is None or trial.id != root.led_to(root.current):
        return 0
    process = int(env.get("MAINPID") or 0)
    judge, ends = Judge(trial), time.monotonic() + trial.seconds
    while True:
        why = looked(judge, env, process)
        if not why:
            break
        if process and gone(process):
            return 1  # which `stopped` counts
        if time.monotonic() >= ends:
            break
        time.sleep(LOOK_SECONDS)
    with state_lock(root):
        state = known(root)
        if state.trial is None or state.trial.id != trial.id or state.trial.since != trial.since:
            return 0  # somebody decided meanwhile
        if why:
            back(root, state, f"not healthy within {trial.seconds:g} s: {why}")
            return 1
        confirm(root, state, trial.id)
        say(f"{trial.id} is confirmed: {judge.passed} units, {judge.bad} of them late, failed or skipped")
    return 0


def looked(judge: Judge, env: Mapping[str, str], process: int) -> str:
    """What the judge says; a record that it cannot read is one more reason."""
    try:
        return judge.look(read_health(health_file(env)), process)
    except (TypeError, ValueError, AttributeError) as error:
        return f"what it told cannot be read ({error})"


def stopped(root: Root, env: Mapping[str, str]) -> int:
    """After an end."""
    result = env.get("SERVICE_RESULT", "")
    note_end(env, result == "success")
    with state_lock(root):
        state = known(root)
        trial = state.trial
        if trial is None or trial.id != root.led_to(root.current):
            return 0
        if result == "success":
            trial.attempts = max(trial.attempts - 1, 0)
        else:
            trial.last = " ".join(filter(None, (result, env.get("EXIT_CODE"), env.get("EXIT_STATUS"), told(env))))
            say(f"{trial.id}, on trial, ended: {trial.last}", 4)
            unready = (read_health(health_file(env)) or {}).get("state") in (None, "opening", "warming up")
            if result == "timeout" and unready:  # within the start's own limit, which is long
                return back(root, state, f"not ready in time ({trial.last})")
            if trial.attempts >= trial.crashes:
                return back(root, state, crashed(trial))
        write_state(root, state)
    return 0


def crashed(trial: Trial) -> str:
    times = f"{trial.attempts} time{'s' * (trial.attempts != 1)}"
    return f"crashed {times} after the update: {trial.last or 'without a word, as where power goes'}"


def back(root: Root, state: State, reason: str) -> int:
    """Go back, and say so."""
    assert state.trial is not None
    name, target = state.trial.id, go_back(root, state, reason)
    say(f"{name} is given up, back to {target}: {reason}" if target else f"{name} failed, and there is no release to "
        f"go back to: {reason}", 4)  # fmt: skip
    return 0


def known(root: Root) -> State:
    """The state; where it cannot be used, an empty one, and that is told."""
    try:
        return read_state(root)
    except ValueError as error:
        say(f"{root.state} is put aside: {error}", 3)
        os.replace(root.state, root.state.with_name("state.json.damaged"))
        return State()


# -- health


class Judge:
    """Looks at one health record after the other until so many units in a row were good."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._seen: deque[tuple[int, int]] = deque(maxlen=10_000)
        """(units, late, failed or skipped ones) of each look."""
        self.passed = self.bad = 0

    def look(self, health: Mapping[str, Any] | None, process: int) -> str:
        """Why it is not healthy; empty where it is."""
        if health is None:
            return "it told nothing of itself"
        if process and health.get("pid") != process:
            return "it has not told anything of itself yet"
        age = age_of(health)
        if age is None or age > STALE_SECONDS:
            return "what it told is old" if age is None else f"it told nothing for {age:.1f} s"
        if health.get("state") != "running":
            return f"it is {health.get('state')}"
        closed = [f"{kind} is not open: {device.get('error') or device.get('name')}"
                  for kind, device in dict(health.get("devices") or {}).items() if not device.get("open")]  # fmt: skip
        if closed:
            self._seen.clear()
            return "; ".join(closed)
        units = int(health.get("units", 0))
        self._seen.append((units, sum(int(health.get(key, 0)) for key in ("deadline_misses", "failed", "skipped"))))
        wanted = self._trial.units
        before = next((one for one in reversed(self._seen) if units - one[0] >= wanted), None)
        if before is None:
            return f"only {units - self._seen[0][0]} units were seen; wanted {wanted}"
        self.passed, self.bad = units - before[0], self._seen[-1][1] - before[1]
        if self.bad > self._trial.misses * self.passed:
            return (f"too slow: {self.bad} of the newest {self.passed} units were late, failed or skipped; at most "
                    f"{self._trial.misses:.0%} may be")  # fmt: skip
        return ""


def read_health(path: Path | None) -> Mapping[str, Any] | None:
    """What ``run --health`` wrote; None where there is nothing of it."""
    with suppress(OSError, ValueError, RecursionError):
        if path is not None:
            with path.open("rb") as file:
                found = json.loads(file.read(1_000_000))
            if isinstance(found, dict) and isinstance(found.get("devices", {}), dict):
                return found
    return None


def age_of(health: Mapping[str, Any]) -> float | None:
    """Seconds since it was written, by the clock that nobody sets; None of another start of the machine."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        written = health["written"]
        if written["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip():
            return max(time.monotonic() - float(written["monotonic"]), 0.0)
    return None


def told(env: Mapping[str, str]) -> str:
    """What the run itself said of its end."""
    health = read_health(health_file(env)) or {}
    error = health.get("last_error") or {}
    said = health.get("why") if health.get("state") == "stopped" else error.get("what")
    return f"({said})" if said else ""


def forget_health(env: Mapping[str, str]) -> None:
    """What the run before told: else a run that ends, or hangs, before it tells anything would be judged by it."""
    with suppress(OSError):
        if path := health_file(env):
            path.unlink()


def health_file(env: Mapping[str, str]) -> Path | None:
    return Path(first(env, "RUNTIME_DIRECTORY"), HEALTH) if env.get("RUNTIME_DIRECTORY") else None


def first(env: Mapping[str, str], name: str) -> str:
    """The first folder of several."""
    return env[name].split(":")[0]


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


# -- the pause before a restart, which grows: systemd knows one that grows from version 254 on alone


def pause(env: Mapping[str, str]) -> None:
    """1, 2, 4 ... 60 s after failures in a row."""
    failures = read_restarts(env)["failures"]
    if failures > 0:
        seconds = min(2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
        say(f"failed {failures} times in a row; the next start in {seconds:g} s")
        time.sleep(seconds)
    write_restarts(env, failures, time.monotonic())


def note_end(env: Mapping[str, str], clean: bool) -> None:
    before = read_restarts(env)
    lasted = time.monotonic() - before["started"]
    again = before["failures"] + 1 if 0 <= lasted < LONG_SECONDS else 1
    write_restarts(env, 0 if clean else int(again), before["started"])


def read_restarts(env: Mapping[str, str]) -> dict[str, float]:
    with suppress(OSError, KeyError, TypeError, ValueError):
        found = json.loads(Path(first(env, "RUNTIME_DIRECTORY"), "restarts.json").read_bytes())
        return {"failures": int(found["failures"]), "started": float(found["started"])}
    return {"failures": 0, "started": 0.0}


def write_restarts(env: Mapping[str, str], failures: float, started: float) -> None:
    with suppress(OSError, KeyError):
        text = json.dumps({"failures": failures, "started": started})
        Path(first(env, "RUNTIME_DIRECTORY"), "restarts.json").write_text(text)


# -- the command


def main(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit status 0, 1 a release that was given up, 78 nothing to start. What goes wrong here never keeps a release
    from being started."""
    doings = {"begin": begin, "start": start, "watch": watch, "stopped": stopped}
    if len(words) != 2 or words[0] not in doings:
        print(f"usage: keeper.py {'|'.join(doings)} ROOT", file=sys.stderr)
        return 2
    try:
        return doings[words[0]](Root(Path(words[1])), env)
    except OSError as error:
        say(f"{words[0]}: {error}; the current release goes on", 3)
        return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:], os.environ))
