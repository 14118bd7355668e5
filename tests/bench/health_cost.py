"""python -m tests.bench.health_cost [SECONDS]: what telling how a run stands costs its units.

Steps the demo's bundle as live, a unit every 160 ms by a thread of real-time priority where that is permitted, in turns
of five seconds with ``--health`` (JSON, Prometheus text, a socket and ten thermal zones) and without, and compares; and
measures what the thread that writes takes by itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_streamer.devices.board.thermal import zones
from edge_streamer.devices.jetson.system import System, silent
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.health.publish import Publisher
from edge_streamer.runtime.health.vitals import Counts, Vitals
from edge_streamer.runtime.loop.priorities import raise_priority
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Durations
from edge_streamer.runtime.unit import Unit

TURN_SECONDS, UNIT_SECONDS = 5.0, 0.16
ROUNDS = 200


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, open_session(bundle_path(False)) as session:
        root = Path(folder)
        for zone in range(10):
            place = root / f"sys/devices/virtual/thermal/thermal_zone{zone}"
            place.mkdir(parents=True)
            (place / "type").write_text(f"zone{zone}-thermal\n")
            (place / "temp").write_text("48000\n")
        system = System(root, silent)
        places = [Place.of(f"{root}/{name}") for name in ("h.json", "h.prom", "h.sock")]
        print(*raise_priority(), sep="\n")
        turns(session, 2.0, Vitals("fast"), Durations(), [])  # warm
        times = {True: Durations(), False: Durations()}
        began, on = time.monotonic(), False
        while time.monotonic() - began < seconds:
            vitals = Vitals("fast", lambda: zones(system))
            turns(session, TURN_SECONDS, vitals, times[on], places if on else [])
            on = not on
        for told, found in times.items():
            figures = "  ".join(f"p{p} {1000 * found.percentile(p):.2f}" for p in (50, 95, 99))
            print(f"{'with' if told else 'without':8} {len(found)} units  {figures}  max {1000 * found.max:.2f} ms")
        alone(Vitals("fast", lambda: zones(system)), places[:2], times[False])


def turns(session: Session, seconds: float, vitals: Vitals, times: Durations, places: list[Place]) -> None:
    """Steps for so long; every step's time into ``times``."""
    recent, answered = Durations(), 0
    with Publisher(vitals, places, print):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.perf_counter()
            vitals.begin()
            session.step(Unit())
            vitals.end()
            answered += 1
            vitals.counted(lambda: Counts(len(recent), len(recent), 0, 0, 0, 0.16, recent))
            vitals.unit(answered)
            times.add(time.perf_counter() - began)
            recent.add(times.last)
            time.sleep(max(began + UNIT_SECONDS - time.perf_counter(), 0.0))


def alone(vitals: Vitals, places: list[Place], times: Durations) -> None:
    """What one writing takes of a processor."""
    vitals.counted(lambda: Counts(len(times), len(times), 0, 0, 0, 0.16, times))
    taken = []
    with Publisher(vitals, places, print) as publisher:
        for _ in range(ROUNDS):
            began = time.thread_time()
            publisher.write()
            taken.append(time.thread_time() - began)
    print(f"a writing takes {1000 * float(np.median(taken)):.2f} ms of one core, once a second")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
