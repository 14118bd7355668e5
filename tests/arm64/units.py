"""Units of a bundle on one machine, compared on another: states, outputs and tokens.

    python units.py make BUNDLE UNITS FILE        answers of this machine
    python units.py compare BUNDLE FILE           this machine's beside those; 1 beyond the tolerance of `check`
    python units.py sound ONE.wav OTHER.wav       the same of two recordings of an agent's voice

The units are those that golden units are made of: a seeded state whose rings are full, seeded sound and pictures, and
as many units as wanted. The file is one of golden units; slots are forced to its tokens, and chosen ones counted.
"""

from __future__ import annotations

import platform
import sys
import wave
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.check import TOLERANCE, compare
from edge_streamer.runtime.compare.golden import Golden, Meta, load_golden, relative_error, replay
from edge_streamer.runtime.session.session import open_session

SEED = 20
HERE = (f"{platform.machine()}, Python {platform.python_version()}, onnxruntime {version('onnxruntime')}, "
        f"numpy {np.__version__}")  # fmt: skip


def make(bundle: Path, units: int, file: Path) -> int:
    with open_session(Bundle.open(bundle)) as session:
        meta = Meta(program=session.bundle.manifest.program, seed=SEED, units=units)
        Golden(meta, replay(session, SEED, units)).save(file)
    print(f"{units} units on {HERE}")
    return 0


def compared(bundle: Path, file: Path) -> int:
    golden = load_golden(file)
    with open_session(Bundle.open(bundle)) as session:
        answers = replay(session, golden.meta.seed, golden.meta.units, golden.tokens)
    rows = compare(golden, answers, TOLERANCE["float32"])
    print(f"{golden.meta.units} units on {HERE}")
    for row in rows:
        print(f"  {row.quantity}: relative error {row.error:.2e}, worst in unit {row.worst_unit}")
    agree = golden.agreement(answers)
    print(f"  tokens: {agree:.1%} the same; allowed is {TOLERANCE['float32']:g}")
    return 0 if agree == 1 and all(row.first_beyond is None for row in rows) else 1


def sound(one: Path, other: Path) -> int:
    first, second = (_samples(path) for path in (one, other))
    error = relative_error(second, first)
    print(f"  {len(first)} and {len(second)} samples of 16 bits: relative error {error:.2e}")
    return 0 if error <= TOLERANCE["float32"] else 1


def _samples(path: Path) -> Array:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)


def main(words: Sequence[str]) -> int:
    if words[0] == "make":
        return make(Path(words[1]), int(words[2]), Path(words[3]))
    return (compared if words[0] == "compare" else sound)(Path(words[1]), Path(words[2]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
