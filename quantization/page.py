"""``OUT.html``: the report as one page that needs nothing else.

Receives a report and what was kept of the runs; hands on the page: first what to ship, then what the precision buys and
costs, the error over time, pictures and voices side by side, and the layers that hurt most.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_streamer.quantization.choose import SAME, Advice
from edge_streamer.quantization.report import Kept, Report
from edge_streamer.runtime.compare.error_over_time import Drift
from edge_streamer.runtime.evaluation.ear import AUDIBLE, loudness
from edge_streamer.runtime.evaluation.page import decibel_text
from edge_streamer.runtime.pages.html import data, document, legend, table

LAYERS_SHOWN = 20
WIDE, HIGH, LEFT, TOP, BOTTOM, LABEL = 620, 200, 46, 10, 22, 240
"""Of a plot, its margins, and the room beside it for the bound's label, pixels."""
COLOURS = ("#2a9d8f", "#e76f51", "#264653", "#e9a23b", "#8d6ab8")
WORDS = {"latents.audio": "latents, sound", "latents.video": "latents, picture", "samples": "samples",
         "frames": "frames", "scores": "scores of words"}  # fmt: skip
SMOOTH = 5
"""Units that a point of a curve is the mean of; with so few units that points can be told apart, one is one unit."""
APART = 20
UNIT_SECONDS = 0.16
SPECTRUM_UNITS = 80
"""That spectrograms show, 12.8 s."""


def render(report: Report, kept: Kept, advice: Advice) -> str:
    """The whole page."""
    forced, free = report.drifts
    before, after = report.bytes
    head = (
        f"<h1>{escape(report.label)}: {after / before:.2f}x the weights, {report.unit_ratio:.2f}x the unit time"
        f"{'' if report.target == 'cpu' else ' on a CPU'}, an error of {report.worst_db:.0f} dB</h1>"
    )
    facts = (
        f"made from {report.source[:60]}; calibrated on {report.calibrated_on} ({report.calibration_units} units); "
        f"measured over {forced.units} units ({_seconds(forced.units)}) of {report.measured_on}; "
        f"{report.engine}; {report.machine['processor']}"
    )
    parts = [
        head, f'<p class="facts">{escape(facts)}</p>', *_advice(advice),
        f"<h2>{escape(report.label)} beside float32</h2>", _first(report, forced, free),
        "<h2>Error over time: its own arithmetic</h2><p>Each unit is given the float bundle's words and last answer. A "
        "line that rises gathers error in rings and tails. The bound is for the latents' error over the whole run: a "
        "line may cross it for a while.</p>", curves(forced.curve_db, advice.bound, "bound for latents"),
        "<h2>Error over time: on its own history</h2><p>Each bundle goes its own way, as in use. After a word that "
        "differs the two tell different stories: 0 dB is not broken, it is another answer, and nothing here is held "
        "against the bound.</p>", curves(free.curve_db, advice.bound, "bound of the chart above"),
        "<h2>Pictures</h2><p>Above float, below quantized, on their own histories.</p>",
        f'<img src="{_png(_pairs(kept))}" alt="">' if kept.frames else "<p>None.</p>",
        "<h2>Voices</h2>", _voices(kept),
        "<h2>Layers that hurt most</h2><p>Error of the layer's output over calibration, from its weights alone; "
        "its largest input, in the pass where that is least and in the one where it is most; the share of inputs "
        "beyond a constant range, which are cut.</p>",
        table(("layer", "format", "bytes", "error", "largest input", "inputs cut"), [
            (escape(f"{one['graph']}: {one['layer']}"), escape(str(one["format"])), f"{one['bytes']}",
             "-" if one["error_db"] is None else f"{one['error_db']:.1f} dB", _largest(one["largest"]),
             "-" if one["cut"] is None else f"{one['cut']:.3%}")
            for one in report.layers[:LAYERS_SHOWN]
        ]),
        *_kept(report),
        *_choices(report),
    ]  # fmt: skip
    return document(f"{report.label}: what it costs", parts)


def _largest(passes: object) -> str:
    """The least and the most of all passes."""
    assert isinstance(passes, dict)
    sizes = sorted(passes.values())
    return f"{sizes[0]:.3g} .. {sizes[-1]:.3g}" if sizes else "-"


def _advice(advice: Advice) -> list[str]:
    """What to ship, beside what, and what the words mean."""
    words = advice.words[0].upper() + advice.words[1:]
    rows = [
        (escape(row.name), f"{row.weights:.2f}x", "-" if row.unit_time is None else f"{row.unit_time:.2f}x",
         "-" if row.error_db is None else f"{row.error_db:.1f} dB", f"{row.same_slots:.2%}",
         '<span class="holds">ship this</span>' if row is advice.ship and not advice.few
         else f'<span class="short">{escape(row.against)}</span>' if row.against else "")
        for row in advice.rows
    ]  # fmt: skip
    return [
        f"<p><b>{escape(words)}.</b></p>",
        table(("", "weights", "unit time", "latents, at worst", "words that agree", ""), rows),
        _legend(advice.bound),
        "<p>More schemes in this table: <code>quantize --beside REPORT.json ...</code></p>" if len(rows) == 2 else "",
    ]


