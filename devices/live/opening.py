"""All devices of a live run, opened together.

Receives a plan; hands on :class:`Opened`, or one clear line for each device that cannot be had, before anything else
happens. Devices start at the same time, because each takes a second; what is switched off is stood in for. A camera
and a screen that nobody asked for are taken where there is one, and the note says where there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edge_streamer.devices.live.camera.camera import Camera
from edge_streamer.devices.live.keys import KeyBoard
from edge_streamer.devices.live.screen.screen import Screen
from edge_streamer.devices.live.sound.echo.canceller import Echo, Untouched, open_echo
from edge_streamer.devices.live.sound.microphone import Microphone, SoundFile
from edge_streamer.devices.live.sound.speaker import Speaker
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.extras import missing, needed
from edge_streamer.runtime.loop.ports import Keys, LiveCamera, LiveMicrophone, LiveScreen, LiveSpeaker
from edge_streamer.runtime.loop.request import IF_THERE, LivePlan
from edge_streamer.runtime.loop.stand_ins import NoCamera, NoMicrophone, NoScreen, NoSpeaker
from edge_streamer.runtime.timing import MonotonicClock


class _Opens(Protocol):
    """A device that is on its way."""

    def wait(self) -> str: ...

    def close(self) -> None: ...


@dataclass
class Opened:
    """Everything that a live run is connected to."""

    microphone: LiveMicrophone
    speaker: LiveSpeaker
    camera: LiveCamera
    screen: LiveScreen
    keys: Keys
    echo: Echo
    notes: list[str] = field(default_factory=list)
    """A line per device, for the beginning."""

    def ended(self) -> bool:
        """Whether a sound file that stands for the microphone has been heard to its end."""
        microphone = self.microphone
        return isinstance(microphone, SoundFile) and microphone.ended and microphone.available() == 0

    def echo_loss_db(self) -> float | None:
        """How much of the agent's own voice is taken away."""
        return self.echo.loss_db()

    def echo_figures(self) -> dict[str, Any]:
        """What is done about the echo, where it was found, and everything that was counted."""
        delay = self.echo.measured_delay_ms()
        return {
            "mode": self.echo.mode, "delay_ms": None if delay is None else round(delay, 1), **self.echo.counts(),
        }  # fmt: skip


@contextmanager
def opened(plan: LivePlan, media: MediaSpec) -> Iterator[Opened]:
    """The devices of ``plan``, closed after the block. InputError where one that was asked for cannot be had."""
    _check_extra(plan)
    with ExitStack() as stack:
        echo = _echo(plan, media.hears.sample_rate)
        keys = stack.enter_context(closing(KeyBoard(push_to_talk=plan.push_to_talk)))
        begun = _begin(plan, media, echo, keys, stack)
        found = _wait(plan, begun, media)
        yield Opened(keys=keys, echo=echo, notes=_notes(found, plan), **found)


def _check_extra(plan: LivePlan) -> None:
    """InputError that names all modules at once that ``plan`` asks for and that are not installed."""
    heard, said = isinstance(plan.mic, str), plan.speaker is not None
    wanted = {
        "pyaudio": heard or said, "pywebrtc_audio": heard and said and plan.echo == "full",
        "pygame": plan.display not in (None, IF_THERE),
    }  # fmt: skip
    absent = missing("live")
    if any(wanted[module] for module in absent):  # a screen that nobody asked for is named only beside others
        named = [module for module in absent if wanted[module] or (module == "pygame" and plan.display)]
        without = "; without sound devices: --mic FILE.wav --speaker none" if heard or said else ""
        raise InputError(needed("a live run", "live", named) + without)


def _echo(plan: LivePlan, rate: int) -> Echo:
    """Only where a microphone can hear a speaker there is an echo."""
    if isinstance(plan.mic, str) and plan.speaker is not None:
        return open_echo(plan.echo, rate, microphone=plan.mic, speaker=plan.speaker)
    return Untouched("off")


def _begin(plan: LivePlan, media: MediaSpec, echo: Echo, keys: KeyBoard, stack: ExitStack) -> dict[str, _Opens]:
    """Start every device that is wanted."""
    begun: dict[str, _Opens] = {}
    if plan.mic is not None:
        microphone: Any = (
            SoundFile(plan.mic, media, echo, channel=plan.channel)
            if isinstance(plan.mic, Path)
            else Microphone(plan.mic, media, echo)
        )
        begun["microphone"] = stack.enter_context(closing(microphone))
    if plan.speaker is not None:
        begun["speaker"] = stack.enter_context(closing(Speaker(plan.speaker, media, echo)))
    if plan.camera is not None:
        begun["camera"] = stack.enter_context(closing(Camera(_word(plan.camera), media)))
    if plan.display is not None:
        begun["screen"] = stack.enter_context(closing(Screen(_word(plan.display), media, keys.key, keys.typed)))
    return begun


def _word(wish: str) -> str:
    return "default" if wish == IF_THERE else wish


def _wait(plan: LivePlan, begun: dict[str, _Opens], media: MediaSpec) -> dict[str, Any]:
    """All devices, open; stand-ins where one is off or not there."""
    clock, errors = MonotonicClock(), list[str]()
    wishes = {"camera": plan.camera, "screen": plan.display}
    found: dict[str, Any] = {
        "microphone": NoMicrophone(media.hears.sample_rate, clock), "speaker": NoSpeaker(media.says.sample_rate, clock),
        "camera": NoCamera(), "screen": NoScreen(),
    }  # fmt: skip
    for name, device in begun.items():
        error = device.wait()
        if not error:
            found[name] = device
        elif wishes.get(name) == IF_THERE:
            device.close()
            found[name] = type(found[name])(f"none ({error})")
        else:
            errors.append(error)
    for error in errors[:-1]:
        print(f"edge-streamer: {error}", file=sys.stderr)
    if errors:
        raise InputError(errors[-1])
    return found


def _notes(found: dict[str, Any], plan: LivePlan) -> list[str]:
    words = {"microphone": "mic", "speaker": "speaker", "camera": "camera", "screen": "display"}
    notes = [f"{word:<8} {found[name].state().name}" for name, word in words.items()]
    if isinstance(plan.mic, str) and plan.speaker is not None:
        notes.append(f"echo     {plan.echo}")
    return notes
