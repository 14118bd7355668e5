"""A private sound server with a virtual microphone and a virtual speaker, for tests on real drivers.

Hands on :class:`Pulse`: PulseAudio in a folder of its own, seen only by processes that get its ``environment``. What is
played into ``room`` is what the microphone hears; what is played on the speaker is at its monitor. Both are null sinks,
which take and give sound in real time. PortAudio reaches them through ALSA's pulse plugin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

RATE = 48000

PROGRAMS = {"pulseaudio": "pulseaudio", "pactl": "pulseaudio-utils", "pacat": "pulseaudio-utils"}
"""Program -> Debian package."""

ALSA_CONFIG = """
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.pulse { type pulse }
ctl.pulse { type pulse }
"""

MODULES = """
load-module module-native-protocol-unix auth-anonymous=1 socket={socket}
load-module module-null-sink sink_name=room rate=48000 channels=1 sink_properties=device.description=Room
load-module module-remap-source source_name=mic master=room.monitor source_properties=device.description=Microphone
load-module module-null-sink sink_name=speaker rate=48000 channels=2 sink_properties=device.description=Speaker
set-default-source mic
set-default-sink speaker
"""


ECHO = """
load-module module-loopback source=speaker.monitor sink=room latency_msec={ms} source_dont_move=true sink_dont_move=true
set-sink-input-volume 0 32768
"""
"""The air between speaker and microphone. Half the volume's scale is -18 dB."""


class Pulse:
    """One server. ``environment``: what a process needs to use it and no other. ``room_ms``: what the speaker plays is
    in the room so much later, an eighth as loud."""

    def __init__(self, folder: Path, room_ms: int | None = None) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "asoundrc").write_text(ALSA_CONFIG)
        self._socket = folder / "native"
        modules = MODULES.format(socket=self._socket) + ("" if room_ms is None else ECHO.format(ms=room_ms))
        (folder / "default.pa").write_text(modules)
        self.environment = {
            **os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder),
            "PULSE_SERVER": f"unix:{self._socket}", "PULSE_COOKIE": str(folder / "cookie"),
            "PULSE_RUNTIME_PATH": str(folder / "run"), "ALSA_CONFIG_PATH": str(self._alsa()),
        }  # fmt: skip
        self._server: subprocess.Popen[bytes] | None = None
        self._players: list[subprocess.Popen[bytes]] = []

    def _alsa(self) -> Path:
        """The system's configuration, which knows the plugin, and ours after it."""
        config = self.folder / "alsa.conf"
        config.write_text("</usr/share/alsa/alsa.conf>\n" + ALSA_CONFIG)
        return config

    def start(self) -> None:
        """Until its devices are there."""
        self._socket.unlink(missing_ok=True)
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disallow-exit",
             "--realtime=yes", "--high-priority=yes", "-F", str(self.folder / "default.pa")],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends = time.monotonic() + 30
        while self._pactl("info") != 0 or self._pactl("get-sink-volume", "speaker") != 0:
            assert self._server.poll() is None, "PulseAudio ended"
            assert time.monotonic() < ends, "PulseAudio does not answer"
            time.sleep(0.05)
        # A null sink that nobody hurries works in pieces of 2 s; a card never does.
        for sink in ("room", "speaker"):
            self._play_file(Path("/dev/zero"), sink, 10)
        time.sleep(2.2)  # the piece in progress

    def stop(self) -> None:
        """As a server that crashes: at once."""
        if self._server:
            self._server.kill()
            self._server.wait()
            self._server = None
        for player in self._players:
            player.kill()
            player.wait()
        self._players = []

    def _pactl(self, *words: str) -> int:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(["pactl", *words], env=self.environment, check=False, **quiet).returncode  # type: ignore[call-overload,no-any-return]

    def play(self, samples: np.ndarray, sink: str = "room", latency_ms: int = 80) -> subprocess.Popen[bytes]:
        """Play [n] samples of 48 kHz, full scale 1, in the background; it ends with the server at the latest."""
        file = self.folder / f"play-{time.monotonic_ns()}.f32"
        np.asarray(samples, "<f4").tofile(file)
        return self._play_file(file, sink, latency_ms)

    def _play_file(self, file: Path, sink: str, latency_ms: int) -> subprocess.Popen[bytes]:
        with file.open("rb") as source:
            player = subprocess.Popen(
                ["pacat", "--playback", f"--device={sink}", f"--rate={RATE}", "--channels=1", "--format=float32le",
                 f"--latency-msec={latency_ms}"],
                env=self.environment, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._players.append(player)
        return player

    @contextmanager
    def recording(self, source: str = "speaker.monitor", channels: int = 1) -> Iterator[Recording]:
        """Record ``source`` at 48 kHz while the block runs."""
        file = self.folder / f"record-{time.monotonic_ns()}.f32"
        with file.open("wb") as out:
            process = subprocess.Popen(
                ["pacat", "--record", f"--device={source}", f"--rate={RATE}", f"--channels={channels}",
                 "--format=float32le", "--latency-msec=10"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            recording = Recording(file, channels)
            ends = time.monotonic() + 20
            while not file.stat().st_size:
                assert time.monotonic() < ends, "nothing is recorded"
                time.sleep(0.01)
            try:
                yield recording
            finally:
                process.terminate()
                process.wait()


class Recording:
    """What was recorded so far."""

    def __init__(self, file: Path, channels: int) -> None:
        self._file, self._channels = file, channels

    @property
    def samples(self) -> np.ndarray:
        """[n], or [n, channels]."""
        found = np.fromfile(self._file, "<f4")
        found = found[: len(found) // self._channels * self._channels]
        return found if self._channels == 1 else found.reshape(-1, self._channels)


@contextmanager
def pulse_server_here(folder: Path) -> Iterator[Pulse]:
    """A running server that this process and what it starts use, and no other."""
    with pulse_server(folder) as server:
        old = dict(os.environ)
        os.environ.update(server.environment)
        try:
            yield server
        finally:
            os.environ.clear()
            os.environ.update(old)


@contextmanager
def pulse_server(folder: Path, room_ms: int | None = None) -> Iterator[Pulse]:
    """A running server; skips where its programs are not installed."""
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("needs the Debian package libasound2-plugins")
    server = Pulse(folder, room_ms)
    server.start()
    try:
        yield server
    finally:
        server.stop()
