"""Updates of releases on a disk that loses its power with them: what had ended has lasted, the rest is whole or gone.

Receives a folder; hands on :func:`disk_cuts`, which kills updates as tests/bench/release_kills.py does, and lets the
disk forget what was not forced out before it looks.
"""

from __future__ import annotations

import os
from contextlib import redirect_stderr
from pathlib import Path

from edge_streamer.devices.jetson.releases.places import read_state
from tests.bench.release_kills import Killing
from tests.emulated.machine import Disk


class PowerCuts(Killing):
    """Updates of releases alone, on a disk that loses its power with them."""

    def __init__(self, disk: Disk, seed: int) -> None:
        self._disk, self._finished = disk, 0
        super().__init__(disk.folder, seed, None)
        os.sync()

    def _look(self, number: int, before: str | None) -> None:
        """After the cut. What had ended before it must have lasted."""
        found = self.root.led_to(self.root.current), read_state(self.root)
        self._disk.shut_down()
        self._disk.mount_again()
        ended, self._finished = self.kills.finished > self._finished, self.kills.finished
        if ended and found != (self.root.led_to(self.root.current), read_state(self.root)):
            self.kills.harm.append(f"cut {number}: an update that had ended was lost")
        super()._look(number, before)


def disk_cuts(folder: Path, times: int, seed: int) -> tuple[str, list[str]]:
    """Many, as no systemd has to boot for them. Returns what came of them, and what went wrong."""
    disk = Disk(folder)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # the keeper's words
            cuts = PowerCuts(disk, seed)
            for number in range(1, times + 1):
                cuts.once(number)
            cuts.settle()
        found = cuts.kills
        how = "what was not forced out is lost" if disk.loses_power else "there is no loop device, so nothing is lost"
        told = (f"power cut {times} times within updates of {found.seconds:.2f} s on ext4, {how}: what had ended has "
                f"lasted, every release is complete, the current one proven or on trial ({found.switched} were "
                f"switched to, {found.left} left something half-written, {found.finished} had ended)")  # fmt: skip
        return told, found.harm
    finally:
        disk.end()
