"""Opening what is going to be used: on a device with keys, what one of them signed.

Receives paths; hands on bundles, releases and what a snapshot's reader asks. Every command that runs a bundle, takes a
snapshot or switches to a release comes through here; those that only look at one (``inspect``, ``plan``, ``pack``,
``sign``) do not.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from edge_streamer.runtime.bundle.archive import first_member
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.files import new_folder, replacing_all
from edge_streamer.runtime.release.contents import RELEASE
from edge_streamer.runtime.trust import release as releases
from edge_streamer.runtime.trust.gate import admission, signature_of
from edge_streamer.runtime.trust.release import Release


def open_bundle(path: str | os.PathLike[str], verify: bool = True, allow_downgrade: bool = False) -> Bundle:
    """``Bundle.open``, to run it. On a device with keys: TrustError where it is not signed by one of them, before
    anything is unpacked; all sums are compared whatever ``verify`` says, and the version is remembered once all
    of it is known to be whole."""
    gate = admission("bundle", path, allow_downgrade)
    if gate is None:
        return Bundle.open(path, verify)
    bundle = Bundle.open(path, admit=gate)
    gate.finish(bundle.path)
    return bundle


def open_release(path: Path, allow_downgrade: bool = False, remember: bool = True) -> Release:
    """The release in the folder ``path``, to use it; what ``open_bundle`` says. ``remember=False`` leaves the versions
    as they are: who switches to a release and may have to come back calls this again once it holds, and on the way back
    with ``allow_downgrade``, which lowers what is remembered."""
    gate = admission("release", path, allow_downgrade)
    if gate is None:
        return releases.open_folder(path)
    found = releases.open_folder(path, gate)
    gate.finish(path, remember)
    return found


def unpack_release(archive: Path, folder: Path, allow_downgrade: bool = False) -> Release:
    """Unpack the release's ``archive``, which has its signature beside it, to the new folder ``folder``; on a device
    with keys only what one of them signed, decided before anything is written. The signature goes with it, beside the
    folder. The version is not remembered before ``open_release`` is called for the folder.
    Raises TrustError, BundleError, InputError."""
    gate = admission("release", archive, allow_downgrade)
    if gate is None:
        with new_folder(folder) as partial:
            made = releases.unpack_into(archive, partial)
    else:
        with replacing_all(signature_of(folder), folder=folder) as (signature, partial):
            made = releases.unpack_into(archive, partial, gate)
            signature.write_bytes(gate.signature)
    return replace(made, path=folder)


def unpack_for_use(archive: Path, folder: Path, allow_downgrade: bool = False) -> Release:
    """Unpack the release's ``archive`` into ``folder``, which is there and empty, to use it; on a device with keys only
    what one of them signed, decided before anything is written, and its version is remembered."""
    gate = admission("release", archive, allow_downgrade)
    made = releases.unpack_into(archive, folder, gate)
    if gate is not None:
        gate.finish(folder)
    return made


def admit_archive(archive: Path, allow_downgrade: bool = False) -> None:
    """Refuse now what ``unpack_for_use`` would refuse before it unpacks: by the list that the archive begins with."""
    _, text = first_member(archive, (RELEASE,))
    gate = admission("release", archive, allow_downgrade)
    if gate is not None:
        gate(hashlib.sha256(text).hexdigest())
