"""What is in a bundle: ``edge-streamer inspect [BUNDLE] [--json]``.

Receives a bundle; hands on tables for people or JSON for programs: where it came from, its graphs with parameters,
precision and costs, what one unit costs, its states with their sizes in memory, its files.

Per unit, a graph counts as often as its program says that it runs it (``runtime/programs/runs.py``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from math import prod
from typing import Any

import msgspec

from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import CarrySpec, GraphSpec, Manifest, RingSpec, StateSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands.memory_table import Memory, fill, memory
from edge_streamer.runtime.commands.named_bundle import chosen
from edge_streamer.runtime.files import size_text, to_json
from edge_streamer.runtime.programs.registry import runs

ITEM_BYTES = {
    "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "int32": 4, "int64": 8, "bool": 1,
}  # fmt: skip


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One graph at one length."""

    graph: str
    length: str
    """``T``, or ``static``."""
    operations: int
    """Of one run: multiply-adds times two."""
    moved_bytes: int
    """Of one run, at least."""
    runs_per_unit: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One state in memory."""

    path: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    """A carry counts twice: it is read from one buffer and written to another."""
    window_seconds: float | None
    """What a ring remembers; None for carries, pinned rings, and bundles without a media contract."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``inspect`` shows."""

    path: str
    hash: str
    manifest: Manifest
    passes: tuple[Pass, ...]
    states: tuple[State, ...]
    parameters: int
    weight_bytes: int
    state_bytes: int
    file_bytes: int
    operations_per_unit: int
    moved_bytes_per_unit: int
    memory: Memory


def main(args: argparse.Namespace) -> int:
    """``edge-streamer inspect``."""
    inspection = inspect(Bundle.open(chosen(args)), args.board)
    if args.json:
        print(to_json(inspection).decode())
    else:
        show(inspection)
    return 0


def inspect(bundle: Bundle, board: str = "") -> Inspection:
    """Look through ``bundle``. ``board``: whether it fits there. InputError for a board that is not known."""
    manifest = bundle.manifest
    passes = tuple(_passes(manifest))
    states = tuple(_state(manifest, state) for state in manifest.states)
    return Inspection(
        path=str(bundle.path),
        hash=bundle.hash,
        manifest=manifest,
        passes=passes,
        states=states,
        parameters=sum(graph.parameters for graph in manifest.graphs),
        weight_bytes=sum(graph.weight_bytes for graph in manifest.graphs),
        state_bytes=sum(state.bytes for state in states),
        file_bytes=bundle.size,
        operations_per_unit=sum(p.operations * p.runs_per_unit for p in passes),
        moved_bytes_per_unit=sum(p.moved_bytes * p.runs_per_unit for p in passes),
        memory=memory(manifest, board),
    )


def _passes(manifest: Manifest) -> Iterator[Pass]:
    counts = runs(manifest)
    for graph in manifest.graphs:
        for length in map(str, graph.lengths or (STATIC,)):
            yield Pass(
                graph=graph.name,
                length=length,
                operations=graph.operations[length],
                moved_bytes=graph.moved_bytes[length],
                runs_per_unit=counts.get((graph.name, length), 0),
            )


def _state(manifest: Manifest, state: StateSpec) -> State:
    one = prod(state.shape) * ITEM_BYTES[state.dtype]
    return State(
        path=state.path,
        kind="carry" if isinstance(state, CarrySpec) else f"ring {state.ring}",
        dtype=state.dtype,
        shape=state.shape,
        bytes=2 * one if isinstance(state, CarrySpec) else one,
        window_seconds=_window_seconds(manifest, state),
    )


def _window_seconds(manifest: Manifest, state: StateSpec) -> float | None:
    if not isinstance(state, RingSpec) or not state.window_units or not manifest.media:
        return None
    return state.window_units * manifest.media.unit_seconds


def show(inspection: Inspection) -> None:
    """Print ``inspection`` as tables."""
    from rich.console import Console

    console = Console(highlight=False)
    # Piped into a file, a table as wide as its content reads better than one folded at 80 columns.
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for table in (_origin(inspection), _graph_table(inspection), _pass_table(inspection), _state_table(inspection),
                  _memory_table(inspection), _file_table(inspection)):  # fmt: skip
        console.print(table)
    for why in inspection.memory.refused.values():
        console.print(why, soft_wrap=True, markup=False)


