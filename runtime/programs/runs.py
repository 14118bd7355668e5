"""How often a program runs each graph in one unit, by the manifest alone.

Receives a manifest; hands on counts, which with the costs of one run give those of a unit. Nothing is opened.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.programs.chain import Chain
from edge_streamer.runtime.programs.wan_streamer.program import WanStreamer

Runs = dict[tuple[str, str], int]
"""(graph, length or ``static``) -> runs per unit; what is not there is not run."""

PROGRAMS: dict[str, Callable[[Manifest], Runs]] = {"wan_streamer": WanStreamer.runs, "chain": Chain.runs}


def runs(manifest: Manifest) -> Runs:
    """As the bundle's program says; of a program that is not known here, every graph of fixed shapes once. BundleError
    where the constants are not the program's."""
    known = PROGRAMS.get(manifest.program)
    if known is not None:
        return known(manifest)
    return {(graph.name, STATIC): 1 for graph in manifest.graphs if not graph.lengths}
