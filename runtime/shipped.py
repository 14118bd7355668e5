"""What ships inside the package: the demo's bundle, the float32 one that it was quantized from, and media for it.

Commands that only look at a bundle take the demo's where none is named (:func:`add_bundle`, :func:`chosen`): the first
thing to run on a new board needs no file of one's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.errors import BundleError

EMBEDDED = Path(__file__).parent / "embedded"
MEDIA = EMBEDDED / "media"
VOICES = (
    "it understands the voices of espeak-ng, which it was trained on (0.97 of commands), and no humans yet: of a "
    "human's 8 prompts none was understood, of 40 commands by flite's voices 12"
)
"""What was measured of the demo's hearing; see docs/model-card.md."""


def bundle_path(floats: bool = False) -> Path:
    """The folder of the embedded bundle, or of the float32 one that it was quantized from. BundleError where this
    package was built without it."""
    path = EMBEDDED / ("demo-float" if floats else "demo")
    if not (path / "manifest.json").is_file():
        raise BundleError(f"this edge-streamer ships no demo bundle ({path} is missing); name a BUNDLE")
    return path


def is_demo(path: Path) -> bool:
    """Whether ``path`` is one of the two bundles that ship."""
    return path.resolve() in (EMBEDDED.resolve() / "demo", EMBEDDED.resolve() / "demo-float")


class _Bundle:
    """A bundle's path, as it was written. An empty word is a variable of the shell that is not set."""

    gives_path = True

    def __call__(self, word: str) -> Path:
        if not word:
            raise argparse.ArgumentTypeError("the name is empty; wanted a folder or an archive, or none for the demo's")
        return Path(word)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The argument BUNDLE, which may be left out."""
    parser.add_argument("bundle", nargs="?", type=_Bundle(), metavar="BUNDLE",
                        help="a bundle's folder or archive (default: the demo bundle)")  # fmt: skip


def chosen(args: argparse.Namespace) -> Path:
    """The bundle that was named, else the demo's."""
    named: Path | None = args.bundle
    return named or bundle_path()
