"""`edge-streamer deploy` over a real sshd on loopback: from nothing, again, a change, and all that stops it."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.devices.jetson.deploy import helper, sending
from edge_streamer.devices.jetson.deploy.device import Device
from edge_streamer.devices.jetson.deploy.payload import Payload
from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.release_parts import run_settings, takes_sound
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.release.contents import verify
from tests.devices.jetson.deploy import board as boards
from tests.devices.jetson.deploy.board import Board
from tests.devices.jetson.deploy.made import LARGE, SETTINGS, wheel, wheels

pytestmark = pytest.mark.skipif(bool(boards.MISSING), reason=boards.MISSING)
PYTHON = getattr(sys, "_base_executable", sys.executable)
SMALL = 200_000
"""Bytes over the wire of a deployment that sends next to nothing: keys, the helper with each call."""


class Site:
    """A board, and what goes to it."""

    def __init__(self, board: Board, bundle: Path, folder: Path) -> None:
        self.board, self.bundle, self.folder = board, bundle, folder
        self.wheels = wheels(folder / "wheels")
        self.settings = folder / "settings.toml"
        self.settings.write_text(SETTINGS)
        self.root = Root(board.root)

    def words(self, *more: str) -> list[str]:
        return ["deploy", str(self.bundle), *self.board.words, "--wheels", str(self.wheels), "--settings",
                str(self.settings), "--no-service", *more]  # fmt: skip

    def deploy(self, *more: str) -> int:
        """Without a profile, which takes a second."""
        return cli.main(self.words("--profile-units", "0", *more))

    def told(self, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        status = self.deploy("--json", *more)
        found = capsys.readouterr()
        assert found.out, found.err
        return status, json.loads(found.out)

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with Board(tmp_path_factory.mktemp("board"), PYTHON) as board:
        yield board


@pytest.fixture
def site(board: Board, tiny_bundle: Path, tmp_path: Path) -> Iterator[Site]:
    board.root = tmp_path / "device"
    yield Site(board, tiny_bundle, tmp_path)
    board.proxy.cut_after.clear()
    board.restore()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What a refusal says."""
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edge-streamer: ")]
    assert len(said) == 1, said
    return said[0]


