"""Memory and start of a session in a fresh process: ``python -m tests.bench.real_memory [BUNDLE] [--units N]``.

Receives a bundle (default: the one that ships); hands on one JSON line. Two processes, each fresh, are measured:

    session   starts Python, imports, opens the bundle and steps: time to the first answer, resident memory before and
              after opening, and at its peak over the units. What opening adds, less the state's own buffers, is held
              against the weights of the graphs that it opens. A session before it, of one step, is not counted: it
              warms the file cache and the checksums' memory
    run       ``edge-streamer run`` on the demo's media, with the agent's sound and film and a report: its peak, codecs
              and files included

Exit status 1 where a limit does not hold. The time counts from before the process is made. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

START_SECONDS = 3.0
"""Limit of start to first answer."""
PEAK_MEGABYTES = 500.0
"""Limit of resident memory while the demo runs. MB are 10^6 bytes."""
WEIGHTS_TIMES = 1.15
"""Limit of what opening adds, in weights: they are held once. Below SMALL_WEIGHTS the engine's own few MB decide."""
SMALL_WEIGHTS = 100e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.real_memory", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", type=Path, help="default: the demo bundle that ships")
    parser.add_argument("--units", type=int, default=50, help="steps of the session (default: 50)")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.began is not None:
        print(json.dumps(measure_session(args.bundle, args.units, args.began)))
        return
    bundle = args.bundle or _demo_bundle()
    came = fresh_session(bundle, args.units)
    came["run_peak_mb"] = run_peak(bundle)
    came["limits"] = limits(came)
    print(json.dumps(came))
    sys.exit(not all(limit["holds"] for limit in came["limits"].values()))


def _demo_bundle() -> Path:
    from edge_streamer.runtime.bundle.shipped import bundle_path

    return bundle_path()


def fresh_session(bundle: Path, units: int) -> dict[str, Any]:
    """Measure a session in a process of its own, after one that warms the file cache and the checksums' memory."""
    for steps in (1, units):
        command = [sys.executable, "-m", "tests.bench.real_memory", str(bundle), "--units", str(steps)]
        output = subprocess.run([*command, "--began", str(time.monotonic())], check=True, stdout=subprocess.PIPE).stdout
    came: dict[str, Any] = json.loads(output)
    return came


def measure_session(bundle: Path, units: int, began: float) -> dict[str, Any]:
    """In the fresh process: open, step, and say what it took. ``began`` is the monotonic clock before it was made."""
    from edge_streamer.runtime.engines.cpu import OrtEngine
    from edge_streamer.runtime.session.session import open_session
    from edge_streamer.runtime.unit import Unit

    engine = OrtEngine()
    before = resident_bytes()
    session = open_session(bundle, engine=engine)
    opened, opened_seconds = resident_bytes(), time.monotonic() - began
    session.step(Unit())
    first_seconds = time.monotonic() - began
    for _ in range(units - 1):
        session.step(Unit())
    used = {spec.name: spec.weight_bytes for spec in session.bundle.manifest.graphs if spec.name != "encode_agent"}
    weights = sum(used.values())
    return {
        "bundle": session.bundle.manifest.name,
        "engine": engine.name,
        "units": units,
        "open_seconds": opened_seconds,
        "first_answer_seconds": first_seconds,
        "weights_mb": weights / 1e6,
        "states_mb": session.state_bytes / 1e6,
        "opening_adds_mb": (opened - before) / 1e6,
        "opening_adds_weights": (opened - before - session.state_bytes) / weights,
        "session_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def resident_bytes() -> int:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_peak(bundle: Path) -> float:
    """Peak resident MB of ``edge-streamer run`` with sound, film and report."""
    from edge_streamer.runtime.bundle.shipped import EMBEDDED

    media = EMBEDDED / "media"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edge_streamer", "run", str(bundle)]
        command += ["--mic", str(media / "speech.flac"), "--camera", str(media / "camera.mp4")]
        command += ["--speaker", f"{folder}/voice.wav"]
        command += ["--display", f"{folder}/film.mp4", "--json", f"{folder}/report.json"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"edge-streamer run ended with status {process.returncode}; its error is above")
    return usage.ru_maxrss * 1024 / 1e6


def limits(came: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Which limits there are for this bundle, and whether they hold."""
    wanted = {"first_answer_seconds": START_SECONDS}
    if came["weights_mb"] * 1e6 >= SMALL_WEIGHTS:
        wanted["opening_adds_weights"] = WEIGHTS_TIMES
    else:
        wanted |= {"session_peak_mb": PEAK_MEGABYTES, "run_peak_mb": PEAK_MEGABYTES}
    return {name: {"at_most": most, "holds": came[name] <= most} for name, most in wanted.items()}


if __name__ == "__main__":
    main()
