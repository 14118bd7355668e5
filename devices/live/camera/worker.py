"""The process that drives a camera.

Receives {"name", "height", "width", "frame_rate"}; hands on PICTURE messages, already in the model's size. It reads
every picture that the camera gives, so that none waits in a driver, and sends at most ``MOST_RATE`` times as many as
the model takes: the others are not even converted.

    PICTURE    time: when it was captured; one: how many the camera gave so far; two: how many were not sent, and how
               many were broken (<< 32); payload: RGB [height, width, 3]
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from edge_streamer.devices.files.picture import Letterbox
from edge_streamer.devices.live.camera.back_ends import Need, open_source
from edge_streamer.devices.live.camera.names import NoSuchCamera, choose, has_libcamera, is_jetson, v4l2_cameras
from edge_streamer.devices.live.process.wire import CLOSE, OPENED, Wire, WireClosed
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.runtime.errors import MediaError

PICTURE = 16

MOST_RATE = 1.25
"""Of the model's rate: a camera of 30 pictures a second passes whole, one of 120 is thinned out."""


def work(wire: Wire, options: Mapping[str, Any]) -> None:
    """Drive one camera until the loop wants no more. Raises Unopened."""
    need = Need(options["height"], options["width"], options["frame_rate"])
    try:
        choice = choose(options["name"], v4l2_cameras(), jetson=is_jetson(), libcamera=has_libcamera())
    except NoSuchCamera as error:
        raise Unopened(str(error), hopeless=True) from None
    source = open_source(choice.back_end, choice.address, need)
    ended = _watch(wire)
    letterbox = Letterbox((need.height, need.width), source.pixel_aspect, choice.name)
    given = unsent = broken = 0
    due, shown, picture = 0.0, None, b""
    try:
        for time, frame in source.frames():
            if ended.is_set():
                return
            if frame is None:
                broken += 1
                continue
            given += 1
            if time < due:
                unsent += 1
                continue
            due = max(due + 1 / (MOST_RATE * need.frame_rate), time)
            if frame is not shown:  # a still comes again and again
                shown, picture = frame, letterbox(frame).tobytes()
            if given == 1:
                wire.tell(OPENED, name=choice.name, back_end=choice.back_end, **source.facts)
            wire.send(PICTURE, int(1e9 * time), given, unsent | broken << 32, picture)
    except MediaError as error:  # colours that are not read, a file that is damaged
        raise Unopened(str(error), hopeless=True) from None
    except WireClosed:
        return
    finally:
        source.close()


def _watch(wire: Wire) -> threading.Event:
    """Set where the loop wants an end; a camera that gives nothing would never look."""
    ended = threading.Event()

    def listen() -> None:
        try:
            while (message := wire.receive()) is None or message.kind != CLOSE:
                pass
        except WireClosed:
            pass
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    return ended
