"""Sound devices by name.

Receives PortAudio's list; hands on the device that a user's word means: ``default``, any part of a device's name
(whatever its case), or an ALSA card's short name. Never an index: their order changes with every boot and every cable.
A word that fits several devices takes the one whose name is the word, or the first of those that lie on one card;
else it is refused with the names. :func:`found` lists them in a process of its own, because PortAudio's libraries write
to the terminal while they look.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_streamer.runtime.child import python_m
from edge_streamer.runtime.extras import needed

Direction = Literal["in", "out"]

KINDS = {"in": "microphone", "out": "speaker"}

PREFERRED_RATE = 48000
"""Of devices that are no hardware but a sound server or a plugin, which take any rate: what servers run at."""

LIST_SECONDS = 20.0

_CONVERTER = re.compile(
    r"lavrate|samplerate|speexrate|speex|upmix|vdownmix|sysdefault|dmix|dsnoop|front|rear|center_lfe|side|iec958|spdif"
    r"|hdmi|modem|phoneline|surround\d+"
)


class NoSuchDevice(Exception):
    """The word means no device; the text says which there are."""


@dataclass(frozen=True)
class SoundDevice:
    """One device as PortAudio sees it."""

    index: int
    name: str
    host: str
    """PortAudio's host interface: ALSA, JACK ..."""
    inputs: int
    outputs: int
    rate: int
    """What it runs at by itself."""
    input_latency: float
    output_latency: float
    """Seconds, the lowest that the driver suggests."""
    default_input: bool = False
    default_output: bool = False

    def channels(self, direction: Direction) -> int:
        return self.inputs if direction == "in" else self.outputs

    def is_default(self, direction: Direction) -> bool:
        return self.default_input if direction == "in" else self.default_output

    @property
    def is_plugin(self) -> bool:
        """Whether it is a sound server or a plugin of ALSA, and not a card."""
        return "hw:" not in self.name

    @property
    def is_converter(self) -> bool:
        """Whether it is one of ALSA's ways to another device: of use to those who know its name, noise in a list."""
        return self.host == "ALSA" and _CONVERTER.fullmatch(self.name) is not None


def device_of(index: int, info: Mapping[str, Any], host: str, defaults: tuple[int, int]) -> SoundDevice:
    """From PortAudio's own record."""
    return SoundDevice(
        index, str(info["name"]), host, int(info["maxInputChannels"]), int(info["maxOutputChannels"]),
        int(info["defaultSampleRate"]), float(info["defaultLowInputLatency"]), float(info["defaultLowOutputLatency"]),
        index == defaults[0], index == defaults[1],
    )  # fmt: skip


def choose(word: str, direction: Direction, devices: Sequence[SoundDevice], cards: Mapping[str, int]) -> SoundDevice:
    """The device that ``word`` means. ``cards``: ALSA's short names, and their numbers. Raises NoSuchDevice."""
    kind = KINDS[direction]
    able = [device for device in devices if device.channels(direction)]
    if not able:
        raise NoSuchDevice(nothing(direction))
    if word == "default":
        default = next((device for device in able if device.is_default(direction)), None)
        return default or able[0]
    fitting = [device for device in able if word.lower() in device.name.lower()]
    exact = [device for device in fitting if _plain(device.name) == word.lower()]
    if not fitting and word in cards:
        fitting = [device for device in able if f"(hw:{cards[word]}," in device.name]
    fitting = exact or fitting
    if not fitting:
        raise NoSuchDevice(
            f"no {kind} is named {word!r}; there are: {_names(able)} (PortAudio does not list what another program has "
            "opened)"
        )
    if len({_card(device) for device in fitting}) > 1:
        raise NoSuchDevice(f"{word!r} is the name of several {kind}s: {_names(fitting)}; give more of it")
    return fitting[0]


def read_cards(path: Path = Path("/proc/asound/cards")) -> dict[str, int]:
    """ALSA's short card names and their numbers; empty where there is no ALSA."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return {}
    return {name.strip(): int(number) for number, name in re.findall(r"^\s*(\d+) \[([^\]]+)\]", text, re.M)}


def found() -> list[SoundDevice]:
    """All sound devices. RuntimeError with one line where PortAudio cannot be asked."""
    command = python_m("edge_streamer.devices.live.sound.names")
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"PortAudio did not list its devices within {LIST_SECONDS:.0f} s") from None
    if ran.returncode != 0:
        last = ran.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise RuntimeError(MISSING if "pyaudio" in last[0] and "No module" in last[0] else last[0])
    return [SoundDevice(**record) for record in json.loads(ran.stdout)]


MISSING = needed("live sound", "live", ["pyaudio"])


def explained(error: str, direction: Direction) -> str:
    """PortAudio aborts where ALSA knows no device at all; a person wants to hear that there is none."""
    return nothing(direction) if "BuildDeviceList" in error else error


def nothing(direction: Direction) -> str:
    """There is none."""
    option = "mic" if direction == "in" else "speaker"
    return (
        f"there is no {KINDS[direction]}; plug one in, start the sound server, or use --{option} none (a sound server "
        "is reached through the Debian package libasound2-plugins)"
    )


def listed(audio: Any) -> list[SoundDevice]:
    """All devices of an open ``pyaudio.PyAudio``."""
    defaults = (_default(audio.get_default_input_device_info), _default(audio.get_default_output_device_info))
    infos = [audio.get_device_info_by_index(index) for index in range(audio.get_device_count())]
    return [
        device_of(index, info, audio.get_host_api_info_by_index(info["hostApi"])["name"], defaults)
        for index, info in enumerate(infos)
    ]


def _default(ask: Any) -> int:
    try:
        return int(ask()["index"])
    except OSError:  # there is none
        return -1


def _tell() -> None:
    """In the process of its own."""
    import pyaudio

    audio = pyaudio.PyAudio()
    print(json.dumps([asdict(device) for device in listed(audio)]))
    audio.terminate()


def _plain(name: str) -> str:
    """A name without the hardware's address."""
    return re.sub(r"\s*\(hw:.*\)$", "", name).lower()


def _card(device: SoundDevice) -> str:
    """The card that a device lies on; the name of what is no card."""
    address = re.search(r"\(hw:(\d+)", device.name)
    return f"card {address.group(1)}" if address else device.name


def _names(devices: Sequence[SoundDevice]) -> str:
    return ", ".join(repr(device.name) for device in devices)


if __name__ == "__main__":
    _tell()
