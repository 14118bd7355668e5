"""``edge-streamer mender install|artifact``: releases come to devices by Mender.

Receives the words of the command line; hands on Mender's update module on this device, or an artifact of a release,
which the module takes. See docs/mender.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from pathlib import Path

from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.errors import InputError

KEY_VALUE = "KEY:VALUE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="install|artifact", required=True, parser_class=Parser)
    installed = actions.add_parser("install", help="on a device, as root: write the update module and its settings",
                                   description="Write the update module and its settings.")  # fmt: skip
    installed.add_argument("--user", default="", metavar="NAME", help="whose service it is (default: the system's)")
    installed.add_argument("--root", type=Path, metavar="DIR",
                           help="where releases lie (default: /opt/edge-streamer; of a user "
                                "~/.local/share/edge-streamer)")  # fmt: skip
    made = actions.add_parser("artifact", help="where releases are made: write Mender's artifact of one",
                              description="Write Mender's artifact of a release, by mender-artifact.")  # fmt: skip
    made.add_argument("thing", type=Path, metavar="RELEASE",
                      help="the folder that `releases add` takes, or a .tar of it by `pack`; its .sig goes along"
                      )  # fmt: skip
    made.add_argument("--name", required=True, help="the artifact's name: a new one for every release")
    made.add_argument("--device-type", action="append", required=True, type=_device_type, metavar="TYPE",
                      help="as /var/lib/mender/device_type says it; may be given more than once")  # fmt: skip
    made.add_argument("--out", type=Path, metavar="FILE", help="the artifact to write (default: NAME.mender)")
    made.add_argument("--software-version", default="", metavar="TEXT",
                      help="what devices then say that they have (default: the name)")  # fmt: skip
    made.add_argument("--software-filesystem", default="", metavar="NAME",
                      help="where releases lie beside the system's own file system: data-partition")  # fmt: skip
    made.add_argument("--depends", action="append", default=[], type=_pair, metavar=KEY_VALUE,
                      help="what a device must have: rootfs-image.version:jp-6.2")  # fmt: skip
    made.add_argument("--key", default="", metavar="FILE", help="signs the artifact: Mender's own signature")
    made.add_argument("--payload", type=Path, metavar="FILE.tar",
                      help="write the payload alone, and print the command that makes the artifact of it")  # fmt: skip


def _device_type(word: str) -> str:
    if not word.strip():
        raise argparse.ArgumentTypeError("it is empty; wanted the device's, as jetson-orin-nx")
    return word


def _pair(word: str) -> str:
    key, colon, value = word.partition(":")
    if not (key and colon and value):
        raise argparse.ArgumentTypeError(f"{word!r}: wanted {KEY_VALUE}")
    return word


def main(args: argparse.Namespace) -> int:
    return _install(args) if args.action == "install" else _artifact(args)


def _install(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.mender.installing import install

    if os.geteuid() != 0:
        raise InputError("Mender's client runs as root, and so does its module; run it with sudo")
    for line in install(args.user, args.root.absolute() if args.root else None):
        print(line)
    return 0


def _artifact(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.mender.artifact import Artifact, write
    from edge_streamer.runtime.files import size_text

    made = Artifact(args.name, args.device_type, args.software_version, args.depends, args.software_filesystem,
                    args.key)  # fmt: skip
    out = args.out or Path(f"{args.name}.mender")
    if args.payload is not None:
        if args.payload.suffix != ".tar":
            raise InputError(f"--payload {args.payload}: wanted a name that ends in .tar")
        print(shlex.join(made.words(_payload(args.thing, args.payload), out)))
        return 0
    with tempfile.TemporaryDirectory(prefix="edge-streamer-mender-", dir=_beside(out)) as folder:
        write(made, _payload(args.thing, Path(folder) / "release.tar"), out)
    print(f"{out}: {size_text(out.stat().st_size)}, {args.name} for {', '.join(args.device_type)}")
    return 0


def _beside(out: Path) -> Path:
    """A payload is as large as its artifact, so it is made on the same disk."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise InputError(f"--out {out}: there is no folder {folder}; make it first")
    return folder


def _payload(thing: Path, out: Path) -> list[Path]:
    """The payload's files: the archive, and its signature where it is signed. What is listed is compared first."""
    from edge_streamer.devices.jetson.mender.artifact import write_payload
    from edge_streamer.runtime.files import read_small, write_file
    from edge_streamer.runtime.release.contents import RELEASE
    from edge_streamer.runtime.trust.gate import signature_of
    from edge_streamer.runtime.trust.release import check_release_archive, open_folder, pack_release
    from edge_streamer.runtime.trust.statement import SIGNATURE_BYTES

    signature = signature_of(thing)
    if thing.is_file():
        if thing.suffix != ".tar":
            raise InputError(f"{thing}: wanted a release's folder, or a .tar of it by edge-streamer pack; Mender "
                             "compresses artifacts itself")  # fmt: skip
        check_release_archive(thing)
        return [thing, *([signature] if signature.is_file() else [])]
    if (thing / RELEASE).exists():
        pack_release(open_folder(thing), out)
    else:
        write_payload(thing, out)
    if not signature.is_file():
        return [out]
    write_file(signature_of(out), read_small(signature, SIGNATURE_BYTES))
    return [out, signature_of(out)]
