"""``python -m tests.bench.echo``: echo return loss, double-talk and time, in made-up rooms.

Receives nothing (rooms and devices of ``tests/rooms.py``, recordings that ship); prints a table, one line for each room
with each kind of devices, then one JSON line. The agent is silent for 3 s, then speaks without a pause longer than
0.15 s; the user says a word every 1.6 s from second 13 on, half of them over the agent's voice or more. Columns:

    loss        echo return loss in dB, energy by energy, where only the agent is heard, from second 5 on
    converged   seconds from the agent's first sound to the first whole second above 20 dB
    told        what ``loss_db()`` says of the last ten seconds of talk, the user's words in them
    delay       what ``measured_delay_ms()`` says; wanted: the room's own and what the speaker's latency lacks
    word        dB of the user's words that are left, in the mean; and of the tenth that suffers most
    likeness    of the words' spectrograms with what came out, and with what the microphone got
    frame, unit microseconds of ``clean`` for 10 ms; milliseconds of all work here for 160 ms

``--at-once`` lets the agent speak from the first sample on, while the clocks are unknown. ``--ears BUNDLE`` asks a
bundle instead whether it understands words over its own voice (``tests/bench/echo_ears.py``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_streamer.devices.live.sound.echo.canceller import open_echo
from edge_streamer.runtime.loop.media import Samples
from tests.bench.echo_ears import LEVELS, MODES, ears, ways
from tests.rooms import Devices, EchoRoom, agent_speech, converse, user_words

RATE = 16000
SILENT_SECONDS, SETTLED_SECONDS, FIRST_WORD, WORD_SECONDS = 3.0, 5.0, 13.0, 1.6
WORDS = ("stop", "hello", "weather", "colour", "again", "music", "story", "number", "animal", "goodbye")
WANTED_DB = 20.0

ROOM = EchoRoom()
ROOMS = {
    "5 ms, 100 ms": EchoRoom(delay_ms=5, reverb_ms=100),
    "20 ms, 200 ms": ROOM,
    "60 ms, 300 ms": EchoRoom(delay_ms=60, reverb_ms=300),
    "200 ms, 300 ms": EchoRoom(delay_ms=200, reverb_ms=300),
    "faint, -18 dB": EchoRoom(echo_db=-18),
    "loud, +6 dB": EchoRoom(echo_db=6),
    "soft clipping": EchoRoom(drive=3),
    "noise -50 dB": EchoRoom(noise_db=-50),
}
"""Delay of the direct path and reverberation; an echo of -6 dB where nothing else is said."""

DEVICES = {
    "exact": Devices(),
    "+-300 ppm": Devices(speaker_ppm=300, microphone_ppm=-300),
    "-+300 ppm, 3 ms": Devices(speaker_ppm=-300, microphone_ppm=300, jitter=0.003),
    "told 100 ms too much": Devices(told_less=-0.1),
    "told 100 ms too little": Devices(told_less=0.1, speaker_seconds=0.15),
}
"""The clocks against the true one; jitter of told times; what the speaker tells of its latency."""


class Timed:
    """An echo canceller with a stop-watch."""

    def __init__(self, rate: int) -> None:
        self.echo = open_echo("full", rate)
        self.clean_seconds: list[float] = []
        self.played_seconds: list[float] = []

    @property
    def latency(self) -> float:
        return self.echo.latency

    def played(self, moment: float, samples: Samples, rate: int) -> None:
        begun = time.perf_counter()
        self.echo.played(moment, samples, rate)
        self.played_seconds.append(time.perf_counter() - begun)

    def clean(self, near: Samples, moment: float) -> Samples:
        begun = time.perf_counter()
        out = self.echo.clean(near, moment)
        self.clean_seconds.append(time.perf_counter() - begun)
        return out


def measure(room: EchoRoom, devices: Devices, seconds: float, rate: int = RATE, silent: float = SILENT_SECONDS) -> Any:
    """One line of the table."""
    count = int((seconds - FIRST_WORD) / WORD_SECONDS)
    words = tuple(WORDS[n % len(WORDS)] for n in range(count))
    voice, spans = user_words(seconds, rate, words, tuple(FIRST_WORD + WORD_SECONDS * n for n in range(count)))
    timed = Timed(rate)
    heard = converse(timed, agent_speech(seconds, devices.speaker_rate, 0.15, after=silent), voice, room, devices, rate)
    kept = [heard.voice_db(*span) for span in spans]
    frame, block = statistics.median(timed.clean_seconds), statistics.median(timed.played_seconds)
    return {
        "loss_db": heard.loss_db(SETTLED_SECONDS, seconds),
        "converged_s": heard.converged(WANTED_DB),
        "told_db": timed.echo.loss_db(), "delay_ms": timed.echo.measured_delay_ms(),
        "word_db": float(np.mean(kept)), "worst_word_db": float(np.quantile(kept, 0.1)),
        "likeness": float(np.mean([heard.likeness(*span) for span in spans])),
        "likeness_before": float(np.mean([heard.likeness(*span, came=heard.near) for span in spans])),
        "frame_us": 1e6 * frame, "unit_ms": 1e3 * 16 * (frame + block), "latency_ms": 1e3 * timed.latency,
        "counts": dict(timed.echo.counts()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.echo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=45.0, help="of each conversation (default: 45)")
    parser.add_argument("--rate", type=int, default=RATE, help="the model's (default: 16000)")
    parser.add_argument("--at-once", action="store_true", help="the agent speaks from the first sample on")
    parser.add_argument("--ears", type=Path, metavar="BUNDLE", help="ask this bundle what it understands")
    parser.add_argument("--cases", type=int, default=12, help="of each kind, with --ears (default: 12)")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=LEVELS, metavar="DB", help="of the echo, with --ears"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="of dealing with it, with --ears")
    args = parser.parse_args()
    if args.ears:
        print(json.dumps(ears(args.ears, args.cases, ways(args.levels, args.modes))))
        return
    silent = 0.0 if args.at_once else SILENT_SECONDS
    pairs = [(room, "exact") for room in ROOMS] + [("20 ms, 200 ms", devices) for devices in list(DEVICES)[1:]]
    lines = []
    for room, devices in pairs:
        line = measure(ROOMS[room], DEVICES[devices], args.seconds, args.rate, silent)
        lines.append({"room": room, "devices": devices, **line})
    _show(lines)
    print(json.dumps({"rate": args.rate, "seconds": args.seconds, "lines": lines}))


def _show(lines: list[dict[str, Any]]) -> None:
    table = Table("room", "devices", "loss", "converged", "told", "delay", "word", "likeness", "frame", "unit")
    for line in lines:
        delay, told = line["delay_ms"], line["told_db"]
        table.add_row(
            line["room"], line["devices"], f"{line['loss_db']:.1f} dB", f"{line['converged_s']:.1f} s",
            "-" if told is None else f"{told:.1f} dB", "-" if delay is None else f"{delay:.1f} ms",
            f"{line['word_db']:.1f} ({line['worst_word_db']:.1f}) dB",
            f"{line['likeness']:.2f} ({line['likeness_before']:.2f})",
            f"{line['frame_us']:.0f} us", f"{line['unit_ms']:.2f} ms",
        )  # fmt: skip
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
