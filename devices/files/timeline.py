"""One clock for all streams of a file: where times leap, sound and picture are joined alike.

Receives packets in the order of the file; hands them on with times that run on. The one place that decides what a leap
is: whoever reads the sound and whoever reads the picture of a file sees the same packets here, so both come to the
same decisions and stay together.

A stream that falls silent while the others go on has paused: its times are true. A clock that was set (by NTP, by a
camera that was connected anew, by recordings that were put one behind the other) goes back, or ahead where nothing
else in the file agrees; then what follows is joined to what was before. Which of both it is, is seen from the packets
that come next: a file holds sound and picture of one moment near each other.

Choices: a pause of all streams is believed up to ``LONGEST_PAUSE``. Streams that leap together get one shift, so that
none overlaps what was before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LONGEST_PAUSE = 600.0
"""Seconds without any packet that are still taken for a pause: somebody was muted. More is a clock that was set."""

BACK = 0.2
"""Seconds that times may go back without being a leap: programs that stamp packets when they arrive do so."""

AHEAD = 3.0
"""Seconds that times may go ahead without a look at the other streams."""

NEAR = 3.0
"""Streams of one file lie at most so many seconds apart in it."""

LOOK = 2.0
"""Seconds of a stream that are read ahead to see what the other streams do."""

MOST_AHEAD, MOST_BYTES = 1000, 32 << 20
"""Packets and bytes that are held for it at most."""


@dataclass(eq=False)
class _Clock:
    """How the times of one stream run; seconds."""

    base: float
    """Seconds that a tick of its stream takes."""
    offset: float = 0.0
    """What is added to its own times."""
    last: float | None = None
    """The newest packet, by its own times."""
    length: float = 0.0
    joins: int = 0

    @property
    def now(self) -> float:
        assert self.last is not None
        return self.last + self.offset

    @property
    def end(self) -> float:
        return self.now + self.length

    def when(self, packet: Any) -> float | None:
        """When ``packet`` is due by its own times, in the order of the file: pictures are stored before they are
        shown."""
        pts, dts = packet.pts, packet.dts
        if packet.stream.type != "video":
            ticks = dts if pts is None else pts
        elif dts is not None and pts is not None and abs(pts - dts) * self.base > 2 * NEAR:
            ticks = pts  # a demuxer that makes up the order of storing from the times of showing is late at a leap
        else:
            ticks = dts
        return None if ticks is None else ticks * self.base

    def move(self, packet: Any) -> None:
        """Shift the times of ``packet``."""
        ticks = round(self.offset / self.base)
        if packet.pts is not None:
            packet.pts += ticks
        if packet.dts is not None:
            packet.dts += ticks

    def leaps(self, time: float) -> bool:
        return self.last is not None and not -BACK <= time - self.last <= self.length + AHEAD

    def step(self, packet: Any, time: float) -> None:
        self.last = time
        length = (packet.duration or 0) * self.base
        if length <= AHEAD:  # MP4 tells the way to the next packet, be it a leap
            self.length = length


class Timeline:
    """The times of all streams of one file."""

    def __init__(self) -> None:
        self._clocks: dict[int, _Clock] = {}

    def joins(self, stream: int) -> int:
        """How often the times of this stream (its index) leapt and were joined."""
        return self._clocks[stream].joins if stream in self._clocks else 0

    @property
    def end(self) -> float:
        """Where the newest packets end, in seconds of the joined clock."""
        return max((clock.end for clock in self._clocks.values() if clock.last is not None), default=0.0)

    def packets(self, source: Iterator[Any]) -> Iterator[Any]:
        """``source`` with times that do not leap."""
        ahead: deque[Any] = deque()
        while True:
            packet = ahead.popleft() if ahead else next(source, None)
            if packet is None:
                return
            clock = self._clocks.get(packet.stream.index)
            if clock is None:
                clock = self._clocks[packet.stream.index] = _Clock(float(packet.time_base or 0))
            time = clock.when(packet)
            if time is not None:
                if clock.leaps(time):
                    self._judge(clock, time, ahead, source)
                clock.step(packet, time)
            if clock.offset:
                clock.move(packet)
            yield packet

    def _others(self, clock: _Clock) -> list[_Clock]:
        return [other for other in self._clocks.values() if other is not clock and other.last is not None]

    def _judge(self, clock: _Clock, time: float, ahead: deque[Any], source: Iterator[Any]) -> None:
        """``clock`` is about to leap to ``time``: believe it, or shift it."""
        assert clock.last is not None
        others, forward = self._others(clock), time > clock.last
        if forward and any(other.now >= time + clock.offset - NEAR for other in others):
            return  # the others went on meanwhile
        for other in others:
            if other.offset != clock.offset and abs(time + other.offset - other.now) <= NEAR:
                self._shift(clock, other.offset)  # they leapt before, by the same
                return
        seen = _Ahead(clock, time, others)
        for packet in _peek(ahead, source):
            if not seen.add(packet, self._clocks):
                break
        if forward and seen.reached:
            return
        pause = forward and time - clock.end + clock.offset <= LONGEST_PAUSE
        if seen.leapt:
            if not pause:
                self._shift(clock, max([clock.end - time, *(end - first for first, end in seen.leapt.values())]))
        elif not pause or seen.alone:
            self._shift(clock, clock.end - time)

    def _shift(self, clock: _Clock, offset: float) -> None:
        clock.offset = offset
        clock.joins += 1


class _Ahead:
    """What the packets that come next say about a leap of ``clock`` to ``time``."""

    def __init__(self, clock: _Clock, time: float, others: list[_Clock]) -> None:
        self._clock, self._time, self._newest = clock, time, time
        self._others = {id(other): _Clock(other.base, other.offset, other.last, other.length) for other in others}
        self._begun = {id(other): other.now for other in others}
        self.leapt: dict[int, tuple[float, float]] = {}
        """Of the others that leap to the same time: their first time there, and where they ended before."""
        self.reached = False
        """Another stream gets there step by step: a pause."""

    @property
    def alone(self) -> bool:
        """The others go on as before while this one goes on after its leap."""
        own = self._newest - self._time
        went = max((other.now - self._begun[key] for key, other in self._others.items()), default=0.0)
        return own >= 0.5 and went >= own / 2

    def add(self, packet: Any, clocks: dict[int, _Clock]) -> bool:
        """Take note of ``packet``; False where enough was seen."""
        clock = clocks.get(packet.stream.index)
        time = clock.when(packet) if clock else None
        if time is None or clock is None:
            return True
        if clock is self._clock:
            if time < self._newest - BACK or time > self._newest + AHEAD:
                return False  # it leaps again
            self._newest = max(self._newest, time)
            return self._newest - self._time < LOOK
        other = self._others.get(id(clock))
        if other is None or id(clock) in self.leapt:
            return True
        there = self._time + self._clock.offset
        if other.leaps(time) and abs(time + other.offset - there) <= NEAR:
            self.leapt[id(clock)] = (time, other.end)
            return len(self.leapt) < len(self._others)
        other.step(packet, time)
        self.reached = self._time > (self._clock.last or 0.0) and other.now >= there - NEAR
        return not self.reached


def _peek(ahead: deque[Any], source: Iterator[Any]) -> Iterator[Any]:
    """The packets that come next, which stay in ``ahead``."""
    yield from list(ahead)
    held = sum(packet.size for packet in ahead)
    while len(ahead) < MOST_AHEAD and held < MOST_BYTES:
        packet = next(source, None)
        if packet is None:
            return
        ahead.append(packet)
        held += packet.size
        yield packet
