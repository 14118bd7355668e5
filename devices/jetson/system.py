"""Files of a running system, read below a root that may be another's, and a few questions to programs.

Receives paths; hands on text that is short, printable and always there: a file that is missing, not readable, endless,
no file at all or full of anything else gives what could be read of it, or nothing. So whoever reads a board never fails
for what lies on it.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MOST_BYTES = 64 * 1024
"""Of a file that is one of the kernel's or a few lines of settings."""
ASK_SECONDS = 5.0
"""A program that takes longer does not answer."""

_HIDDEN = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What a terminal obeys instead of showing it."""

Ask = Callable[[Sequence[str]], str]
"""Words of a command -> what it printed; empty where there is no such program or it failed."""


def ask(words: Sequence[str]) -> str:
    """What a program prints. Empty where it is not there, fails or takes long."""
    try:
        done = subprocess.run(
            list(words), stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return shown(done.stdout[:MOST_BYTES]) if done.returncode == 0 else ""


def silent(words: Sequence[str]) -> str:
    """A system whose programs do not answer."""
    return ""


def shown(data: bytes) -> str:
    """Bytes as text that a terminal shows; a NUL, which ends names in the device tree, ends a line."""
    return _HIDDEN.sub("?", data.rstrip(b"\0").replace(b"\0", b"\n").decode("utf-8", "replace"))


@dataclass(frozen=True)
class System:
    """A root, and what answers questions."""

    root: Path = Path("/")
    ask: Ask = field(default=ask)

    def path(self, name: str) -> Path:
        """Where ``name``, absolute on the system, lies."""
        return self.root / name.lstrip("/")

    def text(self, name: str, most: int = MOST_BYTES) -> str:
        """Of a file, at most ``most`` bytes of it."""
        try:
            number = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait
        except (OSError, ValueError):
            return ""
        data = b""
        try:
            if stat.S_ISREG(os.fstat(number).st_mode):
                while len(data) < most and (more := os.read(number, most - len(data))):
                    data += more
        except OSError:
            pass  # some of the kernel's files can be opened and not read
        finally:
            os.close(number)
        return shown(data)

    def line(self, name: str) -> str:
        """The first line of a file, without what surrounds it."""
        return next(iter(self.text(name).strip().splitlines()), "").strip()

    def number(self, name: str) -> int | None:
        """The whole number that a file holds."""
        found = self.line(name)
        return int(found) if re.fullmatch(r"-?\d{1,18}", found) else None

    def there(self, name: str) -> bool:
        with suppress(OSError, ValueError):
            return self.path(name).exists()
        return False

    def names(self, pattern: str) -> list[str]:
        """Absolute names on the system that match, sorted."""
        try:
            found = sorted(self.root.glob(pattern.lstrip("/")))
        except (OSError, ValueError):
            return []
        return [f"/{path.relative_to(self.root)}" for path in found[:1000]]

    def target(self, name: str) -> str:
        """The last name that a link leads to; empty where it is none."""
        try:
            return os.path.basename(os.readlink(self.path(name)))
        except (OSError, ValueError):
            return ""

    def real(self, name: str) -> str:
        """The name of the file itself behind links, which carries a library's whole version."""
        try:
            return self.path(name).resolve().name
        except (OSError, RuntimeError, ValueError):
            return ""

    def usable(self, name: str) -> bool:
        """Whether this user may read and write it."""
        with suppress(OSError, ValueError):
            return os.access(self.path(name), os.R_OK | os.W_OK)
        return False
