"""Archives made to harm: refused in one line, soon, and with nothing written but what was announced."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle import archive as packing
from edge_streamer.runtime.bundle.archive import pack
from edge_streamer.runtime.bundle.checksums import cache_folder
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.tar import members
from edge_streamer.runtime.files import digest
from tests.bundles import counter_bundle, refuses, rewrite

NAMES = ("manifest.json", "graphs/first.onnx", "graphs/second.onnx")


def header(name: str, size: bytes = b"00000000000", kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """A member's header with a right sum."""
    fields = [name.encode().ljust(100, b"\0"), b"0000644\0" b"0000000\0" b"0000000\0", size.ljust(12, b"\0"),
              b"00000000000\0", b" " * 8, kind, bytes(100), magic]  # fmt: skip
    block = b"".join(fields).ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def whole(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def extended(*records: tuple[str, str]) -> bytes:
    """An extended header."""
    text = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest) + len(str(len(rest) + 3))
        text += str(length).encode() + rest
    return header("pax", b"%011o" % len(text), b"x") + whole(text)


def first_member(counter: Path) -> bytes:
    content = (counter / "manifest.json").read_bytes()
    return header("manifest.json", b"%011o" % len(content)) + whole(content)


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "negative size": (lambda m: m + header(NAMES[1], b"-0000000001"), "in place of a number"),
    "size in base 256": (lambda m: m + header(NAMES[1], b"\xff" * 12), "in place of a number"),
    "size of nothing": (lambda m: m + header(NAMES[1], b""), "in place of a number"),
    "negative extended size": (lambda m: m + extended(("size", "-5")) + header(NAMES[1]), "in place of a number"),
    "size of 400 digits": (lambda m: m + extended(("size", "9" * 400)) + header(NAMES[1]), "in place of a number"),
    "extended header of 8 GB": (lambda m: m + header("pax", b"77777777777", b"x"), "extended header of 8589934591"),
    "two extended headers": (lambda m: m + 2 * extended(("path", "x")) + header(NAMES[1]), "no regular file"),
    "extended header of rubbish": (lambda m: m + header("pax", b"00000000010", b"x") + bytes(512), "in place of a n"),
    "extended header that runs over": (
        lambda m: m + header("pax", b"00000000011", b"x") + whole(b"99 path=a"),
        "an extended header is damaged",
    ),
    "file with holes": (
        lambda m: m + extended(("GNU.sparse.major", "x"), ("GNU.sparse.name", NAMES[1])) + header("a"),
        "or no regular file",
    ),
    "old file with holes": (lambda m: m + header(NAMES[1], kind=b"S", magic=b"ustar  \0"), "or no regular file"),
    "symbolic link": (lambda m: m + header(NAMES[1], kind=b"2"), "or no regular file"),
    "hard link": (lambda m: m + header(NAMES[1], kind=b"1"), "or no regular file"),
    "device": (lambda m: m + header(NAMES[1], kind=b"3"), "or no regular file"),
    "pipe": (lambda m: m + header(NAMES[1], kind=b"6"), "or no regular file"),
    "folder": (lambda m: m + header("graphs/", kind=b"5"), "or no regular file"),
    "long name the GNU way": (lambda m: m + header("././@LongLink", b"77777777777", b"L"), "or no regular file"),
    "name that is no text": (
        lambda m: m + header("\0", magic=b"ustar\x0000").replace(b"\0" * 100, b"\xff" + b"\0" * 99, 1),
        "sum is wrong",
    ),
    "sum of rubbish": (lambda m: m + b"\1" * 512, "in place of a number"),
    "cut in a header": (lambda m: m + header(NAMES[1])[:300], "it is cut off"),
    "cut in a member": (lambda m: m + header(NAMES[1], b"00000001000") + b"1", "it is "),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_that_lies_is_refused(counter: Path, tmp_path: Path, case: str, zipped: bool) -> None:
    change, says = HOSTILE[case]
    content = change(first_member(counter))
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(content) if zipped else content)
    if case == "cut in a member":
        says = "of another size"
    refuses(path, says)
    assert not (cache_folder() / "bundles" / digest(path)).exists()


PATHS: dict[str, tuple[list[str], str]] = {
    "a file and its folder": (["graphs/first.onnx", "graphs/first.onnx/in"], "wanted no file as a folder"),
    "1,500 levels": (["graphs/first.onnx", "/".join(["d"] * 140)], "wanted at most 16 names"),
    "a name of 300 letters": (["graphs/first.onnx", "n" * 300], "of at most 255 bytes"),
    "a path of 3000 letters": (["graphs/first.onnx", "d/" * 1500 + "f"], "Expected `str` of length <= 300"),
    "the manifest's own name": (["graphs/first.onnx", "manifest.json"], "lists manifest.json itself"),
    "the manifest as a folder": (["graphs/first.onnx", "manifest.json/f"], "cannot unpack"),
}


