"""Every graph of a bundle through the real parser and builder of TensorRT-RTX, which need no GPU.

    PYTHONPATH=FOLDER python -m tests.runtime.engines.tensorrt_stand_in.real BUNDLE [SM86 ...]

FOLDER: where ``tensorrt-rtx-cu13-bindings`` and its libs are installed (`.ci/bindings` does that). What is built
cannot be run here, nor read back: that takes a driver. Status 1 where a graph is not taken, where the progress does not
rise to its end, or where a build does not stop when it is told to.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from time import perf_counter

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.tensorrt.build import STEPS, Options, build
from edge_streamer.runtime.engines.tensorrt.estimate import needed
from edge_streamer.runtime.engines.tensorrt.library import Library, find
from edge_streamer.runtime.errors import EdgeStreamerError

SOON = 5.0
"""Seconds within which a build must have stopped: one of its steps."""


def main(words: list[str]) -> int:
    """``words``: the bundle, and the compute capabilities to build for."""
    library = find()
    bundle = Bundle.open(Path(words[0]))
    failed = 0
    for target in words[1:] or ["SM86"]:
        for graph in bundle.manifest.graphs:
            failed += not _builds(library, GraphFile.of(bundle, graph.name), Options(compute_capability=target))
    largest = max(bundle.manifest.graphs, key=lambda graph: graph.parameters)
    failed += not _stops(library, GraphFile.of(bundle, largest.name))
    return 1 if failed else 0


def _builds(library: Library, graph: GraphFile, options: Options) -> bool:
    told: list[int] = []
    try:
        built = build(library, graph, options, lambda _, done, total: told.append(done))
    except EdgeStreamerError as error:
        print(f"{options.compute_capability} {graph.spec.name}: {error}")
        return False
    asked = Counter(f"{each.precision}{'' if each.product else ' weights'}" for each in built.asked)
    rises = told == sorted(told) and (told[0], told[-1]) == (0, STEPS)
    print(
        f"{library.name} {options.compute_capability} {graph.spec.name}: {len(built.blob) / 1e6:.1f} MB in "
        f"{built.seconds:.1f} s, {len(told)} times told, asks {dict(asked) or 'nothing'}, wants "
        f"{needed(graph, options) / 1e9:.1f} GB{'' if rises else '; its progress does not rise to its end'}"
    )
    return rises


def _stops(library: Library, graph: GraphFile) -> bool:
    """Whether a build that is interrupted in the middle ends at once."""
    began: list[float] = []

    def tell(_: str, done: int, total: int) -> None:
        if done and not began:
            began.append(perf_counter())
            raise KeyboardInterrupt

    try:
        build(library, graph, Options(compute_capability="SM86"), tell)
    except KeyboardInterrupt:
        seconds = perf_counter() - began[0]
        print(f"{library.name}: a build of {graph.spec.name} that was interrupted ended after {seconds:.2f} s")
        return seconds < SOON
    print(f"a build of {graph.spec.name} was not interrupted: it was over before it told how far it is")
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