def test_from_nothing_then_again_then_a_change(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(site.words("--dry-run", "--json")) == 0
    would = json.loads(capsys.readouterr().out)
    assert would["state"] == "would send"
    assert not site.board.root.exists()

    status, first = site.told(capsys)
    assert (status, first["state"], first["sent"]) == (0, "current", would["sent"])
    assert site.current == first["release"]
    verify(site.root.release(first["release"]))

    before = site.board.proxy.sent
    status, again = site.told(capsys)
    assert (status, again["release"], again["sent"]) == (0, first["release"], 0)
    assert site.board.proxy.sent - before < SMALL

    site.settings.write_text(SETTINGS + "# another word\n")
    before = site.board.proxy.sent
    status, change = site.told(capsys)
    assert (status, change["files"], change["sent"]) == (0, 1, site.settings.stat().st_size)
    assert site.board.proxy.sent - before < SMALL < LARGE
    assert site.current == change["release"] != first["release"]


def test_a_profile_within_its_budget_and_over_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    budget = site.folder / "budget.toml"
    budget.write_text("[unit]\np99 = 0.001\n")
    words = ("--json", "--profile-units", "5", "--budget", str(budget))
    assert cli.main(site.words(*words)) == 1
    refused = json.loads(capsys.readouterr().out)
    assert refused["state"] == "not switched to"
    assert refused["reason"].startswith("profile: over budget: unit.p99")
    assert site.current is None
    budget.write_text("[unit]\np99 = 100000\n")
    assert cli.main(site.words(*words)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sent"] == 0
    assert 0 < found["profile"]["unit"]["p99"] < 100_000
    assert site.current == found["release"]


def test_golden_units_that_differ_are_not_switched_to(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_streamer.runtime.bundle.manifest import parse, render
    from edge_streamer.runtime.bundle.reader import Bundle

    site.bundle = Path(shutil.copytree(site.bundle, site.folder / "spoilt"))
    golden = Bundle.open(site.bundle).manifest.golden
    assert golden is not None
    spoil(site.bundle / golden)
    relist(site.bundle, parse, render)
    status, found = site.told(capsys)
    assert (status, found["state"]) == (1, "not switched to")
    assert found["reason"].startswith("golden units: ")
    assert site.current is None


def spoil(golden: Path) -> None:
    """Its answers are others."""
    with np.load(golden) as held:
        arrays = dict(held)
    for name, values in arrays.items():
        if values.dtype == np.float32:
            arrays[name] = values + np.float32(1)
    np.savez(golden, **arrays)


def relist(bundle: Path, parse: Any, render: Any) -> None:
    """Its manifest says what is there."""
    import hashlib

    import msgspec

    manifest = parse((bundle / MANIFEST).read_bytes())
    files = tuple(
        msgspec.structs.replace(file, size=(bundle / file.path).stat().st_size,
                                sha256=hashlib.sha256((bundle / file.path).read_bytes()).hexdigest())
        for file in manifest.files
    )  # fmt: skip
    (bundle / MANIFEST).write_bytes(render(msgspec.structs.replace(manifest, files=files)))


WINDOW = 2_200_000
"""Bytes that ssh lets go unread: so much of what was sent may be lost with a link."""


def test_a_link_that_drops_at_random_points(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[int] = []
    missing = sending.missing

    def noted(device: Device, payload: Payload) -> sending.Missing:
        found = missing(device, payload)
        offsets.extend(found.offsets.values())
        return found

    monkeypatch.setattr(sending, "missing", noted)
    seed = int(os.environ.get("EDGE_STREAMER_SEED", "22"))
    points = random.Random(seed)
    size = site.told(capsys, "--dry-run")[1]["sent"]
    site.board.proxy.cut_after = [points.randrange(500_000, 1_500_000) for _ in range(5)]
    site.board.proxy.cuts = 0
    before = site.board.proxy.sent
    status, found = site.told(capsys)
    assert (status, found["state"]) == (0, "current")
    assert site.board.proxy.cuts >= 3
    assert any(offsets), "what had arrived of a file was not gone on with"
    assert site.board.proxy.sent - before < size + site.board.proxy.cuts * WINDOW
    verify(site.root.release(found["release"]))


def test_a_link_that_drops_during_a_step_finds_the_step_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    token = site.board.root / "incoming/steps/add/token"

    def cut() -> None:
        while not token.exists():
            time.sleep(0.02)
        site.board.proxy.cut()

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    status, found = site.told(capsys)
    thread.join(10)
    assert (status, found["state"]) == (0, "current")
    assert [path.name for path in (site.board.root / "releases").iterdir()] == [found["release"]], "added once"


def test_stopped_by_ctrl_c_the_next_run_goes_on(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "edge_streamer", *site.words("--profile-units", "0")]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ends = time.monotonic() + 60
    while not any((site.board.root / "incoming/store").glob("*")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < ends
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert [line for line in said.splitlines() if "edge-streamer: stopped; what has arrived is kept" in line]
    assert "Traceback" not in said
    assert site.told(capsys)[0] == 0


def test_a_full_disk_is_told_and_the_next_run_goes_on(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    size = site.told(capsys, "--dry-run")[1]["sent"]
    site.board.script("python3", f'ulimit -f 2000; exec {PYTHON} "$@"')  # blocks of 512 bytes: a megabyte
    assert site.deploy() == 2
    assert "the device's file size is limited" in one_line(capsys)
    assert site.current is None
    site.board.restore()
    status, found = site.told(capsys)
    assert status == 0
    assert found["sent"] < size - 1_000_000, "a megabyte of it had arrived"


def test_a_key_that_is_not_known_or_another(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.board.know("")
    assert site.deploy() == 2
    said = one_line(capsys)
    assert "the host key of 127.0.0.1 is not known here" in said
    assert "ssh-keyscan" in said
    site.board.know(boards.make_key(site.folder / "another"))
    assert site.deploy() == 2
    said = one_line(capsys)
    assert "is not the one that is known" in said
    assert "ssh-keygen -R" in said
    assert not site.board.root.exists()


def test_a_user_that_is_not_let_in_and_a_machine_that_is_not_there(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    held = (site.board.folder / "authorized").read_text()
    (site.board.folder / "authorized").write_text("")
    try:
        assert site.deploy() == 2
    finally:
        (site.board.folder / "authorized").write_text(held)
    assert "ssh-copy-id" in one_line(capsys)
    words = site.words()
    words[words.index("--port") + 1] = str(boards.free_port())
    assert cli.main(words) == 2
    assert "cannot be reached: " in one_line(capsys)


def test_no_sudo(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.board.script("id", "echo 1000")
    site.board.script("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    words = [word for word in site.words("--system") if word != "--no-service"]
    assert cli.main(words) == 2
    assert "may not become root without a password" in one_line(capsys)
    assert not site.board.root.exists()


def test_a_place_that_cannot_be_written(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (site.folder / "file").write_text("")
    site.board.root = site.folder / "file/releases"
    assert site.deploy() == 2
    assert "on the device" in one_line(capsys)


def test_an_old_python_or_none(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.board.script("python3", "echo 3.8")
    assert site.deploy() == 2
    assert "has Python 3.8; wanted 3.10 or newer" in one_line(capsys)
    assert site.deploy("--board-python", "no-such-python") == 2
    assert "has no no-such-python" in one_line(capsys)


def test_wheels_of_another_board(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    wheel(site.wheels, "other", {}, "cp39-cp39-manylinux2014_riscv64")
    assert site.deploy() == 2
    assert "other-1.0-cp39-cp39-manylinux2014_riscv64.whl cannot be installed there" in one_line(capsys)
    assert not site.board.root.exists()


def test_no_systemd(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    assert cli.main([word for word in site.words() if word != "--no-service"]) == 2
    assert "no systemd runs on the device" in one_line(capsys)


def test_another_board_has_the_address(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.deploy("--serial", "1421022") == 2
    assert "tells no serial number; wanted the one with 1421022; nothing was sent" in one_line(capsys)
    assert not site.board.root.exists()
    monkeypatch.setattr(helper, "SERIAL", str(tmp_path / "serial-number"))
    (tmp_path / "serial-number").write_bytes(b"1421023044017\0")  # as a device tree has it
    assert helper.look(tmp_path, {}, io.BytesIO())["serial"] == "1421023044017"


def test_a_board_that_could_not_hear(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.settings.write_text('bundle = "bundle"\n')
    site.board.script("python3", f'exec {PYTHON} -S "$@"')  # without packages, whatever is installed here
    assert site.deploy("--dry-run") == 2
    assert "could neither hear nor speak: neither the wheels nor its Python have PyAudio" in one_line(capsys)
    assert not site.board.root.exists()
    wheel(site.wheels, "PyAudio", {}, "py3-none-linux_x86_64")
    if helper._has_portaudio():
        assert site.deploy("--dry-run") == 0
    else:
        assert site.deploy("--dry-run") == 2
        assert "has no libportaudio2" in one_line(capsys)


def test_wheels_that_are_not_all(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    wheel(site.wheels, "other", {}, needs="Requires-Dist: one-more>=2")
    assert site.deploy() == 2
    assert "the wheels lack one-more>=2, without which nothing starts there; complete them" in one_line(capsys)
    (site.wheels / "other-1.0-py3-none-any.whl").write_bytes(b"")
    assert site.deploy() == 2
    assert "other-1.0-py3-none-any.whl is damaged" in one_line(capsys)
    assert not site.board.root.exists()


SETTINGS_WRONG = {
    'micc = "x"': "there is no option 'micc'; did you mean mic?", 'temperature = "hot"': "temperature: could not",
    'engine = "banana"': "wanted one of auto, tensorrt", 'mic = "nosuch.wav"': "does not come with them",
    'text = "/x.txt"': "--text does nothing in a live run",
}  # fmt: skip


@pytest.mark.parametrize("words", SETTINGS_WRONG)
def test_words_that_run_does_not_take(words: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'bundle = "bundle"\n{words}\n')
    with pytest.raises(InputError, match=rf"settings\.toml.*{re.escape(SETTINGS_WRONG[words])}"):
        run_settings(path)


@pytest.mark.parametrize(
    ("said", "takes"),
    [({}, True), ({"mic": "none"}, False), ({"mic": "none", "speaker": "default"}, True), ({"mic": "USB Audio"}, True),
     ({"mic": "talk.wav"}, False), ({"mic": "device:talk.wav", "speaker": "none"}, True),
     ({"mic": "talk.wav", "speaker": "voice.wav"}, False)],
)  # fmt: skip
def test_which_words_of_run_take_sound(said: dict[str, str], takes: bool) -> None:
    assert takes_sound(said) is takes
