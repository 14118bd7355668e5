"""What a bundle takes of a device's memory, engine by engine, as a table of ``edge-streamer inspect``.

Receives a manifest, and the name of a board or none; hands on the plans, and whether they fit that board.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.engines.fit import for_cpus, not_for_cpu, not_for_cuda
from edge_streamer.runtime.engines.memory_plan import ENGINES, MemoryPlan, board_bytes, check_plan, plans
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import size_text

UNFIT = {"cpu": not_for_cpu, "cuda": not_for_cuda, "tensorrt": for_cpus}
PARTS = ("weights", "rings", "carries", "tensors", "tables", "scratch", "library")


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle takes, and where it fits."""

    plans: Mapping[str, MemoryPlan]
    """By engine."""
    board: str
    """Empty where none was asked about."""
    free_bytes: int | None
    refused: Mapping[str, str]
    """Engine -> why the bundle does not fit the board with it."""


def memory(manifest: Manifest, board: str = "") -> Memory:
    """InputError for a board that is not known."""
    refused = dict[str, str]()
    free = board_bytes(board) if board else None
    if free is not None:
        for engine in ENGINES:
            if why := UNFIT[engine](manifest):
                refused[engine] = f"engine {engine} {why}"
                continue
            try:
                check_plan(manifest, free, engine, building=engine == "tensorrt")
            except BundleError as error:
                refused[engine] = str(error)
    return Memory(plans=plans(manifest), board=board, free_bytes=free, refused=refused)


def fill(table: Any, found: Memory) -> None:
    """Rows of a table whose columns are a part and the engines."""
    for part in PARTS:
        table.add_row(part, *(size_text(getattr(plan, part)) for plan in found.plans.values()))
    table.add_section()
    table.add_row("running", *(size_text(plan.running) for plan in found.plans.values()))
    table.add_row("while loading", *(size_text(plan.loading) if plan.loading else "" for plan in found.plans.values()))
    table.add_row("building", *(size_text(plan.building) if plan.building else "" for plan in found.plans.values()))
    table.add_row(
        "on disk", *(size_text(plan.engine_files) if plan.engine_files else "" for plan in found.plans.values())
    )
    if found.free_bytes is not None:
        table.add_row(f"{found.board}: {size_text(found.free_bytes)}",
                      *("no" if engine in found.refused else "fits" for engine in found.plans))  # fmt: skip
