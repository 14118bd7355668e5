"""Asks one real parser and builder of TensorRT-RTX what it makes of graphs; a process of its own, for one parser alone

Started as ``python worker.py``, never imported: two generations of the library cannot live in one process. Receives on
standard input a JSON object: ``parser`` (a folder that holds the packages, as ``pip install --target`` lays it; null
for this Python's own) and ``jobs``, each with ``graph`` (name), ``path``, ``lengths`` (the T's it runs at; empty for
none), ``boards`` (names of compute capabilities, ``SM86``; none: parse alone). Hands on one JSON object a line: first
``{"version": ...}`` or ``{"missing": why}``, then per job ``{"graph", "board", "done", "refusals": [{"node",
"operator", "words"}], "seconds"}``, with ``done`` ``parse`` or ``build``. No GPU and no driver are needed.

A graph is built under one optimisation profile per length, with that length as its least, usual and largest: as an
engine on a board has it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

NO_DRIVER = "catchCudaError"
"""In lines that say no more than that there is no driver, which the answer to a graph is not."""


def main() -> None:
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints itself is not an answer

    def answer(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    if request["parser"]:
        sys.path.insert(0, request["parser"])
    try:
        import tensorrt_rtx_bindings as trt
    except ImportError as error:
        answer(missing=str(error))
        return
    log = _quiet(trt)
    builder = trt.Builder(log)
    if builder is None:
        answer(missing="it makes no builder on this machine")
        return
    answer(version=trt.__version__)
    for job in request["jobs"]:
        for board in job["boards"] or [None]:
            start = time.perf_counter()
            del log.lines[:]
            done, refusals = _ask(trt, log, builder, job, board)
            seconds = round(time.perf_counter() - start, 3)
            answer(graph=job["graph"], board=board, done=done, refusals=refusals, seconds=seconds)


def _quiet(trt: Any) -> Any:
    """A logger that keeps errors and prints nothing."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.lines.append(text)

    return Kept()


def _ask(trt: Any, log: Any, builder: Any, job: dict[str, Any], board: str | None) -> tuple[str, list[dict[str, str]]]:
    """What was done, and what was refused."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(job["path"]):
        errors = [parser.get_error(n) for n in range(parser.num_errors)]
        return "parse", [_refusal(e.node_name(), e.node_operator(), e.desc()) for e in errors] or [
            _refusal("", "", _last(log))
        ]
    if board is None:
        return "parse", []
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, board), 0)
    for length in job["lengths"]:
        profile = builder.create_optimization_profile()
        for n in range(network.num_inputs):
            value = network.get_input(n)
            shape = [length if size < 0 else size for size in value.shape]
            profile.set_shape(value.name, shape, shape, shape)
        config.add_optimization_profile(profile)
    if builder.build_serialized_network(network, config) is None:
        return "build", [_refusal("", "", _last(log))]
    return "build", []


def _refusal(node: str, operator: str, words: str) -> dict[str, str]:
    return {"node": node, "operator": operator, "words": " ".join(words.split())}


def _last(log: Any) -> str:
    said = [line for line in log.lines if NO_DRIVER not in line] or log.lines
    return said[0] if said else "refused without a word"


if __name__ == "__main__":
    main()
