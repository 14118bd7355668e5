"""From what was measured to scores, and from scores to a verdict.

Receives the :class:`Measured` of many cases; hands on scores by name (value and count) and :data:`WANTED`, what a
bundle must reach, some of it beside the ceiling: the intended picture and sound through the bundle's own codec.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from edge_streamer.runtime.evaluation.behaviour import Question
from edge_streamer.runtime.evaluation.measure import Floats, Measured

UNIT_MS = 160.0
RESTING = ("silence", "noise", "others")
"""Kinds in which any answer is a false one; background speech alone is another."""
LAGS = range(-8, 9)
"""Frames by which mouth and voice are moved against each other."""


class Score(msgspec.Struct, frozen=True):
    """One number. ``value`` is None where nothing was there to be measured."""

    value: float | None
    count: int
    """Of what it is a mean, a share or a percentile of."""


Scores = dict[str, Score]


def share(values: Iterable[bool]) -> Score:
    """How many are true, 0..1."""
    got = list(values)
    return Score(sum(got) / len(got) if got else None, len(got))


def percentile(values: Iterable[float | None], percent: float) -> Score:
    """Nearest rank: a value that was really measured."""
    got = [value for value in values if value is not None]
    return Score(float(np.percentile(got, percent, method="inverted_cdf")) if got else None, len(got))


def mean(values: Iterable[float]) -> Score:
    got = [value for value in values if np.isfinite(value)]
    return Score(float(np.mean(got)) if got else None, len(got))


def score(cases: Sequence[Measured]) -> Scores:
    """All scores of these cases, by name."""
    return _answers(cases) | _turns(cases) | _times(cases) | _memory(cases) | _looks(cases) | _voice(cases)


def _asked(cases: Sequence[Measured], kind: str | None = None) -> list[Question]:
    return [q for case in cases if kind in (None, case.kind) for q in case.questions]


def _answers(cases: Sequence[Measured]) -> Scores:
    clean = [q for case in cases if case.kind in ("smooth", "interruption", "stop", "recall", "again", "pause")
             for q in case.questions]  # fmt: skip
    every, noisy = _asked(cases), _asked(cases, "noisy")
    scores = {
        "right": share(q.verdict == "right" for q in every),
        "right.clean": share(q.verdict == "right" for q in clean),
        "right.noisy": share(q.verdict == "right" for q in noisy),
        "missed": share(q.verdict == "missed" for q in every),
        "missed.clean": share(q.verdict == "missed" for q in clean),
    }
    for kind in sorted({case.kind for case in cases if case.questions} - {"noisy"}):
        scores[f"right.{kind}"] = share(q.verdict == "right" for q in _asked(cases, kind))
    for noise in sorted({case.condition for case in cases if case.kind == "noisy"}):
        some = [case for case in cases if case.kind == "noisy" and case.condition == noise]
        scores[f"right.noisy.{noise}"] = share(q.verdict == "right" for q in _asked(some))
    return scores


def _turns(cases: Sequence[Measured]) -> Scores:
    resting = [case for case in cases if _rests(case)]
    minutes = sum(case.seconds for case in resting) / 60
    false = sum(len(case.unasked) for case in resting)
    scores = {
        "unknown.let_pass": share(passed for case in cases for passed in case.let_pass),
        "false_answers_a_minute": Score(false / minutes if minutes else None, false),
        "false_answers_a_minute.everywhere": Score(
            sum(len(case.unasked) for case in cases) / max(sum(case.seconds for case in cases) / 60, 1e-9), len(cases)
        ),
        "went_on": share(on for case in cases for on in case.went_on),
    }
    for kind in sorted({case.kind for case in cases}):
        scores[f"takeover.{kind}"] = _takeover([case for case in cases if case.kind == kind], kind)
    return scores


def _rests(case: Measured) -> bool:
    return case.kind in RESTING or (case.kind == "background" and case.condition == "alone")


def _takeover(cases: Sequence[Measured], kind: str) -> Score:
    """How often it took the turn: meant to be 1 where it is asked, 0 where it should wait, go on or keep quiet."""
    if kind in ("others", "background", "pause"):
        return share(not passed for case in cases for passed in case.let_pass)
    if kind == "backchannel":
        return share(not on for case in cases for on in case.went_on)
    if kind in RESTING:
        return share(bool(case.unasked) for case in cases)
    return share(q.verdict != "missed" for q in _asked(cases))


def _times(cases: Sequence[Measured]) -> Scores:
    asked = [q for q in _asked(cases) if q.verdict != "missed"]
    stops = [halt for case in cases for halt in case.halts if halt.spoke]
    scores = {"stop.spoke": share(halt.spoke for case in cases for halt in case.halts)}
    for percent in (50, 95):
        scores[f"latency.state_ms.p{percent}"] = percentile((q.state_ms for q in asked), percent)
        scores[f"latency.audible_ms.p{percent}"] = percentile((q.audible_ms for q in asked), percent)
        scores[f"stop.units.p{percent}"] = percentile((h.units for h in stops), percent)
        scores[f"stop.audible_ms.p{percent}"] = percentile((h.audible_ms for h in stops), percent)
        scores[f"unit_ms.p{percent}"] = percentile((float(ms) for case in cases for ms in case.unit_ms), percent)
    scores["stop.state_within_1_unit"] = share(h.units <= 1 for h in stops)
    scores["stop.audible_within_3_units"] = share(h.audible_ms <= 3 * UNIT_MS for h in stops)
    scores["late_ms.p50"] = percentile((q.reply.late_ms for q in asked if q.reply), 50)
    return scores


def _memory(cases: Sequence[Measured]) -> Scores:
    colours = [q for q in _asked(cases, "recall") if q.distance is not None]  # only the question for it has one
    scores: Scores = {"again": share(q.verdict == "right" for q in _asked(cases, "again") if q.distance is not None)}
    for distance in sorted({round(q.distance or 0) for q in colours}):
        scores[f"recall.{distance}s"] = share(
            q.verdict == "right" for q in colours if round(q.distance or 0) == distance
        )
    scores["recall"] = share(q.verdict == "right" for q in colours)
    return scores


def _looks(cases: Sequence[Measured]) -> Scores:
    gaze = np.concatenate([case.gaze for case in cases]) if cases else np.zeros((0, 4), np.float32)
    gaze = gaze[np.isfinite(gaze).all(1)]
    error = np.concatenate([case.error for case in cases])
    whole = sum(case.seconds for case in cases) / 60
    listening = sum(case.seconds * case.listening for case in cases) / 60
    blinks = np.sum([case.blinks for case in cases], 0)
    across, down = (correlation(gaze[:, n], gaze[:, n + 2]) for n in (0, 1))
    return {
        "identity.units": share(bool(ok) for case in cases for ok in case.identity),
        "gaze.correlation": Score(None if across is None or down is None else (across + down) / 2, len(gaze)),
        "gaze.error": mean(np.abs(gaze[:, :2] - gaze[:, 2:]).ravel()),
        "blinks_a_minute.listening": Score(float(blinks[0] / listening) if listening > 0 else None, int(blinks[0])),
        "blinks_a_minute.speaking": Score(
            float(blinks[1] / (whole - listening)) if whole - listening > 1e-3 else None, int(blinks[1])
        ),
        "picture.psnr_db": Score(float(10 * np.log10(255**2 / max(float(error.mean()), 1e-3))), len(error)),
        "picture.icon": share(bool(ok) for case in cases for ok in case.icon),
    }


def correlation(one: Floats, other: Floats) -> float | None:
    """Pearson's; None where one does not change."""
    if len(one) < 2 or one.std() < 1e-6 or other.std() < 1e-6:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _voice(cases: Sequence[Measured]) -> Scores:
    mouths = [case.mouth for case in cases]
    by_lag = [_mouth_at(mouths, lag) for lag in LAGS]
    asked = [q for q in _asked(cases) if q.reply is not None and q.verdict != "missed"]
    whole = [q for q in asked if not q.cut]
    return {
        "identity.voice": share(kept for case in cases for kept in case.voice),
        "mouth.correlation": Score(by_lag[LAGS.index(0)], sum(len(m) for m in mouths)),
        "mouth.lip_sync_ms": Score(_best_lag(by_lag), sum(len(m) for m in mouths)),
        "reply.snr_db": percentile((q.reply.snr_db for q in asked if q.reply), 50),
        "reply.recognised": share(q.reply is not None and q.reply.nearest == q.phrase for q in whole),
    }


