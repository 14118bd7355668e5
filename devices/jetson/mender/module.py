#!/usr/bin/python3 -IB
"""Mender's update module: a release is added, put on trial, and kept or gone back from, state by state.

Receives a state and the folder that Mender's client keeps for one update (its file API, version 3); hands on an exit
status, 0 or 1 with a line that says why. Lies on the device as ``/usr/share/mender/modules/v3/edge-streamer`` and needs
the system's Python alone, 3.10 or newer. All that changes releases is the command ``edge-streamer releases``, run as
the user whose releases they are::

    ArtifactInstall     releases prune, add, activate: golden units, the switch, the restart, the keeper's verdict
    ArtifactCommit      the trial is over and the release is current still; waits where it is not over yet
    ArtifactRollback    current is what it was before ArtifactInstall
    Cleanup             what was unpacked goes

Where power goes, the client goes on with ArtifactRollback after ArtifactInstall and after ArtifactCommit, and with the
same state again otherwise. So every state may be called again, and ArtifactRollback after any part of the others. What
it has to know is in the folder's ``tmp``, on the disk before anything is changed.
"""

from __future__ import annotations

import configparser
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

CONF = "/etc/edge-streamer/mender.conf"
KEYS = "/etc/edge-streamer/keys.d"
SECTION = "edge-streamer"
SYSTEM_ROOT = "/opt/edge-streamer"
USER_ROOT = ".local/share/edge-streamer"
UNIT = "edge-streamer.service"
WORK = "mender"
"""Below the root: what is unpacked."""
LOOK_SECONDS = 2.0
WAIT_SECONDS = 900.0
LONGEST_NAME = 100
MOST_SAID = 1_000_000


class Failed(Exception):
    """In one line."""


@dataclass(frozen=True)
class Settings:
    """Of this device."""

    user: str = ""
    """Whose service it is; empty: the system's."""
    root: str = ""
    """Where releases lie; empty: where they lie by default."""
    command: str = ""
    """What is run as edge-streamer; empty: the release that is current before an update."""
    trial: str = ""
    """Words for ``releases activate``: --units, --within, --misses, --crashes, --no-check."""
    wait: float = WAIT_SECONDS
    """So long ArtifactCommit waits for a trial's end."""