def _legend(bound: float) -> str:
    """The words of the first table."""
    return legend([
        ("weights, unit time", "float32 is 1. A unit is 160 ms of conversation, its time what it takes to compute."),
        ("latents", "what the Transformer itself makes of a unit, a few numbers for sound and picture; the codecs turn "
         "them into samples and frames. The verdict looks at them because they are what the Transformer gets back as "
         "its own past: an error in them lives on, an error of the codecs does not reach it."),
        ("at worst", "of sound and picture, whichever errs more."),
        ("dB", "energy of the error against that of the signal; -10 dB is a tenth, -20 dB a hundredth. The bound, "
         f"{bound:g} dB, is {10 ** (bound / 10):.2%}; less is better."),
        ("words that agree", "how often the bundle chooses the word that float32 chose, given float32's words and "
         f"answers so far; {SAME:.1%} are wanted. To say nothing is a word too."),
    ])  # fmt: skip


def _kept(report: Report) -> list[str]:
    """What stayed in float32 because the scheme's numbers have no room for it."""
    rows = [(escape(f"{one['graph']}: {one['layer']}"), escape(str(one["kept"]))) for one in report.kept]
    return ["<h2>Kept in float32</h2>", table(("layer", "why"), rows)] if rows else []


def _choices(report: Report) -> list[str]:
    """What ``auto`` weighed, the largest groups first."""
    if not report.choices:
        return []
    rows = [
        (escape(one.group), escape(one.chosen), f"{one.bytes}",
         escape(", ".join(f"{words} {share:.1%}" for words, share in one.weighed.items() if words != "float32")),
         escape(one.why))
        for one in sorted(report.choices, key=lambda one: -one.bytes)
    ]  # fmt: skip
    return [
        "<h2>Why each layer has its format</h2><p>Share of the bound on error that a group of layers would take, alone "
        "in this format.</p>", table(("layers", "chosen", "bytes", "share of the bound", "why"), rows),
    ]  # fmt: skip


def _first(report: Report, forced: Drift, free: Drift) -> str:
    (before, after), (slow, fast), rings = report.bytes, report.unit_ms, report.ring_bytes
    rows = [
        ("weights", f"{before / 1e6:.2f} MB", f"{after / 1e6:.2f} MB", f"{after / before:.2f}x", ""),
        ("unit time, median", f"{slow:.1f} ms", f"{fast:.1f} ms", f"{report.unit_ratio:.2f}x", report.timed_on),
        *(
            (("rings", f"{rings[0] / 1e6:.2f} MB", f"{rings[1] / 1e6:.2f} MB", f"{rings[1] / rings[0]:.2f}x", ""),)
            if rings[0] != rings[1]
            else ()
        ),
        *(
            (f"error of {escape(WORDS.get(name, name))}", "", decibel_text(error), "", "its own arithmetic")
            for name, error in forced.error_db.items()
        ),
    ]
    if report.chooses:
        rows += [
            ("words that agree", "", f"{forced.same_slots:.2%}", "", "its own arithmetic"),
            ("who speaks agrees", "", f"{free.same_states:.2%}", "", "on its own history"),
        ]
    return table(("", "float", report.scheme, "", ""), rows) + legend([
        ("its own arithmetic", "before every unit the bundle is given the words and the last answer of float32, so "
         "that what differs is its own rounding, and not another conversation after one word that differed."),
        ("on its own history", "each bundle goes its own way, as in use."),
        ("samples, frames", "sound and picture as they are played and shown."),
        ("scores of words", "what each possible word gets before one is chosen."),
    ])  # fmt: skip


def _seconds(units: int) -> str:
    return f"{round(units * UNIT_SECONDS, 2):g} s"


