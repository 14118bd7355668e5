"""Sound and film files for tests, made on the spot, and the media contract they are read into."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import MediaSpec, PicturesSpec, SoundSpec, TextSpec


def media_of(
    user_size: tuple[int, int] = (48, 80), agent_size: tuple[int, int] = (48, 80), sample_rate: int = 16000,
    frame_rate: int = 25, unit_frames: int = 4,
) -> MediaSpec:  # fmt: skip
    """A contract of sound, pictures and text both ways, sound at one rate."""
    samples = sample_rate * unit_frames // frame_rate
    sound = partial(SoundSpec, tensor="samples", sample_rate=sample_rate, unit_samples=samples)
    pictures = partial(PicturesSpec, tensor="frames", frame_rate=frame_rate, unit_frames=unit_frames)
    return MediaSpec(
        unit_seconds=unit_frames / frame_rate,
        sound_in=sound(graph="encode"),
        sound_out=sound(graph="decode"),
        pictures_in=pictures(graph="encode", size=user_size),
        pictures_out=pictures(graph="decode", size=agent_size),
        text_in=TextSpec(graph="core", tensor="embeddings", unit_tokens=4),
        text_out=TextSpec(graph="slot", tensor="token", unit_tokens=2),
    )


MEDIA = media_of()
"""A small contract with the real rates."""

SAMPLE_FORMATS = ("u8", "s16", "s24", "s32", "f32", "f64")


def encode_samples(samples: NDArray[Any], form: str) -> bytes:
    """Interleaved bytes of ``samples`` [n, channels], full scale -1..1."""
    if form in ("f32", "f64"):
        return samples.astype(f"<{form[0]}{int(form[1:]) // 8}").tobytes()
    if form == "u8":
        return np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    bits = int(form[1:])
    whole = np.rint(samples * (2 ** (bits - 1) - 1)).astype("<i4")
    if bits == 24:
        return whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return whole.astype(f"<i{bits // 8}").tobytes()


def write_wav(path: Path, samples: NDArray[Any], rate: int, form: str = "s16", data_size: int | None = None) -> Path:
    """A WAV of ``samples`` [n] or [n, channels]; ``data_size`` lies about its length."""
    samples = samples.reshape(len(samples), -1 if samples.ndim > 1 else 1)
    data, bits, channels = encode_samples(samples, form), int(form[1:]), samples.shape[1]
    block = channels * bits // 8
    kind = 3 if form[0] == "f" else 1
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * block, block, bits)
    size = len(data) if data_size is None else data_size
    riff = struct.pack("<4sI4s", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE")
    path.write_bytes(riff + head + struct.pack("<4sI", b"data", size) + data)
    return path


def click(length: int, at: int, channels: int = 1, height: float = 0.9) -> NDArray[np.float64]:
    """[length, channels]: silence with one sample of ``height`` on every channel."""
    samples = np.zeros((length, channels))
    samples[at] = height
    return samples


def write_sound(path: Path, samples: NDArray[np.float32], rate: int, codec: str, layout: str = "mono") -> Path:
    """``samples`` [channels, n] in any container, encoded by PyAV."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        mux_sound(container, stream, samples, rate, layout)
    return path


def mux_sound(
    container: Any, stream: Any, samples: NDArray[np.float32], rate: int, layout: str, first: int = 0
) -> None:
    """Encode ``samples`` [channels, n] from sample ``first`` on."""
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=stream.codec_context.rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    fifo = av.AudioFifo()
    for part in resampler.resample(frame):
        part.pts = None
        fifo.write(part)
    size = stream.codec_context.frame_size or 1024
    while fifo.samples:
        part = fifo.read(min(size, fifo.samples))
        part.pts, part.time_base = first, Fraction(1, stream.codec_context.rate)
        first += part.samples
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def write_film(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pixel_aspect: Fraction | None = None,
) -> Path:
    """A film of ``pictures`` [height, width, 3]; ``times`` in units of ``time_base``, or one after the other."""
    with av.open(str(path), "w") as container:
        stream: Any = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = _film_stream(container, picture.shape, rate, codec, pixel_aspect)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts = times[index] if times else index
            frame.time_base = time_base or 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _film_stream(container: Any, shape: tuple[int, ...], rate: Fraction | int, codec: str, aspect: Any) -> Any:
    options = {"qp": "0", "preset": "ultrafast"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=Fraction(rate), options=options)
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv444p")
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    return stream


def grey(level: int, height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    """An even picture."""
    return np.full((height, width, 3), level, np.uint8)


def decoded_sound(path: Path) -> tuple[NDArray[np.float32], int]:
    """([channels, n], rate) of a sound or film file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    arrays = [
        f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(-1, f.layout.nb_channels).T for f in frames
    ]
    return np.concatenate(arrays, axis=1), frames[0].sample_rate


def decoded_pictures(path: Path) -> list[NDArray[np.uint8]]:
    """Every picture of a film, RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
