"""python -m tests.emulated.systemd BUNDLE: the system service under a real systemd, in an emulated machine.

Receives a bundle; installs the service with releases of it, and has systemd start, watch, stop and restart it, go back
from a release that crashes, and confirm one that does not. Prints a line for each, and ends with status 1 at the first
that does not hold. It is root there and changes the system's units: never run it on a machine that lasts.
`.ci/service` boots a machine for it, with a systemd that has its own processes, cgroups and /run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_streamer.devices.jetson.releases import service
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.places import Root, read_state
from edge_streamer.devices.jetson.releases.switching import Terms, activate
from edge_streamer.devices.jetson.releases.unit import NAME
from tests.devices.jetson.releases.made import source
from tests.devices.jetson.releases.test_trial import CRASHES

PATIENCE_SECONDS = 240.0
"""An emulated machine is some thirty times slower."""
TERMS = Terms(units=5, seconds=200.0, misses=1.0, crashes=2)


def told(*words: str) -> str:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False).stdout.strip()


def shown(name: str) -> str:
    return told("show", NAME, f"--property={name}", "--value")


def wait(what: str, holds: Callable[[], bool]) -> None:
    """Until it holds; else the end."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > PATIENCE_SECONDS:
            print(f"failed: {what}; {told('status', '--no-pager', '--full', NAME)}", flush=True)
            sys.exit(1)
        time.sleep(1)
    print(f"holds: {what} ({time.monotonic() - began:.0f} s)", flush=True)


def active() -> bool:
    return shown("ActiveState") == "active"


def main(bundle: Path, work: Path) -> None:
    print("a release is added", flush=True)
    root = Root(work / "root")
    good = add(root, source(work / "good", bundle, note="good")).id
    activate(root, good, None, check=False)
    drop_in = Path(f"/run/systemd/system/{NAME}.d/here.conf")  # this Python may lie in a home
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Unit]\nDefaultDependencies=no\n[Service]\nProtectHome=read-only\n")  # no other service runs
    for line in service.install(service.service_for(root.path, system=True, user="root")):
        print(line, flush=True)
    told("start", "--no-block", NAME)
    wait("the service starts, and is ready with its first unit", active)
    print(told("status", "--no-pager", "--lines=0", NAME), flush=True)
    health = Path("/run/edge-streamer/health.json")
    wait("it answers units", lambda: json.loads(health.read_bytes())["answered"] > 3)
    first = shown("MainPID")
    os.kill(int(first), signal.SIGKILL)
    wait("killed, it is restarted", lambda: active() and shown("MainPID") not in ("0", first))
    second = shown("MainPID")
    os.kill(int(second), signal.SIGSTOP)
    wait("standing still, it is ended by the watchdog and restarted",
         lambda: active() and shown("MainPID") not in ("0", second))  # fmt: skip
    worse = add(root, source(work / "worse", bundle, CRASHES, "worse")).id
    activate(root, worse, TERMS, check=False)
    told("restart", "--no-block", NAME)
    wait("it is gone back from", lambda: read_state(root).rollback is not None)
    wait("the good one is back", lambda: active() and root.led_to(root.current) == good)
    print(read_state(root).rollback, flush=True)
    better = add(root, source(work / "better", bundle, note="better")).id
    activate(root, better, TERMS, check=False)
    told("restart", "--no-block", NAME)
    wait("a release that answers is confirmed", lambda: better in read_state(root).good)
    began = time.monotonic()
    subprocess.run(["systemctl", "stop", NAME], check=True)
    print(f"holds: stopped in {time.monotonic() - began:.1f} s, {shown('Result')}", flush=True)
    print("all of it held", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
