"""Releases are added whole or not at all, share what is equal, and are refused in one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.releases import adding, keeper, places
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.first import name_of
from edge_streamer.devices.jetson.releases.places import Root, State, Trial, begin_trial, confirm, read_state
from edge_streamer.devices.jetson.releases.switching import Terms, activate, back, named, prove, prune, standing
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.release.contents import verify
from edge_streamer.runtime.trust import keyring
from edge_streamer.runtime.trust.statement import name_like
from tests.devices.jetson.releases.made import plain


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


def release(folder: Path, number: int) -> Path:
    return plain(folder / f"source {number}", {"bundle/same.bin": b"s" * 9000, "bundle/own.bin": b"%d" % number * 500})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_what_changed_takes_room(tmp_path: Path, root: Root) -> None:
    first = add(root, release(tmp_path, 1))
    second = add(root, release(tmp_path, 2))
    assert (first.linked, second.linked) == (0, 9000 + 2 + len("#!/bin/sh\nexit 0\n"))
    one, two = (root.release(added.id) / "bundle/same.bin" for added in (first, second))
    assert one.samefile(two)
    assert one.stat().st_mode & 0o222 == 0, "shared files are not written to"
    assert not (root.release(first.id) / "bundle/own.bin").samefile(root.release(second.id) / "bundle/own.bin")


def test_the_id_follows_from_the_content(tmp_path: Path, root: Root) -> None:
    first = add(root, release(tmp_path, 1), name="first")
    again = add(root, shutil.copytree(tmp_path / "source 1", tmp_path / "elsewhere"), name="again")
    assert (again.id, again.new) == (first.id, False)
    assert add(Root(tmp_path / "other"), tmp_path / "source 1").id == first.id


def test_a_source_that_lacks_something_is_refused(tmp_path: Path, root: Root) -> None:
    (tmp_path / "empty").mkdir()
    for folder, wanted in ((tmp_path / "none", "is no folder"), (tmp_path / "empty", "has neither settings.toml")):
        with pytest.raises(InputError, match=wanted):
            add(root, folder)
    (tmp_path / "empty/bundle").mkdir()
    with pytest.raises(InputError, match="has neither wheels nor env/bin/python"):
        add(root, tmp_path / "empty")
    os.mkfifo(tmp_path / "empty/pipe")
    plain(tmp_path / "empty", {})
    with pytest.raises(InputError, match="pipe is no file, folder or link"):
        add(root, tmp_path / "empty")
    assert not root.releases.exists() or names(root.releases) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "Read-only file system, or name another --root"),
        (errno.EACCES, "Permission denied; run it as the owner"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("call", ["link", "replace", "fsync", "mkdir", "symlink"])
def test_what_the_disk_refuses_is_one_line_and_nothing_changes(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, number: int, said: str, call: str
) -> None:
    first = add(root, release(tmp_path, 1)).id
    activate(root, first, None, check=False)
    second = release(tmp_path, 2)
    (second / "bundle/link").symlink_to("own.bin")
    before = (names(root.releases), root.state.read_bytes(), os.readlink(root.current))

    def refuse(*words: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        if call == "link":  # shared no more, and copied
            add(root, second)
            return
        with pytest.raises(InputError) as error:
            add(root, second)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert (names(root.releases), root.state.read_bytes(), os.readlink(root.current)) == before


@pytest.mark.parametrize("call", ["replace", "fsync", "symlink"])
def test_a_switch_that_the_disk_refuses_leaves_a_watched_or_proven_release(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    first, second = add(root, release(tmp_path, 1)).id, add(root, release(tmp_path, 2)).id
    activate(root, first, None, check=False)

    def refuse(*words: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(InputError, match="the disk is full"):
            activate(root, second, Terms(), check=False)
    assert root.led_to(root.current) == first


def test_a_root_without_permission_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    plain(tmp_path / "source", {})
    assert cli.main(["releases", "add", str(tmp_path / "source"), "--root", str(file / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_two_updates_at_once_are_refused_and_a_dead_one_blocks_nothing(tmp_path: Path, root: Root) -> None:
    add(root, release(tmp_path, 1))
    handle = os.open(root.path / ".lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InputError, match=rf"another update of .* is under way \(process {os.getpid()}\)"):
        add(root, release(tmp_path, 2))
    os.close(handle)  # as the kernel does for who is killed
    assert add(root, tmp_path / "source 2").new


def test_everything_is_on_the_disk_before_it_has_a_name(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would show: files and folders are forced out before the rename, the folder of names after it."""
    synced: list[tuple[int, int]] = []
    renamed: list[int] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        status = os.fstat(handle)
        synced.append((status.st_dev, status.st_ino))
        fsync(handle)

    def note_rename(source: Path, target: Path) -> None:
        if Path(target).parent == root.releases:
            renamed.append(len(synced))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    added = root.release(add(root, release(tmp_path, 1)).id)
    (at,) = renamed
    everything = [added, *added.rglob("*")]
    assert len(everything) == 9
    assert {(path.stat().st_dev, path.stat().st_ino) for path in everything} <= set(synced[:at])
    assert (root.releases.stat().st_dev, root.releases.stat().st_ino) in synced[at:]


