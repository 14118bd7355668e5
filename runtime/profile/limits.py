"""What this machine can do at most, measured on the spot: products of every kind that bundles have, and bytes.

Receives a number of threads; hands on :class:`Limits`, for ONNX Runtime on the CPU:

    large      the rate of one large product, which nothing exceeds for long
    products   rates of a chain of products at 1, 8, 16, 64 and 256 rows, in float32 and in integers whose range is
               taken in every run; their weights fit the last cache, or do not
    attention  rates of queries that meet their keys and values, a mask and a softmax between, of as many tokens
    convolve   the rate of convolutions of a codec's size
    bandwidth  of a large copy, read and written counted both
    node       seconds that an operator takes that does next to nothing

Choices: the best of several runs, because a ceiling is what the machine can do, not what its neighbours left over. With
``busy`` time is the processor's that this process used, which is the wall's where nobody else computes, and can be
measured where somebody does; on one thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_streamer.runtime.engines.cpu import session_options
from edge_streamer.runtime.profile.small_graphs import Node, model

SIDE = 1024
"""Of the large product's square matrices: 2 * SIDE^3 = 2.1 GFLOP a product."""
COPY_BYTES = 256_000_000
TRIES = 12
ROWS = (1, 8, 16, 64, 256)
CACHED, STREAMED = (256, 1024, 4), (1024, 4096, 8)
"""Width, inner width and products of a chain whose weights fit a last cache (4 MB), and of one whose do not (134 MB in
float32)."""
HEAD, QUERIES = 64, 6
"""Size of a head of keys, and heads of queries that share it."""
NEAR, FAR = (1, 768), (2, 4096)
"""Heads of keys and keys of each: scores that a cache holds, and scores that it does not."""
CHANNELS, PLACES, KERNEL = 64, 1024, 3
"""Of a convolution over time, like a codec's."""
NODES = 256
Kind = Literal["float32", "int8"]


@dataclass(frozen=True)
class Limits:
    """Rates that nothing on this machine exceeds for long."""

    large: float
    """10^9 operations a second of a large float32 product."""
    bandwidth: float
    """10^9 bytes a second."""
    products: dict[tuple[Kind, bool, int], float]
    """(numbers, whether the weights fit the cache, rows) -> operations a second."""
    attention: dict[tuple[bool, int], float]
    """(whether the scores fit the cache, tokens) -> operations a second."""
    convolve: float
    """Operations a second."""
    node: float
    """Seconds."""

    def rate(self, kind: Kind, cached: bool, rows: int) -> float:
        """Operations a second of products of so many rows, between those that were measured."""
        return _between([self.products[kind, cached, r] for r in ROWS], rows)

    def attends(self, cached: bool, tokens: int) -> float:
        """Operations a second of attention in a pass of so many tokens, between those that were measured."""
        return _between([self.attention[cached, r] for r in ROWS], tokens)


def _between(known: Sequence[float], rows: int) -> float:
    return float(np.exp(np.interp(np.log(rows), np.log(ROWS), np.log(known))))


def measure(threads: int = 1, busy: bool = False) -> Limits:
    """Measure for some seconds."""
    clock = time.process_time if busy else time.perf_counter
    found: dict[tuple[Kind, bool, int], float] = {}
    kinds: tuple[Kind, ...] = ("float32", "int8")
    for kind in kinds:
        for cached, size in ((True, CACHED), (False, STREAMED)):
            for rows, rate in _chain(kind, size, threads, clock).items():
                found[kind, cached, rows] = rate
    attention = {(size is NEAR, rows): _attention(rows, size, threads, clock) for size in (NEAR, FAR) for rows in ROWS}
    return Limits(large_product(threads, clock), copy_rate(threads, clock), found, attention,
                  _convolution(threads, clock), _node(threads, clock))  # fmt: skip


def large_product(threads: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """10^9 operations a second."""
    weights = {"w": _random(SIDE, SIDE)}
    session = _session(model([Node("MatMul", ("x", "w"), ("y",))], weights, (SIDE, SIDE), (SIDE, SIDE)), threads)
    feeds = {"x": _random(SIDE, SIDE)}
    return 2 * SIDE**3 / best(lambda: session.run(None, feeds), clock) / 1e9


def copy_rate(threads: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """10^9 bytes a second, read and written counted both."""
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        seconds = best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)), clock)
    return 2 * COPY_BYTES / seconds / 1e9


def best(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter, tries: int = TRIES) -> float:
    """Seconds of the fastest of ``tries``."""
    times = []
    for _ in range(tries):
        begin = clock()
        run()
        times.append(clock() - begin)
    return min(times)


