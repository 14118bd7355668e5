"""python -m tests.live.mouth_to_ear: a click at the microphone to its answer at the speaker, measured and explained.

A stand-in model of a known step time answers every negative click with a positive one at the same place of its unit.
Microphone and speaker are one null sink, so one recording holds clicks and answers on one clock. The measured time is
held against the loop's own sum of unit fill, input, step, buffer and output. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import Microphone
from edge_streamer.devices.live.sound.speaker import Speaker
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import LiveEnds, Settings
from edge_streamer.runtime.loop.live import run_live
from edge_streamer.runtime.loop.stand_ins import NoCamera, NoScreen
from edge_streamer.runtime.timing import MonotonicClock
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.media_files import MEDIA
from tests.pulse import RATE, Pulse, pulse_server_here

PULSE_SAMPLES = 24
"""Of a click at the model's rate: 1.5 ms."""

APART_SECONDS = 0.73
"""Between clicks: no multiple of a unit, so that they lie anywhere in one."""


class StandIn:
    """Answers clicks; a step takes ``step_seconds``."""

    def __init__(self, step_seconds: float) -> None:
        self.media, self._step_seconds, self._count = MEDIA, step_seconds, 0
        self._frames = np.zeros((MEDIA.sees.unit_frames, *MEDIA.shows.size, 3), np.uint8)
        self._open = 0
        """Samples of an answer that reaches into the next unit."""

    def step(self, unit: Unit) -> Response:
        begun = time.monotonic()
        assert unit.samples is not None
        out = np.zeros_like(unit.samples)
        out[: self._open] = 0.5
        self._open = 0
        for place in np.flatnonzero((unit.samples[1:] < -0.2) & (unit.samples[:-1] >= -0.2)) + 1:
            out[place : place + PULSE_SAMPLES] = 0.5
            self._open = max(place + PULSE_SAMPLES - len(out), 0)
        time.sleep(max(self._step_seconds - (time.monotonic() - begun), 0.0))
        self._count += 1
        taken = time.monotonic() - begun
        return Response(self._count - 1, out, self._frames, "", (), taken, taken)


def clicks(seconds: float) -> np.ndarray:
    """Negative clicks at 48 kHz, the first after a second."""
    sound = np.zeros(int(seconds * RATE), np.float32)
    length = PULSE_SAMPLES * RATE // MEDIA.hears.sample_rate
    for begin in np.arange(1.0, seconds - 1.0, APART_SECONDS):
        sound[int(begin * RATE) : int(begin * RATE) + length] = -0.7
    return sound


def edges(recorded: np.ndarray, level: float) -> np.ndarray:
    """Seconds at which ``recorded`` crosses ``level`` outwards, 10 ms apart at least."""
    beyond = recorded / level > 1
    found = np.flatnonzero(beyond[1:] & ~beyond[:-1]) + 1
    apart = np.concatenate(([True], np.diff(found) > RATE // 100))
    return found[apart] / RATE


def measure(pulse: Pulse, seconds: float, step_seconds: float) -> dict[str, object]:
    """Run the loop for ``seconds`` on the server whose environment is this process's own."""
    os.environ["PULSE_SINK"] = "room"
    microphone, speaker = Microphone("default", MEDIA, Untouched("off")), Speaker("default", MEDIA, Untouched("off"))
    try:
        assert microphone.wait() == speaker.wait() == "", (microphone.wait(), speaker.wait())
        ends = LiveEnds(microphone, speaker, NoCamera(), NoScreen())
        done = threading.Event()
        counters: list[Counters] = []

        def loop() -> None:
            counters.append(
                run_live(StandIn(step_seconds), ends, MonotonicClock(), Settings(Knobs(steps=1)), stopped=done.is_set)
            )

        thread = threading.Thread(target=loop)
        thread.start()
        time.sleep(2.0)  # until buffers have settled
        with pulse.recording("room.monitor") as recording:
            player = pulse.play(clicks(seconds))
            player.wait()
            time.sleep(1.0)
            recorded = recording.samples
        done.set()
        thread.join()
    finally:
        microphone.close()
        speaker.close()
        del os.environ["PULSE_SINK"]
    return judge(recorded, counters[0], step_seconds)


def judge(recorded: np.ndarray, counters: Counters, step_seconds: float) -> dict[str, object]:
    """What was measured beside what the loop says."""
    said, answers = edges(recorded, -0.2), edges(recorded, 0.2)
    took = [float(answers[answers > click].min() - click) for click in said if (answers > click).any()]
    counted = counters.mouth_to_ear.percentile(50, len(counters.mouth_to_ear) * 2 // 3)
    parts = {name: part.percentile(50, len(part) * 2 // 3) for name, part in counters.parts.items()}
    return {
        "clicks": len(said), "answers": len(answers), "step_ms": 1000 * step_seconds,
        "measured_ms": {
            "p50": round(1000 * float(np.median(took)), 2), "min": round(1000 * min(took), 2),
            "max": round(1000 * max(took), 2),
        },
        "explained_ms": round(1000 * counted, 2),
        "parts_ms": {"fill": 160.0} | {name: round(1000 * value, 2) for name, value in parts.items()},
        "difference_ms": round(1000 * (float(np.median(took)) - counted), 2),
        "misses": counters.misses, "troubles": counters.troubles(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--step", type=float, default=0.03, help="seconds that a step takes")
    args = parser.parse_args()
    with pulse_server_here(Path(tempfile.mkdtemp())) as pulse:
        result = measure(pulse, args.seconds, args.step)
    print(f"measured  {result['measured_ms']}")
    print(f"explained {result['explained_ms']}: {result['parts_ms']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