def test_the_trial_is_on_the_disk_before_the_switch(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("fsync", "replace"):
        known: Callable[..., None] = getattr(os, name)

        def noted(*words: object, name: str = name, known: Callable[..., None] = known) -> None:
            order.append(f"{name} {Path(str(words[-1])).name}" if name == "replace" else name)
            known(*words)

        monkeypatch.setattr(os, name, noted)
    added = add(root, release(tmp_path, 1)).id
    order.clear()
    with places.state_lock(root):
        begin_trial(root, State(), Trial(added, 0.0, 1, 1.0, 0.0, 1))
    assert order == ["fsync", "replace state.json", "fsync", "replace current", "fsync"]


@pytest.mark.parametrize("harm", ["change", "remove", "add", "manifest", "mode"])
def test_a_damaged_release_is_not_switched_to_and_is_mended_by_adding_it(tmp_path: Path, root: Root, harm: str) -> None:
    added = add(root, release(tmp_path, 1)).id
    folder = root.release(added)
    file = folder / ("release.json" if harm == "manifest" else "bundle/own.bin")
    if harm == "add":
        (folder / "bundle/more.bin").touch()
    elif harm == "mode":
        file.chmod(0o755)
    else:
        data = file.read_bytes()
        file.unlink()
        if harm != "remove":
            file.write_bytes(data[:-1] + b"x")
    with pytest.raises(InputError, match=r"add (it|the release) again"):
        activate(root, added, None)
    assert root.led_to(root.current) is None
    assert add(root, tmp_path / "source 1").new
    verify(folder)


def test_a_damaged_file_is_not_shared(tmp_path: Path, root: Root) -> None:
    first = root.release(add(root, release(tmp_path, 1)).id) / "bundle/same.bin"
    first.chmod(0o644)
    first.write_bytes(b"x" * 9000)
    first.chmod(0o444)
    verify(root.release(add(root, release(tmp_path, 2)).id))


def test_prune_keeps_what_is_needed(tmp_path: Path, root: Root) -> None:
    every = [add(root, release(tmp_path, number)).id for number in range(6)]
    for number, one in enumerate(every):
        os.utime(root.release(one), (number, number))
    activate(root, every[1], None, check=False)
    activate(root, every[0], None, check=False)
    assert prune(root, 1) == every[2:5]
    assert set(root.ids()) == {every[0], every[1], every[5]}
    assert prune(root, 0) == [every[5]]
    assert (root.led_to(root.current), root.led_to(root.previous)) == (every[0], every[1])


def test_going_back_by_hand(tmp_path: Path, root: Root) -> None:
    first, second = (add(root, release(tmp_path, number)).id for number in (1, 2))
    with pytest.raises(InputError, match=r"no release below .* is current"):
        back(root)
    activate(root, first, None, check=False)
    with pytest.raises(InputError, match="there is no release to go back to"):
        back(root)
    activate(root, second, Terms(), check=False)
    assert back(root) == (second, first)
    state = read_state(root)
    assert (root.led_to(root.current), state.trial, state.good) == (first, None, [first])
    activate(root, second, Terms(), check=False)
    assert prove(root) == second
    assert back(root) == (second, first)
    assert root.led_to(root.previous) is None, "what was gone back from is nothing to go back to"


@pytest.mark.parametrize("call", range(1, 12))
@pytest.mark.parametrize("what", ["activate", "no trial", "back"])
def test_whatever_is_cut_short_leaves_a_watched_or_proven_release(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, what: str, call: int
) -> None:
    """Cut at every writing in turn, while a release is on trial, or proven where it is gone back from."""
    every = [add(root, release(tmp_path, number)).id for number in range(3)]
    activate(root, every[0], None, check=False)
    activate(root, every[1], None if what == "back" else Terms(), check=False)
    left, replace = [call], os.replace

    def cut(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with contextlib.suppress(KeyboardInterrupt):
            if what == "back":
                back(root)
            else:
                activate(root, every[2], Terms() if what == "activate" else None, check=False)
    for _ in range(2):
        current, state = root.led_to(root.current), read_state(root)
        assert current is not None
        assert current in state.good or (state.trial is not None and state.trial.id == current)
        keeper.begin(root, {})


def test_a_release_is_named_by_the_beginning_of_its_id_or_its_name(tmp_path: Path, root: Root) -> None:
    with pytest.raises(InputError, match="there is none: edge-streamer releases add FOLDER"):
        named(root, "x")
    first = add(root, release(tmp_path, 1), name="spring").id
    assert named(root, first[:6]) == named(root, "spring") == first
    second = add(root, release(tmp_path, 2), name=first[:4]).id
    assert named(root, first[:4]) == second, "a name is meant before an id"
    with pytest.raises(InputError, match="is no release"):
        named(root, first[:3])
    with pytest.raises(InputError, match=r"'\.\./x' is no release"):
        named(root, "../x")


NO_STATES = ["", "{", "[]", '{"version": 2}', '{"version": 1, "good": 5, "trial": {}, "rollback": 0}',
             '{"version": 1, "good": [], "trial": {"id": "../../x"}, "rollback": null}']  # fmt: skip


@pytest.mark.parametrize("text", NO_STATES)
def test_a_state_that_is_no_state_is_told(tmp_path: Path, root: Root, text: str) -> None:
    add(root, release(tmp_path, 1))
    root.state.write_text(text)
    with pytest.raises(InputError, match=r"state\.json cannot be used: "):
        standing(root)


def test_an_environment_is_made_of_wheels(tmp_path: Path, root: Root) -> None:
    """A wheel that stands for ours: the environment moves with its release, and starts under its final name."""
    pytest.importorskip("ensurepip")
    made = tmp_path / "made/edge_streamer"
    made.mkdir(parents=True)
    (made / "__init__.py").touch()
    (made / "__main__.py").write_text("import sys; print('it runs', sys.prefix)")
    _wheel(tmp_path / "made", tmp_path / "source/wheels")
    (tmp_path / "source/bundle").mkdir()
    added = add(root, tmp_path / "source", python=sys.executable)
    folder = root.release(added.id)
    assert not (folder / "wheels").exists()
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for command in ([folder / "env/bin/python", "-m", "edge_streamer"], [folder / "env/bin/edge-streamer"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.stdout == f"it runs {folder / 'env'}\n", done.stderr
    verify(folder)
    assert not add(root, tmp_path / "source", python=sys.executable).new
    assert names(root.releases) == [added.id]
    (tmp_path / "source/wheels/edge_streamer-1-py3-none-any.whl").rename(tmp_path / "source/wheels/other-1.whl")
    with pytest.raises(InputError, match="holds no wheel of edge_streamer"):
        add(root, tmp_path / "source")
    assert names(root.releases) == [added.id]


def _wheel(source: Path, folder: Path) -> None:
    import zipfile

    folder.mkdir(parents=True)
    about = "edge_streamer-1.dist-info"
    with zipfile.ZipFile(folder / "edge_streamer-1-py3-none-any.whl", "w") as wheel:
        for path in source.rglob("*.py"):
            wheel.write(path, path.relative_to(source))
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: edge-streamer\nVersion: 1\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def test_a_confirmed_release_is_what_is_gone_back_to(tmp_path: Path, root: Root) -> None:
    every = [add(root, release(tmp_path, number)).id for number in range(3)]
    state = State()
    for one in every[:2]:
        places.point(root, root.current, one)
        confirm(root, state, one)
    assert state.fallback(root, every[1]) == every[0]
    shutil.rmtree(root.release(every[0]))
    assert state.fallback(root, every[1]) is None
    assert adding.BUNDLE == "bundle"


def test_a_device_with_keys_adds_what_they_signed(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.setattr("edge_streamer.runtime.trust.keyring.SYSTEM", tmp_path / "no keys.d")
    monkeypatch.setattr("edge_streamer.runtime.trust.keyring.own_folder", keyring.user_folder)
    folder, key = release(tmp_path, 1), tmp_path / "key"
    words = ["releases", "add", str(folder), "--root", str(root.path)]
    assert cli.main(["keys", "make", str(key)]) == 0
    assert cli.main(["keys", "trust", f"{key}.pub"]) == 0
    assert cli.main(words) == 2
    assert not root.releases.exists()
    assert cli.main(["sign", str(folder), "--release", "spring", "--key", str(key)]) == 0
    capsys.readouterr()
    status = cli.main(words)
    assert status == 0, capsys.readouterr().err
    (folder / "bundle/own.bin").write_bytes(b"altered")
    assert cli.main(words) == 2
    assert "own.bin" in capsys.readouterr().err
    assert len(root.ids()) == 1


def test_a_release_that_is_there_keeps_its_name(tmp_path: Path, root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["releases", "add", str(release(tmp_path, 1)), "--root", str(root.path)]
    assert cli.main([*words, "--name", "winter"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--name", "spring"]) == 0
    said = capsys.readouterr().out
    assert "is there already, and whole, called winter, and keeps that name; switch to it: " in said
    assert said.endswith("edge-streamer releases activate winter\n")
    assert cli.main([*words, "--name", "winter"]) == 0
    assert capsys.readouterr().out.endswith("is there already, and whole\n")
    assert cli.main([*words, "--name", "sp ring/.."]) == 2
    assert "'sp ring/..'; wanted letters, digits" in capsys.readouterr().err


def test_the_nearest_name_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text('{"name": "Wan Streamer (tiny)"}')
    assert name_of(tmp_path) == "Wan-Streamer-tiny-", "as it is added at a first boot"
    assert [name_like(text) for text in ("a-1.0", "Wan Streamer (tiny)", "../x", "\u8a71")] == [
        "a-1.0", "Wan-Streamer-tiny-", "x", ""
    ]  # fmt: skip
