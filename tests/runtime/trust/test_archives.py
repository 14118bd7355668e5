"""Archives on a device with keys: nothing is unpacked before its manifest was admitted, and nothing hostile ever

Signed or not: what a maker signed whose machine is not theirs alone is refused as well.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.archive import pack
from edge_streamer.runtime.bundle.checksums import cache_folder
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import EdgeStreamerError, TrustError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.opening import open_bundle, open_release, unpack_release
from edge_streamer.runtime.trust.release import list_release, open_folder, pack_release
from edge_streamer.runtime.trust.signing import state, write_signature
from edge_streamer.runtime.trust.thing import Thing, look
from tests.fuzz.tars import damage_tar, member, render_tar
from tests.runtime.bundle.test_hostile_archive import HOSTILE, PATHS, first_member
from tests.runtime.trust.conftest import Device, tried

ATTACKS = {**HOSTILE, "a link to the keys": (lambda m: m + member_of(b"2"), "or no regular file")}


def member_of(kind: bytes) -> bytes:
    return render_tar([{**member("graphs/first.onnx", b""), "type": kind, "link": b"/etc/edge-streamer/keys.d"}])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "bundles"


@pytest.fixture
def unwritten(cache: Path) -> Iterator[None]:
    """Nothing at all is written to the cache of unpacked bundles."""
    yield
    assert not cache.exists() or list(cache.iterdir()) == []


def state_manifest(device: Device, path: Path, manifest: bytes, kind: str = "bundle") -> None:
    """Sign an archive for its manifest, whatever the rest of it is: as a maker whose machine is not theirs alone."""
    thing = Thing(kind, "attack", hashlib.sha256(manifest).hexdigest())  # type: ignore[arg-type]
    write_signature(path, state(thing, version=1), [device.key()])


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("case", ATTACKS)
def test_a_hostile_archive_is_refused_signed_or_not(
    trusting: Device, counter: Path, tmp_path: Path, case: str, signed: bool
) -> None:
    change, _ = ATTACKS[case]
    for name, wrap in (("a.tar", bytes), ("a.tar.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(wrap(change(first_member(counter))))
        if signed:
            state_manifest(trusting, path, (counter / "manifest.json").read_bytes())
        with pytest.raises(EdgeStreamerError) as caught:
            open_session(path, engine="cpu")
        assert isinstance(caught.value, TrustError) is not signed
        assert caught.value.exit_status == 2
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("case", PATHS)
def test_a_path_that_cannot_be_is_refused_signed_or_not(
    trusting: Device, counter: Path, tmp_path: Path, case: str, signed: bool
) -> None:
    for kind, name in (("bundle", "manifest.json"), ("release", "release.json")):
        path = tmp_path / f"{kind}.tar"
        paths = [path.replace("manifest.json", name) for path in PATHS[case][0]]
        manifest = hostile_manifest(counter, paths, kind)
        with tarfile.open(path, "w") as file:
            for at, data in [(name, manifest), *((p, b"1") for p in paths)]:
                info = tarfile.TarInfo(at)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        if signed:
            state_manifest(trusting, path, manifest, kind)
        before = set(tmp_path.iterdir())
        with pytest.raises(EdgeStreamerError) as caught:
            if kind == "bundle":
                open_session(path, engine="cpu")
            else:
                unpack_release(path, tmp_path / "out")
        assert isinstance(caught.value, TrustError) is not signed
        assert caught.value.exit_status == 2
        assert "\n" not in str(caught.value)
        assert set(tmp_path.iterdir()) - {tmp_path / "cache"} == before - {tmp_path / "cache"}


def hostile_manifest(counter: Path, paths: list[str], kind: str) -> bytes:
    manifest = json.loads((counter / "manifest.json").read_text())
    files = [{"path": path, "size": 1, "sha256": hashlib.sha256(b"1").hexdigest()} for path in paths]
    if kind == "release":
        return json.dumps({"format": 1, "name": "r", "entries": files}).encode()
    return json.dumps({**manifest, "files": [*files, manifest["files"][1]]}).encode()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_one_signature_serves_the_folder_and_its_archives(
    trusting: Device, counter: Path, tmp_path: Path, cache: Path, suffix: str
) -> None:
    path = tmp_path / f"packed{suffix}"
    pack(Bundle.open(counter), path)
    with pytest.raises(TrustError, match="is not signed"):
        open_bundle(path)
    assert not any(cache.iterdir())
    shutil.copyfile(trusting.sign(counter), signature_of(path))
    opened = open_bundle(path)
    assert opened.path.parent == cache
    assert open_bundle(path).path == opened.path
    assert look(path).content == look(counter).content


def test_an_unpacked_bundle_in_the_cache_is_asked_as_well(trusting: Device, counter: Path, tmp_path: Path) -> None:
    """One that was unpacked before the device had a key, or that somebody put there."""
    path = tmp_path / "packed.tar"
    pack(Bundle.open(counter), path)
    folder = Bundle.open(path).path
    with pytest.raises(TrustError, match="is not signed"):
        open_bundle(path)
    shutil.copyfile(trusting.sign(counter), signature_of(path))
    (folder / "graphs/first.onnx").chmod(0o666)
    with pytest.raises(TrustError, match="can be written to by others"):
        open_bundle(path)
    (folder / "graphs/first.onnx").chmod(0o644)
    open_bundle(path)


def test_an_archive_altered_behind_its_manifest_leaves_nothing(
    trusting: Device, counter: Path, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "packed.tar"
    pack(Bundle.open(counter), path)
    shutil.copyfile(trusting.sign(counter), signature_of(path))
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1024, len(whole) // 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        tried(path)  # a byte that says nothing (an owner's name, what fills a block) may differ
    for cut in (0, 1, 511, 512, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(EdgeStreamerError):
            open_bundle(path)
    for folder in cache.iterdir():
        assert Bundle.open(folder).hash == look(counter).content


def test_damaged_archives_raise_nothing_but_our_errors(trusting: Device, counter: Path, tmp_path: Path) -> None:
    manifest = (counter / "manifest.json").read_bytes()
    listed = [entry["path"] for entry in json.loads(manifest)["files"]]
    members = [member("manifest.json", manifest), *(member(name, (counter / name).read_bytes()) for name in listed)]
    path, rng = tmp_path / "a.tar", random.Random(3)
    state_manifest(trusting, path, manifest)
    outside = set(tmp_path.iterdir())
    for _ in range(150):
        path.write_bytes(damage_tar(members, rng))
        assert tried(path) in (None, hashlib.sha256(manifest).hexdigest())
    assert set(tmp_path.iterdir()) - outside <= {path}


@pytest.fixture
def release(counter: Path, tmp_path: Path) -> Path:
    """A release of a bundle and a file."""
    folder = tmp_path / "talker"
    (folder / "models").mkdir(parents=True)
    shutil.copytree(counter, folder / "models/counter")
    (folder / "service.conf").write_text("speak")
    return list_release(folder, "talker").path


def test_a_release_opens_signed_alone_and_whole(trusting: Device, release: Path) -> None:
    with pytest.raises(TrustError, match="talker is not signed"):
        open_release(release)
    trusting.sign(release, version=1)
    assert [file.path for file in open_release(release).files][-1] == "service.conf"
    (release / "service.conf").write_text("spoke")
    with pytest.raises(EdgeStreamerError, match=r"service\.conf is damaged"):
        open_release(release)
    (release / "service.conf").write_text("speak")
    (release / "more").write_text("")
    with pytest.raises(EdgeStreamerError, match=r"more is not listed in release\.json"):
        open_release(release)
    (release / "more").unlink()
    (release / "service.conf").unlink()
    (release / "service.conf").symlink_to(release / "models/counter/manifest.json")
    with pytest.raises(EdgeStreamerError):
        open_release(release)


def test_a_release_is_unpacked_with_its_signature_or_not_at_all(
    trusting: Device, release: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "talker.tar", tmp_path / "out"
    pack_release(open_folder(release), path)
    with pytest.raises(TrustError, match="is not signed"):
        unpack_release(path, out)
    assert not out.exists()
    shutil.copyfile(trusting.sign(release, version=4), signature_of(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1500])
    with pytest.raises(EdgeStreamerError):
        unpack_release(path, out)
    path.write_bytes(whole.replace(b"speak", b"spoke"))
    with pytest.raises(EdgeStreamerError, match=r"talker\.tar: service\.conf is damaged"):
        unpack_release(path, out)
    assert not out.exists()
    assert not signature_of(out).exists()
    path.write_bytes(whole)
    assert unpack_release(path, out).path == out
    assert open_release(out).manifest.name == "talker"


def test_switching_back_to_an_older_release_is_said_on_purpose(trusting: Device, release: Path, tmp_path: Path) -> None:
    """What an update does: look without remembering, switch, and remember once it holds; or go back."""
    older = tmp_path / "older"
    shutil.copytree(release, older)
    (older / "service.conf").write_text("older")
    list_release(older, "talker")
    trusting.sign(older, version=1)
    trusting.sign(release, version=2)
    open_release(older)
    open_release(release, remember=False)
    open_release(older)  # it did not hold: nothing has changed
    open_release(release)
    with pytest.raises(TrustError, match="is version 1 of release 'talker'"):
        open_release(older)
    open_release(older, allow_downgrade=True)
    open_release(older)


def test_a_signature_of_a_bundle_is_none_of_a_release(trusting: Device, counter: Path, release: Path) -> None:
    shutil.copyfile(trusting.sign(counter), signature_of(release))
    with pytest.raises(TrustError, match="signs a bundle; "):
        open_release(release)


FORMS = [
    "", "{", "[" * 100_000, '{"format":2,"name":"r","entries":[]}', '{"format":1,"name":"r"}',
    '{"format":1,"name":"r","entries":[],"more":1}', '{"format":1,"name":"../r","entries":[]}',
    '{"format":1,"name":"r","entries":[{"path":"f","sha256":"x"}]}',
]  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_a_release_file_of_another_form_is_refused(device: Device, tmp_path: Path, text: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/release.json").write_text(text)
    with pytest.raises(EdgeStreamerError, match=r"release\.json is none by edge-streamer") as caught:
        open_release(tmp_path / "r")
    assert "\n" not in str(caught.value)


def test_a_release_holds_no_links_and_no_devices(device: Device, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/link").symlink_to("/etc/passwd")
    with pytest.raises(EdgeStreamerError, match=r"is a link; .* wheels in place of an environment"):
        list_release(tmp_path / "r", "r")
    text = '{"format":1,"name":"r","entries":[{"path":"link","kind":"link","target":"/etc/passwd"}]}'
    (tmp_path / "r/release.json").write_text(text)
    with pytest.raises(EdgeStreamerError, match=r"lists the link 'link'; .* wheels in place of an environment"):
        open_release(tmp_path / "r")
    (tmp_path / "r/link").unlink()
    os.mkfifo(tmp_path / "r/pipe")
    with pytest.raises(EdgeStreamerError, match="is no file, folder or link"):
        list_release(tmp_path / "r", "r")


@pytest.mark.parametrize("form", ["kind", "twice", "under a file", "itself", "without a sum"])
def test_a_list_that_contradicts_itself_is_refused(device: Device, tmp_path: Path, form: str) -> None:
    one = {"path": "f", "size": 1, "sha256": "0" * 64}
    entries = {
        "kind": [{**one, "kind": "folder"}], "twice": [one, one], "under a file": [one, {**one, "path": "f/g"}],
        "itself": [{**one, "path": "release.json"}], "without a sum": [{"path": "f", "size": 1}],
    }[form]  # fmt: skip
    (tmp_path / "r").mkdir()
    (tmp_path / "r/release.json").write_text(json.dumps({"format": 1, "name": "r", "entries": entries}))
    with pytest.raises(EdgeStreamerError, match=r"without what belongs|twice|as a folder|lists itself"):
        open_release(tmp_path / "r")


def test_folders_and_what_may_be_run_survive_an_archive(device: Device, tmp_path: Path) -> None:
    (tmp_path / "r/empty").mkdir(parents=True)
    (tmp_path / "r/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "r/run.sh").chmod(0o755)
    pack_release(list_release(tmp_path / "r", "r"), tmp_path / "r.tar")
    unpack_release(tmp_path / "r.tar", tmp_path / "out")
    assert (tmp_path / "out/empty").is_dir()
    assert os.access(tmp_path / "out/run.sh", os.X_OK)
