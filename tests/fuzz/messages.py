"""Damage to ONNX files: protobuf messages taken apart, changed at any depth, and put together again

Receives the bytes of a model; hands on what a hostile writer might make of it, with ways to a file outside planted.
"""

from __future__ import annotations

import random
from typing import Any

from tests.fuzz.damage import damage_bytes

Field = tuple[int, int, Any]
"""(number, wire type, value): bytes for wire type 2, a number for the others."""

INSIDE = {
    "model": {7: "graph", 25: "function", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {13: "entry"},
    "value": {},
    "opset": {},
    "entry": {},
}
"""Message -> field -> the message in it, of onnx.proto."""


def parse_message(data: bytes) -> list[Field]:
    """The fields of a protobuf message. ValueError where it is none."""
    fields, place = [], 0
    while place < len(data):
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == 0:
            value: Any
            value, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, place = int.from_bytes(data[place : place + size], "little"), place + size
        elif wire == 2:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            raise ValueError(f"wire type {wire}")
        fields.append((tag >> 3, wire, value))
    return fields


def render_message(fields: list[Field]) -> bytes:
    """The bytes of a protobuf message."""
    out = bytearray()
    for number, wire, value in fields:
        out += _to_varint(number << 3 | wire)
        if wire == 0:
            out += _to_varint(value)
        elif wire == 2:
            out += _to_varint(len(value)) + value
        else:
            out += int(value).to_bytes(8 if wire == 1 else 4, "little")
    return bytes(out)


def damage_graph(data: bytes, rng: random.Random, plants: tuple[bytes, ...] = ()) -> bytes:
    """An ONNX file with some fields dropped, repeated, changed or planted, at any depth."""
    if rng.random() < 0.1:
        return damage_bytes(data, rng)
    for _ in range(rng.randint(1, 3)):
        data = _damage_message(data, "model", rng, plants)
    return data


def _damage_message(data: bytes, kind: str, rng: random.Random, plants: tuple[bytes, ...]) -> bytes:
    try:
        fields = parse_message(data)
    except (ValueError, IndexError):  # damaged before
        return damage_bytes(data, rng)
    inner = [place for place, (number, wire, _) in enumerate(fields) if wire == 2 and number in INSIDE[kind]]
    if inner and rng.random() < 0.8:
        place = rng.choice(inner)
        number, wire, value = fields[place]
        fields[place] = (number, wire, _damage_message(value, INSIDE[kind][number], rng, plants))
        return render_message(fields)
    way = rng.randrange(6)
    if not fields or (way == 0 and plants):
        number = rng.choice((*INSIDE[kind], 13, 14))
        fields.append((number, 2, rng.choice(plants) if plants else b""))
        return render_message(fields)
    place = rng.randrange(len(fields))
    number, wire, value = fields[place]
    if way == 1:
        del fields[place]
    elif way == 2:
        fields.insert(place, fields[rng.randrange(len(fields))])
    elif way == 3:
        fields[place] = (rng.choice((1, 2, 3, 4, 5, 7, 8, 13, 14, 20, 25, 1000)), wire, value)
    elif wire == 2:
        fields[place] = (number, 2, rng.choice((damage_bytes, _odd_text))(value, rng))
    else:
        fields[place] = (number, wire, rng.choice((0, 1, 2, 7, 22, 255, 2**31 - 1, 2**31)))
    return render_message(fields)


def _odd_text(value: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (b"", b"x", b"Loop", b"com.microsoft", b"../x", b"\xff", b"a" * 300, b"EPContext", b"ai.onnx.ml", b"x\0")
    )


def entry(key: str, value: str) -> bytes:
    """A StringStringEntryProto."""
    return render_message([(1, 2, key.encode()), (2, 2, value.encode())])


def external_tensor(location: str) -> bytes:
    """A TensorProto of 64 bytes that lies at ``location``."""
    entries = (("location", location), ("offset", "0"), ("length", "64"))
    return render_message(
        [(1, 0, 64), (2, 0, 2), (8, 2, b"leak"), (14, 0, 1), *((13, 2, entry(k, v)) for k, v in entries)]
    )


def planted(location: str) -> tuple[bytes, ...]:
    """Messages that lead to ``location`` wherever they are planted: entry, tensor, attribute, node, function."""
    tensor = external_tensor(location)
    attribute = render_message([(1, 2, b"value"), (5, 2, tensor), (20, 0, 4)])
    node = render_message([(2, 2, b"leak"), (4, 2, b"Constant"), (5, 2, attribute)])
    function = render_message([(1, 2, b"F"), (5, 2, b"leak"), (7, 2, node), (10, 2, b"loc"), (11, 2, attribute)])
    return entry("location", location), tensor, attribute, node, function


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number without an end")


def _to_varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
