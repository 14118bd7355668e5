"""python -m tests.live.soak --minutes 30: the shipped demo live for long, with a fault of every kind, again and again.

The demo runs on a private PulseAudio, its own voice coming back into the microphone 40 ms later as in a room, while
recorded commands are played to it. Faults in turn: each worker killed, a worker that hangs (camera, speaker), the sound
server killed and started again, the whole process stopped for two seconds, SIGHUP; steps that raise and a disk that
fills (a limit on file sizes) run along. At the end the counters must agree with what was done, and memory, threads and
file descriptors be flat. The last line is JSON; exit status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_streamer.runtime.bundle.shipped import EMBEDDED, bundle_path
from tests.live.conversation import at_server_rate, draw
from tests.pulse import Pulse, pulse_server

STEP_FAULT_EVERY = 250
"""Units: one in 40 s."""

FILE_LIMIT = 3_000_000
"""Bytes: the recording's sound reaches it within 50 s."""

FAULT_SECONDS = 9.0
"""Between faults: longer than any of them needs to heal."""

GROWTH_MB = 12.0
"""What resident memory may grow by after the first third: allocators settle late."""

MOST_TARGET_MS = 140.0
"""60 at the beginning; 20 for each unit that was late of itself, as happens on a machine that others use too."""

TOLD = (
    "units", "answered", "failed", "skipped", "starved", "deadline_misses", "hasty", "mouth_to_ear_ms", "unit_time_ms",
    "host_ms", "target_ms", "echo_loss_db", "devices", "record_stopped",
)  # fmt: skip
"""Of the run's own report, passed on."""


@dataclass
class Done:
    """What was injected."""

    counts: dict[str, int] = field(default_factory=dict)
    resident_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def note(self, fault: str) -> None:
        self.counts[fault] = self.counts.get(fault, 0) + 1


WORKER, MISSED = "edge_streamer.devices.live.process.worker", "none to signal"


def workers(pid: int) -> dict[str, int]:
    """What each worker process of ``pid`` drives -> its process."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(") ", 1)[1].split()[1])
            words = (path / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if parent == pid and WORKER in words:
            module = words[words.index(WORKER) + 1].removeprefix("edge_streamer.devices.live.")
            found.setdefault(module, int(path.name))
    return found


def sample(pid: int, done: Done) -> None:
    """Memory, descriptors and threads of the run."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    done.resident_mb.append(int(status["VmRSS"].split()[0]) / 1024)
    done.threads.append(int(status["Threads"]))
    done.descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))


