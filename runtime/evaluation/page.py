"""``report.html``: one file that needs nothing else, but ``clip.mp4`` beside it.

Receives a result, pictures and perhaps an earlier result; hands on the page: the verdict first, then the clip, what was
shown, times, every score, stability, steps, parity and the answers that went wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from edge_streamer.runtime.compare.error_over_time import EXACT, NOT_FINITE
from edge_streamer.runtime.evaluation.bench import NO_STABILITY, Result
from edge_streamer.runtime.evaluation.parity import GOLDEN, Parity
from edge_streamer.runtime.evaluation.score import Line, Scores
from edge_streamer.runtime.pages.html import data, document, legend, number, table

WRONG_SHOWN = 60
FEW = 20
"""Occasions; with fewer a single one moves a share by more than most bounds leave."""
FALSE_ANSWERS = "false_answers_a_minute"
"""Its count is of what should not be: a small one is a good sign, and no weak one."""
MEANINGS = {
    "right": "commands whose answer, as text, is the intended one",
    "right.clean": "commands without noise whose answer, as text, is the intended one",
    "right.noisy": "the same with the voice 10 dB above a noise",
    "missed": "commands that got no answer",
    "missed.clean": "commands without noise that got no answer",
    "unknown.let_pass": "words it does not know that it did not answer, nor up to six units after",
    "false_answers_a_minute": "turns it took with no reason, in silence, in noise and while people talk to others",
    "false_answers_a_minute.everywhere": "turns it took with no reason, in all scenes",
    "went_on": "answers spoken to their end, though somebody said a short unknown word",
    "takeover": "how often it took the turn; backchannel: how often it gave up its own",
    "latency.audible_ms": "ms from a word's end to the first sound of its answer",
    "latency.state_ms": "ms from a word's end to the end of the first unit that speaks",
    "late_ms": "ms by which the voice comes later than intended",
    "unit_ms": "ms that a unit takes to compute; they come on top of every latency",
    "stop.spoke": "how often it was speaking when told to stop",
    "stop.units": "units that still speak after the one in which the word stop ended",
    "stop.audible_ms": "ms from the end of the word stop to the last sound",
    "stop.state_within_1_unit": "stops after which at most one more unit (160 ms) counts as speaking",
    "stop.audible_within_3_units": "stops after which nothing is heard three units (480 ms) later",
    "recall": "right answers to: which colour had the card? so many seconds after it was first shown",
    "again": "right answers to the word again, up to 8 s after the answer to be repeated",
    "identity.units": "units that show the head of the one it was told to be",
    "identity.voice": "answers in that one's pitch of voice",
    "gaze.correlation": "how well its pupils follow the user's face; 1: exactly in step",
    "gaze.error": "mean distance of the pupils, across and down, from where they should be; "
    "1 is as far as they turn from the middle: 4 pixels",
    "mouth.correlation": "how well the mouth in the picture follows its own voice; 1: exactly in step",
    "mouth.lip_sync_ms": "ms by which the picture comes after the sound",
    "reply.snr_db": "dB of the intended voice above what differs from it; median, more is better",
    "reply.recognised": "answers that sound most like the intended phrase, of all phrases",
    "blinks_a_minute.listening": "blinks while it listens",
    "blinks_a_minute.speaking": "blinks while it speaks",
    "picture.psnr_db": "dB of full scale above what differs from the intended picture; more is better",
    "picture.icon": "frames with the right icon beside the head",
}
"""Scores in plain words; a name that is not here has those of what it begins with. docs/evaluation.md says more."""
PERCENTILES = {"p50": "median", "p95": "95 of 100 are no longer"}


def render(result: Result, pictures: Sequence[tuple[str, bytes]], baseline: Result | None) -> str:
    """The whole page."""
    bundle = result.bundle
    held = sum(line.holds is True for line in result.verdict)
    measured = sum(line.holds is not None for line in result.verdict)
    facts = (
        f"{result.cases} conversations, {result.minutes:.1f} minutes, seed {result.seed}, {result.steps} solver steps; "
        f"{result.engine}; weights {bundle['weights']}; bundle {bundle['hash'][:16]}; took {result.seconds:.0f} s"
    )
    poster = f' poster="{data(pictures[0][1])}"' if pictures else ""
    parts = [
        f"<h1>{escape(bundle['name'])}: {held} of {measured} figures hold</h1>",
        f'<p class="facts">{escape(facts)}</p>', _headings(result.verdict), verdict(result.verdict),
        f'<h2>Watch it</h2><video src="clip.mp4" controls preload="metadata"{poster}></video>',
        "<h2>What it showed</h2><p>Above as intended, below as it came.</p>",
        *(f'<figure><img src="{data(png)}" alt=""><figcaption>{escape(name)}</figcaption></figure>'
          for name, png in pictures),
        "<h2>When it answered</h2>", _latencies(result),
        "<h2>Every score</h2>", _every(result, baseline), _stability(result), _steps(result), _parity(result),
        "<h2>Answers that were not right</h2>", _wrong(result),
    ]  # fmt: skip
    return document(f"{bundle['name']}: evaluation", parts)


def verdict(lines: Iterable[Line]) -> str:
    """The first table."""
    rows = []
    for line in lines:
        word, style = {True: ("holds", "holds"), False: ("short", "short"), None: ("not measured", "none")}[line.holds]
        if line.holds is False and line.value is None:
            word = "nothing came"
        elif _weak(line):
            word, style = f"{word}, of {line.count} only", "weak"
        limit = "-" if line.limit is None else f"{line.wanted.sense} {number(line.limit)}"
        if line.wanted.sense == "within" and line.limit is not None:
            limit = f"ceiling ± {number(line.limit)}"
        name = f"{escape(line.wanted.score)}<small>{meaning(line.wanted.score)}</small>"
        rows.append((name, number(line.value), number(line.ceiling), limit.replace(" ", "&nbsp;"), str(line.count),
                     f'<span class="{style}">{word}</span>'))  # fmt: skip
    return table(("score", "came", "ceiling", "wanted", "of", ""), rows)


def _weak(line: Line) -> bool:
    """Whether so few occasions say little, either way."""
    return line.holds is not None and line.value is not None and line.count < FEW and line.wanted.score != FALSE_ANSWERS


def meaning(name: str) -> str:
    """A score's name in plain words; empty where it has none."""
    known, last = name, ""
    while known and known not in MEANINGS:
        known, _, last = known.rpartition(".")
    words = MEANINGS.get(known, "")
    return f"{words}; {PERCENTILES[last]}" if last in PERCENTILES and words else words


