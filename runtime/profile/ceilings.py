"""This machine's measured ceilings, remembered: they take some twenty seconds to measure, on a board's GPU a minute.

Receives a number of threads, or an engine on a GPU; hands on :class:`Limits` or :class:`DeviceLimits`. They are kept in
the user's cache folder, one entry for a processor, a number of cores and threads and a version of ONNX Runtime; of a
GPU for its name, compute capability, driver, the engine's library and the highest clocks that its mode allows. A
damaged memory counts as empty, and one that cannot be written is done without.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from edge_streamer.runtime.bundle.checksums import cache_folder
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.errors import EngineError, InputError
from edge_streamer.runtime.files import read_small, write_file
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.profile import device_limits
from edge_streamer.runtime.profile.boards import Numbers
from edge_streamer.runtime.profile.device_limits import DeviceLimits
from edge_streamer.runtime.profile.limits import ROWS, Kind, Limits, measure
from edge_streamer.runtime.timing import Tell, untold

MOST_BYTES = 1_000_000
VERSION = 2
"""Of how they are measured: raised where that changes."""
CLOCKS = Path("/sys/class/devfreq")
"""Where a board says how fast its GPU may run in the power mode that is set."""


class Product(msgspec.Struct, frozen=True):
    """A rate of products."""

    kind: Kind
    cached: bool
    rows: int
    rate: float


class Attention(msgspec.Struct, frozen=True):
    """A rate of attention."""

    cached: bool
    tokens: int
    rate: float


class Kept(msgspec.Struct, frozen=True, tag="host", tag_field="of"):
    """Limits as JSON holds them."""

    large: float
    bandwidth: float
    convolve: float
    node: float
    products: tuple[Product, ...]
    attention: tuple[Attention, ...]

    @classmethod
    def made_of(cls, limits: Limits) -> Kept:
        products = tuple(Product(*key, rate) for key, rate in limits.products.items())
        attention = tuple(Attention(*key, rate) for key, rate in limits.attention.items())
        return cls(limits.large, limits.bandwidth, limits.convolve, limits.node, products, attention)

    def limits(self) -> Limits:
        products = {(one.kind, one.cached, one.rows): one.rate for one in self.products}
        attention = {(one.cached, one.tokens): one.rate for one in self.attention}
        return Limits(self.large, self.bandwidth, products, attention, self.convolve, self.node)


class KeptDevice(msgspec.Struct, frozen=True, tag="device", tag_field="of"):
    """A device's."""

    rates: dict[Numbers, float]
    bandwidth: float
    kernel: float
    left_out: dict[str, str]

    def limits(self) -> DeviceLimits:
        return DeviceLimits(self.rates, self.bandwidth, self.kernel, self.left_out)


def ceilings(threads: int) -> Limits:
    """Of this machine."""
    found = remembered(threads)
    if found is None:
        found = measure(threads)
        _remember(_key(threads), Kept.made_of(found))
    return found


def remembered(threads: int) -> Limits | None:
    """Of this machine, where they were measured before."""
    with suppress(InputError):
        kept = _read(_memory()).get(_key(threads))
        if isinstance(kept, Kept) and (len(kept.products), len(kept.attention)) == (4 * len(ROWS), 2 * len(ROWS)):
            return kept.limits()
    return None


def device_ceilings(engine: CudaEngine, tell: Tell = untold) -> DeviceLimits:
    """Of this machine's GPU, through ``engine``. EngineError where they cannot be measured."""
    found = device_remembered(engine)
    if found is None:
        found = device_limits.measure(engine, tell)
        _remember(_device_key(engine), KeptDevice(found.rates, found.bandwidth, found.kernel, found.left_out))
    return found


def device_remembered(engine: CudaEngine) -> DeviceLimits | None:
    """Of this machine's GPU, where they were measured before."""
    with suppress(InputError):
        kept = _read(_memory()).get(_device_key(engine))
        if isinstance(kept, KeptDevice) and kept.rates and min(*kept.rates.values(), kept.bandwidth, kept.kernel) > 0:
            return kept.limits()
    return None


def _remember(key: str, kept: Kept | KeptDevice) -> None:
    with suppress(OSError, InputError):
        path = _memory()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, msgspec.json.encode(_read(path) | {key: kept}))


def _memory() -> Path:
    """InputError for a user without a home."""
    return cache_folder() / "ceilings.json"


def _key(threads: int) -> str:
    here = machine()
    return (f"{VERSION}; {here['processor']}, {here['architecture']}, {here['cores']} cores, {threads} threads, "
            f"onnxruntime {versions().get('onnxruntime', '?')}")  # fmt: skip


def _device_key(engine: CudaEngine) -> str:
    cuda = engine.cuda
    capability = ".".join(map(str, cuda.compute_capability))
    return (f"{VERSION}; {cuda.device_name}, compute capability {capability}, driver {cuda.driver_version}, "
            f"{engine.name}{', TF32' if engine.tf32 else ''}, {_clocks(engine)}")  # fmt: skip


def _clocks(engine: CudaEngine) -> str:
    """The highest: what the driver says, and on a board what its power mode allows."""
    said = []
    with suppress(EngineError):
        said.append(" and ".join(f"{clock} MHz" for clock in engine.cuda.clocks_mhz()))
    for path in sorted(CLOCKS.glob("*/max_freq")):
        with suppress(OSError, ValueError):
            said.append(f"{path.parent.name} {int(read_small(path, 100)) // 1_000_000} MHz")
    return ", ".join(said) or "clocks not told"


def _read(path: Path) -> dict[str, Kept | KeptDevice]:
    try:
        return msgspec.json.decode(read_small(path, MOST_BYTES), type=dict[str, Kept | KeptDevice])
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return {}
