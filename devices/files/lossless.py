"""Pictures kept bit for bit: FFV1 in Matroska, written while it happens and readable up to where it was cut.

Receives RGB pictures; hands on a file of them (:class:`LosslessWriter`) and the same pictures again
(:class:`LosslessReader`). For recordings that a replay must reproduce: H.264 would change what the model saw.

Choices: FFV1 (RFC 9043) because every FFmpeg reads it and it is exact; short clusters, so that a recording whose
process was killed loses at most a second of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edge_streamer.runtime.errors import MediaError

CLUSTER_MS = "1000"


class LosslessWriter:
    """Pictures of ``size`` (height, width) at ``frame_rate``. Raises OSError where the file cannot be written."""

    def __init__(self, path: Path, size: tuple[int, int], frame_rate: int) -> None:
        self._container: Any = av.open(
            str(path.absolute()), "w", format="matroska",
            container_options={"cluster_time_limit": CLUSTER_MS, "flush_packets": "1"},
        )  # fmt: skip
        self._stream = self._container.add_stream("ffv1", rate=frame_rate, options={"level": "3", "slicecrc": "1"})
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "bgr0"  # the same 24 bits in another order: nothing is converted
        self._stream.thread_count = 1
        self._reformatter, self._rate, self._count = VideoReformatter(), frame_rate, 0

    def write(self, frames: NDArray[np.uint8]) -> None:
        """[n, height, width, 3]."""
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = self._reformatter.reformat(frame, format="bgr0", threads=1)
            frame.pts, frame.time_base = self._count, Fraction(1, self._rate)
            self._count += 1
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def close(self) -> None:
        """Write what the encoder holds, and the index."""
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()


class LosslessReader:
    """The pictures of a file by :class:`LosslessWriter`, as many as are whole, of ``size`` (height, width) where it is
    given. MediaError for anything else.

    Not a :class:`~edge_streamer.devices.files.container.Stream`, which refuses what was cut short: here that is
    expected.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None = None) -> None:
        self._path = path
        try:
            self._container: Any = av.open(
                str(path.absolute()), format="matroska", container_options={"protocol_whitelist": "file"}
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{path} holds no recorded pictures ({type(error).__name__})") from error
        streams = self._container.streams.video
        if len(streams) != 1 or getattr(streams[0].codec_context, "name", "") != "ffv1":
            self.close()
            raise MediaError(f"{path} holds no recorded pictures (wanted one FFV1 stream)")
        self._size = size or (streams[0].height, streams[0].width)
        try:
            self._check_size(streams[0].height, streams[0].width)
        except MediaError:
            self.close()
            raise
        self._frames: Iterator[Any] = self._container.decode(streams[0])
        self._reformatter = VideoReformatter()

    def read(self, out: NDArray[np.uint8]) -> bool:
        """Fill ``out`` [n, height, width, 3]; False where fewer are left."""
        for picture in out:
            try:
                frame = next(self._frames, None)
            except av.error.FFmpegError:  # where it was cut
                return False
            if frame is None:
                return False
            self._check_size(frame.height, frame.width)
            picture[:] = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return True

    def close(self) -> None:
        self._container.close()

    def _check_size(self, height: int, width: int) -> None:
        if (height, width) != self._size:
            wanted = "x".join(map(str, self._size))
            raise MediaError(f"{self._path} holds pictures of {height}x{width}; this bundle's are {wanted}")
