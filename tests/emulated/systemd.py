"""python -m tests.emulated.systemd BUNDLE: the system's service and a user's, under a real systemd.

Receives a bundle; boots a machine in namespaces (tests/emulated/machine.py), installs the service there with releases
of it, and has systemd start, watch, stop and restart it, go back from releases that fail and confirm one that does not;
reboots the machine, and cuts its power within updates. Prints a line for each claim, and ends with status 1 at the
first that does not hold. `.ci/service` runs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_streamer.devices.jetson.releases.places import Root, State, read_state
from edge_streamer.devices.jetson.releases.unit import NAME
from edge_streamer.runtime.release.contents import verify
from tests.devices.jetson.releases.made import SOUND, source
from tests.devices.jetson.releases.test_trial import CRASHES, SLOW
from tests.emulated.machine import Machine
from tests.emulated.power_cuts import disk_cuts
from tests.emulated.probe import LIMITS, PROBE, SYSTEM, USER

PATIENCE_SECONDS = float(os.environ.get("PATIENCE", "300"))
"""An emulated machine is some thirty times slower; on a calm one nothing here takes 60."""
TREE = Path(__file__).resolve().parents[2]
SHARED = sorted(
    {Path(sys.base_prefix).resolve(), Path(sys.prefix), TREE, *(Path(one) for one in sys.path if os.path.isdir(one))}
)
"""Where this Python, its packages and this project lie."""
PYTHON = [sys.executable, "-B", "-m", "edge_streamer"]
HANGS = "def spoil():\n    import time\n    time.sleep(100_000)"
HEALTHY = ["--no-check", "--units", "5", "--within", "200", "--misses", "1"]
WHO = "somebody"
CUTS_OF_DISK = 6
"""For one of a whole machine."""
SERVER = Path("/usr/lib/systemd/user/pulseaudio.service")


def holds(what: str) -> None:
    print(f"holds: {what}", flush=True)


class Failed(Exception):
    """A claim that does not hold."""


class Side:
    """The service of the system, or of a user in there."""

    def __init__(self, machine: Machine, bundle: Path, user: str = "") -> None:
        self.machine, self.bundle, self.user = machine, bundle, user
        self._path = f"/home/{user}/.local/share/edge-streamer" if user else "/opt/edge-streamer"
        self._made = 0

    def __str__(self) -> str:
        return "user's" if self.user else "system's"

    @property
    def root(self) -> Root:
        return Root(self.machine.path(self._path))

    @property
    def state(self) -> State:
        return read_state(self.root)

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)

    def run(self, *words: str) -> str:
        return self.machine.run(*words, user=self.user)

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *(["--user"] if self.user else []), *words)

    def shown(self, name: str) -> str:
        return self.systemctl("show", NAME, f"--property={name}", "--value")

    def journal(self) -> str:
        return self.run("journalctl", *(["--user"] if self.user else []), "--unit", NAME, "--no-pager", "--output=cat")

    def cli(self, *words: str) -> str:
        return self.run(*PYTHON, *words)

    def made(self, note: str, fault: str = SOUND, audible: bool = False) -> str:
        """A release's folder in there; ``audible``: with a microphone and a speaker."""
        folder = f"/srv/{self.user or 'system'}-{note}"
        settings = source(self.machine.path(folder), self.bundle, fault, note) / "settings.toml"
        if audible:
            text = settings.read_text()
            settings.write_text(
                text.replace('mic = "none"', 'mic = "default"').replace('speaker = "none"', 'speaker = "default"')
            )
        return folder

    def add(self, note: str, fault: str = SOUND, audible: bool = False) -> str:
        """Its id."""
        before = set(self.root.ids())
        told = self.cli("releases", "add", self.made(note, fault, audible), "--name", note.replace(" ", "-"))
        new = set(self.root.ids()) - before
        if len(new) != 1:
            raise Failed(f"{note} was not added: {told}")
        return new.pop()

    def health(self) -> Mapping[str, Any]:
        """Of the process that runs now; else empty."""
        found = self.record()
        return found if found and str(found["pid"]) == self.shown("MainPID") else {}

    def record(self) -> Mapping[str, Any]:
        """The newest of this boot, without asking the user's systemd, which is a login; else empty."""
        with suppress(OSError, ValueError):
            return dict(json.loads(self.there("health.json").read_bytes()))
        return {}

    def talks(self) -> bool:
        """It answers, and systemd has seen it ready."""
        return self.health().get("answered", 0) > 3 and self.shown("ActiveState") == "active"

    def wait(self, what: str, condition: Callable[[], bool], tell: bool = True) -> float:
        """Until it holds. Returns seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > PATIENCE_SECONDS:
                said = self.systemctl("status", "--no-pager", "--full", "--lines=0", NAME)
                raise Failed(f"{self}: {what}\n{said}\n{self.journal()[-3000:]}")
            time.sleep(0.3)
        took = time.monotonic() - began
        if tell:
            holds(f"{self}: {what} ({took:.0f} s)")
        return took

    def check(self, what: str, condition: bool, why: object = "") -> None:
        if not condition:
            raise Failed(f"{self}: {what}: {why}\n{self.journal()[-3000:]}")
        holds(f"{self}: {what}")

    def signal(self, number: int) -> str:
        """To the run. Returns its process."""
        main = self.shown("MainPID")
        self.run("kill", f"-{number}", main)
        return main

    # -- claims

    def installs(self) -> str:
        """Returns the release that it talks from."""
        told = self.cli("service", "install", *([] if self.user else ["--system"]))
        if "left to do" in told:
            raise Failed(told)
        folder = f"/home/{self.user}/.config/systemd/user" if self.user else "/etc/systemd/system"
        inside = self.machine.path(f"{folder}/{NAME}.d")
        inside.mkdir()
        if not self.user:  # this Python lies in a home or in /tmp, maybe, which the unit hides
            shared = " ".join(map(str, SHARED))
            (inside / "here.conf").write_text(f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={shared}\n")
        self.systemctl("daemon-reload")
        good = self.add("good")
        told = self.cli("releases", "activate", "good", "--no-check", "--no-trial")
        self.wait("it is ready with its first unit, and answers", self.talks)
        self.check("it starts with the machine", self.systemctl("is-enabled", NAME) == "enabled", told)
        self.check(
            "systemctl status tells units", " units answered" in self.shown("StatusText"), self.shown("StatusText")
        )
        return good

    def restarts(self) -> None:
        before = self.signal(signal.SIGKILL)
        self.wait("killed, it is restarted", lambda: self.shown("MainPID") not in ("0", before) and self.talks())

    def reloads(self) -> None:
        before = self.shown("MainPID")
        self.systemctl("reload", NAME)
        answered = self.health().get("answered", 0)
        self.wait("reload opens its devices anew, and it goes on", lambda: self.health().get("reopens", 1) >= 1
                  and self.health().get("answered", 0) > answered + 5)  # fmt: skip
        self.check("the process is the same", self.shown("MainPID") == before)

    def goes_back(self, note: str, fault: str, words: list[str], why: str) -> None:
        good, worse = self.current, self.add(note, fault)
        told = self.cli("releases", "activate", worse, "--no-check", *words)
        self.wait(f"a release that {note} is gone back from", lambda: self.state.rollback is not None
                  and self.state.rollback.source == worse and self.current == good)  # fmt: skip
        self.wait("the good one talks again", self.talks)
        line = f"{worse} is given up, back to {good}: {why}"
        self.check(f"the journal says why: {why}", line in self.journal(), told)
        self.check("so does the command that activated it", why in told, told)
        self.check("so does the list", why in (found := self.cli("releases", "list")), found)

    def confirms(self, expected: Mapping[str, str]) -> str:
        """A release that tries what it must not. Returns its id."""
        audible = bool(self.user) and SERVER.exists() and importlib.util.find_spec("pyaudio") is not None
        better = self.add("better", PROBE, audible)
        told = self.cli("releases", "activate", "better", *HEALTHY[1:])
        self.check("a release that answers is confirmed, after its golden units", better in self.state.good
                   and self.current == better and self.state.trial is None, told)  # fmt: skip
        self.check("the journal says so", f"{better} is confirmed: " in self.journal())
        if audible:
            streams = (
                self.run("pactl", "list", "short", "sink-inputs"),
                self.run("pactl", "list", "short", "source-outputs"),
            )
            self.check("the user's PulseAudio has its microphone and its speaker", all(streams), streams)
        found = json.loads(self.there("probe.json").read_bytes())
        for name, value in expected.items():
            self.check(f"from inside, {name}: {value}", found.get(name) == value, found.get(name))
        return better

    def there(self, name: str) -> Path:
        """A file in its runtime directory."""
        uid = self.machine.run("id", "--user", self.user) if self.user else ""
        return self.machine.path(f"/run/user/{uid}/edge-streamer/{name}" if uid else f"/run/edge-streamer/{name}")

    def stops(self) -> None:
        began = time.monotonic()
        self.systemctl("stop", NAME)
        took = time.monotonic() - began
        time.sleep(1)  # for the journal
        self.check(f"it stops by itself ({took:.1f} s), {self.shown('Result')}", self.shown("Result") == "success")
        said = self.journal().rpartition(f"Stopping {NAME}")[2]
        self.check("the unit in progress was completed, and told", " answered" in said and "Killing" not in said)


def trial_across_boots(side: Side, good: str) -> None:
    """A release that hangs before its first unit, on trial: starts count where power goes, not where it is stopped."""
    worse = side.add("hangs", HANGS)
    side.cli("releases", "activate", "hangs", "--no-check", "--crashes", "2", "--no-restart")

    def counted(times: int) -> bool:
        return side.state.trial is not None and side.state.trial.attempts == times

    side.systemctl("restart", "--no-block", NAME)
    side.wait("a release that never answers is on trial", lambda: counted(1))
    side.machine.reboot()
    side.wait("after a reboot its start is the first still", lambda: counted(1))
    side.machine.cut()
    side.machine.boot()
    side.wait("after a power cut it is the second", lambda: counted(2))
    side.machine.cut()
    side.machine.boot()
    side.wait("after one more it is gone back from", lambda: side.current == good)
    rollback = side.state.rollback
    side.check("its reason is the power", rollback is not None and rollback.source == worse
               and "as where power goes" in rollback.reason, rollback)  # fmt: skip
    side.wait("the good one talks again", side.talks)


def power_cuts(side: Side, times: int, chance: random.Random) -> None:
    """Within an update, from the adding of a release to its confirmation, while the service talks."""
    machine, done = side.machine, 0
    update = "{0} add {1} --name {2} && {0} activate {2} " + " ".join(HEALTHY)
    command = " ".join([*PYTHON, "releases"])

    def begin(number: int) -> subprocess.Popen[bytes]:
        return machine.start("sh", "-c", update.format(command, side.made(f"cut{number}"), f"cut{number}"))

    began = time.monotonic()
    if begin(0).wait():
        raise Failed(f"an update does not go through\n{side.journal()[-3000:]}")
    whole = time.monotonic() - began
    switched = on_trial = half = 0
    longest = whole
    for number in range(1, times + 1):
        moment = longest * (number - chance.random()) / times
        before = side.current
        updating = begin(number)
        time.sleep(moment)
        if updating.poll() is not None:
            done += 1
            longest *= 0.8  # the first one is slower
        machine.cut()
        updating.wait()
        machine.boot()
        root, current, state = side.root, side.current, side.state
        if current is None:
            raise Failed(f"cut {number}, after {moment:.2f} s: no release is current")
        for one in root.ids():
            verify(root.release(one))
        watched = state.trial is not None and state.trial.id == current
        if current not in state.good and not watched:
            raise Failed(f"cut {number}, after {moment:.2f} s: {current} is neither proven nor on trial")
        switched += current != before
        on_trial += watched
        half += any(path.name.startswith(".edge-streamer") for path in root.releases.iterdir())
        side.wait(f"power was cut {moment:.1f} s into an update: it talks", side.talks, tell=False)
    how = (
        "without flushing the disk" if machine.disk.loses_power else "by ending all processes: there is no loop device"
    )
    side.check(f"cut {times} times within updates of {whole:.1f} s, {how}: it talks again from a complete release, "
               f"proven or on trial ({switched} were switched to, {on_trial} on trial, {half} left something "
               f"half-written, {done} had ended)", True)  # fmt: skip
    side.cli("releases", "prune")
    left = [path.name for path in side.root.releases.iterdir() if path.name.startswith(".")]
    side.check("the next update removes what was half-written", not left, left)


def limits(machine: Machine) -> None:
    """What this kernel's cgroups hold."""
    there = machine.path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    if "memory" in there:
        found = machine.path(f"/sys/fs/cgroup/system.slice/{NAME}/memory.max").read_text().strip()
        if found == "max":
            raise Failed("the memory is not limited")
        holds(f"system's: its memory is limited to {int(found) / 2**30:.1f} GiB")
    else:
        print(
            "not seen: the limit of memory; this kernel's memory controller is not in the unified hierarchy", flush=True
        )


