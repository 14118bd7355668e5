"""Whether this processor's products of 8-bit integers overflow: asked, not guessed.

x86 processors without VNNI multiply unsigned and signed integers with an instruction that adds pairs of products in 16
bits and cuts what does not fit: 255 x 127 twice is 64770, and 32767 comes out. ONNX Runtime takes it for its speed and
says nothing (its `session.x64quantprecision` turns the weights unsigned, whose products are exact; on processors that
need it not it costs twice the time). Every result of a quantized bundle is then wrong by a tenth and more, so the
engine asks.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime as ort

ROWS, INNER, COLUMNS = 4, 8, 16
EXACT = 255 * 127 * INNER
PRODUCT = (
    b'\x08\n:\xf4\x01\n \n\x01x\n\x01w\n\x02x0\n\x02w0\x12\x01y"\x0dMatMulInteger\x12\x01g'
    b"*\x8c\x01\x08\x08\x08\x10\x10\x03B\x01wJ\x80\x01" + b"\x7f" * INNER * COLUMNS
    + b"*\t\x10\x02B\x02x0J\x01\x00*\t\x10\x03B\x02w0J\x01\x00"
    b"Z\x13\n\x01x\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02\x08\x04\n\x02\x08\x08"
    b"b\x13\n\x01y\x12\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x04\n\x02\x08\x10B\x04\n\x00\x10\x15"
)  # fmt: skip
"""An ONNX model, for onnx is not on a device: x (uint8, 4 x 8) times 127 (int8, 8 x 16), with both zero
points: where one is left out, ONNX Runtime 1.23.2 dies of the setting. A test makes it anew."""


@cache
def products_overflow() -> bool:
    """Whether the largest product comes out wrong."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
    (came,) = session.run(None, {"x": np.full((ROWS, INNER), 255, np.uint8)})
    return bool((came != EXACT).any())
