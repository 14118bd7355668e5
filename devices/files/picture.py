"""Pictures as people see them: upright, opaque, in a plain screen's colours, with bars around them.

Receives a decoded frame and the shape of its pixels; hands on :class:`Letterbox`, through which every picture passes
before a model sees it: of films, stills and live cameras alike.

Choices. What the file says of its frames is done: turns and mirrors (of the nearest quarter turn), the shape of
pixels, HDR and wide gamuts. What is clear shows the bars, which are black. Scaling comes first wherever that changes
nothing, because it leaves less to convert.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from edge_streamer.devices.files.colour import (
    BT709,
    BT2020,
    HLG,
    PQ,
    UNNAMED,
    Picture,
    is_plain,
    to_srgb,
    why_unreadable,
)
from edge_streamer.runtime.errors import MediaError

HIGH_DEFINITION = 720
"""Films at least this high that do not name their colours use BT.709, as players assume; smaller ones BT.601."""

Turn = tuple[bool, bool, bool]
"""How a stored picture becomes upright: swap rows and columns, then turn the order of rows, then that of columns."""

_QUARTERS: tuple[Turn, ...] = (False, False, False), (True, True, False), (False, True, True), (True, False, True)
"""No turn, and one, two and three quarters of one, counterclockwise."""


class Letterbox:
    """Fits frames of any size into ``size`` (height, width), with black bars.

    ``name`` is what a fault is told of. A call raises MediaError for colours that cannot be read.
    """

    def __init__(self, size: tuple[int, int], pixel_aspect: Fraction | None = None, name: str = "the picture") -> None:
        self._size, self._name = size, name
        self._pixel_aspect = Fraction(pixel_aspect) if pixel_aspect else Fraction(1)
        self._scaler, self._opener = VideoReformatter(), VideoReformatter()  # each remembers its last conversion

    def __call__(self, frame: Any) -> Picture:
        """A PyAV frame as RGB [height, width, 3]."""
        swapped, upside_down, mirrored = _turn(frame)
        shown = (frame.width * self._pixel_aspect, Fraction(frame.height))
        top, left, height, width = fit(shown[::-1] if swapped else shown, self._size)
        if why := why_unreadable(frame.colorspace, frame.color_trc):
            raise MediaError(f"{self._name}: {why}; convert it to SDR in BT.709 (H.264)")
        if _has_alpha(frame.format.name):
            frame = self._opaque(frame)
        picture = self._scaled(frame, *((width, height) if swapped else (height, width)))
        picture = picture.transpose(1, 0, 2) if swapped else picture
        out = np.zeros((*self._size, 3), np.uint8)
        out[top : top + height, left : left + width] = picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
        return out

    def _scaled(self, frame: Any, height: int, width: int) -> Picture:
        """An opaque frame as sRGB of this size."""
        shrinks = height * width < frame.height * frame.width
        how = Interpolation.AREA if shrinks else Interpolation.BICUBIC
        return _srgb(self._scaler, frame, "rgb24", "rgb48le", height=height, width=width, interpolation=how)

    def _opaque(self, frame: Any) -> Any:
        """``frame`` laid on black. Before scaling: the hidden colour of what is clear must not run into the rest."""
        clear = Image.fromarray(_srgb(self._opener, frame, "rgba", "rgba64le")).convert("RGBa")  # colours times alpha
        return av.VideoFrame.from_ndarray(np.asarray(clear), format="rgba")  # its alpha is not looked at again


def fit(shown: tuple[Fraction, Fraction], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a picture of ``shown`` (width, height) lies in ``size`` (height, width): top, left, height, width.

    >>> fit((Fraction(1920), Fraction(1080)), (96, 96))
    (21, 0, 54, 96)
    """
    scale = min(size[1] / shown[0], size[0] / shown[1])
    height, width = max(round(shown[1] * scale), 1), max(round(shown[0] * scale), 1)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def _srgb(reformatter: VideoReformatter, frame: Any, form: str, deep_form: str, **scaling: Any) -> Picture:
    """``frame`` in the format ``form``; by way of ``deep_form``, of 16 bits, where its colours are not sRGB's."""
    plain = is_plain(frame.color_trc, frame.color_primaries)
    converted = reformatter.reformat(_named(frame), format=form if plain else deep_form, threads=1, **scaling)
    picture: Any = converted.to_ndarray()
    if plain:
        return np.asarray(picture, np.uint8)
    colours = to_srgb(picture[..., :3], frame.color_trc, frame.color_primaries)
    return np.concatenate([colours, (picture[..., 3:] >> 8).astype(np.uint8)], axis=2)


def _turn(frame: Any) -> Turn:
    """What the frame's display matrix does. (x, y) is shown at (a x + c y, b x + d y), y downwards."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # a PyAV older than its FFmpeg stops at other data beside it, such as EXIF; it knows the turn
        return _QUARTERS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32, 5).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def _named(frame: Any) -> Any:
    """``frame``, which now names the matrix by which its colours are read if it did not."""
    if frame.colorspace == UNNAMED and (frame.color_trc in (PQ, HLG) or frame.color_primaries == BT2020):
        frame.colorspace = BT2020
    elif frame.colorspace == UNNAMED and frame.height >= HIGH_DEFINITION:
        frame.colorspace = BT709
    return frame


@lru_cache(maxsize=64)
def _has_alpha(form: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(form).components)
