"""A file of typed text.

Receives lines ``seconds<TAB>text``; hands on the text per unit. Strict: every fault names its line.

Choices: times do not go back; a text begins in the unit that holds its second (computed in fractions); several lines
in one unit are joined by a space; lines of nothing but white space are passed over.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.loop.media import TypedText

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_EXAMPLE = "wanted seconds, a tab, then the text, e.g. 1.5<TAB>hello"


def read_text(path: Path, media: MediaSpec) -> TypedText:
    """What is typed, by unit. Raises MediaError that names the line."""
    unit = media.unit
    texts: dict[int, str] = {}
    last = Fraction(0)
    for number, line in enumerate(read_lines(path, "a text file"), start=1):
        if not line.strip():
            continue
        seconds, text = _parse(line, f"{path} line {number}")
        if seconds < last:
            raise MediaError(
                f"{path} line {number}: {float(seconds):g} s comes after {float(last):g} s; "
                "wanted times that do not go back"
            )
        last, index = seconds, int(seconds / unit)
        texts[index] = f"{texts[index]} {text}" if index in texts else text
    if not texts:
        raise MediaError(f"{path} is empty; {_EXAMPLE}")
    return texts


def read_lines(path: Path, wanted: str) -> list[str]:
    """The lines of a UTF-8 file, which is ``wanted``. Raises MediaError where it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist; wanted {wanted}") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder; wanted {wanted}") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MediaError(f"{path} line {line}: not UTF-8 text (byte {error.start} of the file)") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _parse(line: str, where: str) -> tuple[Fraction, str]:
    time, tab, text = line.partition("\t")
    if not tab:
        raise MediaError(f"{where}: no tab in {quoted(line)}; {_EXAMPLE}")
    if not _SECONDS.fullmatch(time.strip()):
        why = "is negative" if time.strip().startswith("-") else "is not a number of seconds"
        raise MediaError(f"{where}: time {quoted(time)} {why}; {_EXAMPLE}")
    if not text.strip():
        raise MediaError(f"{where}: no text after the tab; {_EXAMPLE}")
    return Fraction(time.strip()), text.strip()


def quoted(text: str) -> str:
    """``text`` for an error's line, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