def curves(curve_db: Mapping[str, Sequence[float]], bound: float, label: str) -> str:
    """Lines over units, dB, as SVG, and one at the bound. Units too few for a line to show are points too."""
    units = max(len(values) for values in curve_db.values())
    size = SMOOTH if units > APART else 1
    means = {name: _smooth(values, size) for name, values in curve_db.items()}
    flat = [bound, *(v for values in means.values() for v in values)]
    low, high = np.floor(min(flat) / 10) * 10, np.ceil(max(max(flat), min(flat) + 10) / 10) * 10
    count = max(len(values) for values in means.values())

    def height(value: float) -> float:
        return float(TOP + (HIGH - TOP - BOTTOM) * (high - value) / (high - low))

    def at(n: int, value: float) -> str:
        x = LEFT + (WIDE - LEFT) * n / max(count - 1, 1)
        return f"{x:.1f},{height(value):.1f}"

    points = [" ".join(at(n, v) for n, v in enumerate(values)) for values in means.values()]
    lines = "".join(
        f"<polyline fill=none stroke='{colour}' stroke-width=1.5 points='{some}'/>"
        for colour, some in zip(cycle(COLOURS), points, strict=False)
    )
    lines += "".join(
        f"<circle cx={x} cy={y} r=3 fill='{colour}'/>"
        for colour, some in zip(cycle(COLOURS), points if size == 1 else (), strict=False)
        for x, y in (place.split(",") for place in some.split())
    )
    lines += _bound(height(bound), f"{label}, {bound:g} dB")
    grid = "".join(
        f"<line x1={LEFT} x2={WIDE} y1={y:.1f} y2={y:.1f} stroke='#e0e0e8'/>"
        f"<text x={LEFT - 6} y={y + 4:.1f} font-size=11 fill='#667' text-anchor=end>{level:.0f} dB</text>"
        for level in np.arange(low, high + 1, 10 if high - low <= 100 else 50) for y in [height(float(level))]
    )  # fmt: skip
    return (
        f"<figure><svg viewBox='0 0 {WIDE + LABEL} {HIGH}' width={WIDE + LABEL}>{grid}{lines}"
        f"<text x={LEFT} y={HIGH - 4} font-size=11 fill='#667'>0 s</text>"
        f"<text x={WIDE} y={HIGH - 4} font-size=11 fill='#667' text-anchor=end>{_seconds(units)}</text></svg>"
        f"<figcaption>{_names(means)}</figcaption></figure>"
    )


def _names(names: Iterable[str]) -> str:
    """What each line is, in its colour."""
    shown = zip(cycle(COLOURS), names, strict=False)
    return " ".join(f"<span style='color:{colour}'>&#9644; {escape(WORDS.get(n, n))}</span>" for colour, n in shown)


def _bound(y: float, words: str) -> str:
    return (
        f"<line x1={LEFT} x2={WIDE} y1={y:.1f} y2={y:.1f} stroke='#c02626' stroke-dasharray='6 4'/>"
        f"<text x={WIDE + 8} y={y + 4:.1f} font-size=11 fill='#c02626'>{words}</text>"
    )


def _smooth(values: Sequence[float], size: int) -> list[float]:
    power = 10 ** (np.asarray(values) / 10)
    return [float(v) for v in 10 * np.log10(np.convolve(power, np.ones(size) / size, "valid") + 1e-20)]


def _pairs(kept: Kept) -> NDArray[np.uint8]:
    return np.concatenate([np.concatenate([pair[side] for pair in kept.frames], 1) for side in (0, 1)], 0)


def _voices(kept: Kept) -> str:
    """The 12.8 s in which the two bundles say most; a sentence where neither says anything at all."""
    if not kept.voices[0]:
        return "<p>None.</p>"
    voices = [np.concatenate(voice) for voice in kept.voices]
    unit = len(kept.voices[0][0])
    spoke = [bool(loudness(voice).max() > AUDIBLE) for voice in voices]
    if not any(spoke):
        return (
            f"<p>Nothing to show: neither bundle spoke in the {_seconds(len(kept.voices[0]))} that were measured. More "
            "units (<code>--units</code>) come to an answer.</p>"
        )
    loud = sum(np.square(voice).reshape(-1, unit).sum(1) for voice in voices)
    window = min(SPECTRUM_UNITS, len(kept.voices[0]))
    first = int(np.argmax(np.convolve(loud, np.ones(window), "valid")))
    part = slice(first * unit, (first + window) * unit)
    silent = "" if all(spoke) else f" Only {'float' if spoke[0] else 'quantized'} speaks."
    picture = np.concatenate([_spectrogram(voice[part]) for voice in voices], 0)
    return (
        f"<p>Spectrograms of the {_seconds(window)} with the most sound, from {_seconds(first)} on: time to the right, "
        f"pitch upwards to 8 kHz, dark is loud. Above float, below quantized, on their own histories.{silent}</p>"
        f'<img src="{_png(picture)}" alt="">'
    )


def _spectrogram(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    size, hop = 512, 256
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop] * np.hanning(size)
    power = 20 * np.log10(np.abs(np.fft.rfft(frames))[:, : size // 2 : 2].T[::-1] + 1e-4)
    grey = np.clip((power + 50) / 80, 0, 1)
    return np.asarray(255 - 235 * grey, np.uint8)


def _png(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return data(buffer.getvalue())
