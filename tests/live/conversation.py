"""python -m tests.live.conversation: the shipped demo in real time on a real sound server, scored as `eval` scores it.

Conversations of the evaluation (smooth turns, interruptions, stops; held-out voices) are played into the virtual
microphone; the speaker's monitor is recorded. What the model heard is found again in the recording of the run, so that
every answer can be laid beside its question: in the model's own time (`eval`'s figures, unit time apart) and, from the
monitor, as a person at the speaker would hear it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from edge_streamer.runtime.bundle.shipped import EMBEDDED, bundle_path
from edge_streamer.runtime.commands import replay
from edge_streamer.runtime.evaluation.behaviour import Halt, Question, halts, questions
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.runner import Microphone, Recording, Voices
from edge_streamer.runtime.evaluation.suite import Case, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import load_assets, load_world
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import RATE, UNIT
from edge_streamer.runtime.loop import journal
from tests.pulse import RATE as SERVER_RATE
from tests.pulse import Pulse, pulse_server
from tests.sounds import place

KINDS = ("smooth", "interruption", "stop")
PAUSE_SECONDS = 1.0
"""Between conversations."""


@dataclass
class Played:
    """A conversation and where in the played sound it begins, in samples of 16 kHz."""

    case: Case
    scene: Scene
    begin: int


def draw(minutes: float) -> tuple[list[Played], np.ndarray]:
    """Conversations for about so long, and the user's sound at 16 kHz."""
    world, held_out = load_assets()
    cases = [case for case in duplex(20 * minutes, 1, world, held_out, identity=0).cases if case.kind in KINDS]
    played, parts, place = list[Played](), list[np.ndarray](), RATE
    parts.append(np.zeros(RATE, np.float32))
    for case in cases:
        scene = scene_of(case, world)
        microphone = Microphone(scene, Voices(case, held_out))
        sound = np.concatenate([microphone.unit(k) for k in range(case.script.units)])
        played.append(Played(case, scene, place))
        parts += [sound, np.zeros(int(PAUSE_SECONDS * RATE), np.float32)]
        place += len(sound) + int(PAUSE_SECONDS * RATE)
        if place > 60 * minutes * RATE:
            break
    return played, np.concatenate(parts)


def at_server_rate(sound: np.ndarray) -> np.ndarray:
    """From 16 kHz to what the sound server plays."""
    return np.asarray(soxr.resample(sound, RATE, SERVER_RATE), np.float32)


def converse(pulse: Pulse, sound: np.ndarray, folder: Path, echo: str = "full") -> dict[str, Any]:
    """Run the demo while ``sound`` is in the room; leaves the run's report, recording and the monitor's sound."""
    seconds = len(sound) / RATE
    command = [
        sys.executable, "-m", "edge_streamer", "run", str(bundle_path()), "--camera", "none", "--display",
        "none", "--prefix", str(EMBEDDED / "media" / "persona.png"), "--seconds", f"{seconds + 6:.1f}",
        "--aec", echo, "--record", str(folder / "record"), "--json", str(folder / "report.json"),
        "--log", str(folder / "log.jsonl"),
    ]  # fmt: skip
    running = subprocess.Popen(command, env=pulse.environment, stdin=subprocess.DEVNULL)
    try:
        _until_begun(folder / "log.jsonl", running)
        with pulse.recording("speaker.monitor") as monitor:
            player = pulse.play(at_server_rate(sound))
            assert running.wait(seconds + 60) == 0
            player.wait(10)
            monitor.samples.tofile(folder / "monitor.f32")
    finally:
        running.kill()
        running.wait()
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


