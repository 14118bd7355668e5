"""Pictures of a profile: units over time, how often which time, the stages of a unit, the roofline.

Receives figures; hands on SVG, as HTML that needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from edge_streamer.runtime.profile.roofline import GraphRow, Roof
from edge_streamer.runtime.profile.statistics import Histogram

LOW = 130
"""Of a small picture, pixels."""
WIDE, HIGH, LEFT, TOP, BOTTOM, RIGHT = 680, 220, 48, 16, 26, 16
POINTS = 600
"""Of a curve: with more units than that each point is the longest of several, so that no outlier is lost."""
COLOURS = ("#2a9d8f", "#e76f51", "#264653", "#e9a23b", "#8d6ab8", "#4f86c6", "#a0a83c", "#b5566b",
           "#6b4f3a", "#7fc8bf", "#c9a0dc", "#9aa3ad", "#1f5fa8", "#d98ca0", "#5c7a29", "#f0c987")  # fmt: skip
LATE, QUIET, INK = "#c02626", "#667", "#1c2030"
BAR = 44
CURVES = 8
"""In one picture, at the most."""
LABEL = 16
"""Pixels between two labels, at the least."""


def over_time(row: Sequence[float], deadline: float, title: str) -> str:
    """Milliseconds of every unit, and the deadline where it is near enough to be seen."""
    each = max(1, math.ceil(len(row) / POINTS))
    points = [max(row[n : n + each]) for n in range(0, len(row), each)]
    most = max(points) * 1.1
    if deadline < 3 * most:
        most = max(most, deadline * 1.05)
    high = HIGH - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + high * (1 - value / most)

    step = (WIDE - LEFT - RIGHT) / max(len(points) - 1, 1)
    line = " ".join(f"{LEFT + n * step:.1f},{y(value):.1f}" for n, value in enumerate(points))
    parts = [
        f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.3"/>',
        _axes(max(points), y(max(points))),
    ]
    if deadline <= most:
        parts.append(_deadline(LEFT, WIDE - RIGHT, y(deadline), y(deadline), deadline))
    parts.append(_text(LEFT, HIGH - 8, "unit 0") + _text(WIDE - RIGHT, HIGH - 8, f"unit {len(row) - 1}", "end"))
    told = f"; a point is the longest of {each} units" if each > 1 else ""
    return _figure(parts, f"{title}, ms, unit by unit{told}")


def bars(found: Histogram, title: str) -> str:
    """How often a unit took how long."""
    most, high = max(found.counts), HIGH - TOP - BOTTOM
    width = (WIDE - LEFT - RIGHT) / len(found.counts)
    parts = []
    for n, count in enumerate(found.counts):
        tall = high * count / most
        start = found.first + n * found.width
        parts.append(
            f'<rect x="{LEFT + n * width:.1f}" y="{TOP + high - tall:.1f}" width="{width - 1:.1f}" '
            f'height="{tall:.1f}" fill="{COLOURS[0]}"><title>{start:.2f} to {start + found.width:.2f} ms: {count}'
            "</title></rect>"
        )
    end = found.first + found.width * len(found.counts)
    parts += [_axes(most, TOP),
              _text(LEFT, HIGH - 8, f"{found.first:.1f} ms"),
              _text(WIDE - RIGHT, HIGH - 8, f"{end:.1f} ms and more", "end")]  # fmt: skip
    return _figure(parts, f"{title}: how many units took how long")


def colours(names: Iterable[str]) -> dict[str, str]:
    """Name -> colour, so that a thing has one in every picture."""
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(dict.fromkeys(names))}


def stages(parts: Sequence[tuple[str, float]], deadline: float | None, told: str = "") -> str:
    """(name, milliseconds) one after the other, on a line as long as the unit or as they take. ``told``: what begins
    the caption."""
    most = max(deadline or 0.0, sum(ms for _, ms in parts)) * 1.02
    at, made, names = 0.0, [], []
    colour_of = colours(name for name, _ in parts)
    for name, ms in parts:
        width, colour = WIDE * ms / most, colour_of[name]
        made.append(f'<rect x="{at:.2f}" y="{TOP}" width="{max(width, 0.4):.2f}" height="{BAR}" fill="{colour}">'
                    f"<title>{escape(name)}: {ms:.2f} ms</title></rect>")  # fmt: skip
        names.append(f'<span style="color:{colour}">&#9632; {escape(name)} {ms:.2f} ms</span>')
        at += width
    made.append(_text(0, TOP + BAR + 18, "0"))
    if deadline is not None:
        x = WIDE * deadline / most
        made.append(_deadline(x, x, TOP - 6, TOP + BAR + 6, deadline))
    made.append(_text(min(max(at, 70), WIDE - 4), TOP + BAR + 18, f"{sum(ms for _, ms in parts):.1f} ms", "end"))
    return _figure(made, escape(told) + " ".join(names), TOP + BAR + 24, told=True)


def curves(rows: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> str:
    """Name -> (seconds, values), in one small picture; where there are too many, those that vary most."""
    shown = {name: row for name, row in rows.items() if len(row[0]) > 1}
    most = sorted(shown, key=lambda name: min(shown[name][1]) - max(shown[name][1]))[:CURVES]
    shown = {name: row for name, row in shown.items() if name in most}
    if not shown:
        return ""
    end = max(at[-1] for at, _ in shown.values())
    low, high = min(min(v) for _, v in shown.values()), max(max(v) for _, v in shown.values())
    if 0 <= low < 0.7 * high or 0 <= high - low < 0.02 * high:
        low = 0.0  # what hardly changes is drawn as it is, not its noise
    else:
        low -= 0.1 * (high - low)
    tall, span = LOW - TOP - BOTTOM, (high - low) * 1.1 or 1.0
    parts, names = [], []
    for n, (name, (at, values)) in enumerate(shown.items()):
        line = " ".join(f"{LEFT + (WIDE - LEFT - RIGHT) * x / (end or 1):.1f},{TOP + tall * (1 - (y - low) / span):.1f}"
                        for x, y in zip(at, values, strict=True))  # fmt: skip
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[n]}" stroke-width="1.3"/>')
        names.append(f'<span style="color:{COLOURS[n]}">&#9632; {escape(name)}</span>')
    base, top = LOW - BOTTOM, TOP + tall * (1 - (high - low) / span) + 4
    parts += [
        f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{base}" y2="{base}" stroke="#ccd"/>',
        _text(LEFT - 6, base, f"{low:.4g}", "end"), _text(LEFT - 6, top, f"{high:.4g}", "end") if high > low else "",
        _text(LEFT, LOW - 8, "0 s"), _text(WIDE - RIGHT, LOW - 8, f"{end:.0f} s", "end"),
    ]  # fmt: skip
    left_out = len(rows) - len(shown)
    more = f"; {left_out} more in profile.json" if left_out else ""
    return _figure(parts, f"{escape(title)}{more}: {' '.join(names)}", LOW, told=True)


def roofline(rows: Sequence[GraphRow], roof: Roof, colour_of: Mapping[str, str] | None = None) -> str:
    """Operations a second over operations a byte, both as powers of ten: a graph below the roof could be faster."""
    high, rates = HIGH + 60, list(roof.rates.values())
    rows = [row for row in rows if row.operations and row.moved_bytes]
    places = [(row.operations / row.moved_bytes, row.rate) for row in rows]
    low_x = math.floor(math.log10(min([x for x, _ in places] + [0.1])))
    high_x = math.ceil(math.log10(max([x for x, _ in places] + [1.2 * max(rates) / roof.bandwidth])))
    low_y = math.floor(math.log10(min([y for _, y in places] + [min(rates) / 100])))
    high_y = math.ceil(math.log10(max(rates) * 1.3))

    def x(value: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (math.log10(value) - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return TOP + (high - TOP - BOTTOM) * (1 - (math.log10(value) - low_y) / (high_y - low_y))

    parts = [
        f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(10**n):.1f}" y2="{y(10**n):.1f}" stroke="#e8e8ee"/>'
        + _text(LEFT - 6, y(10**n) + 4, f"{10.0**n:g}", "end")
        for n in range(low_y, high_y + 1)
    ]
    parts += [_text(x(10**n), high - 8, f"{10.0**n:g}", "middle") for n in range(low_x, high_x + 1)]
    label_x, before = float(WIDE - RIGHT), math.inf
    for name, rate in sorted(roof.rates.items(), key=lambda one: one[1]):
        label_x = label_x - 120 if abs(y(rate) - before) < LABEL else float(WIDE - RIGHT)
        before = y(rate)
        ridge, start = rate / roof.bandwidth, max(10.0**low_x, 10.0**low_y / roof.bandwidth)
        corners = (start, start * roof.bandwidth), (ridge, rate), (10**high_x, rate)
        line = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in corners)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{QUIET}" stroke-width="1.5"/>'
                     + _text(label_x, y(rate) - 5, f"{name}: {rate:.0f} G/s", "end"))  # fmt: skip
    given = _more_colours(colour_of or {}, [row.graph for row in rows])
    for row, (at, rate) in zip(rows, places, strict=True):
        colour, size = given[row.graph], 4 + 8 * math.sqrt(row.runs * row.run_ms / _longest(rows))
        parts.append(f'<circle cx="{x(at):.1f}" cy="{y(rate):.1f}" r="{size:.1f}" fill="{colour}" opacity="0.85">'
                     f"<title>{escape(row.graph)}: {rate:.1f} G/s, {at:.1f} operations a byte</title></circle>"
                     )  # fmt: skip
    names = " ".join(f'<span style="color:{given[row.graph]}">&#9679; {escape(row.graph)}</span>' for row in rows)
    told = (f"{names}<br>10<sup>9</sup> operations a second over operations a byte; the slope is {roof.bandwidth:.1f} "
            "GB/s; a larger circle takes more of a unit")  # fmt: skip
    return _figure(parts, told, high, told=True)


def _more_colours(given: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """``given``, and colours that are still free for the other names."""
    spare = [one for one in COLOURS if one not in given.values()] or COLOURS
    return {**given, **{name: spare[n % len(spare)] for n, name in enumerate(n for n in names if n not in given)}}


def _longest(rows: Sequence[GraphRow]) -> float:
    return max((row.runs * row.run_ms for row in rows), default=1.0)


def _axes(top: float, y: float) -> str:
    """The base line, and ``top``, the largest value, at its height."""
    base, end = HIGH - BOTTOM, WIDE - RIGHT
    line = f'<line x1="{LEFT}" x2="{end}" y1="{base}" y2="{base}" stroke="#ccd"/>'
    return line + _text(LEFT - 6, base, "0", "end") + _text(LEFT - 6, y + 4, f"{top:.3g}", "end")


def _deadline(x1: float, x2: float, y1: float, y2: float, deadline: float) -> str:
    label = min(max(x2, 50), WIDE - 4)
    return (f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{LATE}" stroke-width="2" '
            f'stroke-dasharray="5 4"/><text x="{label:.1f}" y="{max(y1 - 4, 10):.1f}" font-size="12" fill="{LATE}" '
            f'text-anchor="end">{deadline:g} ms</text>')  # fmt: skip


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{QUIET}" text-anchor="{anchor}">{escape(words)}</text>'


def _figure(parts: Sequence[str], caption: str, high: float = HIGH, told: bool = False) -> str:
    """``told``: that the caption is HTML already."""
    words = caption if told else escape(caption)
    return (f'<figure><svg viewBox="0 0 {WIDE} {high:g}" width="{WIDE}" role="img">{"".join(parts)}</svg>'
            f"<figcaption>{words}</figcaption></figure>")  # fmt: skip
