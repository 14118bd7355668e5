"""An mp4 that is written while it happens.

Receives RGB pictures and float samples; hands on an H.264 (yuv420p) and AAC film that any player opens, with exactly
the pictures it was given. The agent's film and the side-by-side film are both made here.

Choices: one encoding thread and no look-ahead, so that encoding happens inside the call and never beside the model's
next step, whose time is measured; the index moves to the front at the end (faststart). Until then it is in memory, as
an mp4's index always is while it is written: 8 kB per second of film, 29 MB an hour (measured). Nothing else grows.
Colours are BT.709, limited range, and say so.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.loop.media import Samples

Effort = Literal["superfast", "veryfast"]
"""What x264 spends on making the file small; the quality is the same."""

QUALITY = 20
"""x264's constant rate factor: at 20 a face shows no blocks."""

BT709 = 1
"""The number that H.264 has for BT.709, as matrix, primaries and transfer curve."""

SOUND_BITS_PER_CHANNEL = 64_000
"""AAC bits per second per channel: speech is transparent well below."""


class Film:
    """A film of ``size`` (height, width, both even) under a temporary name, until ``close`` gives it its own.

    Raises InputError where the file cannot be made or the disk fills.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        frame_rate: int,
        sample_rate: int,
        channels: int,
        effort: Effort = "veryfast",
        quality: int = QUALITY,
    ) -> None:
        self.whole = WholeFile(path)
        """The file under its temporary name."""
        self._finished = False
        self._pictures = self._samples = 0
        self._rates = (frame_rate, sample_rate)
        self._layout = "mono" if channels == 1 else "stereo"
        self._reformatter = VideoReformatter()
        place = str(self.whole.partial.absolute())  # a relative one may look like a network address
        with self.whole.opening():
            self._container: Any = av.open(place, "w", format="mp4", container_options={"movflags": "+faststart"})
            self._video = _video_stream(self._container, size, frame_rate, effort, quality)
            self._audio = self._container.add_stream("aac", rate=sample_rate, layout=self._layout)
            self._audio.bit_rate = SOUND_BITS_PER_CHANNEL * channels
            self._container.start_encoding()  # now, because opening the encoders takes as long as a unit

    def picture(self, rgb: NDArray[np.uint8]) -> None:
        """Add one picture, [height, width, 3]."""
        # Not copied: the next line makes a new frame of it.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        frame.pts, frame.time_base = self._pictures, Fraction(1, self._rates[0])
        self._pictures += 1
        self._mux(self._video, frame)

    def sound(self, samples: Samples) -> None:
        """Add sound, [channels, n], full scale -1..1."""
        clipped = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(clipped, format="fltp", layout=self._layout)
        frame.sample_rate = self._rates[1]
        frame.pts, frame.time_base = self._samples, Fraction(1, self._rates[1])
        self._samples += samples.shape[1]
        self._mux(self._audio, frame)

    def finish(self) -> None:
        """Write what the encoders hold and the index; see ``runtime.media.Output``."""
        if self._finished:
            return
        self._mux(self._video, None)
        self._mux(self._audio, None)
        with self.whole.writing():
            self._container.close()
        self._finished = True  # only now: a film without its index must never take its name

    def close(self) -> None:
        self.finish()
        self.whole.publish()

    def discard(self) -> None:
        with suppress(OSError, av.error.FFmpegError):  # what is given up need not be complete
            self._container.close()
        self.whole.discard()

    def _mux(self, stream: Any, frame: Any) -> None:
        with self.whole.writing():
            self._container.mux(stream.encode(frame))


def _video_stream(container: Any, size: tuple[int, int], frame_rate: int, effort: Effort, quality: int) -> Any:
    options = {"preset": effort, "tune": "zerolatency", "crf": str(quality)}
    stream = container.add_stream("libx264", rate=frame_rate, options=options)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = 1
    context.gop_size = 2 * frame_rate  # a player can jump to every second second
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream
