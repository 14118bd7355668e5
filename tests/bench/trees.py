"""Two states of this project against each other, on the shipped demo: ``python -m tests.bench.trees OTHER_TREE``.

Receives the folder of another tree (a worktree, or what ``git archive`` gave); hands on medians and ratios of unit time
and of host time, and one JSON line. Host time is a unit's without the engine's runs.

Choices: each tree computes in a process of its own, on one thread, on its own shipped bundle; both live for the whole
bench and take turns, in an order that turns round every time. Time is that of the thread on its processor, so that what
others do on the machine counts only where it empties caches; a ratio is taken within a round, and its median quoted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_UNITS = 8
HERE = Path(__file__).resolve().parents[2]
CLOCKS = ("programs.passes", "engines.tape", "programs.wan_streamer.program", "passes", "wan_streamer")
"""Modules of the runtime whose clock becomes the thread's; each tree has some of them."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trees", description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the tree to compare with")
    parser.add_argument("--bundle", type=Path, help="instead of the one that each tree ships")
    parser.add_argument("--floats", action="store_true", help="the shipped float32 bundle")
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--units", type=int, default=10, help="per round and tree (default: 10)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args)
    else:
        bench(args)


def bench(args: argparse.Namespace) -> None:
    """Take turns; print."""
    with tempfile.TemporaryDirectory() as empty:
        workers = {name: _start(tree, empty) for name, tree in (("this", HERE), ("other", args.other))}
        came: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for number in range(args.rounds):
            for name in list(workers)[:: 1 if number % 2 else -1]:
                came[name].append(_ask(workers[name]))
        for worker in workers.values():
            worker.communicate()
    report: dict[str, Any] = {"rounds": args.rounds, "units": args.units}
    for kind in ("unit", "host"):
        pairs = [(this[kind], other[kind]) for this, other in zip(came["this"], came["other"], strict=True)]
        this, other = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        report[kind] = {"this_ms": 1e3 * this, "other_ms": 1e3 * other, "ratio": ratio}
        print(f"{kind} time: {1e3 * this:.3f} ms, {1e3 * other:.3f} ms in the other tree; ratio {ratio:.3f}")
    print(json.dumps(report))


def _start(tree: Path, folder: str) -> subprocess.Popen[str]:
    """A worker whose ``edge_streamer`` is that of ``tree`` and whose own file is this one; in ``folder``, where there
    is nothing to import."""
    environment = os.environ | {"PYTHONPATH": str(tree.resolve() / "src"), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--worker"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )


def _ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("round\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a tree's process died; its errors are above")
    answer: dict[str, float] = json.loads(line)
    return answer


def serve(args: argparse.Namespace) -> None:
    """In a worker: medians of ``args.units`` units for every line that comes."""
    bundle_path = _found("bundle_path", "bundle.shipped", "shipped")
    made_unit = _found("made_unit", "compare.golden", "golden")
    engine = _found("OrtEngine", "engines.cpu", "engines.ort")(threads=1)
    open_session = _found("open_session", "session.session", "session")
    for name in CLOCKS:
        try:
            module: Any = importlib.import_module(f"edge_streamer.runtime.{name}")
        except ImportError:
            continue
        module.perf_counter = time.thread_time
    session = open_session(args.bundle or bundle_path(floats=args.floats), engine=engine, verify=False)
    units = [made_unit(session.media, 3, k) for k in range(WARM_UNITS)]
    for unit in units:
        session.step(unit)
    for _ in sys.stdin:
        whole, host = [], []
        for k in range(args.units):
            start = time.thread_time()
            response = session.step(units[k % WARM_UNITS])
            whole.append(time.thread_time() - start)
            host.append(whole[-1] - response.engine_seconds)
        print(json.dumps({"unit": statistics.median(whole), "host": statistics.median(host)}), flush=True)


def _found(what: str, *modules: str) -> Any:
    """From the first module of the runtime that has it: trees from before the rooms had their files in one folder."""
    for name in modules:
        try:
            return getattr(importlib.import_module(f"edge_streamer.runtime.{name}"), what)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"the tree has no {what}")


if __name__ == "__main__":
    main()
