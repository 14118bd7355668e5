"""The first release of a device that has none: made of the folder that was flashed, with the board's own Python.

Receives the releases' root, that folder, and the file by which systemd runs this before a start, which goes at the end;
hands on exit status 0 where a release is current, 1 where none is, which the service manager repeats::

    ExecStartPre=  first.py ROOT FOLDER DROPIN [--no-check]

Is copied onto the device and run there before anything of ours is installed: Python's own library alone, and no other
file of ours. What adds releases is unpacked from its wheels first, as by a deployment. Every step is the same twice: a
release is there whole or not at all, `current` leads to one at an instant, and what was unpacked is never taken over.
So wherever power goes, the next start does what is missing; once a release is current it only removes the file that
called it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

WHEELS = "wheels"
TOOLS = ("edge_streamer", "numpy", "msgspec", "tomli", "rich", "pygments", "markdown_it_py", "mdurl", "cryptography",
         "cffi", "pycparser", "typing_extensions")  # fmt: skip
"""Distributions that `releases`, `service` and signatures need: unpacked beside the releases, before one is there."""
WORK = ".first"
LISTED_BYTES = 1_000_000


class Failed(Exception):
    """In one line, for the journal."""


def distribution(path: str) -> str:
    """A wheel's distribution."""
    return canonical(path.rpartition("/")[2].partition("-")[0])


def canonical(name: str) -> str:
    """As names of distributions are compared."""
    return re.sub(r"[-_.]+", "_", name).lower()


def say(text: str, level: int = 5) -> None:
    """A line for the journal: 5 notice, 3 error."""
    before = f"<{level}>" if os.environ.get("JOURNAL_STREAM") else ""
    print(f"{before}edge-streamer first start: {text}", file=sys.stderr, flush=True)


def make(root: Path, folder: Path, more: Sequence[str] = ()) -> None:
    """Have a release be current. ``more``: words for `releases activate`. Failed."""
    work = root / WORK
    shutil.rmtree(work, ignore_errors=True)
    say(f"making the first release of {folder}; minutes on a card")
    tools = unpacked(folder / WHEELS, work / "tools")
    # Of root's service the cache is another user's, who could not write what root leaves there.
    own = {"XDG_CACHE_HOME": str(work / "cache")} if os.geteuid() == 0 else {}
    words = ["releases", "add", str(folder), "--root", str(root), "--name", name_of(folder), "--python", sys.executable,
             "--json"]  # fmt: skip
    out = ran(sys.executable, words, {"PYTHONPATH": str(tools), **own}, work)
    try:
        made = str(json.loads(out)["id"])
    except (ValueError, KeyError, TypeError):
        raise Failed(f"releases add told no id: {out[:200]!r}") from None
    say(f"switching to {made}")
    python = root / "releases" / made / "env/bin/python"
    ran(str(python), ["releases", "activate", made, "--root", str(root), "--no-restart", *more], own, work)
    if not current(root):
        raise Failed(f"{made} was made, but {root}/current leads to no release")
    say(f"{made} is current")
    shutil.rmtree(work, ignore_errors=True)


def current(root: Path) -> bool:
    """Whether a release is current."""
    return (root / "current").is_symlink() and (root / "current").is_dir()


def unpacked(wheels: Path, tools: Path) -> Path:
    """What adds releases. Always anew: whatever is there may be what a power cut left."""
    found = [path for path in sorted(wheels.glob("*.whl")) if distribution(path.name) in TOOLS]
    if not any(distribution(path.name) == "edge_streamer" for path in found):
        raise Failed(f"{wheels} holds no wheel of edge_streamer; flash the board again, or deploy to it")
    tools.mkdir(parents=True)
    for path in found:
        try:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(tools)
        except zipfile.BadZipFile as error:
            raise Failed(f"{path} is damaged ({error}); flash the board again, or deploy to it") from None
    return tools


def name_of(folder: Path) -> str:
    """What its list calls it; empty where it has none."""
    with suppress(OSError, ValueError, AttributeError), open(folder / "release.json", "rb") as file:
        name = str(json.loads(file.read(LISTED_BYTES)).get("name", ""))
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("._+-")[:100]  # as `releases add` takes it
    return ""


def ran(python: str, words: Sequence[str], env: Mapping[str, str], where: Path) -> str:
    """What a command of ours told, in a folder of its own; what it says on its way is told too. Failed."""
    try:
        done = subprocess.run([python, "-B", "-m", "edge_streamer", *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, cwd=where, env={**os.environ, **env}, check=False)  # fmt: skip
    except OSError as error:
        raise Failed(f"{python} does not start: {error.strerror}") from None
    if done.returncode:
        raise Failed(f"{' '.join(words[:2])} ended with status {done.returncode}")
    return done.stdout.decode("utf-8", "replace")


def main(words: Sequence[str]) -> int:
    if len(words) < 3:
        print("usage: first.py ROOT FOLDER DROPIN [--no-check]", file=sys.stderr)
        return 2
    root, folder, dropin = map(Path, words[:3])
    os.umask(0o022)
    try:
        if not current(root):
            make(root, folder, words[3:])
    except (Failed, OSError) as error:
        say(f"there is no release yet: {error}; tried again", 3)
        return 1
    with suppress(OSError):  # it costs a look at each start where it stays
        dropin.unlink(missing_ok=True)
        dropin.parent.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
