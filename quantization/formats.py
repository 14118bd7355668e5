"""Number formats of weights, and how a matrix is put on their grid.

Receives float32 matrices [inputs, outputs]; hands on :class:`Codes`: numbers on the grid, their scales, and the floats
that an engine will compute with. All are what `DequantizeLinear` reads, with zero points 0, which is all that TensorRT
allows:

    int8    -127..127, a scale per output
    int4    -7..7, a scale per output and block of 32 inputs
    fp8     E4M3, -448..448, a scale per output
    nvfp4   E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), a scale per output and block of 16 inputs, which is
            itself an E4M3 number times one float of the whole matrix
    fp16, bf16   IEEE half precision and the upper half of a float, no scales

-128 and -8 are left out: a grid that is even around zero never turns a weight's sign into a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.errors import InputError

Matrix = NDArray[np.float32]
SMALLEST_SCALE = np.float32(1e-12)
"""Of a column of zeros: a scale of 0 would make its neighbours in a kernel divide by it."""
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E4M3_LARGEST, E4M3_SMALLEST = 448.0, 2.0**-9


@dataclass(frozen=True)
class Format:
    """A number format."""

    name: str
    largest: int
    """Magnitude."""
    bits: int
    block: int | None = None
    """Inputs that share a scale; None for all of them."""
    dtype: np.dtype[Any] = np.dtype(np.int8)  # noqa: RUF009
    """Holds a code."""
    small_scales: bool = False
    """Scales are E4M3 numbers times one float."""

    @property
    def halves(self) -> bool:
        """Has no scales: a float of 16 bits."""
        return self.bits == 16

    def bytes(self, inputs: int, outputs: int) -> int:
        """Of a matrix in this format: codes and scales."""
        count = 0 if self.halves else outputs * (inputs // self.block if self.block else 1)
        return inputs * outputs * self.bits // 8 + (count + 4 if self.small_scales else 4 * count)

    def nearest(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """The codes nearest to ``numbers``, cut at the largest, as floats."""
        cut = np.clip(numbers, -self.largest, self.largest)
        rounded = np.round(cut) if self.dtype.kind == "i" else cut.astype(self.dtype)
        return np.asarray(rounded, numbers.dtype)


INT8 = Format("int8", 127, bits=8)
INT4 = Format("int4", 7, bits=4, block=32)
FP8 = Format("fp8", 448, bits=8, dtype=E4M3)
NVFP4 = Format("nvfp4", 6, bits=4, block=16, dtype=np.dtype(ml_dtypes.float4_e2m1fn), small_scales=True)
FP16 = Format("fp16", 65504, bits=16, dtype=np.dtype(np.float16))
BF16 = Format("bf16", 2**127, bits=16, dtype=np.dtype(ml_dtypes.bfloat16))


@dataclass(frozen=True)
class Codes:
    """A matrix in a format with scales."""

    format: Format
    values: NDArray[Any]
    """[inputs, outputs], a code each, in the format's dtype; a byte each also where it has four bits."""
    scales: Matrix
    """[blocks, outputs]"""
    unit: np.float32 | None = None
    """Of the scales, where they are small: scales are E4M3 numbers times this."""

    @property
    def block(self) -> int:
        """Inputs that share a scale."""
        return len(self.values) // len(self.scales)

    def floats(self) -> Matrix:
        """What an engine computes with: codes times scales, [inputs, outputs]."""
        return np.asarray(self.values.astype(np.float32) * np.repeat(self.scales, self.block, 0), np.float32)

    def small_scales(self) -> NDArray[Any]:
        """The scales in E4M3, [blocks, outputs]; times ``unit`` they are ``scales``."""
        assert self.unit is not None
        return (self.scales / self.unit).astype(E4M3)


def in_half(weight: Matrix, format: Format, name: str) -> NDArray[Any]:
    """``weight`` of layer ``name`` in a float of 16 bits. InputError where a number is beyond its range."""
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= format.largest:
        raise InputError(f"a weight of {name} is {largest:g}; {format.name} ends at {format.largest}: use bf16 or int8")
    return weight.astype(format.dtype)


def fits(inputs: int, format: Format) -> bool:
    """Whether a matrix with so many inputs divides into the format's blocks."""
    return format.block is None or inputs % format.block == 0


def unit_of(weight: Matrix, format: Format) -> np.float32 | None:
    """The float that all small scales of ``weight`` are multiples of, such that the largest is E4M3's largest; None
    where scales are floats themselves."""
    if not format.small_scales:
        return None
    largest = float(np.abs(weight).max(initial=0.0)) / format.largest
    unit: np.float32 = np.float32(max(largest / E4M3_LARGEST, float(SMALLEST_SCALE)))
    return unit


def allowed(scales: Matrix, unit: np.float32 | None) -> Matrix:
    """``scales``, or with a ``unit`` the nearest that can be written; never 0."""
    if unit is None:
        return scales
    small = np.clip(scales / unit, E4M3_SMALLEST, E4M3_LARGEST).astype(E4M3).astype(np.float32)
    return np.asarray(small * unit, np.float32)


def scales_of(weight: Matrix, format: Format) -> Matrix:
    """[blocks, outputs]: the largest weight of each block takes the largest code. InputError where a weight is not
    finite, ValueError where blocks do not divide the inputs."""
    if not np.isfinite(weight).all():
        raise InputError("a weight is NaN or infinite; export the bundle again from weights that are not damaged")
    inputs, outputs = weight.shape
    if not fits(inputs, format):
        raise ValueError(f"{inputs} inputs do not divide into blocks of {format.block}")
    grouped = np.abs(weight).reshape(-1, format.block or inputs, outputs)
    return np.asarray(np.maximum(grouped.max(1) / np.float32(format.largest), SMALLEST_SCALE), np.float32)


def to_nearest(weight: Matrix, format: Format, scales: Matrix | None = None) -> Codes:
    """``weight`` rounded to the nearest code. ``scales`` default to :func:`scales_of`."""
    unit = unit_of(weight, format)
    chosen = allowed(scales_of(weight, format) if scales is None else scales, unit)
    codes = format.nearest(weight / np.repeat(chosen, len(weight) // len(chosen), 0))
    return Codes(format, codes.astype(format.dtype), chosen, unit)


def packed(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Four-bit codes two a byte, the first in the low half, as ONNX stores INT4 and FLOAT4E2M1."""
    flat = np.ascontiguousarray(codes).reshape(-1).view(np.uint8) & 15
    if len(flat) % 2:
        flat = np.append(flat, np.uint8(0))
    return np.asarray(flat[0::2] | (flat[1::2] << 4), np.uint8)
