"""All that only a GPU can answer, in one run of at most eight minutes: ``python -m tests.gpu``.

Receives nothing but a machine with torch for CUDA and ``cuda-bindings``; hands on tables for people and, last, one JSON
line. Of each preset and dtype: a session whose graphs torch computes on our device memory, against the CPU session over
the same units with the same tokens; the whole unit captured as one CUDA graph against the plain path, bit for bit; unit
and host time of our capture, of torch eager and of torch.compile; bandwidth and arithmetic reached, against what this
card reaches at most. Where TensorRT (or TensorRT-RTX) is installed and runs, its engine does the same, and like ONNX
Runtime's with CUDA tells its ceilings and its layers, as ``edge-streamer profile`` shows them.

Without a GPU the same logic runs on a stand-in of the driver, on the smallest preset, and says so: its times mean
nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table

from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import made_unit, relative_error
from edge_streamer.runtime.engines.choose import choose
from edge_streamer.runtime.engines.contract import Engine
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.errors import EdgeStreamerError, InputError, one_line
from edge_streamer.runtime.profile.device_limits import NUMBERS, measure
from edge_streamer.runtime.profile.layers import layers
from edge_streamer.runtime.profile.measure import made_unit as other_unit
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit
from tests.bench.ceiling import cost
from tests.bundles import exported_bundle
from tests.gpu.figures import ceilings, times
from tests.gpu.torch_engine import Put, TorchEngine, without_tf32

SEED = 7
"""Of weights and units."""
QUANTITIES = ("samples", "latents.video", "latents.audio")
LIMIT = {"float32": 1e-3, "float16": 0.3, "bfloat16": 1.0}
"""Largest relative error against the CPU over all units, each on its own history. float32: another order of sums."""
MINUTES = 8.0
LAYERS_SHOWN = 60
"""Of the JSON."""


@dataclass
class Run:
    """One run of the script."""

    console: Console
    api: Any
    """A stand-in for the driver; None on a GPU."""
    put: Put | None
    ends: float
    report: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def part(self, name: str, act: Callable[[], None]) -> None:
        """Not begun where time is up; what breaks in it is told, and the rest goes on."""
        began = time.perf_counter()
        if began > self.ends:
            self.report.setdefault("not_begun", []).append(name)
            self.console.print(f"{name}: not begun, the time is up", markup=False)
            return
        try:
            act()
        except (EdgeStreamerError, RuntimeError) as error:  # torch's own errors are RuntimeErrors
            self.held(False, f"{name}: {type(error).__name__}: {one_line(error)}")
        self.console.print(f"{name}: {time.perf_counter() - began:.1f} s", markup=False, highlight=False)

    def held(self, holds: bool, otherwise: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.broken.append(otherwise)
            self.console.print(f"DOES NOT HOLD: {otherwise}", markup=False)


@dataclass
class Answers:
    """What a session answered, unit by unit."""

    tokens: list[tuple[int, ...]] = field(default_factory=list)
    arrays: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in QUANTITIES})

    def error(self, other: Answers) -> float:
        """The largest relative error of a quantity over all units."""
        pairs = ((np.stack(self.arrays[name]), np.stack(other.arrays[name])) for name in QUANTITIES)
        return max(relative_error(came, wanted) for came, wanted in pairs)

    def same(self, other: Answers) -> bool:
        """Bit for bit."""
        pairs = ((np.stack(self.arrays[name]), np.stack(other.arrays[name])) for name in QUANTITIES)
        return self.tokens == other.tokens and all(came.tobytes() == wanted.tobytes() for came, wanted in pairs)


class Case(NamedTuple):
    """What ways are compared on."""

    bundle: Bundle
    model: WanStreamer
    dtype: str
    units: list[Unit]
    wanted: Answers
    """The CPU's."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=None, choices=tuple(PRESETS), help="default: demo qwen2.5-0.5b")
    parser.add_argument("--dtypes", nargs="+", default=list(LIMIT), choices=tuple(LIMIT))
    parser.add_argument("--units", type=int, default=200, help="compared with the CPU, of each (default: 200)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin nothing new after so many (default: 8)")
    parser.add_argument("--out", type=Path, help="also write the JSON there, after each part")
    args = parser.parse_args(words)
    run = prepare(Console(), time.perf_counter() + 60 * args.minutes)
    presets = args.presets or (["demo", "qwen2.5-0.5b"] if run.api is None else ["tiny"])
    run.report |= {"units": args.units, "presets": {}, "broken": run.broken}
    if run.api is None:
        run.report["ceilings"] = ceilings()
        run.console.print(f"this card, measured: {told(run.report['ceilings'])}")
    for preset in presets:
        with tempfile.TemporaryDirectory() as folder:
            one_preset(run, preset, args, Path(folder))
    line = json.dumps(run.report)
    if args.out:
        args.out.write_text(line + "\n")
    print(line)
    return 1 if run.broken else 0


