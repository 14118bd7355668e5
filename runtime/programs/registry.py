"""The programs that there are, by the name that a manifest gives.

Receives a manifest; hands on the class of its program, and how often it runs each graph in one unit, which with the
costs of one run gives those of a unit. Nothing is opened.
"""

from __future__ import annotations

from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.programs.chain import Chain
from edge_streamer.runtime.programs.wan_streamer.program import WanStreamer

Runs = dict[tuple[str, str], int]
"""(graph, length or ``static``) -> runs per unit; what is not there is not run."""

PROGRAMS: dict[str, type[WanStreamer] | type[Chain]] = {"wan_streamer": WanStreamer, "chain": Chain}


def runs(manifest: Manifest) -> Runs:
    """How often each graph is run in a unit, as the bundle's program says; of a program that is not known here, every
    graph of fixed shapes once. BundleError where the constants are not the program's."""
    known = PROGRAMS.get(manifest.program)
    if known is not None:
        return known.runs(manifest)
    return {(graph.name, STATIC): 1 for graph in manifest.graphs if not graph.lengths}
