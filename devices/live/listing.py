"""``edge-streamer devices``: what there is to hear, speak, see and show with.

Receives nothing; hands on a table of devices, marks those that the next ``run`` takes where nothing is named, and says
in one line each what is missing and what to do. Exit status 0 also where something is missing: that is an answer.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge_streamer.devices.live.camera import names as camera_names
from edge_streamer.devices.live.screen import names as screen_names
from edge_streamer.devices.live.sound import names as sound_names
from edge_streamer.runtime.extras import needed

if TYPE_CHECKING:
    from rich.console import Console

TAKEN = "*"


@dataclass(frozen=True)
class Row:
    """A device."""

    kind: str
    """As the option of ``run`` is called: mic, speaker, camera, display."""
    name: str
    detail: str
    taken: bool
    """``run`` takes it where nothing is named."""


@dataclass
class Listing:
    """All devices, and what is missing."""

    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def main(args: argparse.Namespace) -> int:
    listing = look()
    if args.json:
        print(json.dumps(asdict(listing), indent=2))
        return 0
    from rich.console import Console

    show(listing, Console())
    return 0


def look() -> Listing:
    """Ask everything that can be asked without opening a device."""
    listing = Listing()
    _sound(listing)
    cameras = camera_names.found()
    listing.rows += [Row("camera", one.name, one.detail, one.default) for one in cameras]
    if not cameras:
        listing.missing.append("no camera: plug one in, or run with --camera film:FILE or pattern; run goes without")
    displays = screen_names.found()
    listing.rows += [Row("display", one.name, one.detail, one.default) for one in displays]
    if not displays:
        listing.missing.append("no display: connect one, or run with --display FILE.mp4; run goes without")
    if find_spec("pygame") is None:
        listing.missing.append(needed("a screen", "live", ["pygame"]))
    if find_spec("pywebrtc_audio") is None:
        listing.missing.append(f"{needed('echo cancellation', 'live', ['pywebrtc_audio'])}, or run with --no-aec")
    return listing


def _sound(listing: Listing) -> None:
    try:
        devices = sound_names.found()
    except RuntimeError as error:
        both: list[sound_names.Direction] = ["in", "out"]
        explained = {sound_names.explained(str(error), direction) for direction in both}
        listing.missing += sorted(explained)
        return
    sides: list[tuple[sound_names.Direction, str]] = [("in", "mic"), ("out", "speaker")]
    for direction, kind in sides:
        able = [device for device in devices if device.channels(direction) and not device.is_converter]
        rows = [_row(device, direction, kind, devices) for device in able]
        listing.rows += rows
        if not rows:
            listing.missing.append(sound_names.nothing(direction))


def _row(
    device: sound_names.SoundDevice, direction: sound_names.Direction, kind: str, every: list[sound_names.SoundDevice]
) -> Row:
    latency = device.input_latency if direction == "in" else device.output_latency
    detail = (
        f"{device.host}, {device.rate} Hz, up to {device.channels(direction)} channels, from {1000 * latency:.0f} ms"
    )
    taken = sound_names.choose("default", direction, every, {}) is device
    return Row(kind, device.name, detail, taken)


def show(listing: Listing, console: Console) -> None:
    """For a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "kind", "name", "what it is"):
        table.add_column(heading)
    for row in listing.rows:
        table.add_row(TAKEN if row.taken else "", row.kind, Text(row.name), Text(row.detail))
    if listing.rows:
        console.print(table)
        console.print(Text(f"{TAKEN} what 'edge-streamer run' takes where nothing is named"))
    for line in listing.missing:
        console.print(Text(line), soft_wrap=True)
