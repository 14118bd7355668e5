"""``report.html``: one file that needs nothing else, but ``clip.mp4`` beside it.

Receives a result, pictures and perhaps an earlier result; hands on the page: the verdict first, then the clip, what was
shown, times, every score, stability, steps, parity and the answers that went wrong.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from edge_streamer.runtime.evaluation.bench import NO_STABILITY, Result
from edge_streamer.runtime.evaluation.score import Line, Scores

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:66rem;padding:0 1rem;color:#1c2030}
h1{margin:0;font-size:1.7rem}h2{margin:2.2rem 0 .5rem;font-size:1.15rem}
p.facts{color:#667;margin:.2rem 0 1.2rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;color:#667;font-weight:500;border-bottom:1px solid #ccd}td,th{padding:.22rem .8rem .22rem 0}
td.n,th.n{text-align:right}tr+tr td{border-top:1px solid #e8e8ee}
.holds{color:#17803d}.short{color:#c02626;font-weight:600}.none{color:#99a}
img,video,svg{max-width:100%;border-radius:6px}figure{margin:0 0 1rem}figcaption{color:#667}
"""
WRONG_SHOWN = 60


def render(result: Result, pictures: Sequence[tuple[str, bytes]], baseline: Result | None) -> str:
    """The whole page."""
    bundle = result.bundle
    held = sum(line.holds is True for line in result.verdict)
    measured = sum(line.holds is not None for line in result.verdict)
    facts = (
        f"{result.cases} conversations, {result.minutes:.1f} minutes, seed {result.seed}, {result.steps} solver steps; "
        f"{result.engine}; weights {bundle['weights']}; bundle {bundle['hash'][:16]}; took {result.seconds:.0f} s"
    )
    parts = [
        f"<h1>{escape(bundle['name'])}: {held} of {measured} figures hold</h1>",
        f'<p class="facts">{escape(facts)}</p>', verdict(result.verdict),
        '<h2>Watch it</h2><video src="clip.mp4" controls preload="metadata"></video>',
        "<h2>What it showed</h2><p>Above as intended, below as it came.</p>",
        *(f'<figure><img src="{data(png)}" alt=""><figcaption>{escape(name)}</figcaption></figure>'
          for name, png in pictures),
        "<h2>When it answered</h2>", _latencies(result),
        "<h2>Every score</h2>", _every(result, baseline), _stability(result), _steps(result), _parity(result),
        "<h2>Answers that were not right</h2>", _wrong(result),
    ]  # fmt: skip
    return document(f"{bundle['name']}: evaluation", parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of these parts, which are HTML already, in our style."""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{STYLE}</style><body>{"".join(parts)}</body></html>\n'
    )


def verdict(lines: Iterable[Line]) -> str:
    """The first table."""
    rows = []
    for line in lines:
        word, style = {True: ("holds", "holds"), False: ("short", "short"), None: ("not measured", "none")}[line.holds]
        limit = "-" if line.limit is None else f"{line.wanted.sense} {number(line.limit)}"
        if line.wanted.sense == "within" and line.limit is not None:
            limit = f"ceiling ± {number(line.limit)}"
        rows.append((line.wanted.score, number(line.value), number(line.ceiling), limit, str(line.count),
                     f'<span class="{style}">{word}</span>'))  # fmt: skip
    return table(("score", "came", "ceiling", "wanted", "of", ""), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; all but the first and the last column are numbers."""
    last = len(head) - 1

    def cells(words: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if 0 < n < last else ''}>{word}</{tag}>" for n, word in enumerate(words))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(head, 'th')}</tr>{body}</table>"


def histogram(values: Sequence[float], step: float, title: str, unit: str = "ms") -> str:
    """A small SVG."""
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
        f"<figure><figcaption>{escape(title)}</figcaption><svg viewBox='0 0 600 118' width=600>{bars}"
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
        (escape(name), number(one.value), _of(result.ceiling, name), _of(was, name), str(one.count), "")
        for name, one in sorted(result.scores.items())
    ]
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
    rows = [
        (escape(f"{parity.against}: {name}"), f"{db:.1f} dB", f"{parity.worst_db[name]:.1f} dB",
         f"{parity.same_tokens:.2%}", str(parity.units), "")
        for parity in result.parity for name, db in parity.error_db.items()
    ]  # fmt: skip
    return "<h2>Numbers against a reference</h2>" + table(
        ("quantity", "relative error", "worst unit", "same tokens", "units", ""), rows
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


def number(value: float | None) -> str:
    """For people: three figures."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def data(png: bytes) -> str:
    """A picture as a link that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