def _mouth_at(mouths: Sequence[Floats], lag: int) -> float | None:
    """Correlation of picture and voice with the picture ``lag`` frames earlier than it came."""
    seen = np.concatenate([m[max(lag, 0) : len(m) + min(lag, 0), 0] for m in mouths])
    voice = np.concatenate([m[max(-lag, 0) : len(m) + min(-lag, 0), 1] for m in mouths])
    return correlation(seen, voice)


def _best_lag(by_lag: list[float | None]) -> float | None:
    """By how many ms the picture comes after the sound; between frames by a parabola."""
    if any(value is None for value in by_lag):
        return None
    values = np.array(by_lag, np.float64)
    best = int(values.argmax())
    part = 0.0
    if 0 < best < len(values) - 1:
        before, middle, after = values[best - 1 : best + 2]
        part = 0.5 * (before - after) / min(before - 2 * middle + after, -1e-9)
    return float((LAGS[best] + part) * 40.0)


# ---- what is wanted ----


@dataclass(frozen=True)
class Wanted:
    """A bound on one score. ``beside``: how it is held against the ceiling; alone where there is none."""

    score: str
    sense: Literal["at least", "at most", "within"]
    bound: float
    beside: Literal["", "minus", "times"] = ""
    """minus: ceiling less the bound (or plus it, for ``at most``); times: ceiling times it."""

    def limit(self, ceiling: Scores) -> float | None:
        """The bound as a number; None where it needs a ceiling that there is not."""
        if not self.beside:
            return self.bound
        top = ceiling[self.score].value if self.score in ceiling else None
        if top is None:
            return None
        if self.beside == "times":
            return top * self.bound
        return top - self.bound if self.sense == "at least" else top + self.bound


