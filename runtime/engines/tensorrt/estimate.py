"""What building a graph needs in memory, against what is free.

Receives a graph and what is asked of its build; hands on bytes, or an InputError that says how much is missing and what
frees it: a board that runs out does not fail, it kills whatever is largest.
"""

from __future__ import annotations

from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.engines.board_memory import LIBRARY
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.memory_plan import BUILDING_TIMES
from edge_streamer.runtime.engines.tensorrt.build import Options
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import size_text


def weights(graph: GraphFile) -> int:
    """Bytes of a graph's files."""
    files = (graph.path, *(graph.path.parent / location for location in external_locations(graph.path)))
    return sum(file.stat().st_size for file in files)


def needed(graph: GraphFile, options: Options) -> int:
    """Bytes that a build takes at its height."""
    return BUILDING_TIMES * weights(graph) + options.workspace + LIBRARY["tensorrt"]


def check_room(graph: GraphFile, options: Options, free: dict[str, int]) -> int:
    """The bytes that building ``graph`` needs. InputError where less is free; ``free``: bytes by kind of memory, the
    board's or, on a PC, the computer's and the card's."""
    wants = needed(graph, options)
    for kind, size in free.items():
        if size < wants:
            raise InputError(
                f"building graph {graph.spec.name!r} wants {size_text(wants)} ({BUILDING_TIMES} times its weights, "
                f"the workspace and the library), and {size_text(size)} of {kind} is free: close what else runs, the "
                "desktop first (sudo systemctl isolate multi-user.target); add swap; quantize the bundle into fewer "
                "bits; or build it ahead with less (edge-streamer build --workspace 64) or all the same (--anyway)"
            )
    return wants
