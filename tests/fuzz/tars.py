"""Damage to tar archives: members renamed, retyped, resized, repeated, with PAX records of every kind, sums made right

Receives members as header fields and content; hands on the bytes of an archive.
"""

from __future__ import annotations

import random
from typing import Any

from tests.fuzz.damage import damage_bytes

Header = dict[str, Any]
"""The fields of a member's header block that are written, and its content under ``content``."""

FIELDS: tuple[tuple[str, int], ...] = (
    ("name", 100), ("mode", 8), ("uid", 8), ("gid", 8), ("size", 12), ("mtime", 12), ("chksum", 8), ("type", 1),
    ("link", 100), ("magic", 8), ("uname", 32), ("gname", 32), ("major", 8), ("minor", 8), ("prefix", 155),
)  # fmt: skip


def member(name: str, content: bytes) -> Header:
    """An ordinary file."""
    return {
        "name": name.encode(), "mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0",
        "size": b"%011o\0" % len(content), "mtime": b"%011o\0" % 0, "type": b"0", "magic": b"ustar\x0000",
        "content": content,
    }  # fmt: skip


def render_tar(members: list[Header]) -> bytes:
    """A tar whose headers have right sums, whatever they say."""
    out = bytearray()
    for header in members:
        block = b"".join(header.get(field, b"")[:size].ljust(size, b"\0") for field, size in FIELDS).ljust(512, b"\0")
        block = block[:148] + b" " * 8 + block[156:]
        out += block[:148] + b"%06o\0 " % sum(block) + block[156:]
        out += header["content"] + bytes(-len(header["content"]) % 512)
    return bytes(out) + bytes(1024)


def damage_tar(members: list[Header], rng: random.Random) -> bytes:
    """Members renamed, retyped, resized, repeated, dropped, moved, with PAX records of every kind."""
    members = [dict(header) for header in members]
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(members)) if members else 0
        way = rng.randrange(9)
        if not members:
            break
        header = members[place]
        if way == 0:
            header["name"] = rng.choice(
                (
                    b"../x",
                    b"/tmp/x",
                    b"",
                    b"a" * 100,
                    b"graphs",
                    b"./" + header["name"],
                    b"\xff",
                    b"manifest.json",
                    b"a/" * 50,
                )
            )
        elif way == 1:
            header["type"] = rng.choice(
                (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"\0", b"Z", b"V", b"M")
            )
            header["link"] = rng.choice((b"../../x", b"/etc/passwd", header["name"], b""))
        elif way == 2:
            size = rng.choice(
                (
                    b"\xff" * 12,
                    b"\x80" + b"\xff" * 11,
                    b"77777777777\0",
                    b"-0000000001\0",
                    b"00000000000\0",
                    b"x",
                    b"\x80" + bytes(7) + b"\x7f\xff\xff\xff",
                    b"%011o\0" % (1 << 33),
                )
            )
            header["size"] = size
        elif way == 3:
            members.insert(rng.randrange(len(members)), dict(header))
        elif way == 4:
            del members[place]
        elif way == 5:
            rng.shuffle(members)
        elif way == 8:  # what says nothing of a bundle
            header["mtime"], header["mode"], header["uname"] = (
                b"%011o\0" % rng.getrandbits(32),
                b"0000600\0",
                b"someone",
            )
        elif way == 6:
            members.insert(place, _pax(rng, header["name"].decode("latin1")))
        else:
            header["content"] = damage_bytes(header["content"], rng)
            if rng.random() < 0.5:
                header["size"] = b"%011o\0" % len(header["content"])
    data = render_tar(members)
    return damage_bytes(data, rng) if rng.random() < 0.1 else data


def _pax(rng: random.Random, name: str) -> Header:
    keys = ("size", "path", "linkpath", "mtime", "uid", "GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.size",
            "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.numblocks", "hdrcharset", "comment")  # fmt: skip
    values = (
        "",
        "-1",
        "0",
        "1",
        "99999999999999",
        "x",
        "../x",
        name,
        "a/" * 1500,
        "n" * 300,
        "0,10,x",
        "nan",
        "BINARY",
        "\0",
    )
    text = b""
    for key in rng.sample(keys, rng.randint(1, 4)):
        record = f"{key}={rng.choice(values)}\n".encode()
        size = len(record) + len(str(len(record) + 3)) + 1
        text += f"{rng.choice((size, size, size, 0, 5, 10**9))} ".encode() + record
    return {**member("PaxHeaders/x", text), "type": rng.choice((b"x", b"g"))}
