"""The closed loop: a case is played to an agent, unit by unit, and what it did is recorded.

Receives an :class:`Agent` (a session, or anything that answers units) and cases; hands on :class:`Recording` s. Where
a case has echo, what the agent really said comes back into the microphone, a unit and the room's delay later, as it
would on a board.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.suite import Case, read_wav
from edge_streamer.runtime.evaluation.world.assets import HeldOut
from edge_streamer.runtime.evaluation.world.avatar import HEIGHT, WIDTH
from edge_streamer.runtime.evaluation.world.backgrounds import HEIGHT as CAMERA_HEIGHT
from edge_streamer.runtime.evaluation.world.backgrounds import WIDTH as CAMERA_WIDTH
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import FRAME, RATE, UNIT, Said, Script, typed_text
from edge_streamer.runtime.evaluation.world.sound import ECHO_TILT, Room, Sound, colour
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.session.snapshot import Snapshot
from edge_streamer.runtime.unit import Response, Unit

PREFIX_UNITS = 6
"""Of the agent's own picture and voice, at most; training has seen one to six."""


class Agent(Protocol):
    """Whoever is evaluated."""

    speak_token: int
    """The state slot's token while it speaks."""

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        """A case begins; ``fresh``: with everything forgotten but the identity."""

    def step(self, unit: Unit) -> Response:
        """One unit."""


@dataclass
class Recording:
    """What the agent made of one case of U units."""

    heard: Sound
    """[U * 2560] what its microphone got, its own echo included."""
    samples: Sound
    """[U * 2560] what it said."""
    frames: NDArray[np.uint8]
    """[U * 4, 96, 160, 3] what it showed."""
    speaking: NDArray[np.bool_]
    """[U] the state slot."""
    text: list[str]
    """[U]"""
    seconds: NDArray[np.float32]
    """[U] what each unit took."""

    def response(self, unit: int) -> Response:
        """One unit as it came, for films."""
        sound, pictures = slice(unit * UNIT, (unit + 1) * UNIT), slice(unit * 4, unit * 4 + 4)
        seconds = float(self.seconds[unit])
        spoke = bool(self.speaking[unit])
        return Response(
            unit, self.samples[sound], self.frames[pictures], self.text[unit], (), seconds, 0.0, speaking=spoke
        )


class Voices:
    """The user's words in a case: recordings drawn, or those that the suite names."""

    def __init__(self, case: Case, held_out: HeldOut) -> None:
        self._held_out = held_out
        self._rng = np.random.default_rng([case.seed, 10])
        self._files = iter(case.recordings)

    def utter(self, word: str, kind: str) -> Sound:
        """The next word, in the order of the script."""
        file = next(self._files, "")
        return read_wav(Path(file)) if file else self._held_out.draw(word, self._rng)

    def murmur(self) -> Sound:
        """A voice of the babble."""
        return self._held_out.draw(str(self._rng.choice(self._held_out.unknown)), self._rng)


class Microphone:
    """The microphone of a case, unit by unit, with the agent's own voice in it where the room has echo."""

    def __init__(self, scene: Scene, voices: Voices) -> None:
        room = scene.room
        self._room = room
        dry = replace(scene, room=replace(room, gain=1.0, tilt=0.0, echo_db=None))
        self._raw = dry.microphone(voices.utter, voices.murmur)
        self._loud = 0.0 if room.echo_db is None else 10 ** (room.echo_db / 20)
        self._agent = np.zeros(len(self._raw) + 1, np.float32)  # one sample before the start

    def unit(self, number: int) -> Sound:
        """[2560] as the microphone gives it."""
        begin, end = number * UNIT, (number + 1) * UNIT
        before = self._raw[begin - 1 : begin] if begin else np.zeros(1, np.float32)
        raw = np.concatenate([before, self._raw[begin:end]])
        heard = colour(raw, self._room.tilt)[1:] * np.float32(self._room.gain)
        return np.asarray(np.clip(heard, -1, 1), np.float32)

    def hear(self, number: int, said: Sound) -> None:
        """The agent said this [2560] as its answer to unit ``number``: it is in the air in the unit after it."""
        if not self._loud:
            return
        begin = number * UNIT
        self._agent[begin + 1 : begin + 1 + UNIT] = said
        echo = colour(self._agent[begin : begin + 1 + UNIT], ECHO_TILT)[1:] * np.float32(self._loud)
        first = begin + UNIT + self._room.echo_delay
        part = self._raw[first : first + UNIT]
        part += echo[: len(part)]


