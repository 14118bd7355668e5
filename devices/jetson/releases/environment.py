"""A release's environment: a virtual environment from the wheels that came with it, without a network.

Receives a folder of wheels, a folder to make and a Python; hands on nothing. The wheels are the whole environment, as
their maker resolved it. It is made under one name and then moved, which an environment survives where it is run as
``env/bin/python -m edge_streamer``: scripts that name the place where they were made go, and one of ours comes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from edge_streamer.runtime.errors import InputError

SCRIPT = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -m edge_streamer "$@"
"""
WHOLE_SECONDS = 3600
"""Nothing is built, only unpacked: longer than this is a disk that does not answer."""


def wheels_of(folder: Path) -> list[str]:
    """The wheels in ``folder``. InputError where ours is not among them."""
    found = sorted(str(path) for path in folder.glob("*.whl"))
    if not any(Path(name).name.startswith("edge_streamer-") for name in found):
        raise InputError(f"{folder} holds no wheel of edge_streamer; put it and all that it needs there")
    return found


def make_environment(folder: Path, wheels: Path, python: str) -> None:
    """Make ``folder``. InputError where the wheels are not those of this Python, or none."""
    found = wheels_of(wheels)
    # Boards often lack Debian's python3-venv, without which an environment gets no pip: a wheel of it runs as it is.
    pip = [name for name in found if Path(name).name.startswith("pip-")]
    _run([python, "-m", "venv", "--system-site-packages", *(["--without-pip"] if pip else []), str(folder)],
         f"{python} makes no virtual environment")  # fmt: skip
    own = str(folder / "bin/python")
    installer = [f"{pip[0]}/pip"] if pip else ["-m", "pip"]
    found = [name for name in found if name not in pip]  # it is needed here alone
    _run([own, *installer, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--ignore-installed",
          "--disable-pip-version-check", *found], f"the wheels in {wheels} cannot be installed")  # fmt: skip
    _make_movable(folder)
    _run([own, "-B", "-m", "edge_streamer", "--version"], f"what the wheels in {wheels} hold does not start")


def _make_movable(folder: Path) -> None:
    place = str(folder).encode()
    for script in (folder / "bin").iterdir():
        if not script.is_symlink() and script.is_file() and place in script.read_bytes():
            script.unlink()
    ours = folder / "bin/edge-streamer"
    ours.write_text(SCRIPT)
    ours.chmod(0o755)


def _run(words: Sequence[str], failed: str) -> None:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=WHOLE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{failed}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        why = next(
            (line for line in said if line.startswith("ERROR")), said[-1] if said else f"status {done.returncode}"
        )
        raise InputError(f"{failed}: {why[:300]}")
