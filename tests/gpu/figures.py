"""What a card can do at most, and what a way of computing units takes: figures of ``python -m tests.gpu``.

Hands on :func:`ceilings` (arithmetic per dtype, memory bandwidth; measured by torch, medians of several tries) and
:func:`times` (unit time and host time of a session).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Unit

SIZE = 4096
"""Rows and columns of the products."""
COPIED = 1 << 30
"""Bytes."""
TRIES = 10
WARM = 3
"""Units before time counts: a tape is played plainly, then captured, then replayed."""


def ceilings() -> dict[str, float]:
    """Operations per second by dtype, and bytes per second (read and written), of torch's own device."""
    found = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=dtype) for _ in range(2))
        found[str(dtype).removeprefix("torch.")] = 2 * SIZE**3 / _seconds(lambda a=left, b=right: a @ b)  # type: ignore[misc]
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    found["bytes"] = 2 * COPIED / _seconds(lambda: target.copy_(source))
    return found


def _seconds(work: Callable[[], Any]) -> float:
    """Of one call, on the device: the median of TRIES, each of several calls between two events."""
    for _ in range(3):
        work()
    spent = []
    for _ in range(TRIES):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(5):
            work()
        last.record()
        last.synchronize()
        spent.append(first.elapsed_time(last) / 5e3)
    return statistics.median(spent)


def times(session: Session, units: Sequence[Unit], tokens: Sequence[Sequence[int]]) -> dict[str, float]:
    """Medians and the 95th percentile over ``units``, in milliseconds: the unit by the clock, and what the host's
    thread worked in it (what it only waited for the device is not counted)."""
    walls, hosts = [], []
    for number, (unit, forced) in enumerate(zip(units, tokens, strict=True)):
        wall, host = time.perf_counter(), time.thread_time()
        session.step(unit, forced)
        if number >= WARM:
            walls.append(1e3 * (time.perf_counter() - wall))
            hosts.append(1e3 * (time.thread_time() - host))
    return {
        "unit_ms": statistics.median(walls),
        "unit_p95_ms": sorted(walls)[int(0.95 * (len(walls) - 1))],
        "host_ms": statistics.median(hosts),
    }
