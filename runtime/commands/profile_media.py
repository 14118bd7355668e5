"""Sound and film that begin again where they end, for runs that are longer than they.

Receives two files; hands on a microphone and a camera that stay together.
"""

from __future__ import annotations

from pathlib import Path

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Frames, Samples


class Endless:
    """Both files as a microphone without an end; ``camera`` is theirs."""

    units = None

    def __init__(self, mic: Path, camera: Path, media: MediaSpec) -> None:
        self._mic_path, self._camera_path, self._media = mic, camera, media
        self._mic = AudioFile(mic, media)
        self.camera = EndlessCamera(VideoFile(camera, media))
        self._read = 0
        """Units since they began."""

    def read(self, out: Samples) -> bool:
        """The next unit; False where the sound holds none at all."""
        if not self._mic.read(out):
            if not self._read:
                return False
            self.begin_again()
            return self.read(out)
        self._read += 1
        return True

    def begin_again_where_due(self) -> None:
        """Opening takes time that is no unit's: to be called between units."""
        if self._mic.units is not None and self._read >= self._mic.units:
            self.begin_again()

    def begin_again(self) -> None:
        self.close()
        self._mic, self.camera.file = AudioFile(self._mic_path, self._media), VideoFile(self._camera_path, self._media)
        self._read = 0

    def close(self) -> None:
        self._mic.close()
        self.camera.close()


class EndlessCamera:
    """The camera of :class:`Endless`."""

    def __init__(self, file: VideoFile) -> None:
        self.file = file

    def read(self, out: Frames) -> None:
        self.file.read(out)

    def close(self) -> None:
        self.file.close()
