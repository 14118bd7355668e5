"""What a path is that is to be signed or looked at: a bundle, a snapshot, a release, a key.

Receives a path; hands on a :class:`Thing`: its kind, the name that a statement gives it, and the SHA-256 that is
signed, once all of it was compared with its own sums.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_streamer.runtime.bundle.archive import BUNDLE_CONTENTS, check_archive, first_member
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import digest
from edge_streamer.runtime.release.contents import RELEASE, parse_release
from edge_streamer.runtime.trust.keyring import PUBLIC, content_of, read_public
from edge_streamer.runtime.trust.release import check_release_archive, open_folder
from edge_streamer.runtime.trust.statement import Kind

SNAPSHOT = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz")

Admit = Callable[[str], None]


class Thing(NamedTuple):
    """What lies at a path."""

    kind: Kind
    name: str
    """Its own: a bundle's and a release's stands in its manifest, a snapshot's and a key's is its file's."""
    content: str
    """SHA-256, see ``Statement.content``."""


def kind_of(path: Path) -> Kind:
    """By what lies there and its name; nothing is believed yet. InputError for what is none of these."""
    if os.path.isdir(path):
        has = [name for name in (MANIFEST, RELEASE) if os.path.lexists(path / name)]
        if len(has) == 2:
            raise InputError(
                f"{path} has a {MANIFEST} and a {RELEASE}; a release holds its bundles in folders of theirs"
            )
        if has:
            return "bundle" if has == [MANIFEST] else "release"
        raise InputError(f"{path} has no {MANIFEST} and no {RELEASE}; name a bundle, or make a release of it: "
                         f"edge-streamer sign {path} --release NAME --key FILE")  # fmt: skip
    if not os.path.isfile(path):
        raise InputError(f"there is no file or folder {path}; name a bundle, a snapshot, a release or a public key")
    if path.name.endswith(ARCHIVES):
        return "bundle" if first_member(path, (MANIFEST, RELEASE))[0] == MANIFEST else "release"
    if path.suffix == SNAPSHOT:
        return "snapshot"
    if path.suffix == PUBLIC:
        return "key"
    raise InputError(f"{path} is nothing that is signed; wanted a bundle's or release's folder or archive (.tar, "
                     f".tar.gz, .tgz), a snapshot ({SNAPSHOT}) or a public key ({PUBLIC})")  # fmt: skip


def look(path: Path, admit: Admit | None = None) -> Thing:
    """All of the thing at ``path``, compared with its own sums; nothing is unpacked. ``admit`` is given the content
    first. Raises InputError and its kin, and what ``admit`` raises."""
    kind = kind_of(path)
    if kind == "snapshot":
        return Thing(kind, path.stem, _admitted(_file_sum(path), admit))
    if kind == "key":
        key = read_public(path)
        return Thing(kind, key.name, _admitted(content_of(key.public), admit))
    if os.path.isdir(path):
        if kind == "bundle":
            bundle = Bundle.open(path, admit=admit)
            return Thing(kind, bundle.manifest.name, bundle.hash)
        release = open_folder(path, admit)
        return Thing(kind, release.manifest.name, release.hash)
    if kind == "release":
        text = check_release_archive(path, admit)
        return Thing(kind, parse_release(text).name, hashlib.sha256(text).hexdigest())
    text = check_archive(path, BUNDLE_CONTENTS, admit)
    return Thing(kind, parse(text).name, hashlib.sha256(text).hexdigest())


def _admitted(content: str, admit: Admit | None) -> str:
    if admit is not None:
        admit(content)
    return content


def _file_sum(path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a file that you may read") from None
