"""Runs that never ran, as health records, for tests."""

from __future__ import annotations

from typing import Any

from edge_streamer.runtime.health.record import Device, Health, Named, Recent, Stamp, Trouble, Zone

NOW = Stamp(time=2_000_000.0, host="board", boot="b007", monotonic=5000.0)


def written(seconds_ago: float) -> Stamp:
    return Stamp(time=NOW.time - seconds_ago, host=NOW.host, boot=NOW.boot, monotonic=NOW.monotonic - seconds_ago)


def health(**changed: Any) -> Health:
    """A run that is well, but for what is ``changed``."""
    well: dict[str, Any] = {
        "state": "running", "state_seconds": 100.0, "unit_age_seconds": 0.1, "units": 626, "answered": 624,
        "failed": 1, "skipped": 1, "deadline_misses": 3, "unit_ms": 160.0,
        "recent": Recent(units=500, deadline_misses=2, failed=1, last_ms=31.5, p50_ms=30.0, p99_ms=45.25),
        "temperatures": {"cpu-thermal": 48.5, "tj-thermal": 51.25}, "hottest": Zone("tj-thermal", 51.25),
        "devices": {"mic": Device("USB Audio", True), "camera": Device("/dev/video0", False, "it was unplugged")},
        "last_error": Trouble("unit 7: core gave a NaN", NOW.time - 60), "bundle": Named("demo", "ab" * 32),
        "engine": "onnxruntime 1.32.0 cpu", "pace": "live", "edge_streamer": "0.1.0", "pid": 4711,
        "started": NOW.time - 110, "uptime_seconds": 110.0, "written": written(0.5),
    }  # fmt: skip
    return Health(**{**well, **changed})