def _origin(inspection: Inspection) -> Any:
    manifest, table = inspection.manifest, _table(f"Bundle {inspection.manifest.name}", "", "")
    made = manifest.provenance
    for key, value in (
        ("path", inspection.path),
        ("hash", inspection.hash),
        ("program", f"{manifest.program}, bundle format {manifest.format}"),
        ("made", f"{made.made_at} by {made.made_by}, preset {made.preset}"),
        ("weights", f"{made.weights} (licence: {made.weights_licence})"),
        ("backbone", made.backbone or "none"),
        ("versions", ", ".join(f"{name} {number}" for name, number in made.versions.items())),
        ("media", _media(manifest)),
        ("unit", f"{_count(inspection.operations_per_unit)} operations, "
                 f"{size_text(inspection.moved_bytes_per_unit)} moved"),
        ("memory", f"{size_text(inspection.weight_bytes)} weights, {size_text(inspection.state_bytes)} states"),
    ):  # fmt: skip
        table.add_row(key, value)
    return table


def _media(manifest: Manifest) -> str:
    media = manifest.media
    if media is None:
        return "none"
    ways = []
    for way in ("in", "out"):
        sound, pictures, text = (getattr(media, f"{kind}_{way}") for kind in ("sound", "pictures", "text"))
        parts = [
            sound and f"{sound.unit_samples} samples at {sound.sample_rate} Hz",
            pictures
            and f"{pictures.unit_frames} frames at {pictures.frame_rate} Hz, {pictures.size[1]}x{pictures.size[0]}",
            text and f"{text.unit_tokens} tokens of text",
        ]
        ways.append(f"{way}: {', '.join(filter(None, parts)) or 'none'}")
    return f"{media.unit_seconds * 1000:g} ms, {'; '.join(ways)}"


def _graph_table(inspection: Inspection) -> Any:
    table = _table("Graphs", "graph", "file", "parameters >", "weights >", "precision", "lengths")
    for graph in inspection.manifest.graphs:
        table.add_row(
            graph.name, graph.file, _count(graph.parameters), size_text(graph.weight_bytes), _precision(graph),
            ", ".join(map(str, graph.lengths)) or STATIC,
        )  # fmt: skip
    table.add_section()
    table.add_row("total", "", _count(inspection.parameters), size_text(inspection.weight_bytes), "", "")
    return table


def _precision(graph: GraphSpec) -> str:
    return f"{graph.precision.words} ({graph.precision.by})"


def _pass_table(inspection: Inspection) -> Any:
    table = _table(
        "Costs", "graph", "T >", "operations per run >", "moved per run >", "runs per unit >", "operations per unit >",
        "moved per unit >",
    )  # fmt: skip
    for p in inspection.passes:
        table.add_row(
            p.graph, p.length, _count(p.operations), size_text(p.moved_bytes), str(p.runs_per_unit),
            _count(p.operations * p.runs_per_unit), size_text(p.moved_bytes * p.runs_per_unit),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "total", "", "", "", "", _count(inspection.operations_per_unit), size_text(inspection.moved_bytes_per_unit)
    )
    return table


def _state_table(inspection: Inspection) -> Any:
    table = _table("States", "state", "kind", "dtype", "shape", "in memory >", "remembers >")
    rows: dict[tuple[str, str, str, str], list[State]] = {}
    for state in inspection.states:
        window = "" if state.window_seconds is None else f"{state.window_seconds:g} s"
        alike = (state.kind, state.dtype, " x ".join(map(str, state.shape)), window)
        # The states of a ring are alike in every layer: one row for all of them.
        rows.setdefault(alike if state.kind != "carry" else (*alike[:3], state.path), []).append(state)
    for (kind, dtype, shape, window), states in rows.items():
        name = states[0].path if len(states) == 1 else f"{states[0].path} .. {states[-1].path} ({len(states)})"
        window = "" if kind == "carry" else window
        table.add_row(name, kind, dtype, shape, size_text(sum(s.bytes for s in states)), window)
    table.add_section()
    table.add_row("total", "", "", "", size_text(inspection.state_bytes), "")
    return table


def _memory_table(inspection: Inspection) -> Any:
    found = inspection.memory
    table = _table("Memory plan, reckoned from the manifest", "", *(f"{engine} >" for engine in found.plans))
    fill(table, found)
    return table


def _file_table(inspection: Inspection) -> Any:
    table = _table("Files", "file", "size >", "SHA-256")
    for file in inspection.manifest.files:
        table.add_row(file.path, size_text(file.size), f"{file.sha256[:16]}...")
    table.add_section()
    table.add_row("total", size_text(inspection.file_bytes), "")
    return table


def _table(title: str, *columns: str) -> Any:
    """A table; a column whose heading ends in ``>`` is aligned right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(
            column.removesuffix(" >"), justify="right" if column.endswith(">") else "left", overflow="fold"
        )
    return table


def _count(number: int) -> str:
    """``1.5 G``."""
    size, unit = float(number), ""
    for unit in ("", "k", "M", "G", "T"):
        if size < 1000 or unit == "T":
            break
        size /= 1000
    return f"{size:.0f}" if not unit else f"{size:.2f} {unit}"