def prepare(console: Console, ends: float) -> Run:
    """On the GPU that is here, or on a stand-in of one."""
    if torch.cuda.is_available():
        without_tf32()
        name = torch.cuda.get_device_name()
        console.print(f"on {name}, torch {torch.__version__}")
        return Run(console, None, None, ends, {"device": name, "torch": torch.__version__})
    from tests.runtime.engines.cuda_stand_in.driver import StandIn

    driver = StandIn()
    console.print("[bold]no GPU here: the logic on a stand-in of the driver; its times mean nothing[/bold]")
    put: Put = lambda stream, act: driver.work(stream, "torch", (), act)  # noqa: E731
    return Run(console, driver, put, ends, {"device": "none: a stand-in", "torch": torch.__version__})


def told(rates: dict[str, float]) -> str:
    units = {name: ("TFLOP/s", 1e12) for name in rates} | {"bytes": ("GB/s", 1e9)}
    return ", ".join(f"{name} {rate / units[name][1]:.0f} {units[name][0]}" for name, rate in rates.items())


def one_preset(run: Run, preset: str, args: argparse.Namespace, folder: Path) -> None:
    """Every dtype and way of one preset."""
    figures: dict[str, Any] = run.report["presets"].setdefault(preset, {})
    made: list[tuple[Bundle, list[Unit], Answers]] = []

    def reference() -> None:
        bundle = Bundle.open(exported_bundle(preset, folder / "bundle"), verify=False)
        units = [made_unit(bundle.manifest.media, SEED, index) for index in range(args.units)]
        with opened(OrtEngine(), bundle) as session:
            made.append((bundle, units, answers(session, units)))

    run.part(f"{preset}: export, and the CPU's answers", reference)
    if not made:
        return
    ((bundle, units, wanted),) = made
    model = build(PRESETS[preset], SEED)
    for dtype in args.dtypes:
        one_dtype(run, Case(bundle, model, dtype, units, wanted), figures.setdefault(dtype, {}))
        if args.out:
            args.out.write_text(json.dumps(run.report) + "\n")
    if run.api is None:
        run.part(f"{preset}: TensorRT", lambda: tensorrt(run, Case(bundle, model, "float32", units, wanted), figures))
    for name, make in device_engines(run).items():
        run.part(f"{preset}: ceilings and layers, {name}", lambda n=name, m=make: limits(run, n, m, bundle, figures))  # type: ignore[misc]
    show(run, preset, bundle, figures)


def one_dtype(run: Run, case: Case, figures: dict[str, Any]) -> None:
    """Parity with the CPU, capture on against off, and the times of all ways."""
    captured = Answers()

    def engine(**how: Any) -> TorchEngine:
        return TorchEngine(copy.deepcopy(case.model), dtype=case.dtype, api=run.api, put=run.put, **how)

    def with_capture() -> None:
        ready = engine()
        with opened(ready, case.bundle) as session:
            came = answers(session, case.units, case.wanted.tokens)
            captured.tokens, captured.arrays = came.tokens, came.arrays
            figures["error"] = error = came.error(case.wanted)
            limit = LIMIT[case.dtype]
            run.held(error <= limit, f"{case.dtype}: off by {error:.1e} from the CPU; wanted at most {limit}")
            figures["captured"] = times(session, case.units, case.wanted.tokens)
            figures["memory"] = ready.memory()

    def plain() -> None:
        with opened(engine(capture=False), case.bundle) as session:
            same = answers(session, case.units, case.wanted.tokens).same(captured)
            figures["capture_changes_nothing"] = same
            run.held(same, f"{case.dtype}: the captured unit answers something else than the plain path")
            figures["eager"] = times(session, case.units, case.wanted.tokens)

    def compiled(name: str, capture: bool) -> None:
        with opened(engine(way="compile", capture=capture), case.bundle) as session:
            figures[name] = times(session, case.units, case.wanted.tokens)

    run.part(f"{case.dtype}: captured", with_capture)
    run.part(f"{case.dtype}: plain, torch eager", plain)
    if run.api is None:  # there is nothing to learn from compiling for a stand-in
        run.part(f"{case.dtype}: torch.compile, captured", lambda: compiled("compiled, captured", True))
        run.part(f"{case.dtype}: torch.compile", lambda: compiled("compiled", False))


def tensorrt(run: Run, case: Case, figures: dict[str, Any]) -> None:
    """The TensorRT engine itself, where a TensorRT runs on this card."""
    try:
        ready = choose("tensorrt").engine
    except InputError as error:
        figures["tensorrt"] = {"not here": str(error)}
        run.console.print(f"TensorRT: {error}", markup=False)
        return
    with opened(ready, case.bundle) as session:
        error = answers(session, case.units, case.wanted.tokens).error(case.wanted)
        limit = LIMIT["float32"]
        run.held(error <= limit, f"TensorRT: off by {error:.1e} from the CPU; wanted at most {limit}")
        figures["tensorrt"] = {"name": ready.name, "error": error, **times(session, case.units, case.wanted.tokens)}


