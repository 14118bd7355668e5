"""Which engine runs the graphs: by name, or the best that is here.

Receives a name, and what is to be run; hands on a :class:`Choice`, an engine and why it is this one. An engine more is
a line in ``ENGINES``: how it is made, what says why it cannot be made on this machine, and why a bundle is not for it.

What an engine on a GPU would take of the device's memory is planned before it is made (``memory_plan.py``): a bundle
that does not fit is refused, with what would. Libraries are imported where an engine is made: the names of engines are
words of the command line, whose help and completion need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.runtime.bundle.manifest import Manifest
    from edge_streamer.runtime.engines.contract import Engine

AUTO = "auto"
"""The best that is here."""


def _takes_all(manifest: Manifest) -> str:
    return ""


class Entry(NamedTuple):
    """An engine that this edge-streamer knows."""

    name: str
    make: Callable[[], Engine]
    lacking: Callable[[], str]
    """What it needs that is not here and what would install it, as ``needs ...``; empty where nothing is missing."""
    unfit: Callable[[Manifest], str] = _takes_all
    """Why a bundle is not for it, as ``takes no ...``; empty where it is, as far as the manifest tells."""
    free: Callable[[Engine], int] | None = None
    """Bytes that its device has free; None for the host's memory, which the session looks at itself."""


class Choice(NamedTuple):
    """An engine, and why it is this one."""

    engine: Engine
    why: str
    """For reports: ``cpu: the best that is here``, with what the better ones lack."""


def _cpu() -> Engine:
    from edge_streamer.runtime.engines.cpu import OrtEngine

    return OrtEngine()


def _cuda() -> Engine:
    from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine

    return OrtCudaEngine()


def _cuda_lacks() -> str:
    from edge_streamer.runtime.engines.probe import cuda_lacks

    return cuda_lacks()


def _tensorrt() -> Engine:
    from edge_streamer.runtime.engines.tensorrt.engine import make

    return make()


def _tensorrt_lacks() -> str:
    from edge_streamer.runtime.engines.probe import tensorrt_lacks

    return tensorrt_lacks()


def for_cpus(manifest: Manifest) -> str:
    """Why a bundle is for CPUs alone: ranges that are taken anew in every run are of operators (DynamicQuantizeLinear,
    MatMulInteger) that TensorRT has not, and ONNX Runtime not on a GPU."""
    dynamic = sorted(graph.name for graph in manifest.graphs if graph.precision.dynamic)
    if not dynamic:
        return ""
    return f"takes no bundle for CPUs, which this one is ({', '.join(dynamic[:6])} in int8 dynamic)"


def _free(engine: Engine) -> int:
    free: int = engine.cuda.free_memory()[0]  # type: ignore[attr-defined]  # of every engine on a GPU
    return free


ENGINES = (
    Entry("tensorrt", _tensorrt, _tensorrt_lacks, for_cpus, _free),
    Entry("cuda", _cuda, _cuda_lacks, for_cpus, _free),
    Entry("cpu", _cpu, lambda: ""),
)
"""The best first."""

NAMES = (AUTO, *(entry.name for entry in ENGINES))
"""What ``--engine`` takes."""


def choose(name: str = AUTO, engines: Sequence[Entry] = ENGINES, manifest: Manifest | None = None) -> Choice:
    """The engine of this name, for the bundle of this manifest. InputError where there is none, where this machine
    lacks something for it, or where the bundle is not for it; BundleError where the bundle does not fit the device."""
    known = ", ".join((AUTO, *(entry.name for entry in engines)))
    if name not in (AUTO, *(entry.name for entry in engines)):
        raise InputError(f"there is no engine {name!r}; there are {known}")
    refused = dict[str, str]()
    for entry in engines:
        if name not in (AUTO, entry.name):
            continue
        if refused_for := (entry.unfit(manifest) if manifest else "") or entry.lacking():
            refused[entry.name] = refused_for
            continue
        engine = entry.make()
        if manifest is not None and entry.free is not None:
            from edge_streamer.runtime.engines.memory_plan import check_plan

            try:
                check_plan(manifest, entry.free(engine), entry.name, loaded=True)
            except BaseException:
                engine.close()
                raise
        why = "the best that is here" if name == AUTO else "as asked"
        return Choice(engine, "; ".join((f"{entry.name}: {why}", *_told(refused))))
    here = ", ".join(entry.name for entry in engines if not entry.lacking())
    raise InputError(f"engine {'; '.join(_told(refused))}; here is {here or 'none'}")


def _told(refused: dict[str, str]) -> list[str]:
    """What every engine lacks; engines that lack the same in one."""
    by_reason = dict[str, list[str]]()
    for name, why in refused.items():
        by_reason.setdefault(why, []).append(name)
    return [f"{' and '.join(names)}{' each' if len(names) > 1 else ''} {why}" for why, names in by_reason.items()]