def run_case(agent: Agent, case: Case, scene: Scene, held_out: HeldOut, fresh: bool = True) -> Recording:
    """Play one case."""
    units = case.script.units
    microphone, camera, typed = (
        Microphone(scene, Voices(case, held_out)),
        scene.camera(),
        typed_text(case.script),
    )
    made = Recording(
        np.zeros(units * UNIT, np.float32), np.zeros(units * UNIT, np.float32),
        np.zeros((units * 4, HEIGHT, WIDTH, 3), np.uint8), np.zeros(units, np.bool_), [], np.zeros(units, np.float32),
    )  # fmt: skip
    agent.begin(case, scene, fresh)
    for k in range(units):
        sound, pictures = slice(k * UNIT, (k + 1) * UNIT), slice(k * 4, k * 4 + 4)
        made.heard[sound] = microphone.unit(k)
        response = agent.step(Unit(made.heard[sound].copy(), camera[pictures], typed.get(k, "")))
        made.samples[sound], made.frames[pictures] = response.both()
        made.speaking[k], made.seconds[k] = response.tokens[0] == agent.speak_token, response.seconds
        made.text.append(response.text)
        microphone.hear(k, made.samples[sound])
    return made


def prefix_units(world: World, case: Case, count: int) -> list[Unit]:
    """The agent of this identity, listening and then greeting: what its prefix is made of."""
    script = Script(6 + count, (Said(next(iter(world.table.answers)), int(0.98 * RATE), "command"),))
    shown = Scene(world, script, case.identity, case.view, Room(), case.seed, face=False)
    frames, samples = shown.avatar(), shown.intent.samples
    return [Unit(samples[k * UNIT : (k + 1) * UNIT], frames[k * 4 : k * 4 + 4]) for k in range(6, 6 + count)]


def check_media(media: MediaSpec) -> None:
    """InputError where a bundle's media are not the toy world's."""
    if not all((media.sound_in, media.sound_out, media.pictures_in, media.pictures_out)):
        raise InputError(
            "the scenes of this evaluation are conversations with sound and pictures both ways, which the bundle does "
            "not have: export the preset demo"
        )
    hears, sees = media.hears, media.sees
    came = (hears.sample_rate, hears.unit_samples, sees.unit_frames, sees.size, media.shows.size)
    wanted = (RATE, UNIT, UNIT // FRAME, (CAMERA_HEIGHT, CAMERA_WIDTH), (HEIGHT, WIDTH))
    if came != wanted:
        raise InputError(
            f"the bundle takes and gives (rate, samples, frames, camera, picture) {came}; the scenes of this "
            f"evaluation are {wanted}: export the preset demo"
        )


class SessionAgent:
    """A bundle's session. Each case starts from a prefix that shows and says who the agent is."""

    def __init__(self, session: Session, world: World) -> None:
        self._session, self._world = session, world
        self._program = wan_streamer(session.program)
        self._started: dict[int, Snapshot] = {}
        self.speak_token = self._program.constants.token_speak

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        if not fresh:
            return
        if case.identity not in self._started:
            self._session.reset()
            places = self._program.constants.prefix_tokens // self._program.layout.agent
            if units := prefix_units(self._world, case, min(PREFIX_UNITS, places)):
                self._session.prefill(*units)
            self._started[case.identity] = self._session.snapshot()
        self._session.restore(self._started[case.identity])
        self._program.noise_offset = 10_000 * (1 + case.number)  # no two cases share the solver's noise

    def step(self, unit: Unit) -> Response:
        return self._session.step(unit)
