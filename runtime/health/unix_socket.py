"""A Unix socket that answers whoever connects with how the run stands, and the other side of it.

Receives a path and what to answer; hands on :class:`Answerer` and :func:`ask`.

Choices: a connection gets its answer into the kernel's buffer, which is larger than any answer, and is closed: nobody
who never reads is waited for, and none is kept. Answers are made at most ten times a second and given at most two
hundred times, so that no crowd takes time from the units. The file is there for its owner alone (0600).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_streamer.runtime.claims import alone
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health.places import LONGEST_SOCKET

WAITING = 64
"""Connections that the kernel keeps until they are answered; it makes others wait, or refuses them."""
FRESH_SECONDS = 0.1
PAUSE_SECONDS = 0.005
MOST_BYTES = 1_000_000
"""Of an answer."""


class Answerer:
    """Answers at ``path`` from a thread of its own until ``close``, which removes the file.

    A file that a dead process left is replaced. Raises InputError where a living one answers there, where something
    else has the name, and where it cannot be made.
    """

    def __init__(self, path: Path, answer: Callable[[], bytes]) -> None:
        if len(os.fsencode(path)) > LONGEST_SOCKET:
            raise InputError(f"--health {path}: a socket's name has at most {LONGEST_SOCKET} bytes; name a shorter one")
        self._path, self._answer = path, answer
        self._made, self._data = 0.0, b""
        self._ended = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(self._socket.fileno(), 0o600)  # before there is a file, so that it never has another mode
            with alone([path.parent]):  # two that begin together do not remove each other's
                _make_room(path)
                self._socket.bind(os.fspath(path))
                self._file = _identity(path)
                self._socket.listen(WAITING)
        except OSError as error:
            self._socket.close()
            raise InputError(f"--health {path}: {error.strerror}; name another place") from error
        except InputError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="health socket", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 1.0) -> None:
        """Answer nobody more; harmless twice."""
        if self._ended:
            return
        self._ended = True
        with suppress(OSError):
            if _identity(self._path) == self._file:  # else somebody has made another
                self._path.unlink()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which wakes the thread
        self._thread.join(seconds)
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended:
            try:
                client, _ = self._socket.accept()
            except OSError:  # the end, a client that has gone, or no descriptor left for one
                time.sleep(PAUSE_SECONDS)
                continue
            with client, suppress(OSError):
                client.setblocking(False)
                client.send(self._fresh())
            time.sleep(PAUSE_SECONDS)

    def _fresh(self) -> bytes:
        now = time.monotonic()
        if not self._data or now - self._made > FRESH_SECONDS:
            self._data, self._made = self._answer(), now
        return self._data


def _make_room(path: Path) -> None:
    """Remove what a dead process left at ``path``."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InputError(f"--health {path} exists and is no socket; name another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(os.fspath(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:  # nobody listens
                path.unlink(missing_ok=True)
                return
            if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):  # many wait for somebody who lives
                raise
    raise InputError(f"--health {path}: another process answers there; end it, or name another")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def ask(path: Path, seconds: float) -> bytes:
    """What is answered at ``path``. Raises OSError: ConnectionRefusedError where nobody answers there any more,
    TimeoutError where the answer is not whole within ``seconds``."""
    until = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect(os.fspath(path))
        except BlockingIOError as error:  # so many wait that not even waiting is possible
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
        data = b""
        while len(data) <= MOST_BYTES:
            client.settimeout(max(until - time.monotonic(), 0.001))
            part = client.recv(65536)
            if not part:
                return data
            data += part
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
