"""A worker without a device, for tests of the supervisor: what it does is in its options."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_streamer.devices.live.process.wire import CLOSE, OPENED, Wire
from edge_streamer.devices.live.process.worker import Unopened

TICK, ECHO = 16, 17


def work(wire: Wire, options: Mapping[str, Any]) -> None:
    """``behave``: what it does after it was opened, or instead."""
    behave = options["behave"]
    if "once" in options:  # from the second worker on it is well
        mark = Path(options["once"])
        behave = "tick" if mark.exists() else behave
        mark.touch()
    if behave == "refuse":
        raise Unopened("no such device; there are: A, B", hopeless=True)
    if behave == "busy":
        raise Unopened("the device is busy")
    if behave == "break":
        raise RuntimeError("what nobody\nforesaw")
    if behave == "sleep":
        time.sleep(60)
    child = subprocess.Popen(["sleep", "600"]).pid if options.get("child") else 0
    if options.get(
        "daemon"
    ):  # as a sound server that is started when it is first asked for; it keeps our standard error
        subprocess.Popen(["sleep", "5"], start_new_session=True)
    wire.tell(OPENED, name="fake", pid=os.getpid(), child=child)
    if behave == "crash":
        print("driver: bus error", file=sys.stderr, flush=True)
        os.abort()
    count = 0
    while True:
        message = wire.receive(0.02)
        if message is not None and message.kind == CLOSE:
            return
        if message is not None:
            wire.send(ECHO, message.time_ns, message.one, message.two, message.payload)
        if behave == "tick":
            count += 1
            wire.offer(TICK, time.monotonic_ns(), count)
        if behave == "vanish":
            raise Unopened("it was unplugged")
        if behave == "stubborn":
            while True:
                time.sleep(60)
