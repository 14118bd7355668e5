"""Throats that nobody has: variants of espeak-ng's voices, drawn at random for training.

Receives a folder and a generator; hands on :class:`Throats`: where espeak-ng finds them, and their names. The program's
own fifty-odd variants are too few to learn what all voices share: held-out ones were taken for unknown words. The
ranges are those of the variants that training may hear; the held-out variants were not looked at.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_streamer.runtime.errors import InputError

THROATS = 400
FORMANTS = 9


@dataclass(frozen=True)
class Throats:
    """Made-up variants."""

    folder: Path
    """Holds a folder ``espeak-ng-data``: the program's own, with these variants added."""
    names: tuple[str, ...]


def espeak_data() -> Path:
    """The program's own data. InputError where it does not say where they are."""
    said = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Data at: (.+)", said)
    if found is None or not Path(found[1]).is_dir():
        raise InputError(f"espeak-ng does not say where its data are: {said.strip()!r}; wanted 'Data at: FOLDER'")
    return Path(found[1])


def make_throats(folder: Path, seed: int, count: int = THROATS) -> Throats:
    """``count`` variants below ``folder``; equal seeds give equal ones."""
    own, data = espeak_data(), folder / "espeak-ng-data"
    variants = data / "voices" / "!v"
    variants.mkdir(parents=True, exist_ok=True)
    for source in own.iterdir():
        link = data / source.name
        if source.name != "voices" and not link.is_symlink():
            link.symlink_to(source)
    for source in (own / "voices" / "!v").iterdir():
        link = variants / source.name
        if not link.is_symlink():
            link.symlink_to(source)
    names = tuple(f"throat{number}" for number in range(count))
    for number, name in enumerate(names):
        (variants / name).write_text(_variant(name, np.random.default_rng([seed, 12, number])))
    return Throats(folder, names)


def _variant(name: str, rng: np.random.Generator) -> str:
    """A file as docs/voices.md of espeak-ng describes it: percentages of the voice's own frequency, height and width
    for each formant, pitch in Hz."""
    low = int(rng.integers(60, 190))
    lines = ["language variant", f"name {name}", f"pitch {low} {int(low * rng.uniform(1.15, 1.55))}"]
    if rng.random() < 0.15:
        lines.append(f"klatt {rng.integers(1, 7)}")
    size = rng.uniform(0.84, 1.22)  # of the throat: moves all formants together
    for formant in range(FORMANTS):
        frequency, height = 100 * size * rng.uniform(0.94, 1.06), rng.uniform(60, 120)
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {rng.uniform(50, 180):.0f}")
    extras = {
        "voicing": (60, 160), "consonants": (60, 120), "flutter": (0, 12), "roughness": (0, 5), "breath": (0, 40),
    }  # fmt: skip
    for key, (least, most) in extras.items():
        if rng.random() < 0.5:
            lines.append(f"{key} {rng.integers(least, most)}")
    if rng.random() < 0.5:
        levels = rng.integers([120, 80, 40], [256, 200, 160])
        lines.append(f"tone 600 {levels[0]} 1200 {levels[1]} 2000 {levels[2]}")
    return "\n".join(lines) + "\n"
