"""A board on loopback: a real sshd of its own, with its own keys and settings, and a link before it that can be cut.

Receives a folder; hands on :class:`Board`. Nothing of the machine's own ssh is used or changed.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
MISSING = "" if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") else (
    "no sshd here: apt-get install openssh-server openssh-client")  # fmt: skip
SEPARATION = Path("/run/sshd")
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
MaxStartups 100
SetEnv PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin XDG_CONFIG_HOME={folder}/home/c XDG_STATE_HOME={folder}/home/s
"""
CLIENT = """Host *
    UserKnownHostsFile {folder}/known
    GlobalKnownHostsFile none
    IdentityFile {folder}/user
    IdentitiesOnly yes
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_key(path: Path) -> str:
    """The public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_name(path.name + ".pub").read_text()


class Proxy:
    """A link that counts what goes to the board, and is cut after so many bytes."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.cut_after: list[int] = []
        """Bytes of the connections to come, each cut after so many; the later ones hold."""
        self.cuts = 0
        self._ends: list[socket.socket] = []
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """All connections that are open."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            limit = self.cut_after.pop(0) if self.cut_after else None
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # the server is not there yet; the next try may find it
                near.close()
                continue
            self._ends += [near, far]
            threading.Thread(target=self._serve, args=(near, far, limit), daemon=True).start()

    def _serve(self, near: socket.socket, far: socket.socket, limit: int | None) -> None:
        back = threading.Thread(target=self._pass, args=(far, near, False, None), daemon=True)
        back.start()
        self._pass(near, far, True, limit)
        back.join()
        near.close()
        far.close()

    def _pass(self, one: socket.socket, other: socket.socket, counts: bool, limit: int | None) -> None:
        went = 0
        with suppress(OSError):
            while data := one.recv(16384):
                other.sendall(data)
                went += len(data)
                self.sent += len(data) if counts else 0
                if counts and limit is not None and went >= limit:
                    self.cuts += 1
                    break
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Board:
    """A context manager. ``words`` are what `edge-streamer deploy` needs to reach it."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.root = folder, folder / "device"
        self.host = f"{getpass.getuser()}@127.0.0.1"
        for name in ("bin", "home"):
            (folder / name).mkdir(parents=True)
        self._python = python
        self._port = free_port()
        make_key(folder / "host")
        (folder / "authorized").write_text(make_key(folder / "user"))
        (folder / "sshd_config").write_text(CONFIG.format(folder=folder, port=self._port))
        (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
        self.proxy = Proxy(self._port)
        self.restore()

    def script(self, name: str, text: str) -> None:
        """A program that the board finds first."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def restore(self) -> None:
        """As it was at first."""
        for path in (self.folder / "bin").iterdir():
            path.unlink()
        self.script("python3", f'exec {self._python} "$@"')
        if (self.folder / "host.pub").exists():
            self.know((self.folder / "host.pub").read_text())

    def know(self, public: str) -> None:
        """What this side takes for the board's key."""
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.proxy.port} {public}" if public else "")

    @property
    def words(self) -> list[str]:
        return [self.host, "--port", str(self.proxy.port), "--ssh-config", str(self.folder / "ssh_config"),
                "--root", str(self.root), "--board-python", str(self.folder / "bin/python3")]  # fmt: skip

    def __enter__(self) -> Board:
        assert SSHD is not None
        if os.geteuid() == 0:
            SEPARATION.mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("wb") as log:
            self._sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip
        ends = time.monotonic() + 10
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port)).close()
                return self
            if time.monotonic() > ends or self._sshd.poll() is not None:
                raise AssertionError((self.folder / "sshd.log").read_text())
            time.sleep(0.05)

    def __exit__(self, *unused: object) -> None:
        self.proxy.close()
        self._sshd.terminate()
        self._sshd.wait()