@pytest.mark.parametrize("case", PATHS)
def test_a_path_that_cannot_be_unpacked_is_refused(counter: Path, tmp_path: Path, case: str) -> None:
    paths, says = PATHS[case]
    manifest = json.loads((counter / "manifest.json").read_text())
    entry = manifest["files"][0]
    manifest["files"] = [entry | {"path": path, "size": 1} for path in (*paths, "graphs/second.onnx")]
    content = json.dumps(manifest).encode()
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for name, data in [("manifest.json", content), *((p, b"1") for p in paths)]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    refuses(path, says)


def test_an_archive_of_zeros_costs_no_memory_and_no_time(counter: Path, tmp_path: Path) -> None:
    """A member that nobody announced is refused at its header, whatever comes after it."""
    stream = zlib.compressobj(9, wbits=31)
    with (tmp_path / "bomb.tar.gz").open("wb") as file:
        file.write(stream.compress(first_member(counter) + header("bomb", b"77777777777")))
        for _ in range(64):
            file.write(stream.compress(bytes(1 << 20)))
        file.write(stream.flush())
    refuses(tmp_path / "bomb.tar.gz", "'bomb' is listed twice, not listed")


def test_a_manifest_larger_than_any_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(header("manifest.json", b"77777777777"))
    refuses(tmp_path / "a.tar", "does not begin with a manifest.json that is a regular file of at most 16.0 MB")


def test_a_manifest_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(header("manifest.json", kind=b"2"))
    refuses(tmp_path / "a.tar", "does not begin with a manifest.json that is a regular file")


def test_long_names_letters_of_the_world_and_large_sizes_come_back(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as file:
        for name in ("é/" + "n" * 150, "d" * 80 + "/" + "n" * 90, "plain"):
            member = tarfile.TarInfo(name)
            member.size = 5
            file.addfile(member, io.BytesIO(name.encode()[:5]))
    huge = tmp_path / "huge.tar"
    huge.write_bytes(extended(("size", str(9 << 30))) + header("big"))
    with (tmp_path / "a.tar").open("rb") as opened:
        names = [(m.name, b"".join(m.pieces())) for m in members(opened)]
    assert names == [("é/" + "n" * 150, "é/nn".encode()), ("d" * 80 + "/" + "n" * 90, b"ddddd"), ("plain", b"plain")]
    with huge.open("rb") as opened:
        assert next(members(opened)).size == 9 << 30


def test_two_gzip_streams_are_one_archive(counter: Path, tmp_path: Path) -> None:
    pack(Bundle.open(counter), tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    assert Bundle.open(tmp_path / "b.tar.gz").manifest.name == "counter"


def test_an_archive_that_changes_while_it_is_read_is_not_kept(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(counter, lambda m: m["provenance"].update(preset="changes"))
    path = tmp_path / "a.tar"
    pack(Bundle.open(counter), path)
    before = digest(path)
    write = packing._write_member

    def change_then_write(*args: object) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_write_member", change_then_write)
    refuses(path, "changed while it was read")
    assert not (cache_folder() / "bundles" / before).exists()


def test_processes_that_open_one_new_archive_at_once_all_get_it(tmp_path: Path) -> None:
    bundle = counter_bundle(tmp_path / "counter")
    rewrite(bundle, lambda m: m["provenance"].update(preset="at once"))
    pack(Bundle.open(bundle), tmp_path / "a.tar")
    code = (
        "import sys; from edge_streamer.runtime.bundle.reader import Bundle; sys.stdin.read(1); "
        "print(Bundle.open(sys.argv[1]).path)"
    )
    begun = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "a.tar"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(4)
    ]  # fmt: skip
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in begun]
    assert [process.returncode for process in begun] == [0] * 4
    assert set(answers) == {f"{cache_folder() / 'bundles' / digest(tmp_path / 'a.tar')}\n"}


def test_who_comes_second_takes_the_folder_of_the_first(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(counter, lambda m: m["provenance"].update(preset="second"))
    path = tmp_path / "a.tar"
    pack(Bundle.open(counter), path)
    unpack = packing.unpack

    def another_is_faster(archive: Path, *rest: Any) -> None:
        monkeypatch.setattr(packing, "unpack", unpack)
        Bundle.open(archive)
        unpack(archive, *rest)

    monkeypatch.setattr(packing, "unpack", another_is_faster)
    assert Bundle.open(path).path == cache_folder() / "bundles" / digest(path)
    assert not list((cache_folder() / "bundles").glob("*.partial"))
