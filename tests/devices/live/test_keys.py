"""Typed lines, commands and the window's keys."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edge_streamer.devices.live.keys import KeyBoard
from tests import waiting

Type = Callable[[str], None]
until = partial(waiting.until, patience=20.0)


@pytest.fixture(params=["terminal", "pipe"])
def board(request: pytest.FixtureRequest) -> Iterator[tuple[KeyBoard, Type, list[str]]]:
    """A board that reads a terminal or a pipe, what types there, and what it said."""
    ours, theirs = pty.openpty() if request.param == "terminal" else os.pipe()[::-1]
    said: list[str] = []
    keys = KeyBoard(number=theirs, say=said.append)
    yield keys, lambda text: os.write(ours, text.encode()) and None, said
    keys.close()
    os.close(ours)
    os.close(theirs)


def test_lines_are_sent_whole(board: tuple[KeyBoard, Type, list[str]]) -> None:
    keys, write, _ = board
    assert keys.text() == ""
    write("hel")
    write("lo there\n  \n")
    found: list[str] = []
    until(lambda: bool(found) or bool(keys_text(keys, found)))
    assert found == ["hello there"]
    write("grün\nzwei\n")
    found.clear()
    until(lambda: bool(keys_text(keys, found)) or sum(len(t) for t in found) >= 9)
    assert " ".join(found) == "grün zwei"


def keys_text(keys: KeyBoard, found: list[str]) -> str:
    text = keys.text()
    if text:
        found.append(text)
    return "" if text else text


def test_commands(board: tuple[KeyBoard, Type, list[str]]) -> None:
    keys, write, said = board
    write("/mute\n")
    until(keys.muted)
    write("/MUTE\n")
    until(lambda: not keys.muted())
    write("/what\n")
    until(lambda: len(said) == 3)
    assert said[:2] == ["muted", "not muted"]
    assert "/quit" in said[2]
    assert not keys.leaving()
    write("/quit\n")
    until(keys.leaving)
    assert keys.text() == ""


def test_push_to_talk_is_muted_unless_held() -> None:
    keys = KeyBoard(push_to_talk=True, number=None)
    assert keys.muted()
    keys.key("talk down")
    assert not keys.muted()
    keys.key("mute")
    assert keys.muted()
    keys.key("mute")
    keys.key("talk up")
    assert keys.muted()
    keys.typed("  from the window ")
    assert keys.text() == "from the window"
    keys.key("leave")
    assert keys.leaving()
    keys.close()


def test_the_end_of_a_pipe_is_not_the_end_of_the_run_and_its_last_line_counts() -> None:
    reading, writing = os.pipe()
    keys = KeyBoard(number=reading)
    os.write(writing, b"no line end")
    os.close(writing)
    found: list[str] = []
    until(lambda: bool(found) or keys_text(keys, found) == "x")
    assert found == ["no line end"]
    assert not keys.leaving()
    keys.close()
    keys.close()
    os.close(reading)


def test_closing_never_waits_for_a_line() -> None:
    before = threading.active_count()
    reading, writing = os.pipe()
    keys = KeyBoard(number=reading)
    keys.close()
    assert threading.active_count() == before
    os.close(reading)
    os.close(writing)


def test_no_input_is_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:
        monkeypatch.setattr("sys.stdin", null)
        keys = KeyBoard()
        assert keys._number is None
        keys.close()
    monkeypatch.setattr("sys.stdin", None)
    keys = KeyBoard()
    assert keys._number is None
    keys.close()


JOB = """
import time
from edge_streamer.devices.live.keys import KeyBoard
keys = KeyBoard()
print("begun", flush=True)
while True:
    text = keys.text()
    if text:
        print(text, flush=True)
    time.sleep(0.01)
"""

SHELL = f"""
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = subprocess.Popen([sys.executable, "-c", {JOB!r}], preexec_fn=lambda: os.setpgid(0, 0))
signal.signal(signal.SIGUSR1, lambda *_: os.tcsetpgrp(0, job.pid))
signal.signal(signal.SIGTERM, lambda *_: job.kill())
print(job.pid, flush=True)
job.wait()
"""
"""Has the terminal, keeps a job in the background, and gives it the terminal where it is told to."""


def test_a_job_in_the_background_leaves_the_keys_to_the_shell_and_is_not_stopped() -> None:
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL], stdin=theirs, stdout=subprocess.PIPE, start_new_session=True
    )
    os.close(theirs)
    assert shell.stdout is not None
    told, job = shell.stdout, 0
    try:
        job = int(told.readline())
        assert told.readline() == b"begun\n"
        os.write(ours, b"for the shell\n")
        assert not select.select([told], [], [], 1.0)[0]
        assert Path(f"/proc/{job}/stat").read_text().rsplit(") ", 1)[1][0] != "T"
        # Nobody has read it, so that it is the job's once the terminal is.
        shell.send_signal(signal.SIGUSR1)
        assert told.readline() == b"for the shell\n"
        os.write(ours, b"for the agent\n")
        assert told.readline() == b"for the agent\n"
    finally:
        shell.terminate()
        shell.wait(20.0)
        told.close()
        os.close(ours)
