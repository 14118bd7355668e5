"""The folder of wheels: which fit a board, and what is still missing, judged by the board's Python, not by this one."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.deploy import wheels as making
from edge_streamer.devices.jetson.deploy.payload import Payload, fits, text_file, wheels_in
from edge_streamer.devices.jetson.deploy.wheels import Goal, lacking
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.deploy import WHEELS_STAY
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.deploy.made import wheel

OLD, NEW = Goal("3.10", "aarch64", ("audio", "trust")), Goal("3.12", "aarch64", ("trust",))


def _missing(folder: Path, goal: Goal) -> list[str]:
    return lacking(sorted(folder.glob("*.whl")), goal)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("numpy-2.2.6-cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", True),
        ("cryptography-50.0-cp39-abi3-manylinux_2_34_aarch64.whl", True),
        ("rich-15.0.0-py3-none-any.whl", True),
        ("flatbuffers-25.12-py2.py3-none-any.whl", True),
        ("built-1.0-1-cp310-cp310-linux_aarch64.whl", True),
        ("numpy-2.5.5-cp312-cp312-manylinux_2_27_aarch64.whl", False),
        ("av-19.0.2-cp312-abi3-manylinux_2_28_aarch64.whl", False),
        ("numpy-2.2.6-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("no wheel.whl", False),
    ],
)
def test_which_wheels_fit(name: str, good: bool) -> None:
    assert fits(name, "aarch64", "3.10") is good


@pytest.mark.parametrize(
    ("platform", "good"),
    [("manylinux_2_35_aarch64", True), ("manylinux_2_36_aarch64", False), ("manylinux2014_aarch64", True),
     ("linux_aarch64", True), ("manylinux_2_39_aarch64.manylinux_2_28_aarch64", True), ("any", True)],
)  # fmt: skip
def test_wheels_of_a_newer_glibc_do_not_fit(platform: str, good: bool) -> None:
    assert fits(f"one-1.0-py3-none-{platform}.whl", "aarch64", "3.10", "2.35") is good
    assert fits("one-1.0-py3-none-manylinux_2_39_aarch64.whl", "aarch64", "3.10", "")


def test_what_is_missing_is_judged_for_the_board(tmp_path: Path) -> None:
    needs = """Requires-Dist: numpy>=1.26
Requires-Dist: tomli>=2.0; python_version < "3.11"
Requires-Dist: x86-only; platform_machine == "x86_64"
Requires-Dist: cryptography>=42; extra == "trust"
Requires-Dist: pyaudio; extra == "audio"
Requires-Dist: py-webrtc.audio; extra == "audio"
Requires-Dist: torch; extra == "export\""""
    wheel(tmp_path, "edge_streamer", {}, needs=needs)
    assert _missing(tmp_path, OLD) == [
        "numpy>=1.26",
        "tomli>=2.0",
        "cryptography>=42",
        "py-webrtc.audio",
    ]
    assert _missing(tmp_path, NEW) == ["numpy>=1.26", "cryptography>=42"]
    wheel(tmp_path, "py_webrtc_audio", {}, needs='Requires-Dist: exceptiongroup; python_version < "3.11"')
    assert "exceptiongroup" in _missing(tmp_path, OLD)
    wheel(tmp_path, "numpy", {})
    with pytest.raises(InputError, match=r"holds numpy 1\.0, and edge_streamer wants >=1\.26; remove that wheel"):
        _missing(tmp_path, NEW)


def test_a_folder_without_our_wheel_or_with_one_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no wheel of edge_streamer"):
        wheels_in(tmp_path)
    wheel(tmp_path, "edge_streamer", {})
    wheel(tmp_path, "edge_streamer", {}, "py2-none-any")
    with pytest.raises(InputError, match="remove one of them"):
        wheels_in(tmp_path)


def test_a_plan_is_its_files_and_the_python() -> None:
    one = Payload((text_file("bundle", b"1"),))
    assert one.plan("3.10") == Payload((text_file("bundle", b"1"),)).plan("3.10")
    assert len({one.plan("3.10"), one.plan("3.12"), Payload((text_file("bundle", b"2"),)).plan("3.10")}) == 3


