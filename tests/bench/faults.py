"""Which score sees which fault: ``OPENBLAS_NUM_THREADS=1 python -m tests.bench.faults``.

Receives the float32 bundle that ships; breaks it in every way of the evaluation's negative controls and hands on one
table for people and one JSON line for machines: the worst error in numbers on one scene, and what the same eleven
scenes say of its behaviour. CI asks of each fault that it be seen (``tests/runtime/evaluation/test_controls.py``); this
shows how plainly.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.session.session import Session, open_session
from tests.runtime.evaluation.controls import FAULTS, KINDS, SPOILERS, Behaviour, broken, parity, spoiled

SOUND = "(sound)"
SHOWN = (
    "right", "missed", "recall", "again", "false_answers_a_minute", "identity.units", "mouth.correlation",
    "reply.snr_db", "reply.recognised", "picture.psnr_db", "late_ms.p50",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=(*FAULTS, *SPOILERS), help="these faults alone")
    only = parser.parse_args().only
    session = open_session(bundle_path(floats=True))
    names = (SOUND, *(only or (*FAULTS, *SPOILERS)))
    found: dict[str, dict[str, float | None]] = {}
    with Progress(transient=True) as progress, tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(progress.track(names)):
            place = Path(folder) / str(number)
            place.mkdir()
            numbers = parity(_session(name, session, place), session)
            scores = Behaviour(_session(name, session, place / "again")).scores(KINDS)
            found[name] = {"error_db": max(numbers.error_db.values()), "same_tokens": numbers.same_tokens}
            found[name] |= {score: scores[score].value for score in SHOWN}
    table = Table("fault", *(Column(name, justify="right") for name in ("numbers, dB", "same words", *SHOWN)))
    for name, row in found.items():
        table.add_row(name, *("-" if value is None else f"{value:.3g}" for value in row.values()))
    Console(width=220).print(table)
    print(json.dumps(found))


def _session(name: str, session: Session, folder: Path) -> Session:
    """With the fault ``name``; ``folder`` is free for its weights."""
    if name == SOUND:
        return session.twin()
    return broken(session, name) if name in FAULTS else spoiled(bundle_path(floats=True), name, folder)


if __name__ == "__main__":
    main()
