"""What a word for ``--mic``, ``--camera``, ``--speaker`` or ``--display`` names: a device, a file or nothing.

Receives the word; hands on the file or the device that it names. ``file:NAME`` and ``device:NAME`` say which is meant.
A bare name is a file where one is there, where it begins like a path or ends like a media file, and a device otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

NONE, FILE, DEVICE = "none", "file:", "device:"

_MEDIA_NAME = re.compile(r".+\.(wav|mp3|flac|ogg|opus|m4a|aac|mp4|m4v|mkv|mov|avi|webm|png|jpe?g|bmp|gif|tiff?)", re.I)
"""A word that ends like this means a file, also where there is none: the error then says so."""


class End(str):
    """The word, as it was written."""

    __slots__ = ()

    def __new__(cls, word: str) -> End:
        if not word:
            raise argparse.ArgumentTypeError("the name is empty; wanted a device, a file, or none")
        if word in (FILE, DEVICE):
            raise argparse.ArgumentTypeError(f"{word!r} names nothing; wanted {word}NAME, or none")
        return super().__new__(cls, word)

    @property
    def file(self) -> Path | None:
        """The file that it names."""
        return Path(self.removeprefix(FILE)) if self != NONE and is_file(self) else None

    @property
    def device(self) -> str | None:
        """The device that it names."""
        return None if self == NONE or is_file(self) else self.removeprefix(DEVICE)

    def placed(self, folder: Path) -> End:
        """The same, its file sought in ``folder``; a bare name is a file there where one is."""
        if self.startswith(FILE):
            return End(f"{FILE}{folder / self.removeprefix(FILE)}")
        return End(str(folder / self)) if self != NONE and (folder / self).is_file() else self


def is_file(word: str) -> bool:
    """Whether ``word`` means a file and not a device."""
    if word.startswith(FILE):
        return True
    if word.startswith("/dev/") or re.match(r"(device|gst|film|csi|picamera2):", word):
        return False
    return word[0] in "./~" or os.path.isfile(word) or _MEDIA_NAME.fullmatch(word) is not None