def test_any_build_of_onnxruntime_will_do(tmp_path: Path) -> None:
    wheel(tmp_path, "edge_streamer", {}, needs="Requires-Dist: onnxruntime>=1")
    assert _missing(tmp_path, NEW) == ["onnxruntime>=1"]
    wheel(tmp_path, "onnxruntime_gpu", {})
    assert _missing(tmp_path, NEW) == []
    (tmp_path / "numpy-2.4.0-cp312-cp312-manylinux_2_27_aarch64.whl").write_bytes(b"")
    with pytest.raises(InputError, match=r"numpy-2\.4\.0-.* is damaged"):
        _missing(tmp_path, NEW)


EXTRAS = "".join(f"Provides-Extra: {name}\n" for name in ("audio", "screen", "trust"))


def making_wheels(folder: Path, *more: str) -> int:
    return cli.main(["deploy", "--make-wheels", str(folder), "--python", "3.10", *more])


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of this package that wants no others; pip loads nothing."""
    monkeypatch.setattr(making, "_pip", lambda *words: None)
    return wheel(tmp_path / "own", "edge_streamer", {}, needs=EXTRAS.strip())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--python", "3.9"), "wanted one of 3.10 to 3.13"),
        (("--python", "3.99"), "wanted one of 3.10 to 3.13"),
        (("--architecture", "arm"), "choose from aarch64, x86_64"),
    ],
)
def test_no_such_board(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], said: str) -> None:
    assert making_wheels(tmp_path / "w", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_place_that_is_no_folder(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w").touch()
    assert making_wheels(tmp_path / "w", "--own-wheel", str(own)) == 2
    assert "w is a file; wanted a folder" in capsys.readouterr().err
    assert making_wheels(tmp_path / "w/deep", "--own-wheel", str(own)) == 2
    assert "w/deep cannot be made: Not a directory; wanted a folder" in capsys.readouterr().err


def test_what_is_refused_leaves_a_whole_folder_as_it_was(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    assert making_wheels(folder, "--own-wheel", str(own)) == 0
    assert "1 wheels" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "other.whl").write_text("no wheel")
    assert making_wheels(folder, "--own-wheel", str(tmp_path / "other.whl")) == 2
    assert "is no wheel of edge_streamer" in capsys.readouterr().err
    newer = wheel(tmp_path / "newer", "edge_streamer", {}, "py3-none-linux_x86_64", EXTRAS.strip())
    assert making_wheels(folder, "--own-wheel", str(newer)) == 2
    assert "linux_x86_64.whl is not for Python 3.10 on aarch64; remove it" in capsys.readouterr().err
    assert making_wheels(folder, "--own-wheel", str(own), "--extra", "nosuch") == 2
    assert "--extra nosuch: edge_streamer-1.0-py3-none-any.whl has no such extra; it has audio, screen, trust" in (
        capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_wheels_of_another_python_are_counted(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("av", "numpy"):
        wheel(tmp_path / "w", name, {}, "cp312-cp312-manylinux_2_28_aarch64")
    assert making_wheels(tmp_path / "w", "--own-wheel", str(own)) == 2
    said = capsys.readouterr().err
    assert (
        "w: 2 wheels (av-1.0-cp312-cp312-manylinux_2_28_aarch64.whl is one) are not for Python 3.10 on aarch64" in said
    )
    assert "remove them, or name an empty folder" in said


def test_ctrl_c_ends_pip_and_leaves_nothing_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the place of pip: a program that leaves a temporary folder behind and does not end."""
    own = wheel(tmp_path / "own", "edge_streamer", {}, needs=EXTRAS.strip())
    (tmp_path / "temporary").mkdir()
    program, started = tmp_path / "pip", tmp_path / "started"
    program.write_text(f"#!/bin/sh\nmktemp -d\necho $$ >{started}.new\nmv {started}.new {started}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("sys.executable", str(program))

    def stop() -> None:
        while not started.exists():
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    thread = threading.Thread(target=stop)
    thread.start()
    status = making_wheels(tmp_path / "w", "--own-wheel", str(own))
    thread.join()
    assert (status, capsys.readouterr().err.splitlines()[-1]) == (130, f"edge-streamer: {WHEELS_STAY}")
    assert not Path("/proc", started.read_text().strip()).exists()
    assert not list((tmp_path / "temporary").iterdir())
    assert [path.name for path in (tmp_path / "w").iterdir()] == [own.name]
