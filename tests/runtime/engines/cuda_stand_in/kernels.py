"""The kernels as numpy, for the stand-in of the driver: which memory each touches, and what it does.

Hands on ``KERNELS``: name -> what takes a launch's arguments and gives the spans that it touches, and the work. The
kernels' own source, compiled for this CPU, does the same (:func:`compiled_kernels`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from tests.runtime.engines.cuda_stand_in.space import Span, Violation

Kernel = Callable[..., tuple[list[Span], Callable[[], object]]]


def at(address: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> Array:
    """Memory of this process, as an array."""
    size = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if strides else 0
    size = max(size + np.dtype(dtype).itemsize, int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
    raw = (ctypes.c_uint8 * size).from_address(address)
    return np.ndarray(shape, dtype, memoryview(raw), 0, strides)  # type: ignore[arg-type]


def store(
    piece: int, ring: int, ring_step: int, appended: int, appended_step: int, count: int, outer: int, places: int,
    rows_there: int, row_bytes: int, start: int, rows: int, first: int, place: int, fault: int,
) -> tuple[list[Span], Callable[[], object]]:  # fmt: skip
    if any(number % piece for number in (ring, ring_step, appended, appended_step, row_bytes)):
        raise Violation(f"store_{piece}: an address or a size is no multiple of {piece}: misaligned")
    if start + rows > rows_there:
        raise Violation(f"store_{piece}: rows {start} to {start + rows} of {rows_there}")

    def do() -> None:
        to = int(at(first, (1,), np.int32)[0]) + place
        if not 0 <= to <= places - rows:
            at(fault, (1,), np.int32)[0] = 1
            return
        forms = ((ring, ring_step, places), (appended, appended_step, rows_there))
        into, of = (
            at(address, (count, outer, there, row_bytes), np.uint8, (step, there * row_bytes, row_bytes, 1))
            for address, step, there in forms
        )
        into[:, :, to : to + rows] = of[:, :, start : start + rows]

    spans = [
        Span(ring, (count - 1) * ring_step + outer * places * row_bytes),
        Span(appended, (count - 1) * appended_step + outer * rows_there * row_bytes),
        Span(first, 4),
        Span(fault, 4),
    ]
    return spans, do


def look_up(
    dtype: str, table: int, scales: int, rows: int, width: int, tokens: int, n: int, out: int
) -> tuple[list[Span], Callable[[], object]]:
    def do() -> None:
        numbers, into = at(tokens, (n,), np.int32), at(out, (n, width), np.float32)
        stored = at(table, (rows, width), dtype)
        for number, row in zip(numbers.tolist(), into, strict=True):
            row[:] = stored[number] if 0 <= number < rows else 0
            if scales and 0 <= number < rows:
                row *= at(scales, (rows,), np.float32)[number]

    spans = [Span(table, rows * width * np.dtype(dtype).itemsize), Span(tokens, 4 * n), Span(out, 4 * n * width)]
    return spans + ([Span(scales, 4 * rows)] if scales else []), do


def finite(dtype: str, addresses: int, counts: int, n: int, flag: int) -> tuple[list[Span], Callable[[], object]]:
    """What is looked at stands in the device's memory, and is there when the work is done."""

    def do() -> None:
        for address, count in zip(at(addresses, (n,), np.uint64), at(counts, (n,), np.uint64), strict=True):
            if not np.isfinite(at(int(address), (int(count),), dtype)).all():
                at(flag, (1,), np.int32)[0] = 1

    return [Span(addresses, 8 * n), Span(counts, 8 * n), Span(flag, 4)], do


KERNELS: dict[str, Kernel] = {
    **{f"store_{piece}": partial(store, piece) for piece in (16, 4, 1)},
    "look_up_f32": partial(look_up, "float32"),
    "look_up_f16": partial(look_up, "float16"),
    "look_up_i8": partial(look_up, "int8"),
    "finite_f32": partial(finite, "float32"),
    "finite_f16": partial(finite, "float16"),
}


def compiled_kernels() -> dict[str, Kernel]:
    """The source that a device runs, compiled for this CPU. Skips the test where there is no compiler."""
    from tests.runtime.engines.cuda_kernels.cpu import compiled, pointers

    launches = compiled()

    def kernel(name: str, *values: int) -> tuple[list[Span], Callable[[], object]]:
        arguments = [ctypes.c_int64(value) for value in values]
        return KERNELS[name](*values)[0], lambda: launches[name](pointers(arguments), 512)

    return {name: partial(kernel, name) for name in KERNELS}
