"""Files are whole or absent; checksums are remembered only while they are true."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime import files
from edge_streamer.runtime.bundle import checksums as checksumming
from edge_streamer.runtime.bundle.checksums import Checksums
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import check_new_folder, digest, inside, new_folder, replacing, write_file

SMALL_DISK_BYTES = 1_000_000


class Interruption(Exception):
    """Something that goes wrong half-way."""


def test_replacing_writes_the_whole_file_with_the_mode_of_any_new_file(tmp_path: Path) -> None:
    target, ordinary = tmp_path / "out.wav", tmp_path / "ordinary"
    ordinary.touch()
    with replacing(target) as partial:
        assert partial.suffix == ".wav"  # media libraries choose their format by it
        assert partial.parent == tmp_path
        partial.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode == ordinary.stat().st_mode
    assert set(tmp_path.iterdir()) == {target, ordinary}


def test_replacing_keeps_what_was_there_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_bytes(b"old")
    with pytest.raises(Interruption), replacing(target) as partial:
        partial.write_bytes(b"half")
        raise Interruption
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_replacing_leaves_nothing_after_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "out.txt"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_replacing_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_bytes(b"old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_file(tmp_path / "link.txt", b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


def test_replacing_passes_on_errors_that_are_not_about_space(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out.txt"):
        (tmp_path / "an input that is missing").read_bytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing/out.txt", "does not exist; make it first"), (".", "it is a folder"), ("pipe", "not a regular file")],
)
def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, name: str, says: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=says):
        write_file(tmp_path / name, b"")


def test_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with new_folder(target) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "file").write_bytes(b"1")
        assert not target.exists()
    assert (target / "deep" / "file").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [target]


def test_new_folder_takes_the_place_of_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with new_folder(tmp_path / "bundle") as partial:
        (partial / "file").touch()
    assert [p.name for p in (tmp_path / "bundle").iterdir()] == ["file"]


def test_new_folder_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(Interruption), new_folder(tmp_path / "bundle") as partial:
        (partial / "file").write_bytes(b"half")
        raise Interruption
    assert list(tmp_path.iterdir()) == []


def test_new_folder_refuses_a_full_one_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is not empty"), new_folder(tmp_path / "bundle"):
        pytest.fail("the block must not run")
    assert (tmp_path / "bundle" / "mine").read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_can_be_refused_before_the_long_job(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    check_new_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for name, says in (("full", "exists and is not empty"), ("missing/new", "does not exist; make it first")):
        with pytest.raises(InputError, match=says):
            check_new_folder(tmp_path / name)


def test_new_folder_refuses_a_file_and_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file of that name exists"), new_folder(tmp_path / "file"):
        pytest.fail("the block must not run")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the current one"), new_folder(Path(".")):
        pytest.fail("the block must not run")


LIMITED = """
import resource, sys
from pathlib import Path
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import new_folder, replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
kind, target = sys.argv[1], Path(sys.argv[2])
try:
    with (replacing if kind == "file" else new_folder)(target) as partial:
        with (partial if kind == "file" else partial / "weights").open("wb") as file:
            file.write(bytes(1_000_000))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_over_the_limit_is_told_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, kind, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(f"cannot write {tmp_path / 'out'}: the file is larger than this system allows (")
    assert f"free in {tmp_path}" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of one megabyte."""
    mount, disk = shutil.which("mount"), tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted as root; the tests with a file size limit ran instead")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("by", ["python", "numpy"])
def test_a_disk_that_fills_is_told_and_what_was_there_stays(small_disk: Path, by: str) -> None:
    target = small_disk / "out.bin"
    target.write_bytes(b"old")
    much = np.zeros(2 * SMALL_DISK_BYTES, np.uint8)
    with pytest.raises(InputError, match=r"out\.bin: the disk is full \(\d.* free in "), replacing(target) as partial:
        if by == "numpy":
            much.tofile(partial)  # an OSError without a number
        else:
            partial.write_bytes(much.tobytes())
    assert target.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [target]


def test_a_disk_that_fills_under_a_new_folder_is_told(small_disk: Path) -> None:
    with pytest.raises(InputError, match="bundle: the disk is full"), new_folder(small_disk / "bundle") as partial:
        for number in range(20):
            (partial / str(number)).write_bytes(bytes(SMALL_DISK_BYTES // 10))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "relative",
    ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b"],
)
def test_a_path_that_could_leave_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(BundleError, match="is not allowed in a bundle"):
        inside(tmp_path, relative)


def test_a_link_may_stay_inside_but_not_leave(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "real").touch()
    (root / "deep" / "stays").symlink_to("../real")
    (root / "leaves").symlink_to("../outside")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    assert inside(root, "deep/stays").resolve() == (root / "real").resolve()
    for name in ("leaves", "up/outside", "loop"):
        with pytest.raises(BundleError, match="follows a link out of"):
            inside(root, name)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is worth remembering and old enough to be."""
    path = tmp_path / "large"
    path.write_bytes(bytes(checksumming.REMEMBERED_BYTES))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths whose bytes were read, in order; files count as settled at once."""
    seen: list[Path] = []
    digest = checksumming.digest

    def counting(path: Path) -> str:
        seen.append(path)
        return digest(path)

    monkeypatch.setattr(checksumming, "digest", counting)
    monkeypatch.setattr(checksumming, "SETTLED_NANOSECONDS", -1)
    return seen


def test_a_large_file_is_hashed_once(tmp_path: Path, large: Path, hashed: list[Path]) -> None:
    for _ in range(2):
        checksums = Checksums(tmp_path / "cache" / "memory.json")
        assert checksums.sha256(large) == checksumming.digest(large)
        checksums.save()
    assert hashed == [large, large, large]  # once by Checksums, twice by this test


def test_a_small_file_is_hashed_every_time(tmp_path: Path, hashed: list[Path]) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(checksumming.REMEMBERED_BYTES - 1))
    checksums = Checksums(tmp_path / "memory.json")
    checksums.sha256(small)
    checksums.sha256(small)
    checksums.save()
    assert hashed == [small, small]
    assert not (tmp_path / "memory.json").exists()


def test_a_changed_file_is_hashed_again_even_if_its_date_is_put_back(large: Path, tmp_path: Path) -> None:
    checksums, before = Checksums(tmp_path / "memory.json"), large.stat()
    first = checksums.sha256(large)
    with large.open("r+b") as file:
        file.write(b"1")
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checksums.sha256(large) != first


def test_a_file_changed_just_now_is_not_remembered(large: Path, tmp_path: Path) -> None:
    checksums = Checksums(tmp_path / "memory.json")
    checksums.sha256(large)
    checksums.save()
    assert not (tmp_path / "memory.json").exists()


@pytest.mark.parametrize("text", [b"", b"not json", b"[1]", b'{"/x": [1, 2]}', b"\xff"])
def test_a_damaged_memory_counts_as_empty(large: Path, tmp_path: Path, hashed: list[Path], text: bytes) -> None:
    memory = tmp_path / "memory.json"
    memory.write_bytes(text)
    checksums = Checksums(memory)
    checksums.sha256(large)
    checksums.save()
    Checksums(memory).sha256(large)
    assert hashed == [large]


def test_a_memory_that_cannot_be_written_is_done_without(large: Path, tmp_path: Path, hashed: list[Path]) -> None:
    (tmp_path / "a file").touch()
    checksums = Checksums(tmp_path / "a file" / "memory.json")
    assert len(checksums.sha256(large)) == 64
    checksums.save()
    assert hashed == [large]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"), (7e12, "7000.0 GB")]
)
def test_sizes_read_well(size: float, text: str) -> None:
    assert files.size_text(size) == text


def test_a_read_only_disk_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only disk even taking the temporary file back fails; that must not hide what went wrong."""

    def read_only(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "touch", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(InputError, match="Read-only"), files.replacing(tmp_path / "out"):
        pass


def a_flipped_sum(path: Path, _: Path) -> None:
    """Still a sum, but of other bytes."""
    content = path.read_bytes()
    at = content.rindex(b'"') - 1
    path.write_bytes(content[:at] + (b"0" if content[at : at + 1] != b"0" else b"1") + content[at + 1 :])


def a_pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def a_huge_file(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(40_000_000_000)


DAMAGES: dict[str, Any] = {
    "no UTF-8": lambda path, _: path.write_bytes(path.read_bytes().replace(b"large", b"l\xffrge")),
    "no UTF-8 in a sum": lambda path, _: path.write_bytes(path.read_bytes()[:-5] + b"\xff" + path.read_bytes()[-4:]),
    "half of it": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "nothing": lambda path, _: path.write_bytes(b""),
    "5,000 levels": lambda path, _: path.write_bytes(b"[" * 5000),
    "a list": lambda path, _: path.write_bytes(b"[1]"),
    "other types": lambda path, file: path.write_text(json.dumps({str(file): ["1", None, 2, 3, 4]})),
    "numbers of 5,000 digits": lambda path, file: path.write_bytes(b'{"x":[' + b"9" * 5000 + b",1,1,1,1]}"),
    "a path for a sum": lambda path, file: path.write_text(json.dumps({str(file): [1, 2, 3, 4, "../../x"]})),
    "a flipped sum": a_flipped_sum, "a pipe": a_pipe, "a folder": a_folder, "a huge file": a_huge_file,
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_memory_of_checksums_counts_as_empty(tmp_path: Path, case: str) -> None:
    memory, file = tmp_path / "checksums.json", tmp_path / "large"
    file.write_bytes(b"x" * (checksumming.REMEMBERED_BYTES + 1))
    os.utime(file, (0, 0))
    known = {str(file): [*checksumming._identity(file.stat()), digest(file)]}
    memory.write_text(json.dumps(known))
    assert Checksums(memory)._known
    DAMAGES[case](memory, file)
    checksums = Checksums(memory)
    if case != "a flipped sum":
        assert checksums.sha256(file) == digest(file)
    assert checksums.sha256(file, anew=True) == digest(file)
    checksums.save()


def test_a_path_that_is_no_text_is_remembered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksumming, "SETTLED_NANOSECONDS", -1)
    file = tmp_path / os.fsdecode(b"n\xffme")
    file.write_bytes(b"x" * (checksumming.REMEMBERED_BYTES + 1))
    checksums = Checksums(tmp_path / "checksums.json")
    assert checksums.sha256(file) == digest(file)
    checksums.save()
    assert len(Checksums(tmp_path / "checksums.json")._known) == 1
