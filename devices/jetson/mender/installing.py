"""The update module on this device: where Mender's client looks for it, and the settings that it reads.

Receives whose releases an update changes; hands on what was written, a line each.
"""

from __future__ import annotations

import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_streamer.devices.jetson.mender import module
from edge_streamer.devices.jetson.releases.contents import MANIFEST
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import write_file

MODULES = Path("/usr/share/mender/modules/v3")
NAME = "edge-streamer"
SETTINGS = """# Of Mender's update module edge-streamer: docs/mender.md
[{section}]
# Whose service it is: a user's, or empty for the system's.
user = {user}
# Where releases lie: empty for where they lie by default.
root = {root}
# What is run as edge-streamer: empty for the release that is current before an update.
command = {command}
# Words for `edge-streamer releases activate`, for example: --units 50 --within 120
trial =
# So many seconds the commit waits for a trial that is not over.
wait = {wait:g}
"""


def install(user: str, root: Path | None, modules: Path = MODULES, conf: Path = Path(module.CONF)) -> Iterator[str]:
    """Write the module, and settings where there are none. InputError where that is refused."""
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError:
            raise InputError(f"there is no user {user!r} here; wanted the one whose service it is") from None
    text = Path(module.__file__).read_bytes()
    try:
        modules.mkdir(parents=True, exist_ok=True)
        write_file(modules / NAME, text)
        (modules / NAME).chmod(0o755)
        yield f"{modules / NAME}: written"
        if conf.exists():
            yield f"{conf}: kept as it is"
        else:
            conf.parent.mkdir(parents=True, exist_ok=True)
            write_file(conf, SETTINGS.format(section=module.SECTION, user=user, root=root or "", command=_command(),
                                             wait=module.WAIT_SECONDS).encode())  # fmt: skip
            yield f"{conf}: written"
    except OSError as error:
        raise InputError(f"cannot write {error.filename or modules}: {error.strerror}; where the system is read-only, "
                         "make both files part of its image") from None  # fmt: skip
    if shutil.which("mender-update") is None and shutil.which("mender") is None:
        yield "no Mender client is here yet: https://docs.mender.io/client-installation"


def _command() -> str:
    """This program, for the first release; empty where it is a release's own, which goes one day."""
    if (Path(sys.prefix).parent / MANIFEST).exists():
        return ""
    return f"{sys.executable} -B -m edge_streamer"
