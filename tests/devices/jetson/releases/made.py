"""Releases made on the spot: a bundle, settings, and an environment that is this one, with a fault where one is wanted.

Receives a folder; hands on :func:`source`, what ``releases add`` takes, and :func:`plain`, one without a runtime.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SETTINGS = """bundle = "bundle"
mic = "none"
speaker = "none"
camera = "pattern"
display = "none"
"""
"""A live conversation, in real time, that no device is needed for."""

PYTHON = """#!/bin/sh
exec {python} "$(dirname "$(readlink -f "$0")")/../main.py" "$@"
"""
MAIN = """import sys

{fault}

if __name__ == "__main__":
    words = sys.argv[sys.argv.index("edge_streamer") + 1 :]
    if words[0] == "run":
        spoil()
    from edge_streamer.runtime.commands.cli import main

    sys.exit(main(words))
"""
SOUND = "def spoil(): ..."


def source(folder: Path, bundle: Path, fault: str = SOUND, note: str = "") -> Path:
    """``fault`` defines ``spoil()``, which is called before a conversation; ``note`` makes it another release."""
    (folder / "env/bin").mkdir(parents=True)
    python = folder / "env/bin/python"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    (folder / "env/main.py").write_text(MAIN.format(fault=fault))
    shutil.copytree(bundle, folder / "bundle")
    (folder / "settings.toml").write_text(f"# {note}\n{SETTINGS}")
    return folder


def plain(folder: Path, files: dict[str, bytes], python: str = "#!/bin/sh\nexit 0\n") -> Path:
    """A few files, and something that stands for a runtime."""
    for name, data in {"env/bin/python": python.encode(), "bundle/manifest.json": b"{}", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "env/bin/python").chmod(0o755)
    return folder
