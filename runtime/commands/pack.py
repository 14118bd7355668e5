"""``edge-streamer pack BUNDLE --out FILE``: write a bundle as one file.

Receives a bundle; hands on an archive that every command takes in place of the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer pack``."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the archive to write: .tar, .tar.gz or .tgz"
    )


def main(args: argparse.Namespace) -> int:
    """``edge-streamer pack``: check the bundle, write the archive, say where it is and what to run next."""
    from edge_streamer.runtime.bundle.archive import pack
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.files import size_text
    from edge_streamer.runtime.pages.terminal import next_command

    bundle = Bundle.open(args.bundle)
    pack(bundle, args.out)
    print(f"{args.out}: {size_text(args.out.stat().st_size)}, {len(bundle.manifest.files) + 1} files")
    print(next_command("check" if bundle.manifest.golden else "inspect", args.out))
    return 0
