"""python -m tests.bench.kills: commands killed at random instants do no harm, and leave nothing to the next start.

Receives how often; kills ``run``, ``pack``, ``prefix``, ``quantize`` and the first opening of an archive (SIGKILL) and
starts another command in the same folder after each. Hands on one table for people and one JSON line for machines:
exit status 1 where an earlier file was harmed, files of one run did not come together, a file was not whole, or
anything was left over. Uses the bundles and the media that ship.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Column, Table

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import MEDIA, bundle_path
from edge_streamer.runtime.claims import remove
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import digest

RUN = ("voice.wav", "film.mp4", "side.mp4", "words.txt", "report.json")
State = Mapping[str, str]
"""File -> SHA-256, of a folder and all below."""


@dataclass
class Case:
    """A command that is killed. ``words`` get the folder and a number that is another each time."""

    name: str
    words: Callable[[Path, int], Sequence[str]]
    names: Sequence[str]
    """What it makes in the folder, all of it or nothing."""
    fresh: bool = False
    """What it made before is in its way, so that it is removed first."""


@dataclass
class Row:
    """What came of one case."""

    kills: int = 0
    finished: int = 0
    """Of them: it had just finished."""
    came: int = 0
    """Its files had their names after the next start."""
    left: int = 0
    """Something was there that only the next start removed."""
    seconds: float = 0.0
    harm: list[str] = field(default_factory=list)


def cases(archive: Path) -> list[Case]:
    """All of them, the quick ones first."""
    demo, floats = str(bundle_path()), str(bundle_path(floats=True))

    def run(folder: Path, number: int) -> list[str]:
        options = ("--speaker", "--display", "--side-by-side", "--transcript", "--json")
        files = [word for option, name in zip(options, RUN, strict=True) for word in (option, str(folder / name))]
        return ["run", demo, "--mic", "none", "--seconds", "0.64", "--seed", str(number), *files]

    def quantize(folder: Path, number: int) -> list[str]:
        few = ["--units", str(1 + number % 2), "--calibration-units", "2"]
        return ["quantize", floats, "--scheme", "int8", *few, "--out", str(folder / "small")]

    return [
        Case("pack", lambda folder, _: ["pack", demo, "--out", str(folder / "demo.tar")], ["demo.tar"]),
        Case("open", lambda folder, _: ["inspect", str(archive)], []),
        Case("prefix", lambda folder, number: ["prefix", demo, "--image", str(MEDIA / "persona.png"), "--text",
             "hello"[: 1 + number % 5], "--out", str(folder / "start.npz")], ["start.npz"]),
        Case("run", run, RUN),
        Case("quantize", quantize, ["small", "small.html", "small.json"], fresh=True),
    ]  # fmt: skip


class Killing:
    """Kills one case in ``root``, which it has for itself."""

    def __init__(self, case: Case, root: Path, chance: random.Random) -> None:
        self.case, self.row, self._chance = case, Row(), chance
        self.folder, self.cache, self._temporary = root / "out", root / "cache", root / "tmp"
        for folder in (self.folder, self._temporary):
            folder.mkdir(parents=True)
        own = {"XDG_CACHE_HOME": str(self.cache), "TMPDIR": str(self._temporary)}
        self._environment = {**os.environ, **own}
        self._number = 0
        (self.folder / "earlier.txt").write_text("an earlier file")
        self.row.seconds = min(self._whole(), self._whole())
        self._check("without a kill", {})

    def once(self) -> None:
        """Kill it once, start another command, and look."""
        self._clear()
        before, row = self._state(), self.row
        instant = self._chance.uniform(0, self.row.seconds)
        running = self._start(self._words())
        time.sleep(instant)
        row.finished += running.poll() is not None
        running.kill()
        running.wait()
        row.kills += 1
        row.left += any("edge-streamer." in path.name for path in self.folder.parent.rglob(".*"))
        after = self._state()
        for name, sum_ in before.items():
            if name not in after:
                row.harm.append(f"kill {row.kills} after {instant:.3f} s: {name} is gone")
            elif after[name] != sum_ and name.partition("/")[0] not in self.case.names:
                row.harm.append(f"kill {row.kills} after {instant:.3f} s: {name} has changed")
        self._start(self._next()).wait()
        self._check(f"kill {row.kills} after {instant:.3f} s", before)

    def _whole(self) -> float:
        """Seconds that it takes."""
        self._clear()
        began = time.monotonic()
        self._start(self._words()).wait()
        return time.monotonic() - began

    def _clear(self) -> None:
        if self.case.fresh:
            for name in self.case.names:
                remove(self.folder / name)
        if self.case.name == "open":
            remove(self.cache / "edge-streamer")

    def _words(self) -> Sequence[str]:
        self._number += 1
        return self.case.words(self.folder, self._number)

    def _next(self) -> Sequence[str]:
        """A command that is refused, but whose output would be in the folder."""
        if self.case.name == "quantize":
            return ["quantize", "no-such-bundle", "--scheme", "int8", "--out", str(self.folder / "next")]
        return ["run", "no-such-bundle", "--mic", "none", "--seconds", "1", "--json", str(self.folder / "next.json")]

    def _start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edge_streamer", *words]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self._environment, stdin=quiet, stdout=quiet, stderr=quiet)

    def _state(self) -> dict[str, str]:
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(self.folder).as_posix(): f"{path.stat().st_mtime_ns} {digest(path)}" for path in found}

    def _check(self, when: str, before: State) -> None:
        """After the next start."""
        after, harm = self._state(), self.row.harm
        new = {name for name in self.case.names if self._of(name, after) != self._of(name, before)}
        if new and len(new) < len(self.case.names):
            harm.append(f"{when}: only {sorted(new)} came, of {sorted(self.case.names)}")
        self.row.came += bool(new) and bool(before)
        wanted = {"earlier.txt", *(self.case.names if new or before.keys() - {"earlier.txt"} else ())}
        over = [path for path in self.folder.iterdir() if path.name not in wanted]
        over += self._temporary.iterdir()
        cache = self.cache / "edge-streamer"
        over += [path for path in cache.glob("*") if path.name not in ("checksums.json", "bundles")]
        for path in over:
            harm.append(f"{when}: {path} was left over")
        for path in (*(self.folder / name for name in self.case.names), *cache.glob("bundles/*")):
            if why := not_whole(path):
                harm.append(f"{when}: {path}: {why}")

    def _of(self, name: str, state: State) -> dict[str, str]:
        return {path: sum_ for path, sum_ in state.items() if path.partition("/")[0] == name}


def not_whole(path: Path) -> str:
    """Why ``path`` cannot be read to its end; empty where it can, or is not there."""
    try:
        if path.is_dir():
            Bundle.open(path)
        elif path.suffix in (".mp4", ".wav") and path.exists():
            with av.open(str(path)) as media:
                if not sum(1 for _ in media.decode(media.streams[0])):
                    return "it holds nothing"
        elif path.suffix == ".tar" and path.exists():
            with tarfile.open(path) as members:
                if len(members.getmembers()) != len(Bundle.open(bundle_path()).manifest.files) + 1:
                    return "members are missing"
        elif path.suffix == ".npz" and path.exists():
            with np.load(path) as arrays:
                for name in arrays.files:
                    arrays[name]
        elif path.suffix == ".json" and path.exists():
            json.loads(path.read_bytes())
        elif path.suffix == ".html" and path.exists() and not path.read_text("utf-8").rstrip().endswith("</html>"):
            return "it does not end"
    except (OSError, ValueError, EOFError, tarfile.TarError, av.FFmpegError, BundleError) as error:
        return f"it is not whole ({error})"
    return ""


def kill(
    times: int, only: Sequence[str], seed: int, tell: Callable[[str, int], None] = lambda *_: None
) -> dict[str, Row]:
    """Kill each of the cases named ``only`` so many ``times``."""
    rows = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        archive = Path(place) / "archive.tar"
        command = [
            sys.executable,
            "-m",
            "edge_streamer.runtime.commands.cli",
            "pack",
            str(bundle_path()),
            "--out",
            str(archive),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for case in cases(archive):
            if case.name in only:
                killing = Killing(case, Path(place) / case.name, random.Random(f"{seed} {case.name}"))
                rows[case.name] = killing.row
                for done in range(times):
                    killing.once()
                    tell(case.name, done + 1)
    return rows


def main() -> int:
    names = [case.name for case in cases(Path())]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="kills of each command (default: 100)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these alone")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: 0)")
    args = parser.parse_args()

    def tell(name: str, done: int) -> None:
        if done % 10 == 0 or done == args.times:
            print(f"{name}: {done} of {args.times}", file=sys.stderr, flush=True)

    rows = kill(args.times, args.only, args.seed, tell)
    right = [Column(name, justify="right") for name in ("kills", "had finished", "came all", "left something", "harm")]
    table = Table("command", Column("takes", justify="right"), *right)
    for name, row in rows.items():
        numbers = (row.kills, row.finished, row.came, row.left, len(row.harm))
        table.add_row(name, f"{row.seconds:.1f} s", *map(str, numbers))
    Console().print(table)
    for row in rows.values():
        for line in row.harm:
            print(line)
    print(json.dumps({name: vars(row) for name, row in rows.items()}))
    return int(any(row.harm for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