def _headings(lines: Sequence[Line]) -> str:
    """What the first table's headings mean."""
    weak = sum(_weak(line) for line in lines)
    few = [("of ... only", f"{weak} of these figures rest on fewer than {FEW} occasions and may be chance; a longer "
            "run (<code>--minutes</code>) says more.")]  # fmt: skip
    return legend([
        ("came", "what was measured. Shares run from 0 to 1, and 1 is all of them. A unit is 160 ms."),
        ("ceiling", "what the intended picture and sound reach, sent through this bundle's codecs alone: the most that "
         "its Transformer could make of them."),
        ("wanted", "the bound; some bounds lie beside the ceiling."),
        ("of", "how many occasions the figure rests on: words, answers, units or frames; of a rate a minute, how many "
         "were seen."),
        ("holds", "what came reaches what is wanted; <b>short</b>: it does not; <b>nothing came</b>: there was an "
         "occasion, and no answer to measure; <b>not measured</b>: there was no occasion, or no ceiling."),
        *(few if weak else []),
    ])  # fmt: skip


def histogram(values: Sequence[float], step: float, title: str, unit: str = "ms") -> str:
    """A small SVG; its height is the largest count."""
    if not values:
        return f"<p>{escape(title)}: nothing to show</p>"
    low, high = np.floor(min(values) / step) * step, np.floor(max(values) / step) * step + step
    counts, edges = np.histogram(values, np.arange(low, high + step / 2, step))
    wide = 600 / len(counts)
    bars = "".join(
        f'<rect x="{n * wide:.1f}" y="{100 - 95 * count / counts.max():.1f}" width="{max(wide - 1, 0.5):.1f}" '
        f'height="{95 * count / counts.max():.1f}" fill="#2a9d8f"><title>{edges[n]:.0f} {unit}: {count}</title></rect>'
        for n, count in enumerate(counts)
    )
    return (
        f"<figure><figcaption>{escape(title)}: {len(values)} in all</figcaption>"
        f"<svg viewBox='-40 -4 640 122' width=640>{bars}"
        f"<line x1=0 x2=600 y1=5 y2=5 stroke='#ccd' stroke-dasharray='2 4'/>"
        f"<line x1=0 x2=600 y1=100 y2=100 stroke='#ccd'/>"
        f"<text x=-6 y=9 font-size=12 fill='#667' text-anchor=end>{counts.max()}</text>"
        f"<text x=-6 y=104 font-size=12 fill='#667' text-anchor=end>0</text>"
        f"<text x=0 y=115 font-size=12 fill='#667'>{low:.0f} {unit}</text>"
        f"<text x=600 y=115 font-size=12 fill='#667' text-anchor=end>{high:.0f} {unit}</text></svg></figure>"
    )


