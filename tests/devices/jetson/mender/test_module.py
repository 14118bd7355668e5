"""Mender's update module, driven as the client drives it: through every outcome, and with power cut anywhere."""

from __future__ import annotations

import gzip
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_streamer.devices.jetson.mender import module
from edge_streamer.devices.jetson.mender.artifact import write_payload
from edge_streamer.devices.jetson.mender.installing import install
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.keeper import begin, stopped
from edge_streamer.devices.jetson.releases.places import Root, point, read_state
from edge_streamer.devices.jetson.releases.switching import activate, prove
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.release.contents import entries_of
from edge_streamer.runtime.trust import keyring
from edge_streamer.runtime.trust.release import list_release
from tests.devices.jetson.mender.client import Client, Cut
from tests.devices.jetson.releases.made import plain

CRASHED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "SEGV"}
FAILS_CHECK = "#!/bin/sh\necho 'edge-streamer: unit 3 differs' >&2\nexit 1\n"


class Device:
    """A root with one proven release, and Mender's client. The module's commands run in this process, and power goes
    before or after the one with a number."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.root = folder, Root(folder / "root")
        self.old = self.add("old")
        activate(self.root, self.old, None, check=False)
        conf = folder / "mender.conf"
        conf.write_text(f"[edge-streamer]\nroot = {self.root.path}\ncommand = /bin/true\nwait = 0\n"
                        "trial = --crashes 2\n")  # fmt: skip
        monkeypatch.setattr(module, "CONF", str(conf))
        monkeypatch.setattr(module.Update, "_run", lambda update, words, **more: self.run(words))
        self.client = Client(folder / "mender", self.call)
        self.said = ""
        """By the module, on standard error."""
        self.restarts = 0
        self.cut: tuple[int, bool] | None = None
        """(Of which command, whether it was done.)"""
        self.commands = 0
        self.keeper: Callable[[], object] = lambda: prove(self.root)
        """After a release was put on trial."""

    def source(self, note: str, **more: Any) -> Path:
        return plain(self.folder / "sources" / note, {"bundle/note": note.encode()}, **more)

    def add(self, note: str) -> str:
        return add(self.root, self.source(note), name=note).id

    def payload(self, note: str, **more: Any) -> Path:
        out = self.folder / f"{note}.tar"
        write_payload(self.source(note, **more), out)
        return out

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)

    def call(self, state: str, tree: Path) -> tuple[int, str]:
        out, said = StringIO(), StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(said):
                status = module.main([state, str(tree)])
        finally:
            self.said += said.getvalue()
        return status, out.getvalue()

    def run(self, words: Sequence[str]) -> str:
        self.commands += 1
        if self.cut == (self.commands, False):
            raise Cut
        said = self._run(words)
        if self.cut == (self.commands, True):
            raise Cut
        return said

    def _run(self, words: Sequence[str]) -> str:
        if words[0] == "systemctl":
            assert words[-3:] == ["try-restart", "--no-block", "edge-streamer.service"]
            self.restarts += 1
            return ""
        if "releases" not in words:
            doing, folder, *handles = words[4:]
            module.AS_USER[doing](folder, *(str(os.dup(int(handle))) for handle in handles))
            return ""
        out, said = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(said):
            status = cli.main(list(words[words.index("releases") :]))
        if status:
            raise module.Failed(said.getvalue().strip().removeprefix("edge-streamer: "))
        if "activate" in words:
            self.keeper()
        return out.getvalue()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    yield Device(tmp_path, monkeypatch)
    assert not (tmp_path / "root/mender").exists(), "what was unpacked has gone"
    assert not (tmp_path / "mender/modules/v3/payloads/0000/tree").exists()


GOES_BACK = ["ArtifactRollback", "ArtifactFailure", "Cleanup"]


def test_a_release_that_proves_itself_is_committed(device: Device) -> None:
    assert device.client.deploy("new", [device.payload("new")]) == "success"
    assert device.client.states == ["Download", "ArtifactInstall", "ArtifactCommit", "Cleanup"]
    assert read_state(device.root).good == [device.old, device.current]
    assert f"{device.current} is confirmed" in device.said
    again = device.current
    assert device.client.deploy("new again", [device.folder / "new.tar"]) == "success"
    assert device.current == again


def test_the_commit_waits_for_the_keeper(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Path(module.CONF)
    conf.write_text(conf.read_text().replace("wait = 0", "wait = 900"))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            prove(device.root)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))  # its own alone
    device.keeper = lambda: None
    assert device.client.deploy("new", [device.payload("new")]) == "success", device.said
    assert waits == [module.LOOK_SECONDS] * 3


def test_a_trial_that_the_keeper_gives_up_fails_the_commit(device: Device) -> None:
    def crash() -> None:
        for _ in range(2):
            begin(device.root, {})
            stopped(device.root, CRASHED)

    device.keeper = crash
    assert device.client.deploy("worse", [device.payload("worse")]) == "failure"
    assert device.client.states == ["Download", "ArtifactInstall", "ArtifactCommit", *GOES_BACK]
    assert device.current == device.old
    assert "was given up: crashed 2 times after the update: signal killed SEGV" in device.said


def test_a_trial_without_an_end_fails_the_commit(device: Device) -> None:
    device.keeper = lambda: None
    assert device.client.deploy("new", [device.payload("new")]) == "failure"
    assert device.current == device.old
    assert "is still on trial after 0 s, with 0 starts; is the service of " in device.said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda device: [device.payload("worse", python=FAILS_CHECK)], "its golden units: unit 3 differs"),
        (lambda device: [], "the artifact holds nothing; wanted one archive of a release"),
        (lambda device: [device.payload("one"), device.payload("two")], "the artifact holds one.tar, two.tar; wanted"),
        (lambda device: [write(device, "no.tar", {"notes": b""})], "has neither settings.toml"),
        (lambda device: [cut_off(device.payload("new"))], "what came is no whole archive: "),
        (lambda device: [packed(device.payload("new"))], "what came is no whole archive: "),
    ],
    ids=["golden units", "empty", "two", "no release", "cut off", "compressed"],
)
def test_what_cannot_be_installed_changes_nothing(
    device: Device, make: Callable[[Device], list[Path]], said: str
) -> None:
    assert device.client.deploy("bad", make(device)) == "failure"
    assert device.client.states == ["Download", "ArtifactInstall", *GOES_BACK]
    assert said in device.said
    assert device.current == device.old
    assert read_state(device.root).trial is None


def write(device: Device, name: str, files: dict[str, bytes], *links: tuple[str, str], kind: bytes = b"") -> Path:
    """An archive by hand."""
    with tarfile.open(device.folder / name, "w") as archive:
        for link, target in links:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.type = len(data), kind or tarfile.REGTYPE
            archive.addfile(member, BytesIO(data))
    return device.folder / name


def packed(path: Path) -> Path:
    """It could hold far more than it is long."""
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def cut_off(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("files", "links", "kind"),
    [
        ({"../outside": b"x"}, [], b""),
        ({"{root}/outside": b"x"}, [], b""),
        ({"away/outside": b"x"}, [("away", "{root}")], b""),
        ({"bundle": b"x", "bundle/../../outside": b"x"}, [], b""),
        ({"outside": b""}, [], tarfile.FIFOTYPE),
        ({"outside": b""}, [], tarfile.LNKTYPE),
    ],
    ids=["above", "absolute", "through a link", "through a file", "pipe", "hard link"],
)
def test_nothing_is_written_outside(
    device: Device, files: dict[str, bytes], links: list[tuple[str, str]], kind: bytes
) -> None:
    place = str(device.folder)
    named = {path.format(root=place): data for path, data in files.items()}
    aimed = [(link, target.format(root=place)) for link, target in links]
    assert device.client.deploy("bad", [write(device, "bad.tar", named, *aimed, kind=kind)]) == "failure"
    assert device.current == device.old
    assert not (device.folder / "outside").exists()
    assert not (device.root.path / "outside").exists()


def test_power_may_go_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after every command of every state, and once more on the way back."""
    ended = set()
    for number in count(1):
        for done in (False, True):
            for second in (0, 1, 2) if number > 4 else (0,):  # the first four switch nothing
                device = Device(tmp_path / f"{number}-{done}-{second}", monkeypatch)
                device.cut = (number, done)
                try:
                    assert device.client.deploy("new", [device.payload("new")]) == "success"
                    assert {"Cleanup", "ArtifactRollback"} <= ended
                    return
                except Cut:
                    device.cut = (device.commands + (second + 1) // 2, second == 2) if second else None
                try:
                    outcome = device.client.resume()
                except Cut:
                    device.cut = None
                    outcome = device.client.resume()
                ended.add(device.client.states[-1] if outcome == "success" else "ArtifactRollback")
                new = device.current if outcome == "success" else None
                assert outcome in ("success", "failure")
                assert device.current == (new or device.old), device.said
                assert (new is None) == (device.current == device.old)
                begin(device.root, {})  # the service starts
                assert (device.current == device.old) == (new is None)
                assert read_state(device.root).trial is None
                assert not (device.root.path / "mender").exists()


def test_going_back_that_was_cut_off_before_the_restart_restarts(device: Device) -> None:
    device.cut = (100, False)
    device.keeper = lambda: None

    def cut_at_rollback(words: Sequence[str]) -> str:
        said = run(words)
        if "rollback" in words:
            raise Cut
        return said

    run, device.run = device.run, cut_at_rollback  # type: ignore[method-assign]
    with pytest.raises(Cut):
        device.client.deploy("new", [device.payload("new")])
    assert (device.current, device.restarts) == (device.old, 0)
    device.run = run  # type: ignore[method-assign]
    assert device.client.resume() == "failure"
    assert (device.current, device.restarts) == (device.old, 1)


def test_a_device_without_a_release_gets_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(tmp_path, monkeypatch)
    shutil.rmtree(device.root.path)
    assert device.client.deploy("first", [device.payload("first")]) == "success"
    assert read_state(device.root).good == [device.current]
    shutil.rmtree(device.root.path)
    device.keeper = lambda: None
    assert device.client.deploy("first", [device.folder / "first.tar"]) == "inconsistent"
    assert f"no release was current before {device.current}, so there is none to go back to" in device.said


def test_back_is_what_was_current_and_not_the_newest_that_was_proven(device: Device) -> None:
    newer = device.add("newer")
    activate(device.root, newer, None, check=False)
    point(device.root, device.root.current, device.old)  # by hand
    device.keeper = lambda: None
    assert device.client.deploy("new", [device.payload("new")]) == "failure"
    assert device.current == device.old


def test_only_what_an_update_needs_is_kept(device: Device) -> None:
    for number in range(5):
        assert device.client.deploy(f"n{number}", [device.payload(f"n{number}")]) == "success"
    assert len(device.root.ids()) == 4, "current, the one before, one more, and the new one"


def test_what_is_unpacked_is_what_was_packed(device: Device) -> None:
    source = device.source("new")
    (source / "bundle/link").symlink_to("note")
    (source / "empty").mkdir()
    write_payload(source, device.folder / "new.tar")
    signature = device.folder / "new.tar.sig"
    signature.write_text("signed")
    with (device.folder / "new.tar").open("rb") as one, signature.open("rb") as other:
        module.unpack(str(device.folder / "out"), str(os.dup(one.fileno())), str(os.dup(other.fileno())))
    assert entries_of(device.folder / "out") == entries_of(source)
    assert (device.folder / "out.sig").read_text() == "signed"


def test_a_device_with_keys_takes_what_they_signed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(device.folder / name))
    monkeypatch.setattr("edge_streamer.runtime.trust.keyring.SYSTEM", device.folder / "no keys.d")
    monkeypatch.setattr("edge_streamer.runtime.trust.keyring.own_folder", keyring.user_folder)
    key, payload = device.folder / "key", device.payload("new")
    assert cli.main(["keys", "make", str(key)]) == 0
    assert cli.main(["keys", "trust", f"{key}.pub"]) == 0
    assert device.client.deploy("unsigned", [payload]) == "failure"
    assert "release is not a release: release.json" in device.said
    folder = device.folder / "sources/new"
    assert cli.main(["sign", str(folder), "--release", "talker", "--key", str(key)]) == 0
    done, child = list[str](), module.Update._child

    def noted(update: module.Update, doing: str, *more: Path) -> None:
        done.append(doing)
        child(update, doing, *more)

    monkeypatch.setattr(module.Update, "_child", noted)

    def packed_by_command(what: Path, to: Path) -> None:
        words = ["mender", "artifact", str(what), "--name", "n", "--device-type", "t", "--payload", str(to)]
        assert cli.main(words) == 0

    packed_by_command(folder, payload)
    signature = f"{payload}.sig"
    assert device.client.deploy("signed", [payload, Path(signature)]) == "success", device.said
    assert set(done) == {"--copy", "--remove"}, "nothing is unpacked before it is believed"
    other = device.folder / "other.tar"
    packed_by_command(list_release(device.source("other"), "talker").path, other)
    assert (
        device.client.deploy("another's signature", [other, Path(shutil.copy(signature, f"{other}.sig"))]) == "failure"
    )
    assert device.current == read_state(device.root).good[-1] != device.old
    assert "is not what was signed: its SHA-256 is" in device.said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[edge-streamer]\nuzer = x\n", "'uzer' is no setting; wanted user, root, command, trial, wait"),
        ("[edge-streamer]\nwait = soon\n", "cannot be read: could not convert string to float: 'soon'"),
        ("user = x\n", "cannot be read: File contains no section headers"),
        ("[edge-streamer]\nuser = nobody-here\n", "there is no user 'nobody-here' here"),
        ("[edge-streamer]\nroot = {folder}/none\n", "no edge-streamer is here to work with"),
    ],
)
def test_settings_that_cannot_be_used_change_nothing(device: Device, text: str, said: str) -> None:
    good = Path(module.CONF).read_text()
    payload = device.payload("new")
    Path(module.CONF).write_text(text.format(folder=device.folder))
    device.client.deploy("new", [payload])
    assert said in device.said
    assert device.current == device.old
    Path(module.CONF).write_text(good)
    device.call("Cleanup", device.client.tree)


