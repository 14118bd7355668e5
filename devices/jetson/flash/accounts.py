"""The lists of users and groups of a root file system, as text in and text out.

Receives the four files' text; hands on what they are with one user more. NVIDIA's own script for it
(l4t_create_default_user.sh) takes the password as a word of the command line, where everybody on the machine reads it,
and prints it; so its result is written here instead: the same groups, a hash, or a lock.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edge_streamer.runtime.errors import InputError

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
GROUPS = ("sudo", "video", "audio", "adm", "render", "weston-launch")
"""As l4t_create_default_user.sh has them (R36.4); those that a root has not are left out."""
MORE_GROUPS = ("i2c", "gpio", "dialout", "input", "plugdev", "netdev")
LOCKED = "!"
FIRST, LAST = 1000, 59999
SHELL = "/bin/bash"


class Lists(NamedTuple):
    """The text of four files of /etc."""

    passwd: str
    shadow: str
    group: str
    gshadow: str


class Account(NamedTuple):
    uid: int
    gid: int
    home: str


def check_name(name: str) -> str:
    """Raises InputError where it is no user's."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no user's name; wanted small letters, digits, - and _, at most 32, a letter first"
        )
    return name


def with_user(lists: Lists, name: str, hashed: str, *, sudo: bool = True) -> tuple[Lists, Account]:
    """``hashed``: what crypt makes of a password, or ``LOCKED``. One who is there keeps uid and home. Raises InputError
    where the name is a system's, or nothing is free."""
    check_name(name)
    if not lists.passwd:
        raise InputError("the root file system has no /etc/passwd; unpack it anew")
    there = _fields(lists.passwd, name)
    if there and len(there) >= 6 and there[2].isdigit():
        uid, gid, home = int(there[2]), int(there[3]) if there[3].isdigit() else int(there[2]), there[5]
        if uid < FIRST:
            raise InputError(f"{name!r} is a user of the system itself; name another")
        passwd, group, gshadow = lists.passwd, lists.group, lists.gshadow
    else:
        own = _fields(lists.group, name)
        gid = int(own[2]) if own and len(own) > 2 and own[2].isdigit() else _free(lists.passwd, lists.group)
        # Where somebody was killed between the two lists the group is there already, and its number is the user's too.
        uid, home = (
            gid if FIRST <= gid <= LAST and gid not in _taken(lists.passwd) else _free(lists.passwd, lists.group),
            f"/home/{name}",
        )
        passwd = _add(lists.passwd, f"{name}:x:{uid}:{gid}:{name},,,:{home}:{SHELL}")
        group = lists.group if own else _add(lists.group, f"{name}:x:{gid}:")
        known = not lists.gshadow or _fields(lists.gshadow, name)
        gshadow = lists.gshadow if known else _add(lists.gshadow, f"{name}:!::")
    for each in (*GROUPS, *MORE_GROUPS):
        if sudo or each != "sudo":
            group, gshadow = _member(group, each, name), _member(gshadow, each, name)
    return Lists(passwd, _shadow(lists.shadow, name, hashed), group, gshadow), Account(uid, gid, home)


def hash_of(shadow: str, name: str) -> str:
    """What the list has as ``name``'s password; empty where it has none."""
    fields = _fields(shadow, name)
    return fields[1] if fields and len(fields) > 1 else ""


def group_of(group: str, name: str) -> int:
    """A group's number; root's where there is no such group."""
    fields = _fields(group, name)
    return int(fields[2]) if fields and len(fields) > 2 and fields[2].isdigit() else 0


def _fields(text: str, name: str) -> list[str] | None:
    found = next((line for line in text.splitlines() if line.startswith(f"{name}:")), None)
    return found.split(":") if found is not None else None


def _taken(text: str) -> set[int]:
    """Numbers of users, or of groups."""
    return {int(number) for number in re.findall(r"^[^:\n]*:[^:\n]*:(\d{1,9})(?=:)", text, re.MULTILINE)}


def _free(*texts: str) -> int:
    """A number that nobody has."""
    taken = {number for text in texts for number in _taken(text)}
    free = next((number for number in range(FIRST, LAST + 1) if number not in taken), None)
    if free is None:
        raise InputError("the root file system has no user number left")
    return free


def _add(text: str, line: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


def _member(text: str, group: str, name: str) -> str:
    """``name`` among the members of ``group``, where the list has that group; its other lines as they are."""
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        fields = line.rstrip("\n").split(":")
        if fields[0] == group and len(fields) == 4:
            members = [member for member in fields[3].split(",") if member]
            if name not in members:
                lines[at] = ":".join((*fields[:3], ",".join((*members, name)))) + "\n"
    return "".join(lines)


def _shadow(text: str, name: str, hashed: str) -> str:
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        fields = line.rstrip("\n").split(":")
        if fields[0] == name:
            lines[at] = ":".join((name, hashed, *fields[2:])) + "\n"
            return "".join(lines)
    return _add(text, f"{name}:{hashed}:19700:0:99999:7:::")
