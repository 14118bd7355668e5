"""The screen through its worker process, on SDL's dummy driver and on a virtual X display."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_streamer.devices.live.screen.names import found
from edge_streamer.devices.live.screen.screen import Screen
from tests.media_files import MEDIA
from tests.waiting import PATIENCE, until

pytest.importorskip("pygame", reason="needs the extra 'live'")

SHAPE = (MEDIA.sees.unit_frames, *MEDIA.shows.size, 3)
Open = Callable[..., Screen]


@pytest.fixture
def screen() -> Iterator[Open]:
    screens: list[Screen] = []

    def begin(where: str = "window", keys: list[str] | None = None, texts: list[str] | None = None) -> Screen:
        pressed, typed = [] if keys is None else keys, [] if texts is None else texts
        screens.append(Screen(where, MEDIA, pressed.append, typed.append))
        return screens[-1]

    yield begin
    for one in screens:
        one.close()


def dues(begin: float) -> list[float]:
    return [begin + index / MEDIA.sees.frame_rate for index in range(MEDIA.sees.unit_frames)]


def test_every_picture_is_seen_at_its_time(screen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    one = screen()
    assert one.wait() == ""
    begin, late = time.monotonic() + 0.3, list[float]()
    for unit in range(8):
        one.show(np.full(SHAPE, 20 * unit, np.uint8), dues(begin + unit * 0.16))
        time.sleep(0.16)
    until(lambda: bool(late.extend(one.lateness())) or len(late) >= 8 * MEDIA.sees.unit_frames - 2)
    assert min(late) >= -0.005
    assert sorted(late)[len(late) // 2] < 0.02
    counts = one.state().counts or {}
    assert len(late) + counts["pictures_skipped"] >= 8 * MEDIA.sees.unit_frames - 2


def test_pictures_that_are_long_due_are_skipped_and_counted(screen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    one = screen()
    one.wait()
    one.show(np.zeros(SHAPE, np.uint8), dues(time.monotonic() - 5.0))
    until(lambda: (one.state().figures or {})["pictures_shown"] >= 1)
    assert (one.state().counts or {})["pictures_skipped"] == MEDIA.sees.unit_frames - 1


def test_a_killed_worker_is_replaced(screen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    one = screen()
    one.wait()
    pid = one._supervisor.pid
    assert pid is not None
    os.kill(pid, 9)
    until(lambda: one.state().lost == 1 and one.state().open)
    one.show(np.zeros(SHAPE, np.uint8), dues(time.monotonic()))
    until(lambda: len(one.lateness()) > 0)


def test_no_display_and_wrong_words_are_one_clear_line(screen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert "use --display none or FILE.mp4" in screen("default").wait()
    assert "'cinema'; wanted default, window, fullscreen, the name of an .mp4 file, or none" in screen("cinema").wait()


def test_a_desktop_that_does_not_answer_is_no_screen(screen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL would draw where nobody sees it."""
    for name in ("WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":9876")
    for word in ("default", "window", "fullscreen"):
        assert "nothing answers on the desktop :9876; start it, or use --display none" in screen(word).wait()


@pytest.fixture
def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], np.ndarray]]:
    """A virtual X display; gives a function that takes its picture."""
    for program, package in (("Xvfb", "xvfb"), ("xdotool", "xdotool")):
        if shutil.which(program) is None:
            pytest.skip(f"needs the Debian package {package}")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-fbdir", str(tmp_path), "-nolisten", "tcp"],
        pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as told:
        monkeypatch.setenv("DISPLAY", f":{told.readline().strip()}")
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def picture() -> np.ndarray:
        raw = (tmp_path / "Xvfb_screen0").read_bytes()
        pixels = np.frombuffer(raw[-800 * 600 * 4 :], np.uint8).reshape(600, 800, 4)
        return pixels[..., 2::-1]

    yield picture
    server.terminate()
    server.wait()


def halves() -> np.ndarray:
    """Red on the left, blue on the right."""
    frames = np.zeros(SHAPE, np.uint8)
    frames[:, :, : SHAPE[2] // 2, 0] = 250
    frames[:, :, SHAPE[2] // 2 :, 2] = 250
    return frames


def test_the_picture_fills_the_screen_and_keeps_its_shape(
    screen: Open, display: Callable[[], np.ndarray], tmp_path: Path
) -> None:
    one = screen("fullscreen")
    assert one.wait() == ""
    one.show(halves(), dues(time.monotonic()))
    until(lambda: (one.state().figures or {})["pictures_shown"] >= 1)
    until(lambda: int(display()[300, 200, 0]) > 200)
    shown = display()
    Image.fromarray(shown).save(tmp_path / "shown.png")
    assert shown[300, 200].tolist() == [250, 0, 0]
    assert shown[300, 600].tolist() == [0, 0, 250]
    height, width = MEDIA.shows.size
    bar = round((600 - min(800 / width, 600 / height) * height) / 2)
    if bar > 2:
        assert shown[bar - 2, 400].max() == 0
        assert shown[599 - bar + 2, 400].max() == 0


def xdotool(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True, timeout=PATIENCE)


def test_keys_and_typed_lines_come_back(screen: Open, display: Callable[[], np.ndarray]) -> None:
    keys, texts = list[str](), list[str]()
    one = screen("window", keys, texts)
    assert one.wait() == ""
    one.show(halves(), dues(time.monotonic()))
    until(lambda: (one.state().figures or {})["pictures_shown"] >= 1)
    xdotool("mousemove", "400", "300")  # without a window manager the keys go where the pointer is

    def press(*names: str) -> None:
        xdotool("key", "--delay", "30", *names)

    press("m")
    until(lambda: keys == ["mute"])
    press("space")
    until(lambda: keys == ["mute", "talk down", "talk up"])
    press("Return", "h", "i", "m", "BackSpace", "Return")
    until(lambda: texts == ["hi"])
    press("Return", "q", "Escape")
    press("q")
    until(lambda: keys[-1] == "leave")
    assert keys.count("leave") == 1  # the q that was typed is none
    assert texts == ["hi"]


def test_displays_are_found_without_a_window(tmp_path: Path) -> None:
    assert found({}, tmp_path) == []
    assert [one.name for one in found({"DISPLAY": ":0"}, tmp_path)] == ["window", "fullscreen"]
    (tmp_path / "card0").touch()
    console = found({}, tmp_path)
    assert [(one.name, one.default) for one in console] == [("fullscreen", True)]
    assert "card0" in console[0].detail
