"""The real-time loop: microphone, camera, keys -> unit k -> session.step -> unit k -> speaker, screen, recorders.

Receives a session and live devices; hands on :class:`Counters`. It owns no device: who opened them closes them.

The clock is the microphone's: a unit is answered when its last sample is there. Where the microphone is late by more
than ``GRACE_SECONDS`` (unplugged, a server that restarts) the loop goes on by the machine's clock and fills in silence,
so that the agent still sees, speaks and shows. Samples that come after all would make every later answer late: what
waits for good is dropped (``crept``), and where whole units wait the oldest are skipped.

A unit that raises is concealed with silence and the last picture; the session has rolled it back. After
``MOST_FAILURES`` in a row the loop stops and says why. Everything that goes wrong is counted and told as an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_streamer.runtime.errors import DeviceLost, InputError, reason
from edge_streamer.runtime.loop.concealment import Concealment
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import Event, LiveEnds, Settings, Turns
from edge_streamer.runtime.loop.ladder import SUSTAINABLE, Ladder, rungs_for
from edge_streamer.runtime.loop.media import Frames, filled
from edge_streamer.runtime.loop.playout import LARGEST_TARGET, Playout, is_quiet
from edge_streamer.runtime.loop.recorded import MOST_FAILURES, Settles, Steps
from edge_streamer.runtime.loop.watchdog import watched
from edge_streamer.runtime.timing import Clock, Sections
from edge_streamer.runtime.unit import Response, Unit

GRACE_SECONDS = 0.1
"""How late a microphone may be before the loop goes on without it. Drivers deliver in blocks of 5 to 50 ms."""

SHORTEST_NAP, LONGEST_NAP = 0.002, 0.02
"""Between looks at the microphone: short enough to lose nothing of the unit's time, long enough to sleep; what came is
cleaned of echo at each look, so that little is left to do when the unit is full."""

CREEP_UNITS = 25
"""Sound that waited through all of so many units (4 s) was not jitter."""

CREEP_SECONDS = 0.03
"""Less than this may wait."""

STALE_SECONDS = 1.0
"""A picture older than this is not what the user shows now."""

SETTLE_ROOM = 1.25
"""Settling begins only where this multiple of the time it took before is left: it must not delay the next unit."""


def run_live(
    session: Steps,
    ends: LiveEnds,
    clock: Clock,
    settings: Settings,
    *,
    stopped: Callable[[], bool] = lambda: False,
    reopen: Callable[[], bool] = lambda: False,
    event: Event = lambda what, why: None,
    progress: Callable[[Counters, str], None] = lambda counters, said: None,
    sections: Sections | None = None,
) -> Counters:
    """Converse until ``stopped`` says so, the keys want to leave, the units are done, or too many failed in a row.

    ``reopen`` is asked before every unit whether all devices are to be opened anew; ``progress`` is told the counters
    and the newest words after every unit; ``sections`` are told what a unit's time is spent on.
    """
    sections = sections or Sections()
    loop = _LiveLoop(session, ends, clock, settings, event, sections)
    while not loop.done():
        if reopen():
            loop.reopen()
        with sections("unit"):
            with sections("wait", "apart"):
                full = loop.fill(lambda: stopped() or ends.keys.leaving())
            if not full:
                break
            unit = loop.perceive()
            response = loop.answer(unit)
            loop.deliver(unit, response)
            with sections("progress", "apart"):
                progress(loop.counters, response.text)
            loop.settle()
    loop.take_stock()
    return loop.counters


class _LiveLoop:
    """The stages of one unit, in order: fill, perceive, answer, deliver, settle."""

    def __init__(self, session: Steps, ends: LiveEnds, clock: Clock, settings: Settings, event: Event,
                 sections: Sections) -> None:  # fmt: skip
        self._sections = sections
        media, self._has = filled(session.media), session.media
        if settings.knobs.steps is None:
            raise ValueError("the knobs must say how many solver steps are wanted")
        self._session, self._ends, self._clock, self._settings, self._event = session, ends, clock, settings, event
        self._media = media
        self._unit_seconds = media.unit_seconds
        self._samples = np.zeros(media.hears.unit_samples, np.float32)
        self._frames: Frames = np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8)
        self._concealment = Concealment(media)
        self._playout = Playout(ends.speaker, media.says.sample_rate, settings.target_seconds)
        self._ladder = Ladder(rungs_for(settings.knobs.steps), self._unit_seconds)
        self._steps = settings.knobs.steps
        self.counters = Counters(unit_seconds=self._unit_seconds, playout=self._playout.counts)
        self._begun = clock.now()
        self._expected = self._begun + self._unit_seconds
        """When the next unit should be full."""
        self._due = self._expected
        """When the unit in hand should have been full."""
        self._world_end = self._begun
        """When the last sample of the unit in hand was at the microphone."""
        self._noticed = self._begun
        self._surplus: deque[int] = deque(maxlen=CREEP_UNITS)
        self._failures = 0
        self._starved = False
        """Whether the microphone did not fill the unit in hand."""
        self._settle_took = 0.0
        self._open = dict.fromkeys(ends.devices(), True)
        self._off = {name for name, device in ends.devices().items() if device.state().off}
        self._perceiving = 0.0
        self._unanswered = ""
        """Typed in a unit that failed: the next one gets it."""

    def done(self) -> bool:
        """Whether the loop has come to its own end."""
        units = self._settings.units
        return self.counters.stopped is not None or (units is not None and self.counters.units >= units)

    def reopen(self) -> None:
        self.counters.reopens += 1
        self._event("reopen", "asked for")
        for device in self._ends.devices().values():
            device.reopen()

    # -- fill

    def fill(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the unit is full, or late beyond grace; False where the loop was stopped meanwhile."""
        wanted, microphone = self._media.hears.unit_samples, self._ends.microphone
        while True:
            have, now = microphone.available(), self._clock.now()
            if stopped():
                return False
            if have >= wanted or now >= self._expected + GRACE_SECONDS:
                break
            rest = min(max((wanted - have) / self._media.hears.sample_rate, SHORTEST_NAP), LONGEST_NAP)
            self._clock.sleep_until(min(now + rest, self._expected + GRACE_SECONDS))
        self._noticed = now
        self._due = self._expected
        self._expected = (now if have >= wanted else self._expected) + self._unit_seconds
        self._skip(have)
        return True

    def _skip(self, have: int) -> None:
        """Whole units that wait behind the one in hand: the oldest are given up."""
        wanted = self._media.hears.unit_samples
        late = have // wanted - 1
        if late > 0:
            self._ends.microphone.skip(late * wanted)
            self.counters.skipped += late
            self.counters.units += late
            self._event("skipped", f"{late} unit{'s' * (late > 1)} had piled up")

    # -- perceive

    def perceive(self) -> Unit:
        """The unit as the model gets it."""
        ends, counters = self._ends, self.counters
        with self._sections("microphone", "media"):
            self._read_microphone()
        text, self._unanswered = self._unanswered + ends.keys.text(), ""
        if text and not self._has.text_in:
            self._event("not read", f"{text!r} was typed; the bundle reads no text")
            text = ""
        if ends.keys.muted():
            self._samples[:] = 0.0
            counters.muted += 1
        with self._sections("camera", "media"):
            age = ends.camera.read(self._frames, self._world_end)
        if age is None or age > STALE_SECONDS:
            counters.stale_pictures += 1
        if age is not None and "camera" not in self._off:
            counters.picture_age.add(age)
        self._perceiving = self._clock.now() - self._noticed
        return Unit(
            samples=self._samples if self._has.sound_in else None,
            frames=self._frames if self._has.pictures_in else None,
            text=text,
        )

    def _read_microphone(self) -> None:
        microphone, wanted = self._ends.microphone, self._media.hears.unit_samples
        have, captured = microphone.available(), microphone.captured()
        got = microphone.read(self._samples)
        self._samples[got:] = 0.0
        self._starved, before = got < wanted, self._starved
        if before and not self._starved:
            self._playout.look_anew()
        if self._starved:
            self.counters.starved += 1
            self.counters.missing_samples += wanted - got
            self._surplus.clear()
            self._world_end = self._noticed
            return
        rest = have - wanted
        self._world_end = self._noticed if captured is None else captured - rest / self._media.hears.sample_rate
        self._surplus.append(rest)
        creeping = min(self._surplus) if len(self._surplus) == CREEP_UNITS else 0
        if creeping > CREEP_SECONDS * self._media.hears.sample_rate:
            self.counters.crept_samples += microphone.skip(creeping)
            self._surplus.clear()

    # -- answer

    def answer(self, unit: Unit) -> Response:
        """Step the session on the ladder's rung."""
        self.counters.units += 1
        self._turn(self._ladder.rung.steps)
        journal, began = self._ends.journal, self._clock.now()
        try:
            with watched(self._ends.watch):
                response: Response | None = self._session.step(unit)
            why = ""
        except InputError:  # never the unit's fault
            raise
        except DeviceLost as error:
            response, why = None, str(error)
            self.counters.stopped = why
        except Exception as error:  # a conversation outlives also what nobody foresaw; the session has rolled it back
            response, why = None, reason(error)
        took = self._clock.now() - began
        if journal:
            journal.unit(unit, self._steps, response)
        if response is None:
            self._unanswered = unit.text
            return self._conceal(why)
        self._failures = 0
        self._count_answer(took, response.engine_seconds)
        return self._concealment.complete(response)

    def _turn(self, steps: int) -> None:
        if steps != self._steps and isinstance(self._session, Turns):
            self._session.turn(replace(self._settings.knobs, steps=steps))
            self._steps = steps

    def _count_answer(self, took: float, engine: float) -> None:
        counters = self.counters
        counters.answered += 1
        counters.unit_times.add(took)
        counters.host.add(took - engine + self._perceiving)
        counters.hasty += self._steps < (self._settings.knobs.steps or 0)

    def _conceal(self, why: str) -> Response:
        counters = self.counters
        self._failures += 1
        counters.failed += 1
        counters.because(why)
        self._event("failed", why)
        if self._failures >= MOST_FAILURES:
            counters.stopped = f"{self._failures} units failed in a row, the last one with: {why}"
        return self._concealment.answer(counters.units - 1)

    # -- deliver

    def deliver(self, unit: Unit, response: Response) -> None:
        """Sound first, then the picture that belongs to it, then everything that records."""
        ends, ready, (samples, frames) = self._ends, self._clock.now(), response.both()
        stood_still = ready - self._due >= LARGEST_TARGET  # no buffer makes up for that
        excused = self._starved or self._failures > 0 or stood_still
        in_time = self.counters.unit_times.last < SUSTAINABLE * self._unit_seconds
        with self._sections("speaker", "media"):
            margin, position = self._playout.write(samples, excused, in_time)
            heard = ends.speaker.heard_at(position)
        if self._ladder.rung.hold:
            self.counters.held += 1
        else:
            frame = 1 / self._media.shows.frame_rate
            with self._sections("display", "media"):
                ends.screen.show(frames, [heard + index * frame for index in range(len(frames))])
        with self._sections("count"):
            self._measure(ready, heard)
            for late in ends.screen.lateness():
                self.counters.lip_offset.add(late)
            self._judge(margin, is_quiet(samples))
        with self._sections("watchers", "media"):
            ends.recorders.write(unit, response)
        with self._sections("count"):
            self.take_stock()

    def _measure(self, ready: float, heard: float) -> None:
        """Where mouth-to-ear went; see `counters.py`. What goes to a lost speaker, or to none, reaches no ear."""
        counters, parts, speaker = self.counters, self.counters.parts, self._ends.speaker.state()
        if not speaker.open or self._off & {"mic", "speaker"}:
            return
        output = speaker.latency
        parts["input"].add(self._noticed - self._world_end)
        parts["step"].add(ready - self._noticed)
        parts["buffer"].add(heard - output - ready)
        parts["output"].add(output)
        counters.mouth_to_ear.add(heard - self._world_end + self._unit_seconds)

    def _judge(self, margin: float, quiet: bool) -> None:
        """Whether to give something up, or take it back. A failed unit and a lost speaker tell nothing of it."""
        counters = self.counters
        if self._failures or counters.answered < 2 or not self._ends.speaker.state().open:
            return
        change = self._ladder.answered(margin, self._playout.target, counters.unit_times.last, quiet)
        if self._ladder.room:
            self._playout.make_room(self._ladder.room)
        if change:
            rung = self._ladder.rung
            word = "down" if change < 0 else "up"
            what = f"{rung.steps} solver steps" + (", picture held" if rung.hold else "")
            self._event(f"ladder {word}", f"{what}; {1000 * margin:.0f} ms were left")

    def take_stock(self) -> None:
        """Bring the counters up to date with everything that counts by itself; tell of devices that came and went."""
        counters, ladder, playout = self.counters, self._ladder, self._playout
        counters.rungs_down, counters.rungs_up, counters.rung = ladder.downs, ladder.ups, ladder.index
        counters.steps = self._steps
        counters.target_ms, counters.drift_ppm = 1000 * playout.target, playout.drift_ppm
        counters.devices = {name: device.state() for name, device in self._ends.devices().items()}
        counters.record_stopped = "; ".join(f"{name}: {why}" for name, why in self._ends.recorders.stopped.items())
        counters.wall_seconds = self._clock.now() - self._begun
        for name, state in counters.devices.items():
            if state.open != self._open[name]:
                self._open[name] = state.open
                self._event(f"{name} {'open' if state.open else 'lost'}", state.name if state.open else state.error)

    # -- settle

    def settle(self) -> None:
        """Commit early, where there is idle time and the session can use it. A failure there is the next step's."""
        session, began = self._session, self._clock.now()
        if self._failures or not isinstance(session, Settles):
            return
        if began + SETTLE_ROOM * self._settle_took >= self._expected:
            return
        try:
            with watched(self._ends.watch):
                session.settle()
        except Exception as error:  # as in ``answer``
            self.counters.settle_failures += 1
            self._event("settle failed", reason(error))
            return
        self.counters.settles += 1
        self._settle_took = self._clock.now() - began
        if self._ends.journal:
            self._ends.journal.settled()
