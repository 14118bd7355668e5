"""``edge_streamer.devices.live.process.worker MODULE FD PARENT``, as a program: the process that drives one device.

Receives the dotted name of a module, the number of an open socket and the process that started it; hands on whatever
the module's ``work(wire, options)`` sends. ``work`` opens the device, tells OPENED with its facts, and runs until CLOSE
comes or the loop has gone. It raises :class:`Unopened` for a device that cannot be opened or that was lost; anything
else it raises is told the same way, with its name, so that no worker ends without a reason.

A worker outlives nothing: where the loop's process dies, however it dies, the kernel ends its workers too, and so it
ends what a worker started with :func:`die_with_parent`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from edge_streamer.devices.live.process.wire import FAILED, OPENED, Wire, WireClosed
from edge_streamer.runtime.loop.priorities import nothing_to_collect

_PR_SET_PDEATHSIG = 1


class Unopened(Exception):
    """The device cannot be opened, or was lost. ``hopeless``: trying again will not help."""

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


def main(words: list[str]) -> int:
    module, number, parent = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(int(parent))
    wire = Wire(socket.socket(fileno=int(number)))
    try:
        first = wire.receive()
        assert first is not None
        assert first.kind == OPENED
        options: Mapping[str, Any] = first.facts()
        chosen = import_module(module)
        with nothing_to_collect():
            chosen.work(wire, options)
    except WireClosed:
        pass
    except Unopened as error:
        _tell(wire, str(error), error.hopeless)
    except ModuleNotFoundError as error:
        _tell(wire, f"{error.name} is not installed", True)
    except Exception as error:
        _tell(wire, f"{type(error).__name__}: {error}", False)
    return 0


def _tell(wire: Wire, why: str, hopeless: bool) -> None:
    with suppress(WireClosed):
        wire.tell(FAILED, error=" ".join(why.split()), hopeless=hopeless)


def die_with_parent() -> None:
    """From now on the kernel ends this process when the one that started it ends. Linux only."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with(parent: int) -> None:
    """Linux only; elsewhere the closed socket ends the worker."""
    die_with_parent()
    if os.getppid() != parent:  # it died while we started
        raise SystemExit(0)


if __name__ == "__main__":
    # Under its own name, not as __main__: workers raise the Unopened of the module that they import.
    status = import_module("edge_streamer.devices.live.process.worker").main(sys.argv[1:])
    # Not sys.exit: a library's own thread or exit handler that hangs must not keep a worker that is done.
    sys.stderr.flush()
    os._exit(status)
