"""What a run tells about itself, for people and for machines.

Receives one call per unit from the loop; hands on :class:`RunReport`, its ``rows`` for a terminal and its ``figures``
for JSON.

Words for time (see the design): *unit time* is the wall time of the step; *model latency* is from the full unit being
available to its response decoded, so it differs from unit time only where the loop is behind: an answer was late, or
writing the files held the loop up. A *deadline miss* is a unit whose model latency was longer than a unit; it counts
as *held up by recording* where it would have been in time had recording taken none. *Real delay* is what a person
would feel of them: a sound at the start of a unit waits until the unit is full, then for the model. *Host overhead*
is the part of unit time that was not spent inside the engine's runs. The *real-time factor* is work per second of
media: below 1 keeps up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_streamer.runtime.timing import Durations

PERCENTILES = (50, 95, 99)

RECENT_UNITS = 250
"""The live line's p95 looks back 40 s."""


@dataclass
class RunReport:
    """Counts and times of one run. Times in seconds."""

    unit_seconds: float
    units: int = 0
    """Units recorded, the concealed ones included."""
    concealed: int = 0
    """Units that failed, were rolled back, and are silence and a held picture in the recording."""
    misses: int = 0
    misses_held_up: int = 0
    """Of the misses, those that would have been in time had recording taken none."""
    unit_times: Durations = field(default_factory=Durations)
    """Of the units that succeeded."""
    latencies: Durations = field(default_factory=Durations)
    recordings: Durations = field(default_factory=Durations)
    """What writing each unit to its files took, after its answer: no part of unit time, but in ``real`` pace the next
    unit may have to wait for it."""
    engine_seconds: float = 0.0
    wall_seconds: float = 0.0
    """From the loop's start to its end, writing the files included."""
    open_seconds: float = 0.0
    """From the start to the first unit: bundle, engine and media opened."""
    failures: list[str] = field(default_factory=list)
    """Why units failed, the first few."""
    newest_failure: str = ""
    settle_failures: int = 0
    """Early commits that failed and were rolled back."""
    stopped: str | None = None
    """Why the run ended before its input did."""
    clipped_samples: int = 0
    """Of the agent's voice, beyond full scale."""
    unread_texts: int = 0
    """Typed lines that begin after the last unit."""
    sound: Mapping[str, object] = field(default_factory=dict)
    """What was wrong with the microphone's file; see ``media.Told``."""
    pictures: Mapping[str, object] = field(default_factory=dict)
    """What was wrong with the camera's file."""

    def add(self, step: float, engine: float, latency: float, held_up: float = 0.0) -> None:
        """Count a unit that was answered. ``held_up``: the part of ``latency`` that is due to recording alone."""
        self.units += 1
        self.unit_times.add(step)
        self.latencies.add(latency)
        self.engine_seconds += engine
        self.misses += latency > self.unit_seconds
        self.misses_held_up += latency - held_up <= self.unit_seconds < latency

    def conceal(self, why: str) -> None:
        """Count a unit that failed."""
        self.units += 1
        self.concealed += 1
        self._remember(why)

    def settle_failed(self, why: str) -> None:
        """Count an early commit that failed."""
        self.settle_failures += 1
        self._remember(why)

    def _remember(self, why: str) -> None:
        self.newest_failure = f"unit {self.units - 1}: {why}"
        if len(self.failures) < 5:
            self.failures.append(self.newest_failure)

    @property
    def seconds(self) -> float:
        """How much was recorded."""
        return self.units * self.unit_seconds

    @property
    def real_time_factor(self) -> float:
        """Seconds of stepping per second of media; 0 where nothing was answered."""
        answered = len(self.unit_times) * self.unit_seconds
        return self.unit_times.total / answered if answered else 0.0

    @property
    def host_overhead(self) -> float:
        """The share of unit time spent outside the engine, 0 to 1."""
        total = self.unit_times.total
        return max(1.0 - self.engine_seconds / total, 0.0) if total else 0.0

    def figures(self) -> dict[str, object]:
        """Everything, for JSON. Times in milliseconds; None for what no unit was there to measure."""
        answered = len(self.unit_times) > 0
        return {
            "units": self.units,
            "seconds": round(self.seconds, 6),
            "unit_ms": 1000 * self.unit_seconds,
            "unit_time_ms": spread(self.unit_times) if answered else None,
            "model_latency_ms": spread(self.latencies) if answered else None,
            "real_delay_ms": {f"p{p}": self._delay_ms(p) for p in PERCENTILES} if answered else None,
            "recording_ms": spread(self.recordings) if len(self.recordings) else None,
            "deadline_misses": self.misses,
            "deadline_misses_held_up_by_recording": self.misses_held_up,
            "host_overhead": round(self.host_overhead, 5) if answered else None,
            "real_time_factor": round(self.real_time_factor, 5) if answered else None,
            "open_seconds": round(self.open_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "concealed_units": self.concealed,
            "settle_failures": self.settle_failures,
            "failures": self.failures,
            "clipped_samples": self.clipped_samples,
            "unread_texts": self.unread_texts,
            "sound": dict(self.sound),
            "pictures": dict(self.pictures),
            "stopped": self.stopped,
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """The end of a run, for a person: (word, figures)."""
        rows = [("units", f"{self.units} of {1000 * self.unit_seconds:.0f} ms = {self.seconds:.2f} s")]
        if len(self.unit_times):
            rows += self._timing_rows()
        if self.recordings.max >= 0.00005:  # less shows as 0.0: nothing was written
            rows.append(("recording", f"{_spread_text(self.recordings)} ms per unit, after its answer"))
        if self.concealed:
            rows.append(("concealed units", f"{self.concealed} ({self.failures[0]})"))
        if self.clipped_samples:
            rows.append(("clipped samples", str(self.clipped_samples)))
        if self.unread_texts:
            rows.append(("typed too late", f"{self.unread_texts} texts begin after the last unit"))
        rows += [(name, text) for name, told in (("sound", self.sound), ("pictures", self.pictures))
                 if (text := faults_text(told))]  # fmt: skip
        if self.stopped:
            rows.append(("stopped early", self.stopped))
        return rows

    def _timing_rows(self) -> list[tuple[str, str]]:
        """What only units that were answered can tell."""
        times, unit = self.unit_times, 1000 * self.unit_seconds
        misses = f"{self.misses} of {len(times)} (later than {unit:.0f} ms after the unit was full)"
        if self.misses_held_up:
            misses += f"; {self.misses_held_up} of these because recording held up the loop"
        delay = f"p50 {self._delay_ms(50):.0f}  p95 {self._delay_ms(95):.0f} ms"
        return [
            ("unit time", f"{_spread_text(times)} ms (first {_ms(times.first):.1f})"),
            ("deadline misses", misses),
            ("host overhead", f"{self.host_overhead:.1%} of unit time"),
            ("real-time factor", f"{self.real_time_factor:.2f} (below 1 keeps up)"),
            ("real delay", f"{delay} (filling a unit, then the model)"),
        ]

    def _delay_ms(self, percent: float) -> float:
        return _ms(self.unit_seconds + self.latencies.percentile(percent))


def spread(times: Durations) -> dict[str, float]:
    """Percentiles, the longest and the first, in milliseconds."""
    percentiles = {f"p{p}": _ms(times.percentile(p)) for p in PERCENTILES}
    return percentiles | {"max": _ms(times.max), "first": _ms(times.first)}


def faults_text(told: Mapping[str, Any]) -> str:
    """What was wrong with a file (``media.Told``), in one line; empty where nothing was."""
    parts = []
    if told.get("gaps"):
        places = _times(told["gaps"], "place")
        parts.append(f"{told['filled_seconds']:.2f} s were missing in {places} and are silence")
    if told.get("dropped_seconds"):
        parts.append(f"{told['dropped_seconds']:.2f} s that came twice were left out")
    if told.get("joins"):
        parts.append(f"its clock leapt {_times(told['joins'], 'time')} and was joined")
    if told.get("lost_packets"):
        parts.append(f"{_times(told['lost_packets'], 'damaged packet')} passed over")
    if told.get("not_numbers"):
        which = "value that is no number" if told["not_numbers"] == 1 else "values that are no numbers"
        parts.append(f"{told['not_numbers']} {which} became silence")
    if told.get("broken_off"):
        parts.append(f"it breaks off before its end: {told['broken_off']}")
    if told.get("loudest_channel"):
        parts.append(_channels_text(told))
    return "; ".join(parts)


def _channels_text(told: Mapping[str, Any]) -> str:
    channel, cancelled, many = told["loudest_channel"], told["cancelled_seconds"], told["channels"]
    lost = f"the mean of its {many} channels is {told['mean_below_loudest_db']:.0f} dB below channel {channel}"
    if cancelled:
        lost = f"its {many} channels cancel each other in {cancelled:.1f} s of it"
    return f"{lost}; --channel {channel} picks that one alone"


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def live_line(report: RunReport, text: str, total: int | None) -> str:
    """How the run stands, in one line: ``text`` is what the agent is saying."""
    of = f"/{total}" if total else ""
    times = report.unit_times
    line = (
        f"unit {report.units}{of}  {report.seconds:.1f} s  unit time {_ms(times.last):.0f} ms "
        f"(p95 {_ms(times.percentile(95, RECENT_UNITS)):.0f})  misses {report.misses}"
    )
    said = " ".join(printable(text).split())
    return f"{line}  {said}" if said else line


def printable(text: str) -> str:
    """``text`` as a terminal or a film can show it: a model may say anything, also control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _spread_text(times: Durations) -> str:
    figures: dict[str, Any] = spread(times)
    return "  ".join(f"{name} {figures[name]:.1f}" for name in (*(f"p{p}" for p in PERCENTILES), "max"))
