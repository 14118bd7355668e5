"""python -m tests.fuzz KIND --cases N --seed S: hostile input, by structure

Receives how many cases of which kind (manifest, archive, graph, snapshot, golden, recording, media or all); hands on a
table, the first tracebacks, one JSON line, and status 1 where anything was found: an exception that is not this
project's own, an error of more than one line, a wrong answer, a crash, a case longer than two seconds, more than a
gigabyte of memory, a file where none belongs. Case 17 alone, again: ``--only 17``.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

KINDS = ("manifest", "archive", "graph", "snapshot", "golden", "recording", "media")
SLOW_SECONDS = 2.0
"""Of one case, as a user waits on a machine that does nothing else; a slow one counts where it is slow every time."""
TRIES = 4
HUNG_SECONDS = 60.0
"""Nothing that ends by itself takes so long here."""
MOST_MEGABYTES = 1000.0
SHOWN = 5
"""Findings of one sort that are printed per kind."""
FINDINGS = ("traceback", "wrong", "outside", "crash", "hang", "slow", "memory")


class Worker:
    """A worker process; started anew after it crashed, hung or took too much memory."""

    def __init__(self, kind: str, seed: int, root: Path, bundle: Path) -> None:
        self._words = [sys.executable, "-m", "tests.fuzz.worker", kind, str(seed), str(root), str(bundle)]
        self._root, self._log = root, root.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None

    def case(self, number: int) -> dict[str, Any]:
        """Try one case."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._lost(number, "crash")
        if not select.select([process.stdout], [], [], HUNG_SECONDS)[0]:
            return self._lost(number, "hang")
        line = process.stdout.readline()
        if not line:
            return self._lost(number, "crash")
        result: dict[str, Any] = json.loads(line)
        if result["megabytes"] > MOST_MEGABYTES:
            self.close()
        return result

    def close(self) -> None:
        """End the process, and what it left."""
        if self._process:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()
            self._process = None
        shutil.rmtree(self._root, ignore_errors=True)

    def _start(self) -> subprocess.Popen[str]:
        self._root.mkdir(parents=True, exist_ok=True)
        home = str(self._root / "home")
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": home,
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"the worker did not start; its log:\n{self._log.read_text()[-3000:]}")
        return self._process

    def _lost(self, number: int, how: str) -> dict[str, Any]:
        assert self._process is not None
        if how == "crash":
            self._process.wait()
        status = self._process.returncode
        self.close()
        tail = self._log.read_text(errors="replace")[-600:]
        return {
            "case": number,
            "how": how,
            "trace": f"status {status}; {tail}",
            "seconds": HUNG_SECONDS,
            "megabytes": 0.0,
        }


def judged(worker: Worker, number: int) -> dict[str, Any]:
    """One case; what it took judged too."""
    for _ in range(TRIES):
        result = worker.case(number)
        if result["how"] in FINDINGS:
            return result
        if result["seconds"] <= SLOW_SECONDS:
            break
    else:
        return {**result, "how": "slow", "trace": f"{result['how']} after {result['seconds']:.1f} s"}
    if result["megabytes"] > MOST_MEGABYTES:
        return {**result, "how": "memory", "trace": f"{result['how']} after {result['megabytes']:.0f} MB"}
    return result


def fuzz(kind: str, cases: range, seed: int, bundle: Path, folder: Path, console: Console) -> Counter[str]:
    """Every case of one kind; prints what was found."""
    worker, found = Worker(kind, seed, folder / kind, bundle), Counter[str]()
    try:
        for number in track(cases, f"{kind:10}", console=console, disable=not console.is_terminal):
            result = judged(worker, number)
            found[result["how"]] += 1
            if result["how"] in FINDINGS and found[result["how"]] <= SHOWN:
                print(f"\n{kind} case {number}, seed {seed}: {result['how']}\n{result['trace']}", file=sys.stderr)
    finally:
        worker.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("kind", choices=(*KINDS, "all"))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case alone")
    parser.add_argument("--bundle", type=Path, help="what is damaged (default: a tiny one, made by export or named by "
                        "EDGE_STREAMER_TINY_BUNDLE; without torch the embedded one)")  # fmt: skip
    args = parser.parse_args()
    console = Console(stderr=True)
    cases = range(args.cases) if args.only is None else range(args.only, args.only + 1)
    findings = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or _bundle(Path(folder))
        for kind in KINDS if args.kind == "all" else (args.kind,):
            found = fuzz(kind, cases, args.seed, bundle.absolute(), Path(folder), console)
            findings[kind] = sum(found[how] for how in FINDINGS)
            print(f"{kind:10} {len(cases)} cases, {findings[kind]} findings: {dict(found.most_common())}")
    print(json.dumps({"cases": len(cases), "seed": args.seed, "findings": findings}))
    return 1 if any(findings.values()) else 0


def _bundle(folder: Path) -> Path:
    if made := os.environ.get("EDGE_STREAMER_TINY_BUNDLE"):
        return Path(made)
    try:
        from tests.bundles import exported_bundle

        return exported_bundle("tiny", folder / "tiny")
    except ModuleNotFoundError:
        from edge_streamer.runtime.bundle.shipped import bundle_path

        return bundle_path()


if __name__ == "__main__":
    sys.exit(main())
