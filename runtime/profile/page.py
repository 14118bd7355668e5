"""``PLAN.html``: a plan as one page that needs nothing else.

Receives a plan; hands on the page: the verdict in its first line, then what limits it, a picture of the unit against
its deadline, every board and scheme, and the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.pages.html import document, legend, table, wide
from edge_streamer.runtime.profile.boards import BOARDS
from edge_streamer.runtime.profile.plan import MARGIN, GraphTime, Plan, Row, ShapePlan, ShapeRow, Verdict
from edge_streamer.runtime.profile.words import headline, limits, memory_rows, shape_headline

WIDE, HIGH, TOP, LABELS = 620, 120, 34, 22
"""Of the picture, of what is above its bar and below it, pixels."""
COLOURS = ("#2a9d8f", "#e76f51", "#264653", "#e9a23b", "#8d6ab8", "#4f86c6", "#a0a83c", "#b5566b")
STYLES: dict[Verdict, str] = {
    "holds": "holds", "close": "weak", "misses": "short", "too large": "short", "not computed": "none",
}  # fmt: skip


def render(made: Plan) -> str:
    """The page of a bundle's plan."""
    line = headline(made)
    facts = f"bundle {made.path or made.bundle}, {made.hash[:16]}; predicted, nothing was run on the board"
    parts = [
        f"<h1>{escape(line)}</h1>", f'<p class="facts">{escape(facts)}</p>',
        "<ul>", *(f"<li>{escape(one)}</li>" for one in limits(made)), "</ul>",
        "<h2>A unit against its deadline</h2>", picture(made),
        "<h2>Boards and schemes</h2><p>Milliseconds of a unit, each scheme as quantize makes it for that board.</p>",
        wide(_verdicts(made.table)), _legend(made.deadline_ms),
        "<h2>Time by graph</h2>", wide(_graphs(made.graphs)),
        legend([
            ("bytes", "what moving a run's weights, states, inputs and outputs takes at the share of the bandwidth "
             "that published decoders reach."),
            ("products", "what its multiplications take, alike. Bytes and products overlap: the longer one counts."),
            ("kernels", "what starting and awaiting its kernels takes, on top."),
        ]),
        "<h2>Memory</h2>", _memory(made),
        "<h2>The boards</h2>", _boards(),
    ]  # fmt: skip
    return document(f"{made.bundle} on {made.board_title}", parts)


def render_shape(made: ShapePlan) -> str:
    """The page of a decoder's plan."""
    shape = made.shape
    facts = (
        f"{shape.layers} layers of {shape.width}, {shape.heads} heads, {shape.kv_heads} of keys and values, inner "
        f"width {shape.feed_forward}, vocabulary {shape.vocabulary}; kernels as in {shape.runtime}; a pass moves "
        f"{size_text(made.moved_bytes)} and takes {made.operations / 1e9:.3g} G operations; predicted, nothing was run"
    )
    parts = [
        f"<h1>{escape(shape_headline(made))}</h1>", f'<p class="facts">{escape(facts)}</p>',
        f"<h2>One pass of {shape.tokens} token{'s' * (shape.tokens > 1)}</h2>", wide(_shapes(made.table)),
        "<h2>The boards</h2>", _boards(),
    ]  # fmt: skip
    return document(f"{made.model} on {made.chosen.board_title}", parts)


def picture(made: Plan) -> str:
    """The unit's graphs one after the other, on a line as long as the unit or as they take."""
    most = max(made.deadline_ms, made.unit_ms) * 1.02
    at, bars, names = 0.0, [], []
    for n, one in enumerate(made.graphs):
        width = WIDE * one.unit_ms / most
        colour = COLOURS[n % len(COLOURS)]
        bars.append(
            f'<rect x="{at:.2f}" y="{TOP}" width="{max(width, 0.4):.2f}" height="{HIGH - TOP - LABELS}" '
            f'fill="{colour}">'
            f"<title>{escape(one.graph)}: {one.unit_ms:.2f} ms</title></rect>"
        )
        names.append(f'<span style="color:{colour}">&#9632; {escape(one.graph)} {one.unit_ms:.2f} ms</span>')
        at += width
    deadline = WIDE * made.deadline_ms / most
    line = (
        f'<rect x="0" y="{TOP}" width="{deadline:.1f}" height="{HIGH - TOP - LABELS}" fill="none" stroke="#ccd"/>'
        f'<line x1="{deadline:.1f}" x2="{deadline:.1f}" y1="{TOP - 8}" y2="{HIGH - LABELS + 4}" stroke="#c02626" '
        'stroke-width="2" stroke-dasharray="5 4"/>'
        f'<text x="{deadline:.1f}" y="{TOP - 14}" font-size="12" fill="#c02626" text-anchor="end">'
        f"{made.deadline_ms:g} ms</text>"
        f'<text x="0" y="{HIGH - 4}" font-size="12" fill="#667">0</text>'
        f'<text x="{at:.1f}" y="{HIGH - 4}" font-size="12" fill="#1c2030">{made.unit_ms:.1f} ms</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDE + 60} {HIGH}" width="{WIDE + 60}" role="img">{"".join(bars)}{line}</svg>'
        f"<figcaption>{' '.join(names)}</figcaption></figure>"
    )


