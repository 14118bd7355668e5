"""One stream of one media file, decoded packet by packet.

Receives a path; hands on a :class:`Stream` whose ``frames()`` are PyAV frames, or a MediaError in one clear line. The
only file that talks to PyAV's demuxers and decoders; memory stays flat however long the file is.

Choices: time zero is the earliest start among the file's sound and film streams, so that a film's own sound and
picture stay together; leaps of its clock are joined (`timeline.py`). Recordings that were put one after the other in
one file (`pieces.py`) follow each other in time. A file cut short is refused when it is opened, where its structure
shows it (`completeness.py`); formats that say nothing of their length are as long as they are. What fails after the
first frame ends no run: it is counted, and what follows keeps its time. One decoding thread: a file is read between the
model's steps, and threads that decode ahead would take the processor from the step being timed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error

from edge_streamer.devices.files.completeness import why_incomplete
from edge_streamer.devices.files.pieces import Part, Ranges, pieces
from edge_streamer.devices.files.timeline import Timeline
from edge_streamer.runtime.errors import MediaError

Kind = Literal["audio", "video"]

NOT_MEDIA = {"concat", "dash", "ffmetadata", "hls", "lavfi", "sdp", "tty"}
"""Readers that see media in plain text, or that open other files than the one named."""

UNCLOCKED = {"aac", "ac3", "eac3", "dts", "flac", "loas", "mp3"}
"""Formats without times of their own: a demuxer counts packets by the rate of the first one."""

SHOWN = {"audio": "sound", "video": "picture"}

WANTED = {"audio": "a sound or film file", "video": "a film or picture file"}
"""What can hold such a stream."""

_CLEAR = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that know alpha, for those that do not."""

