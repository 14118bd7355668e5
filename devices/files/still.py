"""Stills: photos and drawings, as one frame that is upright and in sRGB.

Receives a path; hands on a PyAV frame for what is a still, and nothing for a film. JPEG, PNG, WebP, TIFF and their
like are read by Pillow, which knows EXIF and ICC profiles; HEIC and AVIF by their boxes; what neither knows (DPX, EXR)
is left to the reader of films.

Choices. Stills that are larger than any model sees are made smaller while they are read. A profile that cannot be used
is passed over, as browsers do. Dots per inch are for paper; only a shape of pixels that is named as such counts.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.Image import Transpose

from edge_streamer.devices.files.colour import is_plain
from edge_streamer.devices.files.completeness import why_incomplete
from edge_streamer.devices.files.container import Stream
from edge_streamer.devices.files.heif import MOST_PIXELS, is_heif_still, read_heif
from edge_streamer.runtime.errors import MediaError

LARGEST = 2048
"""Pixels on a side: more than models see."""

MOST_OBLONG = 8
"""Pixels more oblong than this are a mistake in the file."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA", "PCX", "SGI", "ICO", "QOI")
"""What Pillow reads here. Not EPS and its like, which other programs would run."""

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip
"""What makes a picture upright, by EXIF's orientation."""

_ORIENTATION = 0x0112

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of damage is raised too, and told once


def read_still(path: Path) -> Iterator[tuple[Fraction, Any]] | None:
    """The picture in ``path``, shown from second 0 on; None where it is a film, or a still that only the reader of
    films reads. An animated WebP has several, each with its second.

    Raises MediaError, some only where the first one is taken, for a file that is missing, empty, truncated, damaged, or
    in a form that is not read.
    """
    with suppress(OSError), path.open("rb") as file:  # what is no readable file, the next line tells
        if is_heif_still(file):
            return iter([(Fraction(0), _read_heif(path, file))])
    stream = Stream(path, "video")
    kind = stream.format_name
    stream.close()
    # FFmpeg calls stills by names such as png_pipe and image2; a row of JPEGs, which is a film for it, may be a photo
    # with its depth or the other eye's view behind it.
    if not kind.endswith("_pipe") and kind not in ("image2", "mjpeg"):
        return None
    with _pillow(path):
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            return None
    if (kind == "mjpeg" and image.format != "MPO") or _is_deep(path, image):
        image.close()
        return None
    return _frames(path, image)


def _frames(path: Path, image: Image.Image) -> Iterator[tuple[Fraction, Any]]:
    seconds = Fraction(0)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise MediaError(f"{path} has {image.width} x {image.height} pixels; wanted at most {MOST_PIXELS} of them")
        for index in range(getattr(image, "n_frames", 1) if image.format == "WEBP" else 1):
            with _pillow(path):
                image.seek(index)
                image.draft(None, (LARGEST, LARGEST))  # a JPEG can be read at a half, a quarter, an eighth of its size
                image.load()
                frame = _frame(_shown(image))
                duration = image.info.get("duration", 0)
            yield seconds, frame
            seconds += Fraction(duration) / 1000


@contextmanager
def _pillow(path: Path) -> Iterator[None]:
    """What Pillow says of a file, as a MediaError. Its own bound of pixels is lifted meanwhile: it has one for files
    from strangers, lower than what phones make, and this reader has another."""
    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MediaError:
        raise
    except Exception as error:  # Pillow's readers let out whatever a damaged file makes of them: struct.error, KeyError
        said = (str(error) or type(error).__name__).splitlines()[0]
        cut = "truncated" in said or isinstance(error, EOFError)
        raise MediaError(f"{path} is {'truncated' if cut else 'damaged'}: {said}; copy or save it again") from error
    finally:
        Image.MAX_IMAGE_PIXELS = bound


def _read_heif(path: Path, file: BinaryIO) -> Any:
    if why := why_incomplete(file):
        raise MediaError(f"{path} is truncated: {why}; copy or record it again")
    try:
        frame, profile = read_heif(file)
    except MediaError as error:
        raise MediaError(f"{path} {error}") from error
    if profile and frame.format.name in ("rgb24", "rgba"):
        return _frame(_in_srgb(Image.fromarray(frame.to_ndarray()), profile))
    return frame


def _is_deep(path: Path, image: Image.Image) -> bool:
    """Whether it is a PNG that names a curve or primaries other than sRGB's: Pillow does not look, FFmpeg does."""
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        head = file.read(1 << 16)
    at = head.partition(b"IDAT")[0].find(b"cICP")
    return at > 0 and len(head) > at + 5 and not is_plain(transfer=head[at + 5], primaries=head[at + 4])


def _frame(image: Image.Image) -> Any:
    return av.VideoFrame.from_ndarray(np.asarray(image), format={"RGB": "rgb24", "RGBA": "rgba"}[image.mode])


def _shown(image: Image.Image) -> Image.Image:
    """RGB or RGBA, upright, with square pixels, in sRGB, and no larger than is of use."""
    seen = _eight_bits(image)
    factor = max(image.size) // LARGEST
    if factor > 1:
        seen = seen.reduce(factor)
    seen = _in_srgb(seen, image.info.get("icc_profile"))
    across, down = image.info.get("aspect") or (1, 1)
    if image.info.get("jfif_unit") == 0:
        across, down = image.info.get("jfif_density", (1, 1))
    if across != down and across > 0 and down > 0 and max(across, down) <= MOST_OBLONG * min(across, down):
        seen = seen.resize((max(round(seen.width * across / down), 1), seen.height))
    turn = _TURNS.get(_orientation(image))
    return seen.transpose(turn) if turn is not None else seen


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1 where it has none, or none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as above: damaged EXIF lets out whatever it runs into, and the picture can be seen without it
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """In a mode whose channels have 8 bits: L, LA, RGB, RGBA or CMYK."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.float32)
        grey = Image.fromarray(np.clip(np.rint(levels / 257), 0, 255).astype(np.uint8))
        if isinstance(clear := image.info.get("transparency"), int):
            grey.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
        return grey
    if image.mode == "F":  # of 0 to 1
        return Image.fromarray(np.clip(np.rint(255 * np.nan_to_num(np.asarray(image))), 0, 255).astype(np.uint8))
    if image.mode == "I":
        raise ValueError("levels of 32 bits do not say what white is")
    if "transparency" in image.info or image.mode in ("PA", "RGBa", "La"):
        return image.convert("LA" if image.mode == "La" else "RGBA")
    return image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB or RGBA by the ICC profile, if it has one that can be used."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode[:-1]) if alpha else image
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):  # damaged, or of another kind of colours
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                colours, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )  # fmt: skip
            colours = converted or colours
    colours = colours.convert("RGB")
    if alpha:
        colours.putalpha(alpha)
    return colours
