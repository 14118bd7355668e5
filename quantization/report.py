"""What a precision costs and what it buys, as one value.

Receives a bundle, its quantized twin and a stream; hands on :class:`Report`. Both run in one process over the same
units, one after the other in each, so that the two unit times are of the same minutes of the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_streamer.quantization.auto import Choice
from edge_streamer.quantization.emulate import stand_ins
from edge_streamer.quantization.make import Quantized
from edge_streamer.quantization.rings import ring_bytes
from edge_streamer.quantization.schemes import Mixture, Scheme
from edge_streamer.quantization.streams import Stream
from edge_streamer.quantization.vocabulary import ESTIMATOR, Estimator
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.error_over_time import Drift, Mode, drift, worst_db
from edge_streamer.runtime.engines.choose import AUTO
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Tell, untold
from edge_streamer.runtime.unit import Response

FORMAT = 1
FIRST_TIMED = 10
"""Units before it warm up caches and are not timed; at most half of all."""
PICTURES = 6
"""Pairs of frames that are kept, evenly spread."""


class Report(msgspec.Struct, kw_only=True):
    """``OUT.json``."""

    format: int
    scheme: str
    target: str
    source: str
    """Name and hash of the bundle it was made from."""
    bytes: tuple[int, int]
    """Of weights in all graphs: float, quantized."""
    bundle_bytes: tuple[int, int]
    """Of all files."""
    ring_bytes: tuple[int, int]
    """Of keys and values in memory."""
    unit_ms: tuple[float, float]
    """Medians: float, quantized."""
    unit_ratio: float
    """Median over units of quantized / float."""
    drifts: list[Drift]
    layers: list[dict[str, object]]
    """Those that hurt most first."""
    choices: list[Choice]
    """Of ``auto``: what was weighed for each group of layers; empty for other schemes."""
    calibrated_on: str
    calibration_units: int
    measured_on: str
    engine: str
    versions: dict[str, str]
    machine: dict[str, object]
    input_range: Estimator = ESTIMATOR
    """How constant ranges of inputs were found."""

    @property
    def label(self) -> str:
        """The scheme, and what else was chosen."""
        others = [f"input range {self.input_range}"] if self.input_range != ESTIMATOR else []
        others += ["rings int8"] if self.ring_bytes[0] != self.ring_bytes[1] else []
        return ", ".join((self.scheme, *others))

    @property
    def timed_on(self) -> str:
        """What the unit times are of."""
        return "this CPU" if self.target == "cpu" else f"this CPU; {self.target} was not measured"

    @property
    def chooses(self) -> bool:
        """Whether the bundle chooses words, so that they can agree."""
        return "scores" in self.drifts[0].error_db

    @property
    def kept(self) -> list[dict[str, object]]:
        """Layers that stayed in float32 though the scheme has fewer bits for them."""
        return [layer for layer in self.layers if layer.get("kept")]

    @property
    def worst_db(self) -> float:
        """In forced mode: what --max-error bounds."""
        return worst_db(self.drifts[0].error_db)


class Kept:
    """What the page shows: both voices of the free run, and some frames."""

    def __init__(self, units: int) -> None:
        self.frames: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.voices: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
        self._wanted = set(np.linspace(0, units - 1, PICTURES + 2).astype(int)[1:-1].tolist())

    def watch(self, unit: int, right: Response, came: Response) -> None:
        """One unit of the float bundle and its twin."""
        for voice, response in zip(self.voices, (right, came), strict=True):
            if response.samples is not None:
                voice.append(response.samples.copy())
        if unit in self._wanted and right.frames is not None and came.frames is not None:
            self.frames.append((right.frames[0].copy(), came.frames[0].copy()))


def measure(
    source: Bundle, made: Bundle, scheme: Scheme | Mixture, layers: Sequence[Quantized], stream: Stream, units: int,
    calibrated_on: str, calibration_units: int, tell: Tell = untold, choices: Sequence[Choice] = (),
    engine: str = AUTO,
) -> tuple[Report, Kept]:  # fmt: skip
    """Run both bundles over ``units`` of ``stream``, twice, on ``engine``."""
    with stand_ins(made) as graphs:
        reference = open_session(source, engine=engine)
        tested = open_session(made, engine=reference.engine, graphs=graphs, verify=False)
        drifts, times, kept = _run_both(reference, tested, stream, units, tell)
    seconds = np.array(times or [(np.nan, np.nan)])
    float_ms, made_ms = (float(v) for v in 1e3 * np.median(seconds, 0))
    worst = sorted(layers, key=lambda layer: -(layer.error_db if layer.error_db is not None else -1e9))
    return Report(
        format=FORMAT, scheme=scheme.name, target=scheme.target, source=named(source),
        bytes=(_weights(source), _weights(made)), bundle_bytes=(source.size, made.size),
        ring_bytes=(ring_bytes(source.manifest.states), ring_bytes(made.manifest.states)),
        unit_ms=(float_ms, made_ms),
        unit_ratio=float(np.median(seconds[:, 1] / seconds[:, 0])),
        drifts=drifts, layers=[asdict(layer) for layer in worst], choices=list(choices), calibrated_on=calibrated_on,
        calibration_units=calibration_units, measured_on=stream.name, engine=tested.engine.name, versions=versions(),
        machine=machine(), input_range=scheme.estimator,
    ), kept  # fmt: skip


def _run_both(
    reference: Session, tested: Session, stream: Stream, units: int, tell: Tell
) -> tuple[list[Drift], list[tuple[float, float]], Kept]:
    """The errors of both modes, the seconds of each timed unit (reference, tested), and what the page shows."""
    times: list[tuple[float, float]] = []
    kept = Kept(units)

    def run(mode: Mode, watch: Callable[[int, Response, Response], None]) -> Drift:
        for session in (reference, tested):
            session.reset()
        some = islice(stream.units(), units)
        return drift(tested, reference, some, mode, lambda n: tell(f"{mode} run", n, units), watch)

    def time(unit: int, right: Response, came: Response) -> None:
        if unit >= min(FIRST_TIMED, units // 2):
            times.append((right.seconds, came.seconds))

    return [run("forced", time), run("free", kept.watch)], times, kept


def named(bundle: Bundle) -> str:
    """A report's ``source``."""
    return f"{bundle.manifest.name} {bundle.hash}"


def _weights(bundle: Bundle) -> int:
    return sum(graph.weight_bytes for graph in bundle.manifest.graphs)
