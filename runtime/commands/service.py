"""``edge-streamer service install|remove|show``: the current release as a service of systemd.

Receives the words of the command line; hands on a unit, installed or shown. See docs/releases.md.
"""

from __future__ import annotations

import argparse
import os

from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.commands.releases import add_root, root_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="install|remove|show", required=True, parser_class=Parser)
    abouts = {"install": "write the unit, and have it start with the machine",
              "remove": "stop it and remove the unit; releases stay", "show": "print the unit"}  # fmt: skip
    for name, about in abouts.items():
        made = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        made.add_argument("--system", action="store_true",
                          help="of the system, for boards with ALSA alone (default: of the user, beside the sound "
                               "server)")  # fmt: skip
        if name != "remove":
            add_root(made)
            made.add_argument("--user", default="", metavar="NAME",
                              help="whom a system service runs as (default: one that systemd makes up)")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases import service
    from edge_streamer.runtime.errors import InputError

    if args.action == "remove":
        for line in service.uninstall(args.system):
            print(line)
        return 0
    if args.user and not args.system:
        raise InputError("--user names whom a system service runs as; add --system")
    if args.root is None and args.system:
        args.root = service.SYSTEM_ROOT
    made = service.service_for(root_of(args).path, args.system, args.user)
    if args.action == "show":
        print(made.text(), end="")
        return 0
    if args.system and os.geteuid() != 0:
        raise InputError("a system service is root's to install; run it with sudo, or without --system")
    for line in service.install(made):
        print(line)
    return 0
