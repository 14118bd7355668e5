"""python -m tests.bench.host: what the live loop costs outside the engine, with pictures of 192 x 336 both ways.

A bundle of the tiny preset's network with the large preset's pictures runs live: microphone and speaker of a sound
server, the moving pattern as camera, a window without a screen behind it, the echo canceller on. With and without
``--record``, which keeps every picture without loss. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_streamer.export.wan_streamer.config import TINY
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.export.wan_streamer.tokenizer import byte_level
from edge_streamer.export.write import Origin, export_bundle
from tests.pulse import Pulse, pulse_server

SIZE = (192, 336)
MOST_MS = 5.0
"""Wanted: at most this, per unit."""


def large_pictures(folder: Path) -> Path:
    """A bundle whose network is small and whose pictures are not."""
    config = replace(TINY, user_size=SIZE, agent_size=SIZE)
    return export_bundle(build(config, 0), byte_level(), Origin("random, seed 0", "none"), folder).path


def run(pulse: Pulse, bundle: Path, seconds: float, folder: Path, record: bool) -> dict[str, Any]:
    """The report of a live run."""
    command = [
        sys.executable, "-m", "edge_streamer", "run", str(bundle), "--camera", "pattern", "--display",
        "window", "--seconds", str(seconds), "--json", str(folder / "report.json"),
        *(["--record", str(folder / "record")] if record else []),
    ]  # fmt: skip
    environment = pulse.environment | {"SDL_VIDEODRIVER": "dummy"}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args.seconds)


def measure(folder: Path, seconds: float) -> None:
    """Both runs, a line each, and the JSON."""
    bundle = large_pictures(folder / "bundle")
    lines = {}
    with pulse_server(folder / "server") as pulse:
        for name, record in (("plain", False), ("recorded", True)):
            report = run(pulse, bundle, seconds, folder, record)
            host, unit = report["host_ms"], report["unit_time_ms"]
            verdict = "holds" if host["p99"] <= MOST_MS else "does not hold"
            print(
                f"{name:9} host p50 {host['p50']:.2f}  p99 {host['p99']:.2f}  max {host['max']:.2f} ms of a unit "
                f"(wanted {MOST_MS:.0f}: {verdict}); unit p50 {unit['p50']:.1f} ms"
            )
            callbacks = {name: report["devices"][name] for name in ("mic", "speaker")}
            lines[name] = {"host_ms": host, "unit_time_ms": unit, "answered": report["answered"], **callbacks}
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
