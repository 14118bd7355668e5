"""A machine that boots, reboots and loses its power: a real systemd in namespaces, on a disk of its own.

Receives a work folder; hands on :class:`Machine`. Its files are this machine's, with a disk above them that takes all
that is written: an ext4 image where a loop device may be had, so that a power cut loses what was not forced out, as
it does on a board (the file system is shut down without its journal being flushed, then mounted anew). Processes,
mounts, the network, cgroups and the name are its own. Needs root. Where the caller is the first process of a pid
namespace with mounts of its own, as `.ci/service` makes it, all of it ends with the caller, whatever becomes of that; a
caller that is killed leaves its folder and an empty cgroup.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

BOOT_SECONDS = 120.0
DISK_BYTES = 4 << 30
SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN; its argument 2 is: without flushing the journal."""
SCRIPT = Path(__file__).with_name("machine.sh")


class Disk:
    """Mounted at ``folder``, with its image beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._image = folder, folder.with_name(f"{folder.name}.image")
        folder.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        self.loses_power = self._mount()
        """Whether a cut loses what was not forced out; else, without a loop device, it loses nothing."""

    def _mount(self) -> bool:
        words = ["mount", "-o", "loop", self._image, self.folder]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def shut_down(self) -> None:
        """Nothing reaches it from now on, the journal neither."""
        if self.loses_power:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.ioctl(handle, SHUT_DOWN, ctypes.c_uint32(2))
            finally:
                os.close(handle)

    def mount_again(self) -> None:
        """As the next start of a machine does."""
        if self.loses_power:
            subprocess.run(["umount", self.folder], check=True)
            if not self._mount():
                raise RuntimeError("the disk cannot be mounted again")

    def end(self) -> None:
        subprocess.run(["umount", self.folder], check=False, capture_output=True)
        self._image.unlink()


class Machine:
    """``work`` is a folder of its own, on a file system that overlays may be written on; every user in there may read
    what is below ``shared``."""

    def __init__(self, work: Path, shared: Sequence[Path] = ()) -> None:
        folders = {folder for path in shared for folder in (path, *path.parents)}
        self._shared = sorted(str(folder) for folder in folders if folder != Path("/"))
        self._work, self._root, self._cgroup = work, work / "root", work / "cgroup"
        for folder in (self._root, self._cgroup):
            folder.mkdir()
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", self._cgroup], check=True)
        self._cgroup /= f"edge-streamer-test-{os.getpid()}-{time.monotonic_ns()}"
        self.disk = Disk(work / "disk")
        self._outer: subprocess.Popen[bytes] | None = None
        self.first = 0
        """The process of systemd, seen from here."""

    def boot(self) -> None:
        """Until systemd is up; what it starts comes later."""
        self._cgroup.mkdir(exist_ok=True)
        words = ["unshare", "--pid", "--mount", "--cgroup", "--ipc", "--uts", "--net", "--fork", "--kill-child"]
        self._outer = subprocess.Popen(
            [*words, "bash", str(SCRIPT), str(self.disk.folder), str(self._root), *self._shared], preexec_fn=self._enter
        )
        ends = time.monotonic() + BOOT_SECONDS
        while not self._up():
            if self._outer.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"the machine did not boot: {self.run('systemctl', 'list-jobs')}")
            time.sleep(0.2)

    def _enter(self) -> None:
        """Into the machine's cgroup."""
        (self._cgroup / "cgroup.procs").write_text("0")

    def _up(self) -> bool:
        """Whether systemd answers, and users may come."""
        assert self._outer is not None
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        with suppress(OSError, IndexError):
            self.first = int(children.read_text().split()[0])
            if Path(f"/proc/{self.first}/comm").read_text().strip() == "systemd":
                return self.run("systemctl", "is-active", "systemd-logind.service") == "active"
        return False

    def command(self, *words: str, user: str = "") -> list[str]:
        """Words that run a program in there: as root, or as a user who logs in."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
                 "env", "-i", "--chdir=/", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8",
                 "HOME=/root", "SYSTEMD_PAGER="]  # fmt: skip
        return [*enter, "su", "--login", user, "--command", shlex.join(words)] if user else [*enter, *words]

    def run(self, *words: str, user: str = "") -> str:
        """What a program in there printed, on both of its ways."""
        done = subprocess.run(self.command(*words, user=user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, preexec_fn=self._join)  # fmt: skip
        return done.stdout.decode("utf-8", "replace").strip()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a program in there."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, preexec_fn=self._join)  # fmt: skip

    def _join(self) -> None:
        """Into the cgroup that systemd has for processes of none of its units; else logind could not take them."""
        with suppress(OSError):
            (self._cgroup / "init.scope/cgroup.procs").write_text("0")

    def path(self, name: str) -> Path:
        """A file in there, seen from here."""
        return Path(f"/proc/{self.first}/root{name}")

    def reboot(self) -> None:
        """As a person does: every service is stopped."""
        self.run("systemctl", "reboot")
        self._gone()
        self.boot()

    def cut(self) -> None:
        """The power goes; nothing is stopped and nothing more is written. :meth:`boot` begins anew."""
        self.disk.shut_down()
        self._kill()
        self._gone()
        self.disk.mount_again()

    def _kill(self) -> None:
        with suppress(OSError):
            (self._cgroup / "cgroup.kill").write_text("1")
        with suppress(OSError):
            os.kill(self.first, signal.SIGKILL)

    def _gone(self) -> None:
        """Wait for the end of all of it."""
        assert self._outer is not None
        self._outer.wait(BOOT_SECONDS)
        self._outer = None
        self._drop(self._cgroup)

    def _drop(self, cgroup: Path) -> None:
        """Cgroups hold no files; a process that is dying keeps one for a moment."""
        for folder, _, _ in os.walk(cgroup, topdown=False):
            for _ in range(100):
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.05)

    def end(self) -> None:
        """Nothing is left of it."""
        if self._outer is not None:
            self._kill()
            with suppress(subprocess.TimeoutExpired):
                self._gone()
        self.disk.end()
        subprocess.run(["umount", self._cgroup.parent], check=False, capture_output=True)
        shutil.rmtree(self._work, ignore_errors=True)
