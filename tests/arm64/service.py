"""What systemd does with the unit of a flashed device, in its root file system, as its user: first start, then a talk.

    python3 service.py UNIT FOLDER UNITS

Receives the unit's file, a folder for what is told, and how many units in a row confirm the release; hands on exit
status 0 where it is confirmed and the talk came to its end. Runs there beside a copy of supervisor.py, before anything
of ours is installed: Python's own library alone.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from supervisor import Supervisor

SECONDS = 1500.0
WITHIN = "600"
"""The most that `releases activate` takes."""


def main(words: Sequence[str]) -> int:
    unit, folder, units = Path(words[0]), Path(words[1]), words[2]
    (dropin,) = Path(f"{unit}.d").iterdir()
    (first,) = [line.partition("=")[2] for line in dropin.read_text().splitlines() if line.startswith("ExecStartPre=")]
    command = shlex.split(first.lstrip("+"))
    root = Path(command[4])
    timed("first start", command)
    assert not dropin.exists(), "systemd would call it again"
    release = (root / "current").resolve()
    # An emulated processor is not in time: nothing of the terms but that.
    terms = ["--units", units, "--within", WITHIN, "--misses", "1", "--no-check", "--no-restart"]
    program = [str(release / "env/bin/python"), "-B", "-m", "edge_streamer"]
    timed("its terms", [*program, "releases", "activate", release.name, "--root", str(root), *terms])
    supervisor = Supervisor(unit.read_text(), folder, start_seconds=SECONDS, watchdog_seconds=600.0)

    def over() -> bool:
        state = json.loads((root / "state.json").read_text())
        return release.name in state["good"] and bool(supervisor.results)

    begun = time.monotonic()
    supervisor.run(over, SECONDS)
    print(supervisor.log, f"the talk: {time.monotonic() - begun:.0f} s, {supervisor.starts} start, it ended by "
          f"{supervisor.results}", sep="", flush=True)  # fmt: skip
    return 0


def timed(name: str, command: Sequence[str]) -> None:
    begun = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
