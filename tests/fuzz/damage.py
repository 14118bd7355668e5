"""Damage by structure: JSON trees, bytes, zips of arrays

Receives what is whole and a random generator; hands on what a hostile or broken writer might make of it. Every function
gives the same for the same generator.
"""

from __future__ import annotations

import io
import json
import math
import random
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

DEEP = "@@deep@@"
"""Stands for a value of five thousand levels, which only text can hold."""

ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, 255, 256, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, -0.0,
    1e308, float("nan"), float("inf"), "", "x", "x" * 300, "x" * 70_000, "../x", "/etc/passwd", "a\nb", "a\0b", "é",
    "\udcff", "nan",
    "float64", "int8", "state.x", [], {}, [[]], [0], [-1, 4], [10**12], {"x": 1}, DEEP,
)  # fmt: skip
"""Values that a field may not be made for."""


def spots(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON tree but the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from spots(value, (*path, key))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """The value at ``path``."""
    for key in path:
        tree = tree[key]
    return tree


def damage_tree(tree: Any, rng: random.Random, most: int = 3) -> None:
    """Change one to ``most`` places of a JSON tree in place."""
    for _ in range(rng.randint(1, most)):
        places = list(spots(tree))
        if not places:
            return
        *before, key = rng.choice(places)
        parent = at(tree, tuple(before))
        rng.choice((_odd, _odd, _number, _number, _drop, _swap, _rename, _repeat, _text))(tree, parent, key, rng)


def _odd(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = rng.choice(ODD)


def _number(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        parent[key] = rng.choice(
            (value + 1, value - 1, value * 2, -value, value * 1000, value * 10**9, _float(value), str(value))
        )
    else:
        _odd(tree, parent, key, rng)


def _float(value: float) -> float:
    """A whole number that was multiplied a few times is none that a float can hold."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _drop(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    del parent[key]


def _swap(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = json.loads(json.dumps(at(tree, rng.choice(list(spots(tree))))))


def _rename(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    if isinstance(parent, dict):
        parent[rng.choice(("x", "", key.upper(), f"{key}2", "format"))] = parent.pop(key)
    else:
        parent.reverse()


def _repeat(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    """One element many times, as far as a file of some megabytes goes."""
    value = parent[key]
    if isinstance(value, list) and value:
        one = rng.choice(value)
        value.extend([one] * rng.choice((1, 2, 1000, 4_000_000 // max(len(json.dumps(one)), 40))))
    elif isinstance(parent, list):
        parent.insert(0, value)


def _text(tree: Any, parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    if isinstance(value, str):
        cut = rng.randrange(len(value) + 1)
        parent[key] = rng.choice(
            (value[:cut], value + "x", value.upper(), f"../{value}", f"/{value}", f"{value}/", value[::-1])
        )
    else:
        _odd(tree, parent, key, rng)


def written(tree: Any) -> bytes:
    """A JSON tree as text, with what only text can hold."""
    text = json.dumps(tree).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000)
    return text.encode("utf-8", "surrogatepass")


def damage_json(text: bytes, rng: random.Random) -> bytes:
    """A JSON text changed in its values or, now and then, in its bytes."""
    if rng.random() < 0.1:
        return damage_bytes(text, rng)
    tree = json.loads(text)
    damage_tree(tree, rng)
    return written(tree)


def damage_bytes(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """Flip, cut, repeat, blank or overwrite one to ``most`` places."""
    found = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not found:
            break
        place = rng.randrange(min(len(found), rng.choice((64, 1024, 1 << 30))))  # headers are at the beginning
        size = min(rng.choice((1, 2, 4, 8, 64, 1024, 1 << 16)), len(found) - place)
        way = rng.randrange(8)
        if way == 0:
            found[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            found[place : place + size] = rng.randbytes(size)
        elif way == 2:
            found[place : place + size] = bytes(size)
        elif way == 3:
            found[place : place + size] = b"\xff" * size
        elif way == 4:
            del found[place : place + size]
        elif way == 5:
            found[place:place] = found[place : place + size] * rng.choice((1, 2, 50))
        elif way == 6:
            del found[place:]
        else:
            number = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
            form = rng.choice(("<I", ">I", "<H", ">H"))
            packed = struct.pack(form, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
            found[place : place + len(packed)] = packed
    return bytes(found)


def damage_arrays(data: bytes, rng: random.Random, record: str = "meta.npy") -> bytes:
    """An ``.npz``: its record's JSON, an array's header or numbers, its list of members, or the zip's own bytes."""
    if rng.random() < 0.25:
        return damage_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    way = rng.randrange(5)
    if way == 0 and record in members:
        head = 10 + struct.unpack("<H", members[record][8:10])[0]
        text = damage_json(members[record][head:], rng)
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},), }}"
        members[record] = _npy(header, text)
    elif way == 1:
        name = rng.choice(list(members))
        members[name] = _other_header(members[name], rng)
    elif way == 2:
        name = rng.choice(list(members))
        members[name] = damage_bytes(members[name], rng)
    elif way == 3:
        name = rng.choice(list(members))
        value = members.pop(name)
        if rng.random() < 0.6:
            members[
                rng.choice(("x.npy", f"../{name}", name.replace("/", "\\"), name.upper(), "a" * 300, name[:-4]))
            ] = value
    else:
        members[rng.choice((*members, "bomb.npy"))] = _npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (75000000,), }", bytes(rng.choice((0, 64, 300_000_000)))
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    return out.getvalue()


def _other_header(data: bytes, rng: random.Random) -> bytes:
    head = 10 + struct.unpack("<H", data[8:10])[0]
    shape = rng.choice(
        ("()", "(0,)", "(-1,)", "(1000000000000,)", "(2, 3)", "(1,)", "'x'", "(1.5,)", "(" * 300, "(10**9,)", "(True,)")
    )
    kind = rng.choice(
        ("<f4", "|u1", "|i1", ">f4", "<f8", "|O", "<U9", "<c8", "<M8[s]", "[('a', '<f4')]", "|V8", "|b1", "<f2")
    )
    order = rng.choice(("False", "True", "0", "None"))
    if rng.random() < 0.2:
        return _npy(rng.choice(("", "{", "nan", "__import__('os')", "{'descr': 1}", "\0" * 9, "[" * 4000)), data[head:])
    quoted = kind if kind.startswith("[") else f"'{kind}'"
    return _npy(f"{{'descr': {quoted}, 'fortran_order': {order}, 'shape': {shape}, }}", data[head:])


def _npy(header: str, content: bytes) -> bytes:
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text), 0xFFFF)) + text + content
