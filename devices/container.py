"""One stream of one media file, decoded packet by packet.

Receives a path; hands on a :class:`Stream` whose ``frames()`` are PyAV frames, or a MediaError in one clear line. The
only file that talks to PyAV's demuxers and decoders; memory stays flat however long the file is.

Choices: time zero is the earliest start among the file's sound and film streams, so that a film's own sound and
picture stay together. A file cut short is refused when it is opened, where its structure shows it (WAV, AVI, MP4,
MOV, Matroska, WebM); formats that say nothing of their length are as long as they are. One decoding thread: a file is
read between the model's steps, and threads that decode ahead would take the processor from the step being timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error

from edge_streamer.devices.completeness import why_incomplete
from edge_streamer.runtime.errors import MediaError

Kind = Literal["audio", "video"]

NOT_MEDIA = {"concat", "dash", "ffmetadata", "hls", "lavfi", "sdp", "tty"}
"""Readers that see media in plain text, or that open other files than the one named."""

SHOWN = {"audio": "sound", "video": "picture"}

WANTED = {"audio": "a sound or film file", "video": "a film or picture file"}
"""What can hold such a stream."""

_CLEAR = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that know alpha, for those that do not."""

LENIENT_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Titles and tags may be in any encoding. PyAV from 19 on replaces what is no UTF-8 by itself, and has no such word."""


class Stream:
    """The best stream of ``kind`` in the file at ``path``.

    Raises MediaError where the file is missing, empty, truncated, no media file, or has no such stream.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        _check_file(path, WANTED[kind])
        self._container = _open(path, WANTED[kind])
        stream = self._container.streams.best(kind)
        if self._container.format.name in NOT_MEDIA or stream is None:
            self.close()
            raise MediaError(f"{path} holds no {SHOWN[kind]}; wanted {WANTED[kind]}")
        self.stream: Any = stream
        if self.stream.codec_context is None:
            self.close()
            raise MediaError(f"{path}: its {SHOWN[kind]} is in a format that this PyAV cannot decode")
        self._decoder: Any = _decoder(stream)
        self._decoder.thread_count = 1
        # An AVI numbers its pictures as they are stored, which is not how they are shown; its rate is constant anyway.
        self._untimed = kind == "video" and self._container.format.name == "avi"
        self.start = min((s for s in map(_start, self._container.streams) if s is not None), default=Fraction(0))

    @property
    def format_name(self) -> str:
        """FFmpeg's name for what kind of file it is."""
        return str(self._container.format.name)

    @property
    def seconds(self) -> Fraction | None:
        """How long the header says that the stream is; None where it does not say."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return Fraction(self.stream.time_base) * int(self.stream.duration)
        return Fraction(self._container.duration, av.time_base) if self._container.duration else None

    def time(self, frame: Any) -> Fraction | None:
        """When ``frame`` is shown or heard, in seconds from time zero; None where the file does not say."""
        if frame.pts is None or frame.time_base is None or self._untimed:
            return None
        return Fraction(frame.time_base) * int(frame.pts) - self.start

    def frames(self) -> Iterator[Any]:
        """Every frame in the order of presentation.

        What cannot be decoded before the first frame or after the last one is passed over, as players do (tags, a
        film cut out of a broadcast); damage between frames raises MediaError, because it would shift time.
        """
        decoded, damaged = 0, False
        for packet in self._packets():
            try:
                frames = self._decoder.decode(packet)
            except av.error.FFmpegError:
                damaged = decoded > 0
                continue
            if frames and damaged:
                raise MediaError(f"{self.path} is damaged: its {SHOWN[self.kind]} breaks off after frame {decoded}")
            decoded += len(frames)
            yield from frames

    def close(self) -> None:
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self.stream)
        except av.error.FFmpegError as error:
            raise MediaError(f"{self.path} is damaged or was cut short: {_reason(error)}") from error


def _check_file(path: Path, wanted: str) -> None:
    """Raise MediaError where ``path`` is no file, is empty, or is cut short."""
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; wanted {wanted}")
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError(f"{path} is empty (0 bytes); wanted {wanted}")
            why = why_incomplete(file)
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist; wanted {wanted}") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    if why:
        raise MediaError(f"{path} is truncated: {why}; copy or record it again")


def _open(path: Path, wanted: str) -> Any:
    # An absolute path cannot be mistaken for a network address; only files are ever opened.
    only_files = {"protocol_whitelist": "file"}
    try:
        return av.open(str(path.absolute()), container_options=only_files, **LENIENT_METADATA)
    except av.error.EOFError:
        raise MediaError(f"{path} holds no frames and no samples: it ends after its header") from None
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{path} is not {wanted} that can be read ({_reason(error)})") from error


def _decoder(stream: Any) -> Any:
    """The stream's own, unless it would pass over what is clear, which VP8 and VP9 keep beside the picture."""
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    name = _CLEAR.get(stream.codec_context.name) if tags.get("alpha_mode") == "1" else None
    return av.CodecContext.create(name, "r") if name in av.codecs_available else stream.codec_context


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]


def _start(stream: Any) -> Fraction | None:
    """When ``stream`` starts by the file's own clock; None for what is no sound or film (a cover, subtitles)."""
    cover = bool(stream.disposition & type(stream.disposition).attached_pic)
    if stream.type not in ("audio", "video") or cover or stream.start_time is None or stream.time_base is None:
        return None
    # Below zero lies what a codec needs to warm up and a decoder throws away: it is not shown or heard.
    return max(Fraction(stream.time_base) * int(stream.start_time), Fraction(0))
