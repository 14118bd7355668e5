"""Integer formats of weights, and how a matrix is put on their grid.

Receives float32 matrices [inputs, outputs]; hands on :class:`Codes`: integers, their scales, and the floats that an
engine will compute with. Both integer formats are what `DequantizeLinear` of opset 21 reads, with zero points 0, which
is all that TensorRT allows:

    int8   -127..127, a scale per output
    int4   -7..7, a scale per output and block of inputs
    fp16   IEEE half precision, no scales

-128 and -8 are left out: a grid that is even around zero never turns a weight's sign into a bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.errors import InputError

Matrix = NDArray[np.float32]
SMALLEST_SCALE = np.float32(1e-12)
"""Of a column of zeros: a scale of 0 would make its neighbours in a kernel divide by it."""


@dataclass(frozen=True)
class Format:
    """A number format."""

    name: str
    largest: int
    """Magnitude."""
    bits: int
    block: int | None = None
    """Inputs that share a scale; None for all of them."""

    def bytes(self, inputs: int, outputs: int) -> int:
        """Of a matrix in this format: codes, and float32 scales where they are integers."""
        scales = 0 if self.bits == 16 else outputs * (inputs // self.block if self.block else 1)
        return inputs * outputs * self.bits // 8 + 4 * scales


INT8 = Format("int8", 127, bits=8)
INT4 = Format("int4", 7, bits=4, block=32)
FP16 = Format("fp16", 65504, bits=16)


@dataclass(frozen=True)
class Codes:
    """A matrix in an integer format."""

    format: Format
    integers: NDArray[np.int8]
    """[inputs, outputs], also where the format has four bits."""
    scales: Matrix
    """[blocks, outputs]"""

    @property
    def block(self) -> int:
        """Inputs that share a scale."""
        return len(self.integers) // len(self.scales)

    def floats(self) -> Matrix:
        """What an engine computes with: integers times scales, [inputs, outputs]."""
        return np.asarray(self.integers * np.repeat(self.scales, self.block, 0), np.float32)


def halves(weight: Matrix, name: str) -> NDArray[np.float16]:
    """``weight`` of layer ``name`` in half precision. InputError where a number is beyond its range."""
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= FP16.largest:
        raise InputError(f"a weight of {name} is {largest:g}; half precision ends at {FP16.largest}: use bf16 or int8")
    return weight.astype(np.float16)


def fits(inputs: int, format: Format) -> bool:
    """Whether a matrix with so many inputs divides into the format's blocks."""
    return format.block is None or inputs % format.block == 0


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
    chosen = scales_of(weight, format) if scales is None else scales
    block = len(weight) // len(chosen)
    codes = np.clip(np.round(weight / np.repeat(chosen, block, 0)), -format.largest, format.largest)
    return Codes(format, codes.astype(np.int8), chosen)


def packed(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Four-bit codes two a byte, the first in the low half, as ONNX stores INT4."""
    flat = integers.reshape(-1)
    if len(flat) % 2:
        flat = np.append(flat, np.int8(0))
    return ((flat[0::2] & 15) | ((flat[1::2] & 15) << 4)).astype(np.uint8)