def test_a_users_releases_are_changed_as_that_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    who = pwd.getpwuid(os.geteuid())
    asked: list[dict[str, Any]] = []

    def run(words: Sequence[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
        asked.append(how)
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setenv("XDG_DATA_HOME", "/of/root")
    module.Update(tmp_path, module.Settings(user=who.pw_name)).cleanup()
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != who.pw_uid)
    module.Update(tmp_path, module.Settings(user=other.pw_name)).cleanup()
    env = asked[0]["env"]
    assert (env["HOME"], env["XDG_RUNTIME_DIR"]) == (who.pw_dir, f"/run/user/{who.pw_uid}")
    assert "XDG_DATA_HOME" not in env
    assert "user" not in asked[0]
    assert (asked[1]["user"], asked[1]["group"], asked[1]["umask"]) == (other.pw_uid, other.pw_gid, 0o022)


def test_the_installed_module_is_a_program_of_its_own(tmp_path: Path) -> None:
    """Real processes, by the system's Python alone where this is one."""
    root, conf = Root(tmp_path / "root"), tmp_path / "etc/mender.conf"
    old = add(root, plain(tmp_path / "old", {})).id
    activate(root, old, None, check=False)
    lines = list(install("", root.path, tmp_path / "modules", conf))
    assert lines[:2] == [f"{tmp_path}/modules/edge-streamer: written", f"{conf}: written"]
    assert f"command = {sys.executable} -B -m edge_streamer\n" in conf.read_text()
    conf.write_text(conf.read_text().replace("wait = 900", "wait = 0"))
    assert f"{conf}: kept as it is" in list(install("", root.path, tmp_path / "modules", conf))
    program = tmp_path / "modules/edge-streamer"
    program.write_text(program.read_text().replace(module.CONF, str(conf)))
    assert program.stat().st_mode & 0o777 == 0o755
    said = ""

    def call(state: str, tree: Path) -> tuple[int, str]:
        nonlocal said
        words = [sys.executable, "-IB", str(program), state, str(tree)]
        done = subprocess.run(words, cwd=tree, capture_output=True, text=True, timeout=60, check=False)
        said += done.stderr
        return done.returncode, done.stdout

    client = Client(tmp_path / "mender", call)
    write_payload(plain(tmp_path / "new", {"bundle/new": b"new"}), tmp_path / "new.tar")
    assert client.deploy("new", [tmp_path / "new.tar"]) == "failure"
    assert client.states == ["Download", "ArtifactInstall", "ArtifactCommit", *GOES_BACK]
    assert "is still on trial after 0 s" in said
    assert f"edge-streamer: {old} is current, as before" in said
    assert root.led_to(root.current) == old
    assert call("ProvidePayloadFileSizes", tmp_path) == (0, "")
    assert call("SomethingNew", tmp_path) == (0, "")