def _latencies(result: Result) -> str:
    times = {name: [a[name] for a in result.answers if a[name] is not None] for name in ("audible_ms", "state_ms")}
    return histogram(times["audible_ms"], 20, "From a word's end to the first sound of its answer") + histogram(
        times["state_ms"], 20, "From a word's end to the end of the first unit that speaks"
    )


def _every(result: Result, baseline: Result | None) -> str:
    was = baseline.scores if baseline else {}
    rows = [
        (escape(name), number(one.value), _of(result.ceiling, name), _of(was, name), str(one.count),
         f"<small>{meaning(name)}</small>")
        for name, one in sorted(result.scores.items())
    ]  # fmt: skip
    return table(("score", "came", "ceiling", "baseline", "of", ""), rows)


def _stability(result: Result) -> str:
    if result.stability is None:
        return f"<h2>One long run</h2><p>{NO_STABILITY.capitalize()}.</p>"
    long, names = result.stability, sorted({*result.stability.first, *result.stability.last})
    rows = [(escape(n), _of(long.first, n), _of(long.last, n), "") for n in names]
    return f"<h2>One run of {long.minutes:.1f} minutes, its first and last {long.end_cases} scenes</h2>" + table(
        ("score", "first", "last", ""), rows
    )


def _steps(result: Result) -> str:
    if not result.by_steps:
        return ""
    columns = list(result.by_steps)
    names = sorted({name for scores in result.by_steps.values() for name in scores})
    rows = [(escape(name), *(_of(result.by_steps[c], name) for c in columns), "") for name in names]
    return "<h2>By solver steps</h2>" + table(("score", *columns, ""), rows)


def _parity(result: Result) -> str:
    if not result.parity:
        return ""
    return (
        "<h2>Numbers against a reference</h2><p>Energy of the error against that of the signal: -20 dB is a hundredth; "
        "less is better. Latents are what the Transformer itself makes; the codecs turn them into samples and "
        "frames.</p>"
    ) + "".join(_against(parity) for parity in result.parity)


def _against(parity: Parity) -> str:
    """One reference. Another bundle may well have the name of this one, so it is told by the option that gave it."""
    reference = (
        f"against {GOLDEN}: known answers that ride along in the bundle"
        if parity.against == GOLDEN
        else f"against the reference given by --float ({parity.against})"
    )
    rows = [
        (escape(name), decibel_text(db), decibel_text(parity.worst_db[name]), "")
        for name, db in parity.error_db.items()
    ]
    return (
        f"<h3>{escape(reference)}</h3><p>{parity.units} units; {parity.same_tokens:.2%} of the words the same.</p>"
        + table(("quantity", "error", "worst unit", ""), rows)
    )


def _wrong(result: Result) -> str:
    wrong = [a for a in result.answers if a["verdict"] != "right"]
    if not wrong:
        return "<p>None.</p>"
    rows = [
        (f"{escape(a['kind'])}, {escape(a['condition'])} (case {a['case']})", escape(a["word"]), escape(a["wanted"]),
         f"{escape(a['came']) or '-'}", escape(a["verdict"]))
        for a in wrong[:WRONG_SHOWN]
    ]  # fmt: skip
    left = f"<p>and {len(wrong) - WRONG_SHOWN} more in result.json</p>" if len(wrong) > WRONG_SHOWN else ""
    return table(("scene", "asked", "wanted", "came", ""), rows) + left


def _of(scores: Scores, name: str) -> str:
    return number(scores[name].value) if name in scores else "-"


def decibel_text(error: float) -> str:
    """An error, for people."""
    return "the same, bit for bit" if error <= EXACT else "not finite" if error >= NOT_FINITE else f"{error:.1f} dB"
