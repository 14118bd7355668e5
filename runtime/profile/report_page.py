"""``report.html``: a profile as one page that needs nothing else.

Receives a profile; hands on the page: the verdict in its first line, then for how long, what limits it and what would
help, and then the details.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape

from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.pages.html import document, legend, number, table, wide
from edge_streamer.runtime.profile.board_page import alarm, section
from edge_streamer.runtime.profile.layers import Layer
from edge_streamer.runtime.profile.live_page import HEAD, conversation
from edge_streamer.runtime.profile.pictures import bars, colours, over_time, roofline, stages
from edge_streamer.runtime.profile.report import Profile
from edge_streamer.runtime.profile.report_words import headline, lines
from edge_streamer.runtime.profile.roofline import GraphRow, Help
from edge_streamer.runtime.profile.statistics import Spread
from edge_streamer.runtime.profile.timeline import UNIT, outer

LAYERS_SHOWN = 40
SHOWN_SHARE = 0.0005
"""Stages that take less of a unit are not in the picture."""


def render(made: Profile) -> str:
    """The page."""
    machine, engine = made.machine, "; ".join((made.engine, *made.engine_notes))
    facts = (f"bundle {made.bundle['path']}, {made.bundle['hash'][:16]}; {engine}; {machine.get('processor')}, "
             f"{machine.get('cores')} cores, {machine.get('system')}; {made.began}; {made.pace} pace")  # fmt: skip
    row = made.series_ms[UNIT]
    parts = [
        f"<h1>{escape(headline(made))}</h1>", *alarm(made.board), f'<p class="facts">{escape(facts)}</p>',
        "<ul>", *(f"<li>{escape(one)}</li>" for one in lines(made)), "</ul>",
        "<h2>A unit against its deadline</h2>", stages(_stages(made), made.deadline_ms, "On average: "),
        *(conversation(made.live, made.deadline_ms) if made.live else ()),
        "<h2>What would help</h2>", _helps(made.helps), "<h2>Limits</h2>", *_limits(made),
        "<h2>Unit by unit</h2>", over_time(row, made.deadline_ms, "a unit"), bars(made.histogram, "a unit"),
        *_figures(made), "<h2>Sections</h2>", *_sections(made),
        "<h2>Cold start</h2>", _cold(made), "<h2>Memory</h2>", _memory(made), *section(made.board),
        *_layers(made.layers, made.layers_told),
    ]  # fmt: skip
    return document(f"{made.bundle['name']}: profile", parts)


def _stages(made: Profile) -> list[tuple[str, float]]:
    """What a unit is spent on: graphs by themselves, all else by stage."""
    opened = [UNIT, f"{UNIT}/step", *([] if made.runs_apart else [f"{UNIT}/step/play"])]
    found = Counter[str]()  # the rests of a unit, a step and a play are one
    for path, one in made.sections.items():
        if outer(path) in opened and path not in opened:
            found[path.rpartition("/")[2]] += one.ms.mean  # type: ignore[assignment]  # a Counter of floats
    return [(name, ms) for name, ms in found.items() if ms >= SHOWN_SHARE * made.unit.mean]


def _helps(helps: Iterable[Help]) -> str:
    rows = [(escape(one.what), f"{one.unit_ms:.1f}", f"{one.gain:.0%}", escape(one.how)) for one in helps]
    if not rows:
        return "<p>Nothing that is known here would make a unit much shorter, or nothing can be predicted here.</p>"
    return table(("", "ms a unit, predicted", "less", "how"), rows)


def _limits(made: Profile) -> list[str]:
    if made.roof is None:
        told = f": {escape(made.roof_told)}" if made.roof_told else ""
        return [f"<p>The ceilings of what this ran on are not measured{told}.</p>"]
    roof = made.roof
    rates = ", ".join(f"{rate:.0f} G operations a second in {name}" for name, rate in roof.rates.items())
    threads = f"{roof.threads} thread{'s' * (roof.threads > 1)}"
    left_out = [f"<p>Not measured: {escape(name)}, because {escape(why)}.</p>" for name, why in roof.left_out.items()]
    return [
        f"<p>Measured on this machine, {f'on {threads}' if roof.threads else f'through {escape(roof.through)}'}: "
        f"{rates}, {roof.bandwidth:.1f} GB a second, {roof.node_us:.2f} &micro;s "
        f"{'an operator' if roof.threads else 'a kernel'}.</p>",
        *left_out, roofline(made.graphs, roof, colours(name for name, _ in _stages(made))), wide(_graphs(made.graphs)),
        legend([
            ("of its roof", "share of the fastest products of the same numbers that were measured here, of any size."),
            ("of the memory", "as if all bytes of a run came from memory; beyond 100% they came from the caches."),
            ("predicted", "milliseconds of a run from the ceilings alone, whatever was measured."),
            ("waits for", "compute: products; memory: weights and states, in memory or in a cache; kernels: operators "
             "that start one after another."),
        ]),
    ]  # fmt: skip


def _graphs(rows: Iterable[GraphRow]) -> str:
    body = [
        (escape(one.graph), one.binds or "-", f"{one.runs * one.run_ms:.2f}", number(one.runs), f"{one.run_ms:.3f}",
         "-" if one.predicted_ms is None else f"{one.predicted_ms:.3f}",
         "-" if one.of_compute is None else f"{one.of_compute:.0%}", f"{one.of_bandwidth:.0%}", f"{one.rate:.1f}",
         f"{one.traffic:.1f}", number(one.operations / 1e6), size_text(one.moved_bytes), one.numbers)
        for one in rows
    ]  # fmt: skip
    return table(("graph", "waits for", "ms a unit", "runs", "ms a run", "predicted", "of its roof", "of the memory",
                  "G/s", "GB/s", "M operations", "bytes", "in"), body)  # fmt: skip


def _figures(made: Profile) -> list[str]:
    drift = made.drift_ms
    told = "too few units" if drift is None else f"{drift.value:+.2f} ms ({drift.low:+.2f} to {drift.high:+.2f}, 95%)"
    rows = [
        ("deadline misses", f"{made.misses.count} of {made.units} ({made.misses.share:.2%})"),
        ("jitter", f"{made.jitter_ms:.2f} ms from one unit to the next, on average"),
        ("drift", f"{told}: the last third's median less the first's"),
        ("stages together", f"{made.adds_up:.2%} of the unit"),
    ]
    return [table(("", ""), rows)]


def _spread(one: Spread) -> tuple[str, ...]:
    return tuple(f"{ms:.3f}" for ms in (one.mean, one.p50, one.p90, one.p95, one.p99, one.p99_9, one.max))


def _sections(made: Profile) -> list[str]:
    rows = [
        ("&nbsp;" * 3 * path.count("/") + escape(path.rpartition("/")[2]), f"{one.share:.1%}", *_spread(one.ms),
         number(one.runs), one.kind)
        for path, one in made.sections.items()
    ]  # fmt: skip
    if made.solver_step:
        rows.append(("a solver step", "", *_spread(made.solver_step), "", "graph"))
    pictures = [
        f"<details><summary>{escape(path)}</summary>{over_time(row, made.deadline_ms, path)}"
        f"{bars(made.sections[path].histogram, path)}</details>"
        for path, row in made.series_ms.items()
        if path != UNIT and not path.endswith("/rest")
    ]
    return [
        wide(table(("ms a unit", "share", *HEAD, "runs", "kind"), rows)),
        legend([
            ("media", "reading and converting sound and pictures."), ("host", "what the runtime itself does."),
            ("transfers", "between runs of graphs: copies, rows that go to rings, token embeddings, looks for NaN; on "
             "a device also what goes there and comes back."),
            ("rest", "of a section, what none of its own takes."),
        ]),
        "<h3>Each over time</h3>", *pictures,
    ]  # fmt: skip


def _cold(made: Profile) -> str:
    cold = made.cold
    rows = [
        ("bundle: manifest, checksums", cold.open_ms), ("engine and its library", cold.engine_ms),
        ("graphs opened, or built", cold.build_ms),
        *((f"&nbsp;&nbsp;&nbsp;{escape(name)}", ms) for name, ms in cold.graphs.items()),
        ("states and buffers", cold.buffers_ms), ("first unit", cold.first_unit_ms),
        ("warm-up, until time counts", cold.warm_up_ms),
    ]  # fmt: skip
    return table(("", "ms", ""), [(name, f"{ms:.1f}", "") for name, ms in rows])


def _memory(made: Profile) -> str:
    rows = [("process at its peak", f"{made.memory.peak_resident_mb:.0f} MB", "")]
    rows += [(escape(f"engine: {name}"), size_text(size), "") for name, size in made.memory.engine_bytes.items()]
    return table(("", "", ""), rows)


def _layers(layers: tuple[Layer, ...], told: str) -> list[str]:
    if not layers:
        return [f"<h2>Layers</h2><p>{escape(told)}.</p>"] if told else []
    rows = [
        (escape(one.operator), f"{one.share:.1%}", f"{one.unit_ms:.3f}", number(one.runs),
         escape(f"{one.takes} to {one.gives}"), escape(" ".join((one.provider, one.kernel))),
         escape(f"{one.graph}: {one.layer}"))
        for one in layers[:LAYERS_SHOWN]
    ]  # fmt: skip
    by: dict[str, float] = {}
    for one in layers:
        by[one.operator] = by.get(one.operator, 0.0) + one.share
    kinds = ", ".join(f"{name} {share:.0%}" for name, share in sorted(by.items(), key=lambda item: -item[1])[:8])
    return [
        "<h2>Layers</h2>", f"<p>{escape(told)}. By operator: {escape(kinds)}. The {len(rows)} longest of {len(layers)}:"
        "</p>", wide(table(("operator", "share", "ms a unit", "runs", "types", "by", "layer"), rows)),
    ]  # fmt: skip