def _until_begun(log: Path, running: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 60
    while not log.exists() or b'"begin"' not in log.read_bytes():
        assert running.poll() is None, "the run ended before it began"
        assert time.monotonic() < ends, "the run does not begin"
        time.sleep(0.05)
    time.sleep(1.0)


def judge(played: list[Played], sound: np.ndarray, folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Scores of a run."""
    heard = np.fromfile(folder / "record" / journal.SOUND, "<f4")
    found, alike = place(heard, sound, fine=1)
    begin = int(found)
    voice, text = _answers(folder / "record", len(heard) // UNIT)
    asked, stopped, true_late = list[Question](), list[Halt](), list[float]()
    monitor = np.asarray(soxr.resample(np.fromfile(folder / "monitor.f32", "<f4"), SERVER_RATE, RATE), np.float32)
    first = int(np.argmax(np.abs(voice) > 0.1))
    _, said_alike = place(monitor, voice[first : first + RATE], fine=1)  # further on, pacing has moved it
    ear = Ear(load_world())
    for one in played:
        made = _cut(one, begin + one.begin, heard, voice, text)
        asked += questions(one.scene, made, ear)
        stopped += halts(one.scene, made)
    late = [question.audible_ms for question in asked if question.audible_ms is not None]
    mouth_to_ear = report["mouth_to_ear_ms"]["p50"]
    true_late = [value + mouth_to_ear for value in late]
    return {
        "heard_alike": round(alike, 4), "said_alike": round(said_alike, 4),
        "questions": len(asked), "right": round(float(np.mean([q.verdict == "right" for q in asked])), 4),
        "missed": sum(question.verdict == "missed" for question in asked),
        "response_ms": {"p50": round(float(np.median(late)), 1), "p95": round(float(np.percentile(late, 95)), 1)},
        "at_the_speaker_ms": {"p50": round(float(np.median(true_late)), 1)},
        "stops": len(stopped), "stopped_within_one_unit": sum(halt.units <= 1 for halt in stopped),
        "stop_audible_ms": round(max((halt.audible_ms for halt in stopped), default=0.0), 1),
        "mouth_to_ear_ms": mouth_to_ear, "deadline_misses": report["deadline_misses"], "units": report["units"],
        "host_ms": report["host_ms"], "unit_time_ms": report["unit_time_ms"],
        "mic": report["devices"]["mic"], "speaker": report["devices"]["speaker"],
    }  # fmt: skip


def _answers(folder: Path, units: int) -> tuple[np.ndarray, list[str]]:
    """What the agent said, bit for bit, by replaying; the words of each unit."""
    text = [""] * units
    for event in replay.read_events(folder):
        if event.unit is not None and event.unit < units:
            text[event.unit] = event.said
    out = folder.parent / "again"
    ran = subprocess.run(
        [sys.executable, "-m", "edge_streamer", "replay", str(folder), "--out", str(out), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with wave.open(str(out / "voice.wav")) as file:
        voice = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return voice, text


def _cut(one: Played, begin: int, heard: np.ndarray, voice: np.ndarray, text: list[str]) -> Recording:
    """One conversation in the model's time, as if its first sample had been the first of a unit."""
    units = one.case.script.units
    first = round(begin / UNIT)
    words = [text[k] if 0 <= k < len(text) else "" for k in range(first, first + units)]
    sound = slice(begin, begin + units * UNIT)
    silent = np.zeros(units * UNIT, np.float32)
    samples = silent.copy()
    samples[: len(voice[sound])] = voice[sound]
    loud = np.abs(samples.reshape(units, UNIT)).max(axis=1) > 0.04
    return Recording(heard[sound], samples, np.zeros((0, 1, 1, 3), np.uint8), loud, words, silent[:units])


def run(pulse: Pulse, minutes: float, folder: Path, echo: str = "full") -> dict[str, Any]:
    """One conversation, scored."""
    played, sound = draw(minutes)
    report = converse(pulse, sound, folder, echo)
    return judge(played, sound, folder, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--aec", default="full")
    parser.add_argument("--room", type=int, metavar="MS", help="its own voice comes back into the microphone")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    with pulse_server(folder / "server", args.room) as pulse:
        result = run(pulse, args.minutes, folder, args.aec)
    for name, value in result.items():
        print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
