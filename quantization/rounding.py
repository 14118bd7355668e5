"""Codes that err least where the layer's inputs are large.

Receives a weight matrix and what was seen of its inputs (the sum of x x^T over calibration); hands on codes. The error
that counts is that of the layer's output, ||x (W - Q)||^2 = tr((W - Q)^T H (W - Q)) with H = sum of x x^T.

- :func:`compensated`: GPTQ (arXiv 2210.17323): inputs are rounded one after the other, each rounding's error is made
  good by those that are still float, as far as H says they can stand in for each other. A block's scale is searched for
  at its beginning (:func:`clipped`).
- :func:`migrated`: AWQ (arXiv 2306.00978): channels whose inputs are large are scaled up before rounding and down
  after it, by a power of their size that is searched for; the caller folds the scale into what makes the inputs.
- :func:`input_range`: where inputs are cut, if their range is to be a constant.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_streamer.quantization.formats import Codes, Format, Matrix, allowed, scales_of, to_nearest, unit_of
from edge_streamer.quantization.vocabulary import Estimator

DAMPING = 0.01
"""Added to H's diagonal, against its mean: directions that calibration never saw must not be rounded at will."""
LAZY = 64
"""Inputs whose corrections to later ones are gathered into one product."""
SHARES = np.linspace(1.0, 0.6, 9)
"""Of the scale that cuts nothing, tried by :func:`clipped`."""
RANGES = np.linspace(1.0, 0.1, 46)
"""Of the largest input, tried by :func:`input_range`."""
PERCENTILE = 99.99
"""Of the inputs' magnitudes, by :func:`input_range`."""
POWERS = np.linspace(0.0, 1.0, 11)
"""Of the inputs' size, tried by :func:`migrated`."""


def output_error(weight: Matrix, codes: Codes, seen: NDArray[np.float64]) -> float:
    """||x (W - Q)||^2 / ||x W||^2 over the calibration that ``seen`` [inputs, inputs] sums up."""
    return share_lost(weight, weight - codes.floats(), seen)


def share_lost(weight: Matrix, lost: Matrix, seen: NDArray[np.float64]) -> float:
    """||x L||^2 / ||x W||^2"""
    return _energy(lost, seen) / max(_energy(weight, seen), 1e-30)


def _energy(matrix: Matrix, seen: NDArray[np.float64]) -> float:
    """||x M||^2"""
    wide = matrix.astype(np.float64)
    return float(np.sum(wide * (seen @ wide)))


def compensated(weight: Matrix, format: Format, seen: NDArray[np.float64]) -> Codes:
    """GPTQ. An input that was always zero keeps its nearest code."""
    inputs = len(weight)
    damped = seen + DAMPING * max(float(np.mean(np.diag(seen))), 1e-12) * np.eye(inputs)
    # The upper factor of H's inverse: row i says how an error in input i is made good by those after it.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, block, unit = weight.astype(np.float64), format.block or inputs, unit_of(weight, format)
    scales = np.empty((inputs // block, weight.shape[1]), np.float32)
    codes = np.empty(weight.shape, np.float32)
    if format.block is None:
        scales[0] = scales_of(weight, format)[0]
    for begin in range(0, inputs, LAZY):
        end = min(begin + LAZY, inputs)
        errors = np.empty((end - begin, weight.shape[1]))
        for i in range(begin, end):
            if format.block is not None and i % block == 0:
                rows = slice(i, i + block)
                cost = 1 / np.diag(upper)[rows] ** 2
                scales[i // block] = clipped(left[rows].astype(np.float32), format, cost, unit)
            scale = scales[i // block]
            codes[i] = format.nearest(left[i] / scale)
            errors[i - begin] = (left[i] - codes[i] * scale) / upper[i, i]
            left[i:end] -= np.outer(upper[i, i:end], errors[i - begin])
        left[end:] -= upper[begin:end, end:].T @ errors
    return Codes(format, codes.astype(format.dtype), scales, unit)


def clipped(weight: Matrix, format: Format, cost: NDArray[np.float64], unit: np.float32 | None = None) -> Matrix:
    """The scales [outputs] of one block that err least, ``cost`` [inputs] being the price of a squared error: with few
    codes it pays to cut the largest weight and have finer steps for all. ``unit`` as in :class:`Codes`."""
    widest = scales_of(weight, replace(format, block=None))[0]
    tried = np.stack([allowed(widest * np.float32(share), unit) for share in SHARES])
    codes = format.nearest(weight / tried[:, None])
    errors = np.einsum("i,sio->so", cost, np.square(codes * tried[:, None] - weight))
    return np.asarray(tried[np.argmin(errors, 0), np.arange(weight.shape[1])], np.float32)


def input_range(largest: float, sample: Matrix, estimator: Estimator, format: Format) -> float:
    """The input that takes the largest code, by one of three estimators: the ``largest`` that came; the PERCENTILE of
    all that came; or the one with which a ``sample`` [rows, inputs] errs least, cut inputs and rounded ones together.
    """
    if estimator == "largest" or not sample.size:
        return largest
    size = np.abs(sample)
    if estimator == "percentile":
        return float(np.percentile(size, PERCENTILE))
    tried = largest * RANGES
    steps = (tried / format.largest).astype(np.float32)
    errors = [float(np.square(format.nearest(size / step) * step - size).sum(dtype=np.float64)) for step in steps]
    return float(tried[int(np.argmin(errors))])


def smoothed(weight: Matrix, largest: Matrix, share: float) -> Matrix:
    """SmoothQuant's scale [inputs] (arXiv 2211.10438): weights are multiplied by it and inputs divided, so that both
    have about the same range per input. ``largest`` [inputs]: of the inputs' magnitudes."""
    rows = np.maximum(np.abs(weight).max(1), 1e-5)
    scale = np.maximum(largest, 1e-5) ** share / rows ** (1 - share)
    return np.asarray(scale / np.sqrt(scale.max() * scale.min()), np.float32)


def migrated(weight: Matrix, format: Format, seen: NDArray[np.float64]) -> Matrix:
    """The scale [inputs] by which AWQ multiplies weights before rounding, and divides inputs; 1 where nothing helps."""
    size = np.sqrt(np.maximum(np.diag(seen), 1e-12))
    best, least = np.ones(len(weight), np.float32), np.inf
    for power in POWERS:
        scale = size**power
        scale = (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)
        codes = to_nearest(weight * scale[:, None], format)
        error = _energy(weight - codes.floats() / scale[:, None], seen)
        if error < least:
            best, least = scale, error
    return best
