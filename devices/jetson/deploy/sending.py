"""Files go to the board by what they hold: what is there is not sent, and what was cut off goes on at its end.

Receives a :class:`~.payload.Payload`; hands on how much went. Every file is compared on the board before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from edge_streamer.devices.jetson.deploy.device import Device, Progressed, close
from edge_streamer.devices.jetson.deploy.link import Dropped
from edge_streamer.devices.jetson.deploy.payload import File, Payload
from edge_streamer.runtime.errors import InputError

BLOCK_BYTES = 1 << 17
ROUNDS = 3
"""For what arrives damaged."""
Tell = Callable[[str, int, int], None]


class Missing(NamedTuple):
    """What the board lacks: SHA-256 -> how much of it is there."""

    offsets: Mapping[str, int]
    files: int
    size: int
    """Bytes that are to go."""


def missing(device: Device, payload: Payload) -> Missing:
    """Ask the board."""
    by_sum = payload.by_sum
    found = device.ask("have", files=[[sha, file.size] for sha, file in by_sum.items()])["missing"]
    offsets = {sha: int(found[sha]) for sha in by_sum if sha in found}
    return Missing(offsets, len(offsets), sum(by_sum[sha].size - offset for sha, offset in offsets.items()))


def send(device: Device, payload: Payload, tell: Tell) -> int:
    """Have all of it there, whole; returns bytes that went. InputError."""
    total, sent, damaged = 0, 0, 0

    def once() -> bool:
        nonlocal sent, total, damaged
        lacks = missing(device, payload)
        total = max(total, sent + lacks.size)
        if not lacks.offsets:
            return True
        before = sent
        process = device.begin("receive", {})
        try:
            assert process.stdin is not None
            try:
                for sha, offset in lacks.offsets.items():
                    process.stdin.write(_head(payload.by_sum[sha], offset))
                    for block in _bytes(payload.by_sum[sha], offset):
                        process.stdin.write(block)
                        sent += len(block)
                        tell("sending", min(sent, total), total)
                process.stdin.flush()
            except BrokenPipeError:
                pass  # the answer says why, where there is one
            reply = device.answer(process)
        except Dropped as error:
            raise (Progressed if sent - before > BLOCK_BYTES else Dropped)(str(error)) from None
        finally:
            close(process)
        damaged += bool(reply["damaged"])
        if damaged >= ROUNDS:
            raise InputError(f"{payload.by_sum[reply['damaged'][0]].path} arrived damaged {ROUNDS} times; the "
                             "device's disk or memory is not sound, or the file changes meanwhile")  # fmt: skip
        return once()

    device.again(once)
    return sent


def _head(file: File, offset: int) -> bytes:
    """The line that says which file comes."""
    return json.dumps({"sha256": file.sha256, "size": file.size, "offset": offset}).encode() + b"\n"


def _bytes(file: File, offset: int) -> Iterator[bytes]:
    """The rest of one file. InputError."""
    left = file.size - offset
    with file.open() as source:
        source.seek(offset)
        while left:
            block = source.read(min(left, BLOCK_BYTES))
            if not block:
                raise InputError(f"{file.path} became shorter while it was sent; run the same command again")
            left -= len(block)
            yield block
