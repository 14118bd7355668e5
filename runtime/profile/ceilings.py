"""This machine's measured ceilings, remembered: they take some twenty seconds to measure.

Receives a number of threads; hands on :class:`Limits`. They are kept in the user's cache folder, one entry for a
processor, a number of cores and threads and a version of ONNX Runtime; a damaged memory counts as empty, and one that
cannot be written is done without.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from edge_streamer.runtime.bundle.checksums import cache_folder
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small, write_file
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.profile.limits import ROWS, Kind, Limits, measure

MOST_BYTES = 1_000_000
VERSION = 2
"""Of how they are measured: raised where that changes."""


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


class Kept(msgspec.Struct, frozen=True):
    """Limits as JSON holds them."""

    large: float
    bandwidth: float
    convolve: float
    node: float
    products: tuple[Product, ...]
    attention: tuple[Attention, ...]

    @classmethod
    def of(cls, limits: Limits) -> Kept:
        products = tuple(Product(*key, rate) for key, rate in limits.products.items())
        attention = tuple(Attention(*key, rate) for key, rate in limits.attention.items())
        return cls(limits.large, limits.bandwidth, limits.convolve, limits.node, products, attention)

    def limits(self) -> Limits:
        products = {(one.kind, one.cached, one.rows): one.rate for one in self.products}
        attention = {(one.cached, one.tokens): one.rate for one in self.attention}
        return Limits(self.large, self.bandwidth, products, attention, self.convolve, self.node)


def ceilings(threads: int) -> Limits:
    """Of this machine."""
    found = remembered(threads)
    if found is None:
        found = measure(threads)
        with suppress(OSError, InputError):
            path = _memory()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, msgspec.json.encode(_read(path) | {_key(threads): Kept.of(found)}))
    return found


def remembered(threads: int) -> Limits | None:
    """Of this machine, where they were measured before."""
    with suppress(InputError):
        kept = _read(_memory()).get(_key(threads))
        if kept and len(kept.products) == 4 * len(ROWS) and len(kept.attention) == 2 * len(ROWS):
            return kept.limits()
    return None


def _memory() -> Path:
    """InputError for a user without a home."""
    return cache_folder() / "ceilings.json"


def _key(threads: int) -> str:
    here = machine()
    return (f"{VERSION}; {here['processor']}, {here['architecture']}, {here['cores']} cores, {threads} threads, "
            f"onnxruntime {versions().get('onnxruntime', '?')}")  # fmt: skip


def _read(path: Path) -> dict[str, Kept]:
    try:
        return msgspec.json.decode(read_small(path, MOST_BYTES), type=dict[str, Kept])
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return {}
