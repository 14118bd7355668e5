"""Messages between the loop and the worker that drives one device.

Receives a socket of type SEQPACKET; hands on :class:`Wire`, which sends and receives :class:`Message`. The kernel
keeps order and boundaries, and what does not fit is refused whole: a bounded queue with one writer and one reader for
each direction that no lock and no interpreter lock can hold up.

A message is a kind, the time that it is about, two whole numbers and bytes. Times are nanoseconds of the machine's
monotonic clock, which all processes share.

Choices: a message that is larger than one packet goes as several, the last one marked. ``offer`` sends one packet or
nothing and never waits: it is what an audio callback may call.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PACKET_BYTES = 32768
"""Payload of one packet: far below the smallest send buffer that a kernel grants (about 200 kB)."""

BUFFER_BYTES = 1 << 20
"""What is asked of the kernel for each direction; it grants what the system allows."""

_HEADER = struct.Struct("<B?6xqqq")

# Kinds that every worker knows. The device's own kinds begin at 16.
OPENED = 1
"""Worker -> loop: the device is open; the payload tells its facts as JSON."""
FAILED = 2
"""Worker -> loop: it cannot be opened, or was lost; the payload is JSON: {"error": ..., "hopeless": bool}. Hopeless:
trying again will not help (a wrong name, a missing library)."""
ALIVE = 3
"""Worker -> loop, now and then while nothing else is to be said."""
CLOSE = 4
"""Loop -> worker: end."""


class WireClosed(Exception):
    """The other side has gone."""


@dataclass(frozen=True)
class Message:
    """One message. ``time_ns``: what it is about, on the monotonic clock; ``one``, ``two``: as the kind says."""

    kind: int
    time_ns: int = 0
    one: int = 0
    two: int = 0
    payload: bytes = b""

    def facts(self) -> dict[str, Any]:
        """The payload as JSON."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Wire:
    """One end. Send from one thread, receive in one thread."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        # Blocking, with poll where a wait must end: a timeout of the socket would hold for sends too.
        end.setblocking(True)
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._buffer = bytearray(_HEADER.size + PACKET_BYTES)

    def offer(self, kind: int, time_ns: int = 0, one: int = 0, two: int = 0, payload: bytes | memoryview = b"") -> bool:
        """Send one packet, or nothing where the queue is full; never waits. WireClosed where nobody listens."""
        if len(payload) > PACKET_BYTES:
            raise ValueError(f"{len(payload)} bytes do not fit into one packet of {PACKET_BYTES}")
        header = _HEADER.pack(kind, True, time_ns, one, two)
        try:
            self._socket.sendmsg((header, payload), (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            raise WireClosed(str(error)) from error
        return True

    def send(self, kind: int, time_ns: int = 0, one: int = 0, two: int = 0, payload: bytes | memoryview = b"") -> None:
        """Send a message of any length; waits where the queue is full. WireClosed where nobody listens."""
        view = memoryview(payload).cast("B")
        try:
            for begin in range(0, max(len(view), 1), PACKET_BYTES):
                part = view[begin : begin + PACKET_BYTES]
                header = _HEADER.pack(kind, begin + len(part) >= len(view), time_ns, one, two)
                self._socket.sendmsg((header, part), (), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise WireClosed(str(error)) from error

    def tell(self, kind: int, **facts: object) -> None:
        """Send ``facts`` as JSON."""
        self.send(kind, payload=json.dumps(facts).encode())

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; None where none came within ``timeout`` seconds (None: waits). WireClosed at the end."""
        parts: list[bytes] = []
        while True:
            wait_ms = None if timeout is None else max(round(1000 * timeout), 0)
            try:
                if not self._poll.poll(wait_ms):
                    if not parts:
                        return None
                    continue  # the rest of a message that has begun is on its way
                count = self._socket.recv_into(self._buffer)
            except (OSError, ValueError) as error:  # ValueError: closed by another thread
                raise WireClosed(str(error)) from error
            if count < _HEADER.size:
                raise WireClosed("the other side has gone")
            kind, last, time_ns, one, two = _HEADER.unpack_from(self._buffer)
            parts.append(bytes(memoryview(self._buffer)[_HEADER.size : count]))
            if last:
                return Message(kind, time_ns, one, two, parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Close this end; the other one's ``receive`` raises. Harmless twice."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
