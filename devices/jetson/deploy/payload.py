"""What a board gets: a bundle, the words of run, wheels, each file by its path in the release and its SHA-256.

Receives folders and texts; hands on a :class:`Payload`, and which of its wheels suffice to add a release.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from edge_streamer.devices.jetson.releases.adding import BUNDLE, SETTINGS, WHEELS
from edge_streamer.devices.jetson.releases.first import TOOLS, distribution
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import digest

WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)"
                   r"\.whl")  # fmt: skip

SOUND = "pyaudio"
"""Has no wheels for Linux, and is what a microphone or speaker needs."""
SILENT = 'or leave sound out: mic = "none" and speaker = "none" in --settings FILE'
LEGACY_GLIBC = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}


@dataclass(frozen=True)
class File:
    """One file of a release."""

    path: str
    sha256: str
    size: int
    source: Path | bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


@dataclass(frozen=True)
class Payload:
    """Every file of a release, in the order of their paths."""

    files: tuple[File, ...]

    @cached_property
    def by_sum(self) -> Mapping[str, File]:
        """Small ones first, so that a wrong wheel is found before gigabytes have gone."""
        return {file.sha256: file for file in sorted(self.files, key=lambda file: (file.size, file.path))}

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def wheels(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.path.startswith(f"{WHEELS}/"))

    @property
    def wheel_paths(self) -> list[Path]:
        """Where they lie here."""
        return [file.source for file in self.wheels if isinstance(file.source, Path)]

    def brings(self, name: str) -> bool:
        """Whether a wheel of this distribution is among them."""
        return any(distribution(file.path) == name for file in self.wheels)

    @property
    def tools(self) -> tuple[str, ...]:
        """SHA-256 of the wheels that suffice to add a release."""
        return tuple(file.sha256 for file in self.wheels if distribution(file.path) in TOOLS)

    def plan(self, made_with: str) -> str:
        """What the release is made of, as 16 digits; ``made_with`` is the board's Python."""
        listed = [made_with, *([file.path, file.sha256] for file in self.files)]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]


def text_file(path: str, data: bytes) -> File:
    return File(path, hashlib.sha256(data).hexdigest(), len(data), data)


def _disk_file(path: str, source: Path) -> File:
    try:
        return File(path, digest(source), source.stat().st_size, source)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from None


def payload(
    bundle: Path,
    listed: Sequence[tuple[str, str, int]],
    signature: Path | None,
    settings: bytes | None,
    wheels: Sequence[Path],
) -> Payload:
    """``listed``: path, SHA-256 and size of the files in the bundle's folder; none for an archive. InputError."""
    files = [File(f"{BUNDLE}/{name}", sha, size, bundle / name) for name, sha, size in listed]
    files = files or [_disk_file(BUNDLE, bundle)]
    files += [_disk_file(f"{BUNDLE}.sig", signature)] if signature is not None else []
    files += [text_file(SETTINGS, settings)] if settings is not None else []
    files += [_disk_file(f"{WHEELS}/{path.name}", path) for path in wheels]
    return Payload(tuple(sorted(files, key=lambda file: file.path)))


def wheels_in(folder: Path) -> list[Path]:
    """InputError where ours is not among them, or a distribution is there twice."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of wheels; make it: edge-streamer deploy --make-wheels {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.whl")):
        name = distribution(path.name)
        if name in found:
            raise InputError(f"{folder} holds {found[name].name} and {path.name}; remove one of them")
        found[name] = path
    if "edge_streamer" not in found:
        raise InputError(f"{folder} holds no wheel of edge_streamer; make it whole: edge-streamer deploy "
                         f"--make-wheels {folder}")  # fmt: skip
    return list(found.values())


def fits(name: str, architecture: str, python: str, glibc: str = "") -> bool:
    """Whether a wheel is one of this architecture, Python (``3.10``) and glibc (``2.35``; empty: any), by its name."""
    match = WHEEL.fullmatch(name)
    if match is None:
        return False
    minor = int(python.partition(".")[2])
    platform_fits = any(_runs_on(tag, architecture, glibc) for tag in match["platform"].split("."))
    tags, abis = match["python"].split("."), match["abi"].split(".")
    exact = f"cp3{minor}" in tags or "py3" in tags or f"py3{minor}" in tags
    stable = "abi3" in abis and any(re.fullmatch(r"cp3(\d+)", tag) and int(tag[3:]) <= minor for tag in tags)
    return platform_fits and (exact or stable)


def _runs_on(tag: str, architecture: str, glibc: str) -> bool:
    """A wheel's platform (PEP 600, and the older names of PEP 513, 571 and 599)."""
    if tag == "any":
        return True
    if not tag.endswith(f"_{architecture}"):
        return False
    wanted = re.match(r"manylinux_2_(\d+)_", tag)
    minor = int(wanted[1]) if wanted else LEGACY_GLIBC.get(tag.partition("_")[0], 0)
    there = re.fullmatch(r"2\.(\d+)", glibc)
    return there is None or minor <= int(there[1])