def main(bundle: Path, cuts: int, seed: int) -> None:
    began = time.monotonic()
    work = Path(tempfile.mkdtemp())
    found, harm = disk_cuts(work / "cuts", CUTS_OF_DISK * cuts, seed)
    if harm:
        raise Failed(f"{found}: {harm}")
    holds(found)
    machine = Machine(work, SHARED)
    try:
        machine.boot()
        print(f"{machine.run('systemctl', '--version').split(chr(10))[0]}, booted in {time.monotonic() - began:.1f} s")
        system, user = Side(machine, bundle), Side(machine, bundle, WHO)
        system.installs()
        system.restarts()
        system.reloads()
        limits(machine)
        stands = system.signal(signal.SIGSTOP)
        of_a_user(user)
        system.wait("standing still, it is ended by the watchdog and restarted",
                    lambda: system.shown("MainPID") not in ("0", stands) and system.talks())  # fmt: skip
        system.check("the journal says so", "Watchdog timeout" in system.journal())
        system.goes_back("crashes", CRASHES, ["--crashes", "2"], "crashed 2 times after the update: signal killed")
        system.goes_back("is too slow", SLOW, ["--units", "5", "--within", "20"], "not healthy within 20 s: too slow")
        better = system.confirms({**SYSTEM, **(LIMITS if may_raise_limits(machine) else {})})
        before = user.shown("MainPID")
        machine.reboot()
        system.wait("after a reboot the current release talks", lambda: system.current == better and system.talks())
        user.wait("after a reboot it talks", lambda: user.record().get("answered", 0) > 3)
        sessions = machine.run("loginctl", "list-sessions", "--no-legend")
        user.check("nobody has logged in", not sessions, sessions)
        user.stops()
        user.check("it is removed", "removed" in user.cli("service", "remove"), before)
        trial_across_boots(system, better)
        power_cuts(system, cuts, random.Random(seed))
        system.stops()
        system.check("it is removed", "removed" in system.cli("service", "remove", "--system"))
        print(f"all of it held, in {time.monotonic() - began:.0f} s", flush=True)
    finally:
        machine.end()


def may_raise_limits(machine: Machine) -> bool:
    """Whether systemd has CAP_SYS_RESOURCE; containers often lack it."""
    status = Path(f"/proc/{machine.first}/status").read_text()
    may = bool(int(status.split("CapEff:")[1].split()[0], 16) & 1 << 24)
    if not may:
        print("not seen: real time, memory that is not paged out; root may not raise limits here", flush=True)
    return may


def of_a_user(user: Side) -> None:
    user.machine.run("useradd", "--create-home", "--shell", "/bin/bash", WHO)
    user.installs()
    user.restarts()
    user.goes_back("crashes", CRASHES, ["--crashes", "2"], "crashed 2 times after the update: signal killed")
    user.confirms(USER)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the first process of a namespace has no default
    signal.signal(signal.SIGINT, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    args = parser.parse_args()
    os.umask(0o022)
    try:
        main(args.bundle, args.cuts, args.seed)
    except Failed as failure:
        print(f"failed: {failure} (--seed {args.seed})", flush=True)
        sys.exit(1)
