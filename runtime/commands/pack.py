"""``edge-streamer pack BUNDLE --out FILE``: write a bundle, or a release, as one file.

Receives a folder; hands on an archive that every command takes in its place, and the folder's signature beside it where
it has one: what is signed is the manifest, which is the same in both.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer pack``."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's or release's folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the archive to write: .tar, .tar.gz or .tgz"
    )


def main(args: argparse.Namespace) -> int:
    """``edge-streamer pack``: check the bundle, write the archive, say where it is and what to run next."""
    from edge_streamer.runtime.bundle.archive import pack
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.files import read_small, size_text, write_file
    from edge_streamer.runtime.pages.terminal import next_command
    from edge_streamer.runtime.release.contents import RELEASE
    from edge_streamer.runtime.trust.gate import signature_of
    from edge_streamer.runtime.trust.release import open_folder, pack_release
    from edge_streamer.runtime.trust.statement import SIGNATURE_BYTES

    folder = Path(args.bundle)
    if (folder / RELEASE).is_file():
        release = open_folder(folder)
        pack_release(release, args.out)
        files, following = len(release.files), "verify"
    else:
        bundle = Bundle.open(args.bundle)
        pack(bundle, args.out)
        files, following = len(bundle.manifest.files), "check" if bundle.manifest.golden else "inspect"
    if (signature := signature_of(folder)).is_file():
        write_file(signature_of(args.out), read_small(signature, SIGNATURE_BYTES))
    print(f"{args.out}: {size_text(args.out.stat().st_size)}, {files + 1} files")
    print(next_command(following, args.out))
    return 0