def _verdicts(rows: Sequence[Row]) -> str:
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    body = [
        (escape(BOARDS[board].title), *(_cell(row) for row in rows if row.board == board), "")
        for board in dict.fromkeys(row.board for row in rows)
    ]
    return table(("board", *(escape("as it is" if s == "bundle" else s) for s in schemes), ""), body)


def _cell(row: Row) -> str:
    word = row.verdict if row.unit_ms is None else f"{row.unit_ms:.1f}"
    told = "" if row.verdict in ("holds", "not computed") else f"<small>{row.verdict}</small>"
    return f'<span class="{STYLES[row.verdict]}">{word}</span>{told}'


def _legend(deadline: float) -> str:
    return legend([
        ("green", f"it holds: a unit of {MARGIN - 1:.0%} more than predicted is still within {deadline:g} ms."),
        ("close", "the prediction is within, that much more is not."),
        ("misses", "the prediction is beyond."),
        ("too large", "it does not fit the memory that the board leaves."),
        ("not computed", "the board has no arithmetic for these numbers."),
    ])  # fmt: skip


def _graphs(graphs: Sequence[GraphTime]) -> str:
    rows = [
        (escape(one.graph), escape(one.numbers), str(one.runs), f"{one.run_ms:.2f}", f"{one.unit_ms:.2f}",
         f"{one.memory_ms:.2f}", f"{one.compute_ms:.2f}", f"{one.kernels_ms:.2f}", one.binds)
        for one in graphs
    ]  # fmt: skip
    return table(("graph", "computed in", "runs", "ms a run", "ms a unit", "bytes", "products", "kernels", "waits for"),
                 rows)  # fmt: skip


def _memory(made: Plan) -> str:
    rows = [(name, size_text(size), "") for name, size in memory_rows(made.memory)]
    return table(("", "bytes", ""), rows)


def _shapes(rows: Sequence[ShapeRow]) -> str:
    body = []
    for row in rows:
        if row.pass_ms is None or row.tokens_per_second is None:
            body.append((escape(row.board_title), "-", "-", "-", "-", "-", f'<span class="none">{row.verdict}</span>'))
            continue
        fits = (
            '<span class="holds">fits</span>' if row.verdict == "holds" else f'<span class="short">{row.verdict}</span>'
        )
        body.append((escape(row.board_title), f"{row.pass_ms:.1f}", f"{row.tokens_per_second:.1f}",
                     f"{row.memory_ms:.1f}", f"{row.compute_ms:.1f}", f"{row.kernels_ms:.1f}", fits))  # fmt: skip
    return table(("board", "ms", "tokens a second", "bytes, ms", "products, ms", "kernels, ms", "memory"), body)


def _boards() -> str:
    rows = [
        (escape(board.title), f"{board.bandwidth / 1e9:g}", f"{board.rates['fp16'] / 1e12:.1f}",
         f"{board.rates['int8'] / 1e12:.0f}", f"{board.rates['nvfp4'] / 1e12:.0f}" if "nvfp4" in board.rates else "-",
         f"{board.clock_ghz * 1e3:.0f}", size_text(board.usable_bytes), "")
        for board in BOARDS.values()
    ]  # fmt: skip
    head = ("board", "GB/s", "16 bits, T/s", "8 bits, T/s", "NVFP4, T/s", "MHz", "memory left", "")
    sources = dict.fromkeys(board.source.removeprefix("https://") for board in BOARDS.values())
    told = ", ".join(escape(source) for source in sources)
    return wide(table(head, rows)) + f'<p class="facts">Dense arithmetic, the fastest power mode. From: {told}</p>'