LENIENT_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Titles and tags may be in any encoding. PyAV from 19 on replaces what is no UTF-8 by itself, and has no such word."""


WARMING_UP = Fraction(1, 2)
"""Seconds below zero at which a stream may start because its codec warms up; one before is a time like any other."""

MOST_STORED = 64
"""Pictures that a film may hold back before it shows the first of them; H.264 allows 16."""


class Stream:
    """The best stream of ``kind`` in the file at ``path``.

    Raises MediaError where the file is missing, empty, truncated, no media file, or has no such stream.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self._pieces = _check_file(path, WANTED[kind])
        self.joins = 0
        """Leaps of its clock that were joined."""
        self.lost = 0
        """Packets between others that could not be decoded."""
        self.broken_off: str | None = None
        """Why it ends before the file does."""
        self._decoded = self._failed = 0
        self._before = Fraction(0)
        """Seconds of the pieces before the one that is open."""
        self._begin(0)

    def _begin(self, piece: int) -> None:
        """Open ``piece``. Raises MediaError."""
        self._container = _open(self.path, WANTED[self.kind], self._pieces[piece] if len(self._pieces) > 1 else None)
        stream = self._container.streams.best(self.kind)
        if self._container.format.name in NOT_MEDIA or stream is None:
            self.close()
            raise MediaError(f"{self.path} holds no {SHOWN[self.kind]}; wanted {WANTED[self.kind]}")
        self.stream: Any = stream
        if self.stream.codec_context is None:
            self.close()
            raise MediaError(f"{self.path}: its {SHOWN[self.kind]} is in a format that this PyAV cannot decode")
        self._decoder: Any = _decoder(stream)
        self._decoder.thread_count = 1
        self._base = float(self.stream.time_base or 0)
        # An AVI numbers its pictures as they are stored, which is not how they are shown: see _shown.
        self._stored: deque[int] | None = (
            deque() if self.kind == "video" and self._container.format.name == "avi" else None
        )
        self.start = min((s for s in map(_start, self._container.streams) if s is not None), default=Fraction(0))
        self._timeline, self._piece_joins = Timeline(), 0
        self._newest: Any = None
        self._zero = float(self._before - self.start)

    @property
    def format_name(self) -> str:
        """FFmpeg's name for what kind of file it is."""
        return str(self._container.format.name)

    @property
    def seconds(self) -> Fraction | None:
        """How long the header says that the stream is; None where it does not say."""
        if len(self._pieces) > 1:
            return None
        if self.stream.duration is not None and self.stream.time_base is not None:
            return Fraction(self.stream.time_base) * int(self.stream.duration)
        if not self._container.duration:
            return None
        # Matroska counts from zero, also where its streams start later.
        begun = self.start if "matroska" in self._container.format.name else 0
        return max(Fraction(self._container.duration, av.time_base) - begun, Fraction(0))

    def time(self, frame: Any) -> Fraction | None:
        """When ``frame`` is shown or heard, in seconds from time zero; None where the file does not say."""
        if frame.pts is None or frame.time_base is None:
            return None
        return Fraction(frame.time_base) * int(frame.pts) - self.start + self._before

    def seconds_at(self, frame: Any) -> float | None:
        """``time``, fast and rounded."""
        if frame.pts is None or frame.time_base is None:
            return None
        return float(frame.pts * self._base + self._zero)

    @property
    def clocked(self) -> bool:
        """Whether the file itself says when a frame is due."""
        return self._container.format.name not in UNCLOCKED

    @property
    def nothing(self) -> str | None:
        """Why there was not a single frame, where damage is the reason."""
        if self._decoded or not (self.broken_off or self._failed):
            return None
        why = self.broken_off or f"its {SHOWN[self.kind]} cannot be decoded"
        return f"{self.path} is damaged or was cut short: {why}"

    def frames(self) -> Iterator[Any]:
        """Every frame in the order of presentation.

        What cannot be decoded before the first frame or after the last one is passed over, as players do (tags, a
        film cut out of a broadcast); what cannot be decoded between frames is counted in ``lost``.
        """
        yield from self._piece_frames()
        for piece in range(1, len(self._pieces)):
            # The end of a film's longest stream; of sound alone, its last sample.
            alone = len(_timed_streams(self._container)) == 1
            packets_end = Fraction(self._timeline.end) - self.start + self._before
            self._before = self._end() if alone else max(self._end(), packets_end)
            self._container.close()
            try:
                self._begin(piece)
            except MediaError as error:
                self.broken_off = str(error)
                return
            yield from self._piece_frames()

    def timed(self, step: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """Frames with the second at which each is due, which never goes back; ``step`` after the one before where the
        file does not say."""
        due = Fraction(0)
        for frame in self.frames():
            told = self.time(frame)
            due = due if told is None or told < due - step else told  # times that go back are wrong
            yield due, frame
            due += step

    def close(self) -> None:
        self._container.close()

    def _piece_frames(self) -> Iterator[Any]:
        for packet in self._timeline.packets(self._packets()):
            if packet.stream.index != self.stream.index:
                continue
            if self._stored is not None and packet.size:
                self._stored.append(packet.dts)
            try:
                frames = self._decoder.decode(packet)
            except av.error.FFmpegError:
                self._failed += 1
                if self._stored:
                    self._stored.popleft()
                continue
            joins = self._timeline.joins(self.stream.index)
            self.joins, self._piece_joins = self.joins + joins - self._piece_joins, joins
            if frames:
                self.lost += self._failed if self._decoded else 0
                self._failed, self._decoded = 0, self._decoded + len(frames)
            for frame in frames:
                yield self._shown(frame)

    def _shown(self, frame: Any) -> Any:
        if self._stored is not None:  # the picture shown k-th is due when the k-th one was stored
            frame.pts = self._stored.popleft() if self._stored else None
            while len(self._stored) > MOST_STORED:
                self._stored.popleft()
        self._newest = frame
        return frame

    def _end(self) -> Fraction:
        """Where the newest frame of sound ends."""
        frame = self._newest
        time = self.time(frame) if frame is not None else None
        if time is None or self.kind != "audio":
            return self._before
        return time + Fraction(frame.samples, frame.sample_rate)

    def _packets(self) -> Iterator[Any]:
        """Of all streams that have times: each reader of a file sees the same, and judges leaps alike."""
        try:
            yield from self._container.demux(*_timed_streams(self._container, self.stream))
        except av.error.FFmpegError as error:
            self.broken_off = _reason(error)


def _timed_streams(container: Any, wanted: Any = None) -> list[Any]:
    """The best sound and the best film of ``container``, and ``wanted``, in the order of the file."""
    best = [container.streams.best("audio"), container.streams.best("video")]
    timed = {s.index: s for s in best if s is not None and not _is_cover(s)}
    if wanted is not None:
        timed[wanted.index] = wanted
    return [timed[index] for index in sorted(timed)]


def _check_file(path: Path, wanted: str) -> Ranges:
    """Raise MediaError where ``path`` is no file, is empty, or is cut short; returns where its recordings lie."""
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; wanted {wanted}")
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError(f"{path} is empty (0 bytes); wanted {wanted}")
            why = why_incomplete(file)
            ranges = pieces(file)
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist; wanted {wanted}") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    if why:
        raise MediaError(f"{path} is truncated: {why}; copy or record it again")
    return ranges


def _open(path: Path, wanted: str, part: tuple[int, int] | None) -> Any:
    # An absolute path cannot be mistaken for a network address; only files are ever opened.
    only_files = {"protocol_whitelist": "file"}
    try:
        if part:
            return av.open(Part(path.open("rb"), *part), container_options=only_files, **LENIENT_METADATA)
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


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _start(stream: Any) -> Fraction | None:
    """When ``stream`` starts by the file's own clock; None for what is no sound or film (a cover, subtitles)."""
    if stream.type not in ("audio", "video") or _is_cover(stream):
        return None
    if stream.start_time is None or stream.time_base is None:
        return None
    start = Fraction(stream.time_base) * int(stream.start_time)
    # Just below zero lies what a codec needs to warm up and a decoder throws away: it is not shown or heard.
    return max(start, Fraction(0)) if start >= -WARMING_UP else start