def read_settings(path: str) -> Settings:
    """Those in the file; the defaults where it is not there."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, "utf-8")
        found = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
        if unknown := set(found) - set(Settings.__dataclass_fields__):
            raise Failed(f"{path}: {min(unknown)!r} is no setting; wanted {', '.join(Settings.__dataclass_fields__)}")
        wait = float(found.pop("wait", WAIT_SECONDS))
    except (configparser.Error, UnicodeDecodeError, ValueError) as error:
        raise Failed(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return Settings(wait=wait, **found)


class Update:
    """One update: the client's folder, and the releases that it changes."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._as: dict[str, Any] = {"umask": 0o022}
        home = "/root"
        if settings.user:
            try:
                who = pwd.getpwnam(settings.user)
            except KeyError:
                raise Failed(f"there is no user {settings.user!r} here, which {CONF} names") from None
            home = who.pw_dir
            own = {"HOME": home, "USER": who.pw_name, "LOGNAME": who.pw_name,
                   "XDG_RUNTIME_DIR": f"/run/user/{who.pw_uid}"}  # fmt: skip
            kept = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "DBUS_"))}
            self._as |= {"env": {**kept, **own}, "cwd": "/"}
            if os.geteuid() != who.pw_uid:
                groups = os.getgrouplist(who.pw_name, who.pw_gid)
                self._as |= {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": groups}
        self._home = home
        self._root = Path(settings.root or (f"{home}/{USER_ROOT}" if settings.user else SYSTEM_ROOT))

    # -- states

    def install(self) -> None:
        before = self._noted("before")
        if before is None:
            before = self._current()
            self._note("before", before)
        self._releases(before, "prune")
        added = str(json.loads(self._releases(before, "add", *self._source(), "--json"))["id"])
        self._note("release", added)
        self.cleanup()
        if added == self._current():
            return say(f"{added} is current already")
        self._releases(before, "activate", added, *shlex.split(self._settings.trial))

    def commit(self) -> None:
        release = self._noted("release")
        if not release:
            raise Failed("nothing was installed that could be committed")
        ends = time.monotonic() + self._settings.wait
        while True:
            found = json.loads(self._releases(self._noted("before"), "list", "--json"))
            trial, rollback = found["trial"] or {}, found["rollback"] or {}
            current = self._current()
            if current != release:
                why = rollback["reason"] if rollback.get("source") == release else f"{current or 'none'} is current"
                raise Failed(f"{release} was given up: {why}")
            if trial.get("id") != release:
                break
            if time.monotonic() >= ends:
                raise Failed(f"{release} is still on trial after {self._settings.wait:g} s, with {trial['attempts']} "
                             f"starts; is the service of {self._root} installed and running?")  # fmt: skip
            time.sleep(LOOK_SECONDS)
        if not any(row["id"] == release and row["good"] for row in found["releases"]):
            why = rollback["reason"] if rollback.get("source") == release else "nothing says that it was confirmed"
            raise Failed(f"{release} is current and has not proven itself: {why}")
        say(f"{release} is confirmed")

    def rollback(self) -> None:
        before, release = self._noted("before"), self._noted("release")
        if before is None:
            return say("nothing was changed")
        if self._current() == before:
            if self._noted("back") is not None:  # cut off after the switch: what runs may be the other one
                self._restart()
            return say(f"{before or 'no release'} is current, as before")
        if not before:
            raise Failed(f"no release was current before {release}, so there is none to go back to")
        self._note("back", before)
        if release and self._current() == release:
            with suppress(Failed):
                self._releases(before, "rollback")
        if self._current() != before:  # not the newest that was proven, or not proven at all
            self._releases(before, "activate", before, "--allow-downgrade", *shlex.split(self._settings.trial))
        if self._current() != before:
            raise Failed(f"{self._current()} is current; wanted {before}, which was before")
        say(f"{before} is current, as before")

    def cleanup(self) -> None:
        self._child("--remove", self._root / WORK)

    # -- what they do

    def _current(self) -> str:
        """The release that is current; empty where none is."""
        with suppress(OSError):
            return os.path.basename(os.readlink(self._root / "current"))
        return ""

    def _noted(self, name: str) -> str | None:
        with suppress(FileNotFoundError):
            return (self._folder / "tmp" / name).read_text()
        return None

    def _note(self, name: str, text: str) -> None:
        """On the disk when this returns."""
        place = self._folder / "tmp"
        fresh = place / f".{name}.new"
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, place / name)
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _source(self) -> list[str]:
        """The words for ``releases add``: what came, and its name. What is signed, and whatever comes to a device with
        keys, goes on as the archive that it is, so that nothing of it is unpacked before it is believed."""
        files = sorted((self._folder / "files").iterdir())
        archives = [path for path in files if path.suffix != ".sig"]
        if len(archives) != 1 or not {path.name for path in files} <= {archives[0].name, f"{archives[0].name}.sig"}:
            held = ", ".join(path.name for path in files) or "nothing"
            raise Failed(f"the artifact holds {held}; wanted one archive of a release, and its .sig where it is "
                         "signed: edge-streamer mender artifact")  # fmt: skip
        self.cleanup()
        closed = len(files) > 1 or self._has_keys()
        release = self._root / WORK / ("release.tar" if closed else "release")
        self._child("--copy" if closed else "--unpack", release, *files)
        header = json.loads((self._folder / "header/header-info").read_bytes())
        name = str((header.get("artifact_provides") or {}).get("artifact_name", ""))[:LONGEST_NAME]
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("._+-")  # as `releases add` takes it
        return [str(release), *(["--name", name] if name else [])]

    def _has_keys(self) -> bool:
        folders = (Path(KEYS), Path(self._home, ".config/edge-streamer/keys.d"))
        return any(any(folder.glob("*.pub")) for folder in folders)

    def _child(self, doing: str, folder: Path, *files: Path) -> None:
        """This file once more, as the user: files are handed on open, because the client's folder is root's."""
        with ExitStack() as stack:
            handles = [stack.enter_context(path.open("rb")).fileno() for path in files]
            words = [sys.executable, "-I", "-B", os.path.abspath(__file__), doing, str(folder), *map(str, handles)]
            self._run(words, pass_fds=handles)

    def _releases(self, before: str | None, action: str, *words: str) -> str:
        """What ``edge-streamer releases`` wrote to standard output. Failed, with its reason."""
        said = self._run([*self._tool(before), "releases", action, *words, "--root", str(self._root)])
        if "--json" not in words:
            print(said, end="", flush=True)
        return said

    def _tool(self, before: str | None) -> list[str]:
        """By default what was current before: whatever the new release is, going back does not depend on it."""
        words = shlex.split(self._settings.command)
        if words and os.access(words[0], os.X_OK):
            return words
        python = self._root / "releases" / (before or "none") / "env/bin/python"
        if before and os.access(python, os.X_OK):
            return [str(python), "-B", "-m", "edge_streamer"]
        raise Failed(f"no edge-streamer is here to work with: no release below {self._root} was current, and "
                     f"`command` of {CONF} names no program; run: edge-streamer mender install")  # fmt: skip

    def _restart(self) -> None:
        words = ["systemctl", *(["--user"] if self._settings.user else []), "try-restart", "--no-block", UNIT]
        with suppress(Failed):
            self._run(words)

    def _run(self, words: Sequence[str], **more: Any) -> str:
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, **self._as, **more)
        except OSError as error:
            raise Failed(f"{words[0]} does not start: {error.strerror}") from None
        said = done.stderr[-MOST_SAID:].decode("utf-8", "replace").strip().splitlines()
        out: str = done.stdout.decode("utf-8", "replace")
        for line in said[:-1] if done.returncode else said:
            print(line, file=sys.stderr, flush=True)
        if done.returncode:
            last = (said or out.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise Failed(last.removeprefix("edge-streamer: "))
        return out


# -- as the user


def unpack(folder: str, archive: str, signature: str = "") -> None:
    """Write what the archive holds into the new folder: files, folders and links, each once, none outside of it, none
    through a link, and no more bytes than the archive has."""
    links: list[tuple[Path, str]] = []
    try:
        with os.fdopen(int(archive), "rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            os.makedirs(folder)
            for member in tar:
                if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
                    raise Failed(f"the archive holds {member.name!r}, which is outside of a release")
                path = Path(folder, member.name)
                if member.issym():
                    links.append((path, member.linkname))
                elif member.isdir():
                    path.mkdir(exist_ok=True, parents=True)
                elif member.isreg() and not member.issparse() and (content := tar.extractfile(member)) is not None:
                    path.parent.mkdir(exist_ok=True, parents=True)
                    with path.open("xb") as out:
                        while block := content.read(1 << 20):
                            out.write(block)
                    path.chmod(0o755 if member.mode & 0o100 else 0o644)
                else:
                    raise Failed(f"the archive holds {member.name!r}, which is no file, folder or link")
        for path, target in links:  # last, so that nothing is written through them
            path.parent.mkdir(exist_ok=True, parents=True)
            os.symlink(target, path)
        if signature:
            with os.fdopen(int(signature), "rb") as file:
                Path(f"{folder}.sig").write_bytes(file.read(MOST_SAID))
    except (tarfile.TarError, EOFError) as error:
        raise Failed(f"what came is no whole archive: {error}") from None


def copy(path: str, archive: str, signature: str = "") -> None:
    """Write the archive, and what stands beside it, as they are."""
    os.makedirs(os.path.dirname(path))
    for handle, place in ((archive, path), (signature, f"{path}.sig")):
        if handle:
            with os.fdopen(int(handle), "rb") as file, open(place, "xb") as out:
                shutil.copyfileobj(file, out)


def remove(folder: str) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def say(text: str) -> None:
    print(f"edge-streamer: {text}", file=sys.stderr, flush=True)


STATES: dict[str, Callable[[Update], None]] = {
    "ArtifactInstall": Update.install,
    "ArtifactCommit": Update.commit,
    "ArtifactRollback": Update.rollback,
    "Cleanup": Update.cleanup,
}
ANSWERS = {"NeedsArtifactReboot": "No", "SupportsRollback": "Yes"}
AS_USER: dict[str, Callable[..., None]] = {"--unpack": unpack, "--copy": copy, "--remove": remove}


def main(words: Sequence[str]) -> int:
    """Exit status 0 done or nothing to do, 1 failed."""
    state, rest = (words[0] if words else ""), words[1:]
    try:
        if state in ANSWERS:
            print(ANSWERS[state])
        elif state in AS_USER:
            AS_USER[state](*rest)
        elif state in STATES:
            STATES[state](Update(Path(rest[0]), read_settings(CONF)))
    except Failed as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{state}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