def _chain(kind: Kind, size: tuple[int, int, int], threads: int, clock: Callable[[], float]) -> dict[int, float]:
    """Rows -> operations a second of products one after the other, as a decoder's layers have them."""
    width, inner, count = size
    nodes: list[Node] = []
    weights: dict[str, NDArray[np.generic]] = {}
    last = "x"
    for n in range(count):
        shape = (width, inner) if n % 2 == 0 else (inner, width)
        name = "y" if n == count - 1 else f"h{n}"
        nodes += _product(kind, f"{n}", last, name)
        weights |= _weights(kind, f"{n}", shape)
        last = name
    columns = inner if count % 2 else width
    made: dict[int, float] = {}
    for rows in ROWS:
        session = _session(model(nodes, weights, (rows, width), (rows, columns)), threads)
        feeds = {"x": _random(rows, width)}
        session.run(None, feeds)
        made[rows] = 2 * rows * width * inner * count / best(lambda s=session, f=feeds: s.run(None, f), clock)  # type: ignore[misc]
    return made


def _product(kind: Kind, n: str, before: str, after: str) -> list[Node]:
    """One product; in integers as ``quantize`` writes it for CPUs."""
    if kind == "float32":
        return [Node("MatMul", (before, f"w{n}"), (after,))]
    return [
        Node("DynamicQuantizeLinear", (before,), (f"q{n}", f"s{n}", f"z{n}")),
        Node("MatMulInteger", (f"q{n}", f"w{n}", f"z{n}"), (f"i{n}",)),
        Node("Cast", (f"i{n}",), (f"f{n}",), {"to": 1}),
        Node("Mul", (f"s{n}", f"t{n}"), (f"u{n}",)),
        Node("Mul", (f"f{n}", f"u{n}"), (after,)),
    ]


def _weights(kind: Kind, n: str, shape: tuple[int, int]) -> dict[str, NDArray[np.generic]]:
    if kind == "float32":
        return {f"w{n}": _random(*shape) / np.float32(shape[0] ** 0.5)}
    codes = np.clip(_random(*shape) * 40, -127, 127).astype(np.int8)
    return {f"w{n}": codes, f"t{n}": np.full(shape[1], 1e-3, np.float32)}


def _attention(tokens: int, size: tuple[int, int], threads: int, clock: Callable[[], float]) -> float:
    heads, keys = size
    rows = QUERIES * tokens
    nodes = [
        Node("MatMul", ("x", "k"), ("scores",)), Node("Add", ("scores", "mask"), ("masked",)),
        Node("Softmax", ("masked",), ("shares",), {"axis": 2}), Node("MatMul", ("shares", "v"), ("y",)),
    ]  # fmt: skip
    weights = {"k": _random(heads, HEAD, keys), "v": _random(heads, keys, HEAD), "mask": _random(1, rows, keys)}
    session = _session(model(nodes, weights, (heads, rows, HEAD), (heads, rows, HEAD)), threads)
    feeds = {"x": _random(heads, rows, HEAD)}
    session.run(None, feeds)
    return 4 * heads * rows * keys * HEAD / best(lambda: session.run(None, feeds), clock)


def _convolution(threads: int, clock: Callable[[], float]) -> float:
    weights = {"w": _random(CHANNELS, CHANNELS, KERNEL)}
    shape, output = (1, CHANNELS, PLACES), (1, CHANNELS, PLACES - KERNEL + 1)
    session = _session(model([Node("Conv", ("x", "w"), ("y",))], weights, shape, output), threads)
    feeds = {"x": _random(*shape)}
    session.run(None, feeds)
    operations = 2 * CHANNELS * CHANNELS * KERNEL * output[2]
    return operations / best(lambda: [session.run(None, feeds) for _ in range(8)], clock) * 8


def _node(threads: int, clock: Callable[[], float]) -> float:
    """Of operators that cannot be folded or fused."""
    names = ["x", *(f"h{n}" for n in range(NODES - 1)), "y"]
    nodes = [Node("Abs" if n % 2 else "Neg", (names[n],), (names[n + 1],)) for n in range(NODES)]
    session = _session(model(nodes, {}, (1, 64), (1, 64)), threads)
    feeds = {"x": _random(1, 64)}
    return best(lambda: session.run(None, feeds), clock) / NODES


def _session(text: bytes, threads: int) -> ort.InferenceSession:
    return ort.InferenceSession(text, session_options(threads, spin=False), providers=["CPUExecutionProvider"])


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)
