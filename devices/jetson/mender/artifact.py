"""Mender's artifact of a release: one archive of the folder, and the words for ``mender-artifact``, which writes it.

Receives a release's folder; hands on an archive that is the same for the same folder, bit for bit, and a command. An
artifact states two things of its own: what is asked of a device (its device type, ``depends``), and what a device has
afterwards (``rootfs-image.edge-streamer.version``), which Mender's server shows.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_streamer.devices.jetson.releases.adding import WHEELS, check_source
from edge_streamer.devices.jetson.releases.environment import wheels_of
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import replacing
from edge_streamer.runtime.release.contents import entries_of

MODULE = "edge-streamer"
"""The update module's name, an artifact's payload type."""
PROGRAM = "mender-artifact"
WHERE = "https://docs.mender.io/downloads"


@dataclass(frozen=True)
class Artifact:
    """What it says of itself."""

    name: str
    device_types: Sequence[str]
    version: str = ""
    """Empty: its name."""
    depends: Sequence[str] = ()
    """KEY:VALUE each."""
    filesystem: str = ""
    """That the releases lie on, where it is not the system's own."""
    key: str = ""
    """That signs the artifact: Mender's own signature."""

    def words(self, files: Sequence[Path], out: Path) -> list[str]:
        """The command that writes it."""
        words = [PROGRAM, "write", "module-image", "-T", MODULE, "-n", self.name]
        words += [word for one in self.device_types for word in ("-t", one)]
        words += ["--software-name", MODULE, "--software-version", self.version or self.name]
        words += ["--software-filesystem", self.filesystem] if self.filesystem else []
        words += [word for one in self.depends for word in ("--depends", one)]
        words += ["-k", self.key] if self.key else []
        words += [word for file in files for word in ("-f", str(file))]
        return [*words, "-o", str(out)]


def write_payload(folder: Path, out: Path) -> None:
    """Write a release's folder to the archive ``out``, whole or not at all. InputError where it is no release's."""
    check_source(folder)
    if (folder / WHEELS).is_dir():
        wheels_of(folder / WHEELS)
    try:
        entries = entries_of(folder, but=())
        with replacing(out) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            for entry in entries:
                member = tarfile.TarInfo(entry.path)
                if entry.kind == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                elif entry.kind == "folder":
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                else:
                    member.size, member.mode = entry.size, 0o755 if entry.executable else 0o644
                    with (folder / entry.path).open("rb") as content:
                        archive.addfile(member, content)
                    continue
                archive.addfile(member)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror or error}") from None


def write(artifact: Artifact, files: Sequence[Path], out: Path) -> None:
    """Have ``mender-artifact`` write ``out``, whole or not at all. InputError where it is not here or refuses."""
    if shutil.which(PROGRAM) is None:
        raise InputError(f"there is no {PROGRAM} here ({WHERE}, or Debian's package of this name); with --payload FILE "
                         "the payload alone is written, and the command to run where it is")  # fmt: skip
    with replacing(out) as partial:
        done = subprocess.run(
            artifact.words(files, partial), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").split()
            raise InputError(f"{PROGRAM} wrote nothing: {' '.join(said)[:300] or f'status {done.returncode}'}")
