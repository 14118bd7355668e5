"""Does what systemd does with the unit: start, ready, after the start, watchdog, stop, after the stop, restart.

Receives a unit's text and a folder; hands on :class:`Supervisor`, which runs the commands that stand in the unit, as
real processes, until something holds. What it knows of the unit is Exec lines and seconds; it is no sandbox.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.05


class Supervisor:
    """Of one unit. ``log`` is what its processes wrote, as the journal would have it."""

    def __init__(self, text: str, folder: Path, *, start_seconds: float = 60.0, watchdog_seconds: float = 30.0) -> None:
        self._lines = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
        self._start_seconds, self._watchdog_seconds = start_seconds, watchdog_seconds
        (folder / "run").mkdir(parents=True)
        self._log = folder / "log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self._env = {
            **os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "RUNTIME_DIRECTORY": str(folder / "run"),
            "WATCHDOG_USEC": str(int(watchdog_seconds * 1e6)),
        }  # fmt: skip
        self.starts = 0
        self.results: list[str] = []
        """SERVICE_RESULT of every end."""
        self.told: list[str] = []
        """What came to the socket."""
        self.main: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def run(self, until: Callable[[], bool], seconds: float = 120.0) -> None:
        """Start and restart until ``until`` holds, then stop. AssertionError where it does not hold in time."""
        ends = time.monotonic() + seconds

        def over() -> bool:
            assert time.monotonic() < ends, f"not within {seconds} s; results {self.results}\n{self.log}"
            return until()

        try:
            while not over():
                self._cycle(over)
        finally:
            if self.main is not None and self.main.poll() is None:
                self.main.kill()
                self.main.wait()
            self._socket.close()

    def _cycle(self, over: Callable[[], bool]) -> None:
        """From one start to its end."""
        self.starts += 1
        self._control("ExecStartPre")
        self._drain()
        self.main = main = self._spawn(self._command("ExecStart"))
        result = self._until_ready(main, over)
        if not result:
            post = self._spawn(self._command("ExecStartPost"), MAINPID=str(main.pid))
            while post.poll() is None and not over():
                time.sleep(LOOK_SECONDS)
            if post.poll() is None:
                post.terminate()
                post.wait()
                result = "success"
            elif post.wait():
                result = "exit-code"
        if not result:
            result = self._watched(main, over)
        self._stop(main)
        status = main.wait()
        if result == "success" and status not in (0, -signal.SIGTERM):
            result = "exit-code" if status > 0 else "signal"
        code = "exited" if status >= 0 else "killed"
        self.results.append(result)
        self._control("ExecStopPost", SERVICE_RESULT=result, EXIT_CODE=code, EXIT_STATUS=str(abs(status)))

    def _until_ready(self, main: subprocess.Popen[bytes], over: Callable[[], bool]) -> str:
        """Why it did not become ready; empty where it did."""
        ends = time.monotonic() + self._start_seconds
        while True:
            if "READY=1" in self._drain():
                return ""
            if main.poll() is not None:
                return "signal" if main.returncode < 0 else "exit-code" if main.returncode else "protocol"
            if over():
                return "success"
            if time.monotonic() > ends:
                return "timeout"
            time.sleep(LOOK_SECONDS)

    def _watched(self, main: subprocess.Popen[bytes], over: Callable[[], bool]) -> str:
        fed = time.monotonic()
        while main.poll() is None:
            fed = time.monotonic() if "WATCHDOG=1" in self._drain() else fed
            if over():
                return "success"
            if time.monotonic() - fed > self._watchdog_seconds:
                main.send_signal(signal.SIGABRT)
                main.send_signal(signal.SIGCONT)
                return "watchdog"
            time.sleep(LOOK_SECONDS)
        return "signal" if main.returncode < 0 else "exit-code" if main.returncode else "success"

    def _stop(self, main: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            main.terminate()
        with suppress(subprocess.TimeoutExpired):
            main.wait(10)
        main.kill()

    def _command(self, key: str) -> list[str]:
        (command,) = [value for name, value in self._lines if name == key]
        return shlex.split(command.lstrip("+"))

    def _control(self, key: str, **env: str) -> None:
        status = self._spawn(self._command(key), **env).wait(60)
        assert status == 0, f"{key} ended with {status}\n{self.log}"

    def _spawn(self, words: list[str], **env: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(words, env={**self._env, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _drain(self) -> list[str]:
        """Lines that came since the last time."""
        came: list[str] = []
        with suppress(BlockingIOError):
            while True:
                came += self._socket.recv(65536).decode().splitlines()
        self.told += came
        return came
