"""One way of the bench in a process of its own, and the driver's end of the wire.

Receives questions, one JSON object a line on standard input; hands on one JSON object a line on standard output. A
worker lives for the whole bench (torch.compile warms up once) and is idle, blocked on its input, while another one
runs. Questions: ``check`` (compute units and save the answers), ``round`` (time units), and, for our session only,
``passes`` (time per kind of pass) and ``memory`` (growth under tracemalloc).
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.session.snapshot import load_snapshot
from tests.bench.engines import Answer, Ours, Way, made_units, make, save_answers

WARM_UNITS = 2
"""Before each round: caches are cold after another process ran."""
SPANS = 3


class Timed:
    """A way and the units it steps on."""

    def __init__(self, way: Way, bundle: Bundle) -> None:
        self.way = way
        self._units, self._next = made_units(bundle), 0

    def step(self) -> tuple[Answer, float]:
        """The next unit's answer, and the wall time it took."""
        unit = self._units[self._next % len(self._units)]
        self._next += 1
        begin = time.perf_counter()
        answer = self.way.step(unit)
        return answer, time.perf_counter() - begin


def serve(name: str, bundle: Path, start: Path, threads: int | None) -> None:
    """Answer questions until the input ends."""
    opened = Bundle.open(bundle, verify=False)
    timed = Timed(make(name, opened, load_snapshot(start), threads), opened)
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "check": check, "round": time_round, "passes": time_passes, "memory": measure_memory,
    }  # fmt: skip
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(verbs[question.pop("do")](timed, **question)), flush=True)


def check(timed: Timed, count: int, out: str) -> dict[str, Any]:
    """Compute ``count`` units and save their answers."""
    begin, answers = time.perf_counter(), []
    for _ in range(count):
        answer, _ = timed.step()
        answers.append(Answer(answer.tokens, *(np.array(a) for a in answer[1:])))
    save_answers(answers, Path(out))
    return {"seconds": time.perf_counter() - begin}


def time_round(timed: Timed, count: int) -> dict[str, Any]:
    """Wall time of ``count`` units, what of it our engine took, and what other processes took of the machine."""
    for _ in range(WARM_UNITS):
        timed.step()
    seconds, engine = [], []
    busy, own, wall = machine_busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(count):
        seconds.append(timed.step()[1])
        if isinstance(timed.way, Ours):
            engine.append(timed.way.engine_seconds)
    others = machine_busy_seconds() - busy - (time.process_time() - own)
    room = (time.perf_counter() - wall) * (os.cpu_count() or 1)
    return {"seconds": seconds, "engine_seconds": engine, "others_share": max(0.0, others / room)}


def machine_busy_seconds() -> float:
    """Processor time that all processes took since the machine started, in steps of 10 ms; 0 where not on Linux."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def time_passes(timed: Timed, count: int) -> dict[str, Any]:
    """Median engine time of one run, by kind of pass."""
    assert isinstance(timed.way, Ours)
    session, times = timed.way.session, defaultdict[str, list[float]](list)

    def note(name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        pass  # a play is timed run by run where somebody watches

    with session.recording(note):
        for _ in range(count):
            timed.step()
            for name, seconds in session.place.meter.last.runs.items():
                times[re.sub(r"\.\d+", "", name)].append(seconds)
    return {kind: float(np.median(runs)) for kind, runs in times.items()}


def measure_memory(timed: Timed, count: int) -> dict[str, Any]:
    """Bytes that Python and numpy hold more per unit: the median over SPANS of ``count`` units, after as many units
    under tracemalloc. What is kept once for good shows in one span, a leak in all."""
    tracemalloc.start()
    held = []
    for _ in range(1 + SPANS):
        for _ in range(count):
            timed.step()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return {"growth_bytes_per_unit": float(np.median(np.diff(held))) / count}


class WorkerDiedError(Exception):
    """Its own errors are on standard error."""


class Worker:
    """The driver's end: a running worker process."""

    def __init__(self, name: str, bundle: Path, start: Path, threads: int) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.bench.unit_time", "--worker", name, "--bundle", str(bundle)]
        command += ["--start", str(start), "--threads", str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, do: str, **details: object) -> dict[str, Any]:
        """Put a question and wait for the answer. WorkerDiedError where it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDiedError(f"the worker {self.name!r} died before {do!r}; its errors are above") from None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerDiedError(f"the worker {self.name!r} died while it was asked to {do!r}; its errors are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Close its input, which ends it, and wait."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