def device_engines(run: Run) -> dict[str, Callable[[], CudaEngine]]:
    """Those whose ceilings and layers are asked for; without a GPU TensorRT's, on a stand-in."""
    if run.api is None:
        return {name: lambda n=name: choose(n).engine for name in ("tensorrt", "cuda")}  # type: ignore[misc,return-value]
    from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT

    def stand_in() -> CudaEngine:
        engine = StandInTensorRT(driver=run.api)
        engine.trt.computes = lambda graph: graph not in NUMBERS
        return engine

    return {"tensorrt": stand_in}


def limits(run: Run, name: str, make: Callable[[], CudaEngine], bundle: Bundle, figures: dict[str, Any]) -> None:
    """What ``edge-streamer profile --layers`` would find out beside the times, and whether it hangs together."""
    try:
        engine = make()
    except InputError as error:
        figures[f"limits, {name}"] = {"not here": str(error)}
        run.console.print(f"{name}: {error}", markup=False)
        return
    with opened(engine, bundle) as session:
        found = measure(engine)
        rows, how = layers(session, lambda other: other.step(other_unit(other)))
    figures[f"limits, {name}"] = {
        "name": engine.name, "notes": engine.notes, "rates": found.rates, "bandwidth": found.bandwidth,
        "kernel_us": 1e6 * found.kernel, "left_out": found.left_out, "layers_told": how,
        "layers": [to_builtins(row) for row in rows[:LAYERS_SHOWN]], "layers_ms": sum(row.unit_ms for row in rows),
    }  # fmt: skip
    rates = ", ".join(f"{numbers} {rate / 1e12:.2f} TFLOP/s" for numbers, rate in found.rates.items())
    run.console.print(f"{engine.name}: {rates}, {found.bandwidth / 1e9:.0f} GB/s, {1e6 * found.kernel:.2f} us a "
                      f"kernel; left out: {found.left_out or 'nothing'}", markup=False)  # fmt: skip
    run.held("float32" in found.rates, f"{name}: no rate of float32: {found.left_out}")
    run.held(bool(rows), f"{name}: no layers: {how}")
    run.held(all(row.unit_ms >= 0 for row in rows), f"{name}: a layer takes less than no time")
    untold = sum(not row.gives for row in rows)
    run.console.print(f"{name}: {len(rows)} layers, {untold} of them without types; {how}", markup=False)


@contextmanager
def opened(engine: Engine, bundle: Bundle) -> Iterator[Session]:
    """A session on an engine that ends with it."""
    try:
        with open_session(bundle, engine=engine, verify=False) as session:
            yield session
    finally:
        engine.close()


def answers(session: Session, units: Sequence[Unit], tokens: Sequence[tuple[int, ...]] = ()) -> Answers:
    """Of all units from the start, with these tokens, or with those that the model chooses."""
    session.reset()
    came = Answers()
    for number, unit in enumerate(units):
        response = session.step(unit, tokens[number] if tokens else None).copy()
        probed = session.probe()
        came.tokens.append(tuple(tokens[number]) if tokens else tuple(map(int, probed["tokens"])))
        for name in QUANTITIES:
            came.arrays[name].append(response.samples if name == "samples" else probed[name])
    return came


def show(run: Run, preset: str, bundle: Bundle, figures: dict[str, Any]) -> None:
    """A table of the ways; and of what our capture reaches of the card."""
    table = Table("dtype", "way", "unit ms", "p95", "host ms", "against eager", title=preset)
    for dtype, found in figures.items():
        base = found.get("eager", {}).get("unit_ms")
        for way, one in found.items():
            if isinstance(one, dict) and "unit_ms" in one:
                ratio = f"{base / one['unit_ms']:.2f}x" if base else ""
                table.add_row(dtype, way, *(f"{one[key]:.2f}" for key in ("unit_ms", "unit_p95_ms", "host_ms")), ratio)
    run.console.print(table)
    if "ceilings" not in run.report:
        return
    passes = cost(bundle.manifest)
    moved, operations = (sum(c.runs * getattr(c, what) for c in passes) for what in ("moved_bytes", "operations"))
    for dtype, found in figures.items():
        if "captured" in found:
            seconds = found["captured"]["unit_ms"] / 1e3
            found["of_bandwidth"] = moved / seconds / run.report["ceilings"]["bytes"]
            found["of_arithmetic"] = operations / seconds / run.report["ceilings"][dtype]
            run.console.print(
                f"{dtype}, captured: {found['of_bandwidth']:.1%} of the bandwidth (bytes as float32 moves them), "
                f"{found['of_arithmetic']:.1%} of the arithmetic",
                markup=False,
            )


if __name__ == "__main__":
    sys.exit(main())
