"""The kernels' arithmetic: the source that a device runs, compiled for this CPU, against numpy."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.engines.cuda.kernels import LOOK_UPS, LOOKS, PIECES, PTX, Kernels, Rows
from tests.runtime.engines.cuda_kernels.compile import SOURCE
from tests.runtime.engines.cuda_kernels.cpu import NAMES, compiled, pointers


class Cpu:
    """Launches on this CPU at once."""

    def __init__(self) -> None:
        self.launched: list[str] = []

    def load_module(self, ptx: bytes) -> bytes:
        return ptx

    def function(self, module: bytes, name: str) -> str:
        assert f".visible .entry {name}(".encode() in module
        return name

    def launch(self, kernel: str, grid: int, block: int, arguments: Sequence[Any]) -> None:
        assert 0 < grid <= 1024
        assert block == 256
        self.launched.append(kernel)
        compiled()[kernel](pointers(arguments), grid * block)


def of(array: np.ndarray) -> int:
    return array.ctypes.data


def aligned(size: int) -> np.ndarray:
    raw = np.zeros(size + 256, np.uint8)
    start = -of(raw) % 256
    return raw[start : start + size]


def stack(count: int, shape: tuple[int, ...], dtype: str, axis: int, gap: int = 0) -> tuple[np.ndarray, Rows]:
    """[count, *shape] over guarded bytes of a pattern, and how the kernels see it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    step = -(-size // 256) * 256 + gap
    piece = aligned(count * step)
    piece[:] = np.random.default_rng(count).integers(0, 255, len(piece), np.uint8)
    inner = np.empty(shape, dtype).strides
    array = np.ndarray((count, *shape), dtype, piece.data, 0, (step, *inner))
    outer, places = int(np.prod(shape[:axis])), shape[axis]
    return array, Rows(of(piece), step, count, outer, places, size // outer // places)


# ---- rows to their places ----

SHAPES = [((2, 9, 8), (2, 4, 8), 1), ((9, 3), (4, 3), 0), ((3, 2, 9, 16), (3, 2, 4, 16), 2), ((9, 1), (4, 1), 0)]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int64"])
@pytest.mark.parametrize(("ring_shape", "shape", "axis"), SHAPES)
@pytest.mark.parametrize(("rows", "first", "place"), [((0, 4), 0, 0), ((1, 3), 5, 2), ((2, 2), 3, 0), ((0, 1), 9, -1)])
def test_rows_go_to_their_places_and_nowhere_else(
    dtype: str, ring_shape: tuple[int, ...], shape: tuple[int, ...], axis: int,
    rows: tuple[int, int], first: int, place: int,
) -> None:  # fmt: skip
    cpu = Cpu()
    ring, ring_rows = stack(5, ring_shape, dtype, axis)
    appended, appended_rows = stack(5, shape, dtype, axis)
    wanted = ring.copy()
    to = np.moveaxis(wanted, axis + 1, 0)
    to[first + place : first + place + rows[1] - rows[0]] = np.moveaxis(appended, axis + 1, 0)[slice(*rows)]
    cursor, fault = np.array([first], np.int32), np.zeros(1, np.int32)
    Kernels(cpu).store(ring_rows, appended_rows, slice(*rows), of(cursor), place, of(fault))
    assert ring.tobytes() == wanted.tobytes()
    assert not fault[0]


@pytest.mark.parametrize(("dtype", "width", "piece"), [("float32", 4, 16), ("float16", 2, 4), ("int8", 3, 1)])
def test_as_many_bytes_are_moved_at_a_time_as_rows_allow(dtype: str, width: int, piece: int) -> None:
    cpu = Cpu()
    _, ring = stack(2, (6, width), dtype, 0)
    _, appended = stack(2, (2, width), dtype, 0)
    cursor, fault = np.zeros(1, np.int32), np.zeros(1, np.int32)
    Kernels(cpu).store(ring, appended, slice(0, 2), of(cursor), 0, of(fault))
    assert cpu.launched == [f"store_{piece}"]
    assert piece in PIECES


@pytest.mark.parametrize(("first", "place"), [(8, 0), (6, 2), (-1, 0), (0, -1), (2**31 - 1, 0), (-(2**31), 5)])
def test_rows_that_do_not_fit_change_nothing_and_are_told(first: int, place: int) -> None:
    ring, ring_rows = stack(3, (9, 4), "float32", 0)
    _, appended_rows = stack(3, (4, 4), "float32", 0)
    before = ring.tobytes()
    cursor, fault = np.array([first], np.int32), np.zeros(1, np.int32)
    Kernels(Cpu()).store(ring_rows, appended_rows, slice(1, 4), of(cursor), place, of(fault))
    assert ring.tobytes() == before
    assert fault[0] == 1


# ---- tokens to their rows ----


@pytest.mark.parametrize("dtype", LOOK_UPS)
def test_tokens_become_the_rows_that_the_host_would_read(dtype: str) -> None:
    random = np.random.default_rng(3)
    table = (
        random.integers(-128, 128, (50, 33)).astype(dtype)
        if dtype == "int8"
        else random.normal(size=(50, 33)).astype(dtype)
    )
    scales = random.uniform(1e-4, 1, 50).astype(np.float32)
    tokens = np.array([0, 49, 7, 7, 50, -1, 2**31 - 1, -(2**31)], np.int32)
    out = np.full((len(tokens), 33), np.nan, np.float32)
    Kernels(Cpu()).look_up(
        of(table), dtype, of(scales) if dtype == "int8" else 0, 50, 33, of(tokens), len(tokens), of(out)
    )
    wanted = np.zeros_like(out)
    wanted[:4] = table[tokens[:4]].astype(np.float32)
    if dtype == "int8":
        wanted[:4] *= scales[tokens[:4], None]
    assert out.tobytes() == wanted.tobytes()


def test_every_half_becomes_its_float() -> None:
    table = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)
    tokens, out = np.arange(256, dtype=np.int32), np.zeros((256, 256), np.float32)
    Kernels(Cpu()).look_up(of(table), "float16", 0, 256, 256, of(tokens), 256, of(out))
    wanted = table.astype(np.float32)
    numbers = ~np.isnan(wanted)
    assert out[numbers].tobytes() == wanted[numbers].tobytes()
    assert np.isnan(out[~numbers]).all()


# ---- is every number finite? ----


@pytest.mark.parametrize("dtype", LOOKS)
@pytest.mark.parametrize("bad", [None, np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (0, 999), (2, 0), (2, 99_999)])
def test_what_is_not_finite_is_seen_wherever_it_is(dtype: str, bad: float | None, where: tuple[int, int]) -> None:
    limits = np.finfo(dtype)
    pieces = [np.full(size, limits.max, dtype) for size in (1000, 1, 100_000)]
    pieces[0][:4] = (limits.min, limits.smallest_subnormal, -0.0, limits.tiny)
    if bad is not None:
        pieces[where[0]][where[1]] = bad
    addresses = np.array([of(piece) for piece in pieces], np.uint64)
    counts, flag = np.array([piece.size for piece in pieces], np.uint64), np.zeros(1, np.int32)
    Kernels(Cpu()).finite(dtype, of(addresses), of(counts), 3, int(counts.sum()), of(flag))
    assert flag[0] == (bad is not None)


def test_a_flag_that_is_up_stays_up() -> None:
    good, flag = np.zeros(4, np.float32), np.ones(1, np.int32)
    address, count = np.array([of(good)], np.uint64), np.array([4], np.uint64)
    Kernels(Cpu()).finite("float32", of(address), of(count), 1, 4, of(flag))
    assert flag[0] == 1


# ---- what ships ----


def test_the_ptx_has_the_sources_kernels_with_their_arguments() -> None:
    """That it is made of this very source is compared where NVRTC can be had."""
    source, ptx = SOURCE.read_text(), PTX.read_text()
    assert set(NAMES) == set(re.findall(r"\.visible \.entry (\w+)\(", ptx))
    assert set(re.findall(r"^(?:STORE\((\d+)|KERNEL (\w+)\()", source, re.MULTILINE)) == {
        *((size, "") for size in ("16", "4", "1")), *(("", name) for name in NAMES if not name.startswith("store"))
    }  # fmt: skip
    for name, count in (("store_16", 14), ("look_up_i8", 7), ("finite_f16", 4)):
        assert len(re.findall(rf"\.param \.\w+ {name}_param_\d+[,\n]", ptx)) == count


def test_arguments_are_as_wide_as_the_kernels_take_them() -> None:
    """Every one is 64 bits: a pointer, a size or a long long."""

    class Widths(Cpu):
        def launch(self, kernel: str, grid: int, block: int, arguments: Sequence[Any]) -> None:
            assert {ctypes.sizeof(each) for each in arguments} == {8}
            assert len(arguments) == len(re.findall(rf"\.param \.u64 {kernel}_param_\d+[,\n]", PTX.read_text()))
            super().launch(kernel, grid, block, arguments)

    cpu = Widths()
    kernels, flag = Kernels(cpu), np.zeros(1, np.int32)
    ring, rows = stack(1, (4, 4), "float32", 0)
    kernels.store(rows, rows, slice(0, 1), of(flag), 0, of(flag))
    kernels.look_up(of(ring), "float32", 0, 4, 4, of(flag), 1, of(np.zeros(4, np.float32)))
    sizes = np.array([4], np.uint64)
    kernels.finite("float32", of(np.array([of(ring)], np.uint64)), of(sizes), 1, 4, of(flag))
    assert len(cpu.launched) == 3
