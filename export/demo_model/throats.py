"""Throats that nobody has: variants of espeak-ng's voices, drawn at random for training.

Receives a folder and a generator; hands on :class:`Throat`s: their names, and where espeak-ng finds them. The program's
own fifty-odd variants are too few to learn what all voices share: held-out ones were taken for unknown words. So the
ranges are wider than those of the variants that training may hear; the files of the held-out ones were not looked at.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_streamer.runtime.errors import InputError

THROATS = 3000
"""So many that few recordings share one."""
TOGETHER = 100
"""Throats in one folder: espeak-ng knows no more than 349 voices, languages included."""
ODD = 0.4
"""Share of throats far from the usual."""
FORMANTS = 9
TONES = (600, 1200, 2000, 3000)
"""Hz, between which the voice's colour is set."""


@dataclass(frozen=True)
class Throat:
    """A made-up variant."""

    name: str
    data: Path
    """A folder that holds ``espeak-ng-data``: the program's own, with this variant and others in place of its own."""


def espeak_data() -> Path:
    """The program's own data. InputError where it does not say where they are."""
    said = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Data at: (.+)", said)
    if found is None or not Path(found[1]).is_dir():
        raise InputError(f"espeak-ng does not say where its data are: {said.strip()!r}; wanted 'Data at: FOLDER'")
    return Path(found[1])


def make_throats(folder: Path, seed: int, count: int = THROATS) -> list[Throat]:
    """``count`` variants below ``folder``; equal seeds give equal ones."""
    own, throats = espeak_data(), []
    for number in range(count):
        place = folder / str(number // TOGETHER)
        variants = place / "espeak-ng-data" / "voices" / "!v"
        if number % TOGETHER == 0:
            variants.mkdir(parents=True, exist_ok=True)
            for source in own.iterdir():
                link = place / "espeak-ng-data" / source.name
                if source.name != "voices" and not link.is_symlink():
                    link.symlink_to(source)
        name = f"throat{number}"
        (variants / name).write_text(_variant(name, np.random.default_rng([seed, 12, number])))
        throats.append(Throat(name, place))
    return throats


def _variant(name: str, rng: np.random.Generator) -> str:
    """A file as docs/voices.md of espeak-ng describes it: percentages of the voice's own frequency, height and width
    for each formant, pitch in Hz."""
    odd = rng.random() < ODD
    low = int(np.exp(rng.uniform(np.log(55), np.log(300 if odd else 200))))
    lines = ["language variant", f"name {name}", f"pitch {low} {int(low * rng.uniform(1.05, 1.6))}"]
    if rng.random() < 0.25:
        lines.append(f"klatt {rng.integers(1, 7)}")
    size, apart = (rng.uniform(0.74, 1.36), 0.12) if odd else (rng.uniform(0.86, 1.22), 0.05)  # moves all formants
    for formant in range(FORMANTS):
        frequency = 100 * size * rng.uniform(1 - apart, 1 + apart)
        height, width = (rng.uniform(25, 170), rng.uniform(30, 240)) if odd else rng.uniform([65, 60], [120, 170])
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {width:.0f}")
    if rng.random() < 0.06:
        lines += ["voicing 0", f"breath {rng.integers(60, 120)}"]  # whispers
    else:
        extras = {
            "voicing": (50, 200), "consonants": (50, 150), "flutter": (0, 20), "roughness": (0, 7), "breath": (0, 60),
            "intonation": (1, 5),
        }  # fmt: skip
        lines += [f"{key} {rng.integers(*span)}" for key, span in extras.items() if rng.random() < 0.4]
    if rng.random() < 0.15:
        lines.append(f"echo {rng.integers(10, 150)} {rng.integers(5, 60)}")
    if rng.random() < 0.5:
        levels = rng.integers([80, 60, 30, 10], [256, 220, 180, 140])
        lines.append("tone " + " ".join(f"{hertz} {at}" for hertz, at in zip(TONES, levels, strict=True)))
    return "\n".join(lines) + "\n"
