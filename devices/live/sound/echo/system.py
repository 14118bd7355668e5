"""Does the sound server cancel the echo? Looked up, not believed.

Receives what the user chose as microphone and speaker; hands on a line of facts, or raises InputError where the chosen
microphone is no echo-cancelled source, or the chosen speaker is not the one that it listens to. A conversation that
only seems to be cancelled hears itself and answers itself.

PulseAudio and PipeWire answer the same program, ``pactl``. PulseAudio's canceller shows as the driver
``module-echo-cancel.c``; PipeWire's as a node whose group is called ``echo-cancel-...``. Each is a pair of a source and
a sink that belong together by module or group; a PipeWire canceller in monitor mode has no sink and takes whatever the
default one plays.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any, Literal

from edge_streamer.runtime.errors import InputError

PACTL_SECONDS = 5.0
"""A server that does not answer for so long hangs."""

SERVERS_OWN = ("", "default", "pulse", "pipewire")
"""Names by which the server's default device is chosen."""

CANCELLER = "echo-cancel"

HOW = "load it with 'pactl load-module module-echo-cancel', choose another way of cancelling, or run with --no-aec"

Kind = Literal["source", "sink"]
Device = dict[str, Any]


def check_system_canceller(microphone: str, speaker: str) -> str:
    """What cancels, in words. InputError where nothing does."""
    sources, sinks = _list("source"), _list("sink")
    cancelled = [each for each in sources if _cancels(each) and not each["name"].endswith(".monitor")]
    source = _chosen(microphone, "source", sources)
    if source not in cancelled:
        there = f"choose {_names(cancelled)}" if cancelled else HOW
        raise InputError(f"the sound server does not cancel the echo in {source['name']!r}: {there}")
    partners = [each for each in sinks if _cancels(each) and _pair(each) == _pair(source)]
    if partners:
        sink = _chosen(speaker, "sink", sinks)
        if sink not in partners:
            raise InputError(
                f"the sound server cancels in {source['name']!r} only what is played to {_names(partners)}, "
                f"and the speaker is {sink['name']!r}: choose {_names(partners)}"
            )
    played = _names(partners) if partners else "all that the default speaker plays"
    return f"the sound server: {source['name']!r} without {played}"


def _cancels(device: Device) -> bool:
    return CANCELLER in str(device.get("driver", "")) or str(_pair(device)).startswith(CANCELLER)


def _pair(device: Device) -> object:
    """What a source and a sink of one canceller share."""
    properties = device.get("properties", {})
    return properties.get("node.link-group") or properties.get("node.group") or device.get("owner_module")


def _chosen(name: str, kind: Kind, devices: Sequence[Device]) -> Device:
    """The device by its name, or by a part of its name or description, as the user may write it."""
    if name.lower() in SERVERS_OWN:
        name = os.environ.get(f"PULSE_{kind.upper()}") or _default(kind)
    exact = [each for each in devices if each["name"] == name]
    wanted = name.lower()
    near = [each for each in devices if wanted in f"{each['name']}\n{each.get('description', '')}".lower()]
    found = exact or near
    if len(found) != 1:
        what = f"{len(found)} of the sound server's {kind}s are" if found else f"no {kind} of the sound server is"
        raise InputError(f"{what} called {name!r}; there are {_names(found or devices)}")
    return found[0]


def _names(devices: Sequence[Device]) -> str:
    return ", ".join(repr(each["name"]) for each in devices) or "none"


def _list(kind: Kind) -> list[Device]:
    words = _pactl("--format=json", "list", f"{kind}s")
    try:
        found: list[Device] = json.loads(words)
    except json.JSONDecodeError:
        raise InputError(f"this pactl knows no --format=json; wanted one of PulseAudio 15 or later; {HOW}") from None
    return found


def _default(kind: Kind) -> str:
    return _pactl(f"get-default-{kind}").strip()


def _pactl(*words: str) -> str:
    try:
        done = subprocess.run(
            ["pactl", *words], capture_output=True, text=True, timeout=PACTL_SECONDS, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise InputError("echo cancellation by the sound server needs pactl: apt install pulseaudio-utils") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"the sound server does not answer within {PACTL_SECONDS:.0f} s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise InputError(f"there is no sound server to cancel the echo (pactl: {said})")
    return done.stdout
