"""Real parsers and builders of TensorRT-RTX, each asked in a process of its own

Receives the folder of a parser and graphs; hands on what it made of them. The packages are NVIDIA's, proprietary, and
only asked, never shipped: the extra ``lint`` installs one generation beside this Python's other packages, ``pip install
--target FOLDER`` another, because two cannot live in one environment. Neither needs a GPU or a driver to parse and to
build; to run an engine both do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edge_streamer.runtime.errors import InputError

WORKER = Path(__file__).with_name("worker.py")
PACKAGES = "tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings"


@dataclass(frozen=True)
class Job:
    """One graph to ask about."""

    name: str
    path: Path
    lengths: tuple[int, ...] = ()
    """The T's that it runs at; empty where it has none."""
    boards: tuple[str, ...] = ()
    """Compute capabilities to build for, as TensorRT-RTX calls them: ``SM86``; none: it is parsed alone."""


class Refused(msgspec.Struct, frozen=True):
    """What a parser or builder says against a graph."""

    node: str
    """Empty where it names none."""
    operator: str
    words: str


class Answer(msgspec.Struct, frozen=True):
    """What was made of one job for one board."""

    graph: str
    board: str | None
    done: Literal["parse", "build"]
    """How far it came."""
    refusals: list[Refused]
    seconds: float


@dataclass
class Asked:
    """All answers of one parser."""

    version: str
    answers: list[Answer] = field(default_factory=list)


def ask(parser: Path | None, jobs: Sequence[Job]) -> Asked:
    """What the parser in ``parser`` (None: this environment's) makes of ``jobs``. InputError where there is none."""
    wanted = [{"graph": job.name, "path": str(job.path), "lengths": job.lengths, "boards": job.boards} for job in jobs]
    request = json.dumps({"parser": None if parser is None else str(parser), "jobs": wanted})
    done = subprocess.run([sys.executable, str(WORKER)], input=request, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line]
    first = json.loads(lines[0]) if lines else {"missing": _last(done.stderr)}
    if "missing" in first:
        where = "this environment" if parser is None else str(parser)
        raise InputError(
            f"no TensorRT-RTX in {where} ({first['missing']}); install it: "
            + (f"pip install --no-deps --target {parser} {PACKAGES}" if parser else "pip install 'edge-streamer[lint]'")
        )
    answers = [msgspec.json.decode(line, type=Answer) for line in lines[1:]]
    if done.returncode:  # a library's own crash ends the process at the graph that it does not survive
        at = next((j.name for j in jobs if not any(a.graph == j.name for a in answers)), "")
        died = Refused(
            "", "", f"TensorRT-RTX {first['version']} ended with status {done.returncode}: {_last(done.stderr)}"
        )
        answers.append(Answer(at, None, "parse", [died], 0.0))
    return Asked(first["version"], answers)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
