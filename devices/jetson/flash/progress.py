"""What is done already: a small file for each step, so that a command that was interrupted goes on where it was.

Receives the folder of Linux_for_Tegra; hands on :class:`Progress`. A step counts as done only for the same wish, which
a fingerprint stands for.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import write_file

FOLDER = "edge-streamer-flash"
IMAGES, FLASHED = "images", "flashed"


class Progress:
    """The steps of one Linux_for_Tegra."""

    def __init__(self, l4t: Path) -> None:
        self.folder = l4t / FOLDER
        self._logs: Path | None = None

    def begin(self) -> None:
        """Make the folders. Raises InputError where they cannot be made."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / "state").mkdir(exist_ok=True)
            self._logs = self.folder / "logs" / time.strftime("%Y%m%dT%H%M%S")
            self._logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {self.folder}: {error.strerror}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else flashes from this folder meanwhile. Raises InputError where somebody does."""
        number = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another edge-streamer flash works in {self.folder.parent}; wait for it") from error
            yield
        finally:
            os.close(number)

    def running(self, process: int) -> None:
        """A script has begun: whoever comes after one that was killed is not to start a second one beside it."""
        write_file(
            self.folder / "state/running.json", json.dumps({"process": process, "since": _since(process)}).encode()
        )

    def check_running(self) -> None:
        """Raises InputError where a script of one that was killed is still at work."""
        try:
            told = json.loads((self.folder / "state/running.json").read_bytes())
            process, since = int(told["process"]), str(told["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if since and _since(process) == since:
            raise InputError(f"a script that an earlier run began is still at work (process {process}); wait for its "
                             f"end, or stop it: sudo kill -INT -- -{process}")  # fmt: skip

    @property
    def logs(self) -> Path:
        """This run's folder, named by the time."""
        assert self._logs is not None
        return self._logs

    def done(self, step: str, fingerprint: str) -> bool:
        """Whether a step was done for this wish."""
        try:
            told = json.loads((self.folder / "state" / f"{step}.json").read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(told, dict) and told.get("fingerprint") == fingerprint

    def finish(self, step: str, fingerprint: str, **more: object) -> None:
        """A step is done."""
        said = {"step": step, "fingerprint": fingerprint, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **more}
        write_file(self.folder / "state" / f"{step}.json", (json.dumps(said, indent=2) + "\n").encode())

    def forget(self, step: str) -> None:
        """A step must be done again."""
        (self.folder / "state" / f"{step}.json").unlink(missing_ok=True)


def _since(process: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is none, or only what is left of one."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
