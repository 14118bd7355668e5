"""Colours of films and stills as a plain screen shows them: HDR, wide gamuts and linear light become sRGB.

Receives RGB pictures and the numbers by which their file names its colours (ITU-T H.273); hands on 8-bit pictures.

Choices. White is at 203 cd/m2, as in BT.2408, and what is brighter is cut: a phone's HDR film looks like its SDR film.
The system gamma of HLG (1.2, a display of 1000 cd/m2) acts on each channel, as zimg does it, which makes and converts
most such films; on luminance, as BT.2100 has it, the same files would come out paler by up to 27 of 255 levels. The
small differences between the primaries of BT.601 and BT.709 are passed over, as players do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

BT709, UNNAMED, BT601, BT2020 = 1, 2, 6, 9
"""Numbers of H.273 that stand for the same in all three of its tables."""

LINEAR, LOG, LOG_SQRT, PQ, HLG, V_LOG = 8, 9, 10, 16, 18, 256
"""Transfer curves by their number, V_LOG by FFmpeg's. Those not named here are close enough to sRGB's."""

PLAIN_MATRICES = frozenset({0, 1, 2, 3, 4, 5, 6, 7, BT2020})
"""How brightness and colour differences make RGB: those that FFmpeg converts."""

WHITE = 203
"""cd/m2 of what is white in SDR."""

HLG_PEAK = 1000
"""cd/m2 of the display that HLG is made for."""

LEVELS = 1 << 16

_ENCODED = 1 << 14
"""Steps of linear light that are told apart: less than one of 8 bits, in the dark too."""

_FROM_P3 = ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274))
_TO_BT709 = {
    BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    11: _FROM_P3,  # as projectors have it; its own white is taken for white
    12: _FROM_P3,
}
"""Linear RGB of other primaries, by their number, to those of BT.709."""


def is_plain(transfer: int, primaries: int) -> bool:
    """Whether a picture with these numbers can be shown as it is."""
    return transfer not in (LINEAR, PQ, HLG) and primaries not in _TO_BT709


def why_unreadable(matrix: int, transfer: int) -> str:
    """What is wrong with such colours; empty where nothing is."""
    if transfer in (LOG, LOG_SQRT, V_LOG):
        return f"its brightness is on a logarithmic curve (transfer {transfer}), which is not read"
    if matrix not in PLAIN_MATRICES:
        return f"its colours are in a form (matrix {matrix}) that is not read"
    return ""


def to_srgb(picture: NDArray[np.uint16], transfer: int, primaries: int) -> Picture:
    """RGB [height, width, 3] of 16 bits as sRGB of 8."""
    light = _light(transfer)[picture]
    if primaries == UNNAMED and transfer in (PQ, HLG):
        primaries = BT2020
    if primaries in _TO_BT709:
        light = light @ np.array(_TO_BT709[primaries], np.float32).T
    steps = np.clip(light, 0, 1) * np.float32(_ENCODED) + np.float32(0.5)
    shown: Picture = _encoded()[steps.astype(np.int32)]
    return shown


@lru_cache(maxsize=4)
def _light(transfer: int) -> NDArray[np.float32]:
    """Linear light of each level; 1 is white."""
    level = np.arange(LEVELS) / (LEVELS - 1)
    light: NDArray[Any]
    if transfer == PQ:
        root = level ** (32 / 2523)
        light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305) * 10_000 / WHITE
    elif transfer == HLG:
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
        light = scene**1.2 * HLG_PEAK / WHITE
    elif transfer == LINEAR:
        light = level
    else:
        light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _encoded() -> Picture:
    """sRGB's 8 bits for each step of linear light."""
    light = np.arange(_ENCODED + 1) / _ENCODED
    level = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: Picture = np.rint(255 * level).astype(np.uint8)
    return levels
