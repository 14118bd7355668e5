"""Launches of the kernels: rows to a ring's places, tokens to embedding rows, the look for what is not finite.

Receives addresses on the device and sizes; puts launches on the stream. What the kernels do, and what their arguments
mean, stands in ``kernels.cu`` beside this file; what the driver loads is ``kernels.ptx``, made of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PTX = Path(__file__).resolve().with_name("kernels.ptx")
BLOCK = 256
"""Threads of a block."""
MOST_BLOCKS = 1024
"""Of a grid; a kernel's loop strides over the rest. More than any board has room for at once."""
PIECES = (16, 4, 1)
"""Bytes that one thread moves at a time."""
LOOK_UPS = {"float32": "look_up_f32", "float16": "look_up_f16", "int8": "look_up_i8"}
"""By the dtype of a table."""
LOOKS = {"float32": "finite_f32", "float16": "finite_f16"}
"""By the dtype of what is looked at."""

Argument = Any
"""A ctypes value, as the kernel takes it."""


class Launcher(Protocol):
    """Of :class:`~edge_streamer.runtime.engines.cuda.driver.Cuda`, what launches need."""

    def load_module(self, ptx: bytes) -> Any:
        """What ``function`` finds kernels in."""

    def function(self, module: Any, name: str) -> Any:
        """A kernel, as ``launch`` takes it."""

    def launch(self, kernel: Any, grid: int, block: int, arguments: Sequence[Argument]) -> None:
        """Put a launch on the stream."""


class Rows(NamedTuple):
    """Rows of a stack: ``buffers`` times [outer, places, row_bytes], ``step`` bytes apart."""

    address: int
    step: int
    buffers: int
    outer: int
    places: int
    row_bytes: int


class Kernels:
    """The kernels, loaded into one device."""

    def __init__(self, cuda: Launcher):
        self._cuda = cuda
        self._module = cuda.load_module(PTX.read_bytes())
        self._found: dict[str, Any] = {}

    def _launch(self, name: str, threads: int, *arguments: Argument) -> None:
        if name not in self._found:
            self._found[name] = self._cuda.function(self._module, name)
        grid = min(max(1, -(-threads // BLOCK)), MOST_BLOCKS)
        self._cuda.launch(self._found[name], grid, BLOCK, arguments)

    def store(self, ring: Rows, appended: Rows, rows: slice, first: int, place: int, fault: int) -> None:
        """Of every buffer of ``appended`` the ``rows`` (a slice with both ends) to the places of ``ring`` from
        ``first[0] + place`` on; ``first``, ``fault``: addresses of an int32."""
        count = rows.stop - rows.start
        divided = (ring.row_bytes, ring.address, ring.step, appended.address, appended.step)
        piece = next(size for size in PIECES if all(number % size == 0 for number in divided))
        self._launch(
            f"store_{piece}", ring.buffers * ring.outer * count * ring.row_bytes // piece,
            _address(ring.address), _size(ring.step), _address(appended.address), _size(appended.step),
            _size(ring.buffers), _size(ring.outer), _size(ring.places), _size(appended.places), _size(ring.row_bytes),
            _size(rows.start), _size(count), _address(first), ctypes.c_int64(place), _address(fault),
        )  # fmt: skip

    def look_up(
        self, table: int, dtype: str, scales: int, rows: int, width: int, tokens: int, count: int, out: int
    ) -> None:
        """``table`` [rows, width] of ``dtype``, ``scales`` [rows] float32 (0 where there are none), ``tokens`` [count]
        int32, ``out`` [count, width] float32: addresses."""
        self._launch(
            LOOK_UPS[dtype], count * width, _address(table), _address(scales), _size(rows), _size(width),
            _address(tokens), _size(count), _address(out),
        )  # fmt: skip

    def finite(self, dtype: str, addresses: int, counts: int, pieces: int, numbers: int, flag: int) -> None:
        """``addresses``, ``counts`` [pieces] uint64 and ``flag`` int32: addresses on the device. ``numbers``: of all
        pieces together."""
        self._launch(LOOKS[dtype], numbers, _address(addresses), _address(counts), _size(pieces), _address(flag))


def _address(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)


def _size(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)