@dataclass(frozen=True)
class Line:
    """One line of the verdict."""

    wanted: Wanted
    value: float | None
    count: int
    ceiling: float | None
    limit: float | None
    holds: bool | None
    """None where the suite held nothing to measure it by, or there is no ceiling."""


WANTED = (
    Wanted("right.clean", "at least", 0.97), Wanted("right.noisy", "at least", 0.88),
    Wanted("missed.clean", "at most", 0.01), Wanted("unknown.let_pass", "at least", 0.85),
    Wanted("false_answers_a_minute", "at most", 0.3), Wanted("latency.audible_ms.p50", "at most", 320),
    Wanted("latency.audible_ms.p95", "at most", 480), Wanted("stop.state_within_1_unit", "at least", 0.95),
    Wanted("stop.audible_within_3_units", "at least", 1.0), Wanted("recall.4s", "at least", 0.95),
    Wanted("recall.8s", "at least", 0.90), Wanted("again", "at least", 0.97),
    Wanted("identity.units", "at least", 0.99), Wanted("identity.voice", "at least", 0.95),
    Wanted("gaze.correlation", "at least", 0.95), Wanted("gaze.error", "at most", 1.15, "times"),
    Wanted("mouth.correlation", "at least", 0.03, "minus"), Wanted("reply.snr_db", "at least", 1.0, "minus"),
    Wanted("reply.recognised", "at least", 0.97), Wanted("blinks_a_minute.listening", "within", 0.5, "times"),
    Wanted("picture.psnr_db", "at least", 26.0),
)  # fmt: skip
"""Issue 3's figures."""
NEEDS: dict[str, str] = {
    "reply.snr_db": "right", "reply.recognised": "right", "identity.voice": "right", "latency.audible_ms.p50": "right",
    "latency.audible_ms.p95": "right", "stop.state_within_1_unit": "stop.spoke",
    "stop.audible_within_3_units": "stop.spoke", "mouth.correlation": "right", "gaze.correlation": "identity.units",
    "gaze.error": "identity.units", "blinks_a_minute.listening": "identity.units",
}  # fmt: skip
"""Scores that an agent which does nothing leaves empty: they fail where this score shows that there was an occasion."""


def judge(scores: Scores, ceiling: Scores) -> list[Line]:
    """Every wanted figure against what came."""
    return [_line(wanted, scores, ceiling) for wanted in WANTED]


def _line(wanted: Wanted, scores: Scores, ceiling: Scores) -> Line:
    came = scores.get(wanted.score, Score(None, 0))
    top = ceiling[wanted.score].value if wanted.score in ceiling else None
    limit = wanted.limit(ceiling)
    holds: bool | None
    if came.value is None:
        occasion = scores.get(NEEDS.get(wanted.score, ""), Score(None, 0))
        holds = False if occasion.count else None
    elif limit is None:
        holds = None
    elif wanted.sense == "within":
        holds = top is not None and abs(came.value - top) <= limit
    else:
        holds = came.value >= limit if wanted.sense == "at least" else came.value <= limit
    return Line(wanted, came.value, came.count, top, limit, holds)


def differences(scores: Scores, other: Scores) -> dict[str, tuple[float, float]]:
    """(came, was) of every score that both have."""
    both = {name: (score.value, other[name].value) for name, score in scores.items() if name in other}
    return {name: (came, was) for name, (came, was) in both.items() if came is not None and was is not None}
