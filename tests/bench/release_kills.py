"""python -m tests.bench.release_kills: updates killed at random instants leave a complete release, and nothing else.

Receives how often, and a bundle; has a child add a release, switch to it, count its start, confirm it or go back, and
prune, and kills it (SIGKILL) somewhere in that. After each kill ``current`` must lead to a release whose every file is
what its manifest says, and which is proven or watched; what a next start and a next update do must then go through.
Every so often the bundle's golden units are replayed too. Prints a table and one JSON line; exit status 1 for any harm.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_streamer.devices.jetson.releases import keeper
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.places import Root, confirm, go_back, read_state, state_lock
from edge_streamer.devices.jetson.releases.switching import Terms, activate, golden, prune
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.release.contents import verify
from tests.devices.jetson.releases.made import plain, source

TERMS = Terms(crashes=2)
KINDS = 4
"""Releases that are switched between; two of three files are the same in all."""


@dataclass
class Kills:
    """What came of them."""

    kills: int = 0
    finished: int = 0
    """Of them: it had just finished."""
    switched: int = 0
    """Another release was current afterwards."""
    left: int = 0
    """Something was half-written, until the next update."""
    checked: int = 0
    """Golden units were replayed."""
    seconds: float = 0.0
    """Within which the last kill came: of about a whole update in a child."""
    harm: list[str] = field(default_factory=list)


class Killing:
    """In ``folder``, with releases of ``bundle``, or of random bytes."""

    def __init__(self, folder: Path, seed: int, bundle: Path | None) -> None:
        self.root, self._chance, self.kills = Root(folder / "root"), random.Random(seed), Kills()
        self._checks = bundle is not None
        common = self._chance.randbytes(200_000)
        self._sources = []
        for kind in range(KINDS):
            if bundle is not None:
                self._sources.append(source(folder / f"{kind}", bundle, note=str(kind)))
                continue
            files = {"bundle/same.bin": common, "bundle/own.bin": self._chance.randbytes(50_000),
                     "settings.toml": f"# {kind}\n".encode()}  # fmt: skip
            self._sources.append(plain(folder / f"{kind}", files))
        first = add(self.root, self._sources[0]).id
        activate(self.root, first, None, check=False)
        for number in range(2):
            self._update(number)
        whole = []
        for number in range(2, 7):
            began = time.perf_counter()
            child = os.fork()
            if not child:
                self._in_child(number)
            os.waitpid(child, 0)
            whole.append(time.perf_counter() - began)
        self.kills.seconds = statistics.median(whole)

    def once(self, number: int) -> None:
        """One kill, and a look at what it left."""
        before = self.root.led_to(self.root.current)
        child = os.fork()
        if not child:
            self._in_child(number)
        time.sleep(self._chance.uniform(0, self.kills.seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.kills.kills += 1
        # A child's update takes longer on a busy machine: between a quarter and a third of the kills come too late.
        self.kills.seconds *= 0.95 if os.WIFEXITED(status) else 1.02
        if os.WIFEXITED(status):
            self.kills.finished += 1
            if os.WEXITSTATUS(status):
                self.kills.harm.append(f"kill {number}: the update refused")
        self._look(number, before)

    def _in_child(self, number: int) -> None:
        status = 1
        try:
            with open(os.devnull, "w") as nowhere:
                sys.stdout = sys.stderr = nowhere
                self._update(number)
            status = 0
        finally:
            os._exit(status)

    def _update(self, number: int) -> None:
        """Everything that changes the root, once."""
        with_source = self._sources[number % KINDS]
        found = add(self.root, with_source, name=f"number {number % KINDS}").id
        if found != self.root.led_to(self.root.current):
            activate(self.root, found, TERMS, check=False)
        keeper.begin(self.root, {})
        with state_lock(self.root):
            state = read_state(self.root)
            if state.trial is not None and number % 3:
                confirm(self.root, state, state.trial.id)
            elif state.trial is not None:
                go_back(self.root, state, "as this is a test")
        prune(self.root, 1)

    def _look(self, number: int, before: str | None) -> None:
        kills, root = self.kills, self.root
        current, state = root.led_to(root.current), read_state(root)
        kills.switched += current != before
        if current is None:
            kills.harm.append(f"kill {number}: no release is current")
            return
        watched = state.trial is not None and state.trial.id == current
        if current not in state.good and not watched:
            kills.harm.append(f"kill {number}: {current} is current, neither proven nor watched")
        try:
            verify(root.release(current))
            for one in root.ids():
                verify(root.release(one))
        except (EdgeStreamerError, OSError) as error:
            kills.harm.append(f"kill {number}: {error}")
        kills.left += any(path.name.startswith(".edge-streamer") for path in root.releases.iterdir())
        if self._checks and number % 25 == 0:
            kills.checked += 1
            if why := golden(root.release(current)):
                kills.harm.append(f"kill {number}: {why}")

    def settle(self) -> None:
        """A whole update goes through, and nothing half-written is left."""
        self._update(self.kills.kills + 1)
        self._update(self.kills.kills + 2)
        left = [path.name for path in (*self.root.releases.iterdir(), *self.root.path.iterdir())
                if path.name.startswith(".edge-streamer") or path.name.endswith(".new")]  # fmt: skip
        if left:
            self.kills.harm.append(f"left over at the end: {left}")


def kill(folder: Path, times: int, seed: int = 1, bundle: Path | None = None) -> Kills:
    """Kill so often; returns what came of it."""
    killing = Killing(folder, seed, bundle)
    for number in range(1, times + 1):
        killing.once(number)
    killing.settle()
    return killing.kills


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", type=Path, help="whose golden units are replayed after every 25th kill")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        kills = kill(Path(folder), args.times, args.seed, args.bundle)
    print(f"{kills.kills} kills, each within {kills.seconds:.3f} s; {kills.finished} came too late, {kills.switched} "
          f"left another one current, {kills.left} something half-written until the next update, after "
          f"{kills.checked} golden units were replayed; harm: {len(kills.harm)}")  # fmt: skip
    for line in kills.harm:
        print(line)
    print(json.dumps(kills.__dict__))
    return 1 if kills.harm else 0


if __name__ == "__main__":
    sys.exit(main())
