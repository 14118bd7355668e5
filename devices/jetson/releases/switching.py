"""What a person or a deployment asks of the releases: activate, confirm, go back, prune, and how they stand.

Receives a root and an id; hands on what became of it. Whatever switches verifies the whole release first, and, where it
is asked to, replays the golden units of its bundle: what fails is not switched to. What becomes of a release after the
switch is the keeper's.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson.releases.adding import BUNDLE, SETTINGS, take_away
from edge_streamer.devices.jetson.releases.disk import telling, updating
from edge_streamer.devices.jetson.releases.places import (
    Rollback,
    Root,
    State,
    Trial,
    begin_trial,
    confirm,
    go_back,
    point,
    read_state,
    state_lock,
    write_state,
)
from edge_streamer.runtime.claims import remove, sweep
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.release.contents import read_contents, verify

CHECK_SECONDS = 1800
SHORTEST_ID = 4
"""Digits: fewer may be a name that was mistyped."""
BYTECODE = "edge-streamer/bytecode"


@dataclass(frozen=True)
class Terms:
    """What a release must show before it stays."""

    units: int = 50
    """In a row: 8 s."""
    seconds: float = 120.0
    misses: float = 0.2
    crashes: int = 3


class Row(NamedTuple):
    """One release as it stands."""

    id: str
    name: str
    added: float
    """Seconds since 1970."""
    current: bool
    previous: bool
    good: bool
    trial: bool
    whole: bool
    """Whether its manifest can be read; ``verify`` compares its files."""


def standing(root: Root) -> tuple[list[Row], State]:
    """Every release, the newest last, and the state. InputError where the state cannot be read."""
    with telling(root):
        state = _read(root)
        current, previous = root.led_to(root.current), root.led_to(root.previous)
        rows = []
        for one in root.ids():
            name, whole = "", False
            with suppress(InputError):
                name, whole = read_contents(root.release(one)).name, True
            added = root.release(one).stat().st_mtime
            trial = state.trial is not None and state.trial.id == one
            rows.append(Row(one, name, added, one == current, one == previous, one in state.good, trial, whole))
        return rows, state


def activate(
    root: Root,
    word: str,
    terms: Terms | None,
    *,
    check: bool = True,
    older: bool = False,
    tell: Callable[[str], object] = lambda what: None,
) -> tuple[str, str]:
    """Switch to a release; without ``terms`` it counts as proven. Returns its id, and why it was not switched to:
    its golden units differ. ``older``: a device with keys takes an older version, from now on. InputError where it is
    unknown, damaged or current already."""
    with updating(root):
        name = named(root, word)
        tell(f"verifying {name}")
        verify(root.release(name))
        if name == root.led_to(root.current) and _read(root).trial is None:
            raise InputError(f"the release {name} is current already; see: edge-streamer releases list")
        if check:
            tell(f"replaying the golden units of {name}")
            if why := golden(root.release(name), older):
                with _changing(root) as state:
                    state.rollback = Rollback(
                        name, root.led_to(root.current) or "", f"not switched to: {why}", time.time()
                    )
                    write_state(root, state)
                return name, why
        with _changing(root) as state:
            # Else the one that is on trial would be current and watched no more where power goes between two writings.
            if state.trial is not None and state.trial.id == root.led_to(root.current) != name:
                go_back(root, state, "another release was activated during its trial")
            if terms is None:
                confirm(root, state, name)
                point(root, root.current, name)
                point(root, root.previous, state.fallback(root, name))
            else:
                begin_trial(root, state, Trial(name, time.time(), terms.units, terms.seconds, terms.misses,
                                               terms.crashes))  # fmt: skip
    return name, ""


def prove(root: Root) -> str:
    """The current release is good: its trial is over. Returns its id."""
    with updating(root), _changing(root) as state:
        name = _current(root)
        confirm(root, state, name)
    return name


def back(root: Root, why: str = "asked for") -> tuple[str, str]:
    """To the release before. Returns the id that was current and the one that is. InputError where there is none."""
    with updating(root), _changing(root) as state:
        name = _current(root)
        target = state.fallback(root, name)
        if target is None:
            raise InputError(f"there is no release to go back to from {name}: none other has proven itself; name one: "
                             "edge-streamer releases activate ID")  # fmt: skip
        state.good = [one for one in state.good if one != name]
        if state.trial is None or state.trial.id != name:  # the verdict of a trial, which the next start completes
            state.trial = Trial(name, time.time(), 1, 0.0, 0.0, 1)
        go_back(root, state, why)
    return name, target


def prune(root: Root, keep: int) -> list[str]:
    """Remove all but what runs, what is gone back to, what is on trial, and the newest ``keep`` others. Returns ids."""
    with updating(root):
        sweep(root.releases)
        with _changing(root) as state:
            current = root.led_to(root.current)
            needed = {current, root.led_to(root.previous), state.fallback(root, current)}
            needed |= {state.trial.id} if state.trial else set()
            others = [one for one in root.ids() if one not in needed]
            gone = others[: len(others) - keep] if keep else others
        for one in gone:
            take_away(root, root.release(one))
        _drop_bytecode(root)
    return gone


def verdict(root: Root, name: str, since: float, wait: float, look: float = 0.5) -> str | None:
    """Wait for the end of a trial: empty where it was confirmed, else why not; None where it took longer."""
    ends = time.monotonic() + wait
    while True:
        _, state = standing(root)
        if state.trial is None or state.trial.id != name:
            found = state.rollback
            return found.reason if found and found.source == name and found.time >= since else ""
        if time.monotonic() >= ends:
            return None
        time.sleep(look)


def named(root: Root, word: str) -> str:
    """The release that bears the name, or the id that ``word`` begins. InputError where it is none or several."""
    ids, found = root.ids(), list[str]()
    for one in ids:
        with suppress(InputError):
            found += [one] if word and read_contents(root.release(one)).name == word else []
    if not found:
        found = [one for one in ids if len(word) >= SHORTEST_ID and one.startswith(word)]
    if len(found) == 1:
        return found[0]
    several = f"are {len(found)} releases" if found else "is no release"
    there = f"there are: {', '.join(ids)}" if ids else "there is none: edge-streamer releases add FOLDER"
    raise InputError(f"{word!r} {several} below {root.path}; {there}")


def golden(release: Path, older: bool = False) -> str:
    """Replay the golden units of a release's bundle with the release's own runtime: why not, empty where they agree."""
    bundle = bundle_of(release)
    words = [str(release / "env/bin/python"), "-B", "-m", "edge_streamer", "check", *([bundle] if bundle else [])]
    words += ["--allow-downgrade"] if older else []
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"check does not run: {error}"
    if done.returncode == 0:
        return ""
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().split("\n")
    why = " ".join(said[-1].split()).removeprefix("edge-streamer: ")
    return f"its golden units: {why[:200] or f'check ended with status {done.returncode}'}"


def bundle_of(release: Path) -> str:
    """The bundle that the settings name; empty where they name none, which is the demo's."""
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if not (release / SETTINGS).exists():
        return str(release / BUNDLE)
    try:
        said = tomllib.loads((release / SETTINGS).read_text()).get("bundle")
    except (OSError, ValueError) as error:
        raise InputError(f"{release / SETTINGS} is no TOML: {error}") from None
    return str(release / str(said)) if said else ""


@contextmanager
def _changing(root: Root) -> Iterator[State]:
    """The state, alone with it."""
    with state_lock(root):
        yield _read(root)


def _read(root: Root) -> State:
    try:
        return read_state(root)
    except ValueError as error:
        raise InputError(
            f"{root.state} cannot be used: {error}; the next start of the service puts it aside, or remove it, which "
            "forgets what was good"
        ) from None


def _current(root: Root) -> str:
    name = root.led_to(root.current)
    if name is None:
        raise InputError(f"no release below {root.path} is current; name one: edge-streamer releases activate ID")
    return name


def _drop_bytecode(root: Root) -> None:
    """What Python compiled of releases that are no more."""
    caches = {Path("/var/cache"), Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")}
    for folder in (cache / BYTECODE for cache in caches):
        for path in folder.glob("????????????????"):
            if not root.release(path.name).exists():
                with suppress(OSError):
                    remove(path)