class Faults:
    """One after the other, for ever."""

    def __init__(self, pulse: Pulse, pid: int, done: Done) -> None:
        self._pulse, self._pid, self._done = pulse, pid, done
        self._turn = 0
        self.kinds: list[Callable[[], None]] = [
            self.kill_camera, self.kill_one_sound, self.hang_camera, self.kill_server, self.stop_all, self.hang_up,
            self.kill_display, self.hang_one_sound,
        ]  # fmt: skip

    def next(self) -> str:
        kind = self.kinds[self._turn % len(self.kinds)]
        self._turn += 1
        kind()
        name = kind.__name__
        self._done.note(name)
        return name

    def _signal(self, worker: str, number: int) -> None:
        pid = workers(self._pid).get(worker)
        if pid is None:
            self._done.note(MISSED)  # it may be on its way back
        else:
            os.kill(pid, number)

    def kill_camera(self) -> None:
        self._signal("camera.worker", signal.SIGKILL)

    def kill_display(self) -> None:
        self._signal("screen.worker", signal.SIGKILL)

    def hang_camera(self) -> None:
        self._signal("camera.worker", signal.SIGSTOP)

    def kill_one_sound(self) -> None:
        self._signal("sound.worker", signal.SIGKILL)

    def hang_one_sound(self) -> None:
        self._signal("sound.worker", signal.SIGSTOP)

    def kill_server(self) -> None:
        self._pulse.stop()
        time.sleep(1.0)
        self._pulse.start()

    def stop_all(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(self._pid, signal.SIGCONT)

    def hang_up(self) -> None:
        os.kill(self._pid, signal.SIGHUP)


def soak(minutes: float, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run, injure, watch, judge."""
    _, drawn = draw(min(minutes, 5.0))
    sound = at_server_rate(drawn)
    done = Done()
    with pulse_server(folder / "server", room_ms=40) as pulse:
        environment = pulse.environment | {"SDL_VIDEODRIVER": "dummy"}
        command = [
            sys.executable, "-m", "tests.live.faulty_run", str(STEP_FAULT_EVERY), "run", str(bundle_path()),
            "--camera", "pattern", "--display", "window", "--prefix", str(EMBEDDED / "media" / "persona.png"),
            "--seconds", f"{60 * minutes:.0f}", "--record", str(folder / "record"),
            "--json", str(folder / "report.json"), "--log", str(folder / "log.jsonl"),
        ]  # fmt: skip
        running = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT)),
        )  # fmt: skip
        faults = Faults(pulse, running.pid, done)
        due, player = time.monotonic() + 15.0, pulse.play(sound)
        last = time.monotonic() + 60 * minutes - 20
        while running.poll() is None:
            time.sleep(1.0)
            if running.poll() is None:
                sample(running.pid, done)
            if player.poll() is not None:
                player = pulse.play(sound)
            if due < time.monotonic() < last:
                tell(faults.next())
                due = time.monotonic() + FAULT_SECONDS
        player.kill()
        player.wait()
    return judge(running.returncode, json.loads((folder / "report.json").read_bytes()), done, folder, minutes)


def judge(status: int, report: dict[str, Any], done: Done, folder: Path, minutes: float) -> dict[str, Any]:
    """What must hold."""
    devices, counts = report["devices"], done.counts
    third = len(done.resident_mb) // 3
    growth = float(np.median(done.resident_mb[-10:]) - np.median(done.resident_mb[third : third + 10]))
    servers = counts.get("kill_server", 0)
    sound_lost = devices["mic"]["lost"] + devices["speaker"]["lost"]
    sound_faults = counts.get("kill_one_sound", 0) + counts.get("hang_one_sound", 0) + 2 * servers
    wanted_units = 60 * minutes / 0.16
    holds = {
        "it ended by itself": status == 0,
        "every unit passed": abs(report["units"] - wanted_units) < 2,
        "steps that raised are counted": abs(report["failed"] - report["answered"] // STEP_FAULT_EVERY) <= 1,
        "sound losses agree": abs(sound_lost - sound_faults) <= servers,
        "camera losses agree": devices["camera"]["lost"] == counts.get("kill_camera", 0) + counts.get("hang_camera", 0),
        "display losses agree": devices["display"]["lost"] == counts.get("kill_display", 0),
        "faults found their process": counts.get(MISSED, 0) <= 1,
        "SIGHUPs agree": report["reopens"] == counts.get("hang_up", 0),
        "stalls were skipped": report["skipped"] >= 10 * counts.get("stop_all", 0),
        "the full disk ended the recording and was told": "record" in (report["record_stopped"] or ""),
        "all devices are open at the end": all(device["open"] for device in devices.values()),
        "the buffer is no larger for it": report["target_ms"] < MOST_TARGET_MS,
        "memory is flat": growth < GROWTH_MB,
        "descriptors are flat": max(done.descriptors[-5:]) <= max(done.descriptors[5:15]) + 2,
        "threads are flat": max(done.threads[-5:]) <= max(done.threads[5:15]) + 2,
    }
    return {
        "holds": holds, "faults": counts, "minutes": minutes, "growth_mb": round(growth, 2),
        "resident_mb": round(done.resident_mb[-1], 1), "descriptors": done.descriptors[-1], "threads": done.threads[-1],
        **{name: report[name] for name in TOLD},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    begun = time.monotonic()
    result = soak(args.minutes, folder, lambda fault: print(f"[{time.monotonic() - begun:6.0f} s] {fault}", flush=True))
    for name, value in result["holds"].items():
        print(f"{'holds' if value else 'FAILS':6} {name}")
    print(f"log and report: {folder}")
    print(json.dumps(result))
    return 0 if all(result["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
