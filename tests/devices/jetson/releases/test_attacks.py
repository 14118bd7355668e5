"""Attacks on the releases of a device with keys, by the commands a user runs: none unpacked or run, one line each."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.release import list_release, open_folder, pack_release
from edge_streamer.runtime.trust.signing import state, write_signature
from edge_streamer.runtime.trust.statement import Targets
from edge_streamer.runtime.trust.thing import Thing
from tests.devices.jetson.releases.made import plain
from tests.runtime.bundle.test_hostile_archive import HOSTILE, NAMES, header, whole

pytest.importorskip("cryptography")

from tests.runtime.trust.conftest import Device, device, trusting  # noqa: F401

Says = pytest.CaptureFixture[str]
FILES = {"settings.toml": b'bundle = "bundle"\n', **{f"bundle/{name}": b"1" for name in NAMES}}


class Board:
    """What a user does on a device that trusts ``key``; each refusal leaves nothing."""

    def __init__(self, folder: Path, its: Device, says: Says) -> None:
        self.folder, self.root, self.trusting, self._says = folder, Root(folder / "root"), its, says

    def add(self, thing: Path, *words: str) -> tuple[int, str]:
        status = cli.main(["releases", "add", str(thing), "--root", str(self.root.path), *words])
        return status, self._says.readouterr().err

    def refused(self, thing: Path, *, verify: bool = True) -> str:
        """By `releases add` and, where that looks as closely, `verify`: one line, and nothing was unpacked."""
        before, there = set(self.folder.rglob("*")), self.root.ids()
        status, said = self.add(thing)
        assert (status, said.count("\n"), "Traceback" in said) == (2, 1, False), said
        lock = {self.root.path, self.root.releases, self.root.path / ".lock"}
        assert set(self.folder.rglob("*")) - before <= lock
        assert (self.root.ids(), self.root.led_to(self.root.current)) == (there, None)
        if verify:
            assert cli.main(["verify", str(thing)]) == 2
            assert self._says.readouterr().err.count("\n") == 1
        return said

    def archive(self, name: str = "talker.tar", more: dict[str, bytes] | None = None) -> Path:
        """Of a release, its folder beside it; not signed yet."""
        folder = plain(self.folder / f"{name}-source", {**FILES, **(more or {})})
        pack_release(list_release(folder, "talker"), self.folder / name)
        return self.folder / name


@pytest.fixture
def board(tmp_path: Path, trusting: Device, capsys: Says) -> Board:  # noqa: F811
    return Board(tmp_path, trusting, capsys)


def test_an_archive_that_is_signed_becomes_a_release(board: Board) -> None:
    archive = board.archive("talker.tar.gz")
    assert "is not signed" in board.refused(archive)
    board.trusting.sign(archive, version=3)
    assert board.add(archive) == (0, "")
    (name,) = board.root.ids()
    listed = json.loads((board.root.release(name) / "release.json").read_text())
    assert (listed["id"], listed["name"]) == (name, "talker")
    assert cli.main(["releases", "list", "--root", str(board.root.path), "--verify"]) == 0
    shutil.copyfile(signature_of(archive), signature_of(board.folder / "talker.tar.gz-source"))
    assert board.add(board.folder / "talker.tar.gz-source") == (0, ""), "the same folder is the same release"
    assert board.root.ids() == [name]
    assert [path.name for path in board.root.releases.iterdir()] == [name]


def altered(board: Board, archive: Path) -> None:
    board.trusting.sign(archive)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b'bundle = "bundle"', b'bundle = "bundlf"'))


def altered_list(board: Board, archive: Path) -> None:
    board.trusting.sign(archive)
    archive.write_bytes(archive.read_bytes().replace(b'"name": "talker"', b'"name": "walker"'))


def truncated(board: Board, archive: Path) -> None:
    board.trusting.sign(archive)
    archive.write_bytes(archive.read_bytes()[:-11_000])


def signed_again(board: Board, archive: Path) -> None:
    board.trusting.sign(archive, "thief")


def key_swapped(board: Board, archive: Path) -> None:
    """A good signature by another key that calls itself by the fingerprint of ours."""
    ours = json.loads(board.trusting.sign(archive, version=1).read_bytes())
    theirs = json.loads(board.trusting.sign(archive, "thief", version=1).read_bytes())
    theirs["signatures"][0]["keyid"] = ours["signatures"][0]["keyid"]
    text = json.dumps(theirs, separators=(",", ":"), sort_keys=True)
    signature_of(archive).write_text(f"{text}\n")


def of_another(board: Board, archive: Path) -> None:
    other = board.archive("other.tar", {"more": b"x"})
    shutil.copyfile(board.trusting.sign(other), signature_of(archive))


def for_another_board(board: Board, archive: Path) -> None:
    board.trusting.sign(archive, targets=Targets(boards=("p3701-0005",)))


def a_bundle_s(board: Board, archive: Path) -> None:
    thing = Thing("bundle", "talker", open_folder(board.folder / f"{archive.name}-source").hash)
    write_signature(archive, state(thing), [board.trusting.key()])


ATTACKS: dict[str, tuple[Callable[[Board, Path], None], str]] = {
    "altered": (altered, r"settings.toml is damaged"), "altered list": (altered_list, "is not what was signed"),
    "truncated": (truncated, "cut off|lacks|it is "), "signed again": (signed_again, "does not trust"),
    "key swapped": (key_swapped, "damaged or forged"), "another's signature": (of_another, "is not what was signed"),
    "another board": (for_another_board, "for the board agx-orin-64gb"), "a bundle's": (a_bundle_s, "signs a bundle"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_attack_on_an_archive_is_refused(board: Board, kind: str) -> None:
    attack, said = ATTACKS[kind]
    archive = board.archive()
    attack(board, archive)
    assert re.search(said, board.refused(archive))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_signed_or_not(board: Board, case: str, signed: bool) -> None:
    entries = [{"path": name, "size": 1, "sha256": hashlib.sha256(b"1").hexdigest()} for name in NAMES]
    text = json.dumps({"format": 1, "name": "r", "entries": entries}).encode()
    change, _ = HOSTILE[case]
    content = change(header("release.json", b"%011o" % len(text)) + whole(text))
    for name, data in (("a.tar", content), ("a.tar.gz", gzip.compress(content))):
        path = board.folder / name
        path.write_bytes(data)
        if signed:
            thing = Thing("release", "r", hashlib.sha256(text).hexdigest())
            write_signature(path, state(thing, version=1), [board.trusting.key()])
        assert ("is not signed" in board.refused(path)) is not signed


def test_an_older_release_is_not_replayed(board: Board) -> None:
    older, newer = board.archive("older.tar"), board.archive("newer.tar", {"more": b"x"})
    board.trusting.sign(older, version=1)
    board.trusting.sign(newer, version=2)
    assert board.add(older) == (0, "")
    assert board.add(newer) == (0, "")
    assert "is version 1 of release 'talker'" in board.refused(older)
    shutil.copyfile(signature_of(older), signature_of(board.folder / "older.tar-source"))
    assert "is version 1 of release 'talker'" in board.refused(board.folder / "older.tar-source")
    assert board.add(older, "--name", "x")[0] == 2, "a name is no way around it"
    assert board.add(older, "--allow-downgrade") == (0, "")


def test_a_bundle_that_was_put_into_a_release_later_is_not_run(board: Board, counter: Path) -> None:
    archive = board.archive()
    board.trusting.sign(archive)
    assert board.add(archive) == (0, "")
    release = board.root.release(board.root.ids()[0])
    for folder in (release, release / "bundle"):
        folder.chmod(0o755)
    shutil.rmtree(release / "bundle")
    shutil.copytree(counter, release / "bundle")
    assert cli.main(["run", str(release / "bundle")]) == 2
    assert "is not signed" in board._says.readouterr().err
    words = ["releases", "activate", release.name, "--root", str(board.root.path), "--no-restart", "--no-check"]
    assert cli.main(words) == 2
    assert "release" in board._says.readouterr().err
    assert board.root.led_to(board.root.current) is None
