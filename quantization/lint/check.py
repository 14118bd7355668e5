"""A bundle's graphs against a target, as one value

Receives a bundle and the name of a target; hands on :class:`Lint`: what is refused, by the table of operators
(rules.py) and where asked by real parsers and builders (parsers.py) or, for CPUs, by ONNX Runtime itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import onnx_ir as ir

from edge_streamer.quantization import graph as graphs
from edge_streamer.quantization.lint.parsers import Job, ask
from edge_streamer.quantization.lint.rules import FOR_CPUS, Finding, lacks, refusals, typed
from edge_streamer.quantization.lint.targets import QUANTIZED_FOR, Board, LintTarget, named
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.timing import Tell, untold

FORMAT = 1
BUILDS_SINCE = (1, 7)
"""The first TensorRT-RTX whose builder takes quantized graphs where there is no GPU; older ones are asked to parse."""


class Parser(msgspec.Struct, frozen=True):
    """One real parser that was asked."""

    name: str
    built: bool
    """Whether it built engines too."""
    graphs: int
    seconds: float


class Lint(msgspec.Struct, kw_only=True):
    """What ``lint`` finds of one bundle."""

    format: int
    bundle: str
    hash: str
    target: str
    board: str | None
    ok: bool
    graphs: int
    nodes: int
    for_cpus: bool
    """Its graphs hold operators that are for CPUs alone."""
    refusals: list[Finding]
    notes: list[Finding]
    """What only some of the target's boards refuse."""
    parsers: list[Parser]


def lint(bundle: Bundle, target: str, board: Board | None = None, build: bool = False, parsers: Sequence[Path] = (),
         tell: Tell = untold) -> Lint:  # fmt: skip
    """Lint ``bundle`` for ``target``. InputError where ``build`` is asked and no parser is there."""
    found: list[Finding] = []
    notes: list[Finding] = []
    nodes, operators = 0, set[str]()
    for spec in bundle.manifest.graphs:
        model = typed(graphs.load(bundle.file(spec.file)))
        operators |= {node.op_type for node in model.graph.all_nodes()}
        nodes += sum(1 for _ in model.graph.all_nodes())
        for one in _fitting(target, board):
            some, others = refusals(model, spec.name, spec.lengths, one, board)
            found += some
            notes += others
    asked: list[Parser] = []
    if build or parsers:
        more, asked = _ask_all(bundle, target, board, parsers, tell)
        found += more
    found = together(found)
    return Lint(
        format=FORMAT, bundle=bundle.manifest.name, hash=bundle.hash, target=target,
        board=board.name if board else None,
        ok=not found, graphs=len(bundle.manifest.graphs), nodes=nodes, for_cpus=bool(operators & {*FOR_CPUS}),
        refusals=found, notes=together(notes, words=True), parsers=asked,
    )  # fmt: skip


def _fitting(target: str, board: Board | None) -> tuple[LintTarget, ...]:
    """The targets that ``target`` stands for and ``board`` is one of. InputError where there is none."""
    fitting = tuple(one for one in named(target) if board is None or board in one.boards)
    if not fitting:
        raise InputError(f"{target} does not run on {board.about if board else 'that'}; wanted another --board or none")
    return fitting


def together(findings: Iterable[Finding], words: bool = False) -> list[Finding]:
    """Those that several targets share, once; the first one's words are kept, or where ``words`` count they are the
    same."""
    found: dict[tuple[str, ...], Finding] = {}
    for one in findings:
        key = (one.graph, one.node, one.operator, one.rule, one.words if words else "")
        before = found.get(key, msgspec.structs.replace(one, targets=()))
        found[key] = msgspec.structs.replace(before, targets=tuple(dict.fromkeys(before.targets + one.targets)))
    return list(found.values())


def refuse(model: ir.Model, graph: str, lengths: Sequence[int], target: str) -> Finding | None:
    """The first thing that what `quantize --target` or export (``portable``) makes graphs for refuses of ``model``."""
    names, board = QUANTIZED_FOR.get(target, ((target,), None))
    model = typed(model)
    for one in (one for name in names for one in named(name)):
        for finding in refusals(model, graph, lengths, one, board)[0]:
            return finding
    return None


def said(finding: Finding) -> str:
    """In a line: graph ``slot``, node ``Softmax``: what is refused."""
    node = f"node {finding.node}" if finding.operator else finding.node
    return f"graph {finding.graph!r}, {node}: {finding.words}"


# ---- real parsers and builders


def _ask_all(bundle: Bundle, target: str, board: Board | None, folders: Sequence[Path], tell: Tell
             ) -> tuple[list[Finding], list[Parser]]:  # fmt: skip
    targets = _fitting(target, board)
    found: list[Finding] = []
    asked = []
    if any(one.tensorrt is None for one in targets):
        found += _ask_onnxruntime(bundle)
    boards = [(one, b) for one in targets for b in one.boards if board is None or b == board]
    if boards:
        places: list[Path | None] = [*folders] or [None]
        for n, place in enumerate(places):
            tell("real parsers", n, len(places))
            more, parser = _ask(bundle, boards, place)
            found += more
            asked.append(parser)
        tell("real parsers", len(places), len(places))
    return found, asked


def _ask(
    bundle: Bundle, boards: Sequence[tuple[LintTarget, Board]], place: Path | None
) -> tuple[list[Finding], Parser]:
    version = ask(place, []).version
    builds = tuple(int(n) for n in version.split(".")[:2]) >= BUILDS_SINCE
    jobs, fitting = [], {}
    for spec in bundle.manifest.graphs:
        model = typed(graphs.load(bundle.file(spec.file)))
        fitting[spec.name] = [(target, b) for target, b in boards if not _noted(model, target, b)]
        nearest = tuple(dict.fromkeys(b.nearest for _, b in fitting[spec.name]))
        jobs.append(Job(spec.name, bundle.file(spec.file).resolve(), spec.lengths, nearest if builds else ()))
    answers = ask(place, jobs).answers
    name = f"TensorRT-RTX {version}"
    found = []
    for answer in answers:
        on = f" for {answer.board}" if answer.board else ""
        targets = tuple(dict.fromkeys(t.name for t, b in fitting[answer.graph] if answer.board in (None, b.nearest)))
        found += [
            Finding(graph=answer.graph, node=refused.node or answer.graph, operator=refused.operator, rule=answer.done,
                    words=f"{name}{on}: {refused.words}", targets=targets)
            for refused in answer.refusals
        ]  # fmt: skip
    return found, Parser(name, builds, len(jobs), round(sum(answer.seconds for answer in answers), 1))


def _noted(model: ir.Model, target: LintTarget, board: Board) -> bool:
    """Whether there is only a note that ``board`` lacks something, because another one of the target has it: it is not
    built for."""
    return lacks(model, board) and not all(lacks(model, other) for other in target.boards)


def _ask_onnxruntime(bundle: Bundle) -> list[Finding]:
    """What ONNX Runtime on this machine cannot load."""
    found = []
    engine = OrtEngine()
    for spec in bundle.manifest.graphs:
        try:
            engine.open(GraphFile.of(bundle, spec.name))
        except BundleError as error:
            found.append(
                Finding(graph=spec.name, node=spec.name, operator="", rule="parse", words=str(error), targets=("cpu",))
            )
    engine.close()
    return found
