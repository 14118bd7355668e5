"""An archive of a bundle opens as the bundle, comes back byte for byte, and is never unpacked where it does harm."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle import archive as packing
from edge_streamer.runtime.bundle.archive import pack
from edge_streamer.runtime.bundle.checksums import Checksums, cache_folder
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import digest
from tests.bundles import refuses, rewrite


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_an_archive_opens_as_the_bundle_it_holds(counter: Path, tmp_path: Path, suffix: str) -> None:
    bundle = Bundle.open(counter)
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    pack(bundle, one)
    opened = Bundle.open(one)
    assert opened.hash == bundle.hash
    assert opened.path.parent == cache_folder() / "bundles"
    os.utime(counter / "graphs/first.onnx", (0, 0))
    (counter / "graphs/second.onnx").chmod(0o600)
    pack(bundle, other)
    assert one.read_bytes() == other.read_bytes()  # nothing of the machine or the hour is in it
    written = opened.path.stat().st_mtime_ns
    assert Bundle.open(other).path.stat().st_mtime_ns == written  # unpacked once


def test_pack_refuses_other_names_and_places(counter: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(counter)
    with pytest.raises(InputError, match=r"ends in \.tar, \.tar\.gz or \.tgz"):
        pack(bundle, tmp_path / "bundle.zip")
    with pytest.raises(InputError, match="lies inside BUNDLE"):
        pack(bundle, counter / "bundle.tar")
    assert Bundle.open(counter).hash == bundle.hash


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar of exactly these members."""
    with tarfile.open(path, "w") as file:
        for member, content in members:
            member.size = member.size or len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def hostile(kind: str, counter: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The counter bundle's members, spoiled."""
    manifest = (counter / "manifest.json").read_bytes()
    names = ["graphs/first.onnx", "graphs/second.onnx"]
    good = [(tarfile.TarInfo(name), (counter / name).read_bytes()) for name in names]
    first = (tarfile.TarInfo("manifest.json"), manifest)
    link = tarfile.TarInfo(names[1])
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    escaping = json.loads(manifest)
    escaping["files"][1]["path"] = "../escaped"
    escaping["graphs"][1]["file"] = "../escaped"
    return {
        "no manifest first": [*good, first],
        "empty": [],
        "stranger": [first, *good, (tarfile.TarInfo("extra"), b"1")],
        "twice": [first, good[0], good[0], good[1]],
        "other size": [first, good[0], (tarfile.TarInfo(names[1]), b"short")],
        "link": [first, good[0], (link, b"")],
        "missing": [first, good[0]],
        "path out": [(tarfile.TarInfo("manifest.json"), json.dumps(escaping).encode()), good[0],
                     (tarfile.TarInfo("../escaped"), good[1][1])],
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no manifest first", "does not begin with a manifest.json, but with 'graphs/first.onnx'"),
        ("empty", "does not begin with a manifest.json, but with 'nothing'"),
        ("stranger", "'extra' is listed twice, not listed"),
        ("twice", "'graphs/first.onnx' is listed twice"),
        ("other size", "'graphs/second.onnx' is listed twice, not listed in its manifest.json, of another size"),
        ("link", "or no regular file"),
        ("missing", "lacks graphs/second.onnx, which its manifest.json lists"),
        ("path out", "path '../escaped' is not allowed"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(counter: Path, tmp_path: Path, kind: str, says: str) -> None:
    path = archive(tmp_path / f"{kind}.tar", hostile(kind, counter))
    cache = cache_folder() / "bundles"
    before = set(cache.parent.rglob("*"))
    refuses(path, says)
    assert set(cache.parent.rglob("*")) - {cache, cache.parent} == before - {cache, cache.parent}


def test_an_archive_with_a_flipped_byte_is_refused_and_not_kept(counter: Path, tmp_path: Path) -> None:
    path = tmp_path / "flipped.tar"
    pack(Bundle.open(counter), path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"second")] ^= 1  # in the graph, which stands last
    path.write_bytes(content)
    text = refuses(path, f"{path}: graphs/second.onnx is damaged")
    assert ".partial" not in text
    assert not (cache_folder() / "bundles" / digest(path)).exists()


def test_a_damaged_unpacked_bundle_says_what_to_remove(counter: Path, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar"
    rewrite(counter, lambda m: m["provenance"].update(preset="a bundle of its own"))
    pack(Bundle.open(counter), path)
    folder = Bundle.open(path).path
    (folder / "graphs/first.onnx").unlink()
    refuses(path, f"({path} was unpacked there: remove {folder} to unpack it anew)")
    shutil.rmtree(folder)
    assert Bundle.open(path).path == folder


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_truncated_archive_is_refused(counter: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bundle{suffix}"
    pack(Bundle.open(counter), path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        refuses(path, "bundle.tar")


def test_an_archive_whose_bytes_are_wrong_is_refused(tmp_path: Path) -> None:
    for name, content in (("text.tar", b"not an archive" * 100), ("damaged.tar.gz", b"\x1f\x8b" + bytes(100))):
        (tmp_path / name).write_bytes(content)
        refuses(tmp_path / name, f"{name} is no whole .tar (")
    (tmp_path / "text.tar.gz").write_bytes(gzip.compress(b"no tar"))
    refuses(tmp_path / "text.tar.gz", "text.tar.gz is no whole .tar")


def test_an_archive_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.tar").write_bytes(b"1")

    def refuse(*_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Checksums, "sha256", refuse)  # root may read everything
    with pytest.raises(BundleError, match=r"cannot be read \(Permission denied\); name a bundle that you may read"):
        Bundle.open(tmp_path / "b.tar")


def test_an_archive_larger_than_the_disk_is_refused_before_it_is_unpacked(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.tar"
    rewrite(counter, lambda m: m["provenance"].update(preset="large"))
    pack(Bundle.open(counter), path)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 10))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"cannot unpack .* 10 bytes free"):
        Bundle.open(path)


def archives(counter: Path, folder: Path, count: int) -> list[Path]:
    """Archives of so many bundles."""
    made = []
    for number in range(count):
        rewrite(counter, lambda m, number=number: m["provenance"].update(preset=f"retired {number}"))
        made.append(folder / f"{number}.tar")
        pack(Bundle.open(counter), made[-1])
    return made


def test_the_cache_keeps_the_bundles_used_last_and_those_in_use(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = "import sys; from edge_streamer.runtime.bundle.reader import Bundle; Bundle.open(sys.argv[1])"
    made = archives(counter, tmp_path, packing.MOST_UNPACKED + 2)
    first = Bundle.open(made[0]).path  # in use by this process
    for path in made[1:]:
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    kept = {path.name for path in first.parent.iterdir()}
    assert kept == {digest(path) for path in (made[0], *made[-packing.MOST_UNPACKED :])}


def test_bundles_that_were_in_use_go_when_an_unpacked_one_is_opened_again(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = archives(counter, tmp_path, packing.MOST_UNPACKED + 2)
    opened = [Bundle.open(path).path for path in made]
    cache = opened[0].parent
    assert len(list(cache.iterdir())) == len(made)  # this process uses them all
    script = "import sys; from edge_streamer.runtime.bundle.reader import Bundle; Bundle.open(sys.argv[1])"
    for handle in packing._held.values():
        os.close(handle)
    packing._held.clear()
    subprocess.run([sys.executable, "-c", script, str(made[-1])], check=True)
    assert {path.name for path in cache.iterdir()} == {digest(path) for path in made[-packing.MOST_UNPACKED :]}
