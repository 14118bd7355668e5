"""Which engine runs the graphs: by name, or the best that is here.

Receives a name, and what is to be run; hands on a :class:`Choice`, an engine and why it is this one. An engine more is
a line in ``ENGINES``: how it is made, what says why it cannot be made on this machine, and why a bundle is not for it.

What an engine on a GPU would take of the device's memory is planned before it is made (``memory_plan.py``): a bundle
that does not fit is refused, with what would. Libraries are imported where an engine is made: the names of engines are
words of the command line, whose help and completion need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edge_streamer.runtime.engines.fit import for_cpus, not_for_cuda
from edge_streamer.runtime.errors import EdgeStreamerError, InputError

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
    name: str = ""
    """As it was chosen by; empty where it was given."""


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


def _free(engine: Engine) -> int:
    free: int = engine.free_bytes()  # type: ignore[attr-defined]  # of every engine on a GPU
    return free


ENGINES = (
    Entry("tensorrt", _tensorrt, _tensorrt_lacks, for_cpus, _free),
    Entry("cuda", _cuda, _cuda_lacks, not_for_cuda, _free),
    Entry("cpu", _cpu, lambda: ""),  # says itself what it cannot compute: other graphs may stand for the bundle's
)
"""The best first."""

LAST = ENGINES[-1].name
"""What there is nothing after."""
NAMES = (AUTO, *(entry.name for entry in ENGINES))
"""What ``--engine`` takes."""


def choose(
    name: str = AUTO, engines: Sequence[Entry] = ENGINES, manifest: Manifest | None = None,
    failed: Mapping[str, str] | None = None,
) -> Choice:  # fmt: skip
    """The engine of this name, for the bundle of this manifest. ``failed``: engines that were tried, and why they are
    not to be taken. InputError where there is none, where this machine lacks something for it, or where the bundle is
    not for it; BundleError where the bundle does not fit the device. ``auto`` goes on to the next one instead."""
    known = ", ".join((AUTO, *(entry.name for entry in engines)))
    if name not in (AUTO, *(entry.name for entry in engines)):
        raise InputError(f"there is no engine {name!r}; there are {known}")
    refused = dict(failed or {})
    for entry in engines:
        if name not in (AUTO, entry.name) or entry.name in refused:
            continue
        if why := (entry.unfit(manifest) if manifest else "") or entry.lacking():
            refused[entry.name] = why
            continue
        try:
            engine = _made(entry, manifest)
        except EdgeStreamerError as error:
            if name != AUTO:
                raise
            refused[entry.name] = f"cannot take it: {error}"
            continue
        why = "the best that is here" if name == AUTO else "as asked"
        return Choice(engine, "; ".join((f"{entry.name}: {why}", *_told(refused))), entry.name)
    here = ", ".join(entry.name for entry in engines if not entry.lacking())
    raise InputError(f"engine {'; '.join(_told(refused))}; here is {here or 'none'}")


def _made(entry: Entry, manifest: Manifest | None) -> Engine:
    """An engine whose device has room for the bundle."""
    from edge_streamer.runtime.engines.memory_plan import check_plan

    engine = entry.make()
    if manifest is not None and entry.free is not None:
        try:
            # TensorRT's library is loaded by now; ONNX Runtime loads its own with the first graph.
            check_plan(manifest, entry.free(engine), entry.name, loaded=entry.name == "tensorrt")
        except BaseException:
            engine.close()
            raise
    return engine


def _told(refused: dict[str, str]) -> list[str]:
    """What every engine lacks; engines that lack the same in one."""
    by_reason = dict[str, list[str]]()
    for name, why in refused.items():
        by_reason.setdefault(why, []).append(name)
    return [f"{' and '.join(names)}{' each' if len(names) > 1 else ''} {why}" for why, names in by_reason.items()]
