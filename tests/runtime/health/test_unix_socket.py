"""A socket that answers: whoever connects, however many, and nobody is waited for."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health.unix_socket import Answerer, ask


@contextmanager
def answering(path: Path, answer: Callable[[], bytes] = lambda: b"well") -> Iterator[Answerer]:
    answerer = Answerer(path, answer)
    try:
        yield answerer
    finally:
        answerer.close()


def test_whoever_connects_gets_an_answer_and_the_file_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with answering(path):
        assert ask(path, 5) == b"well"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_fifty_at_once_are_answered(tmp_path: Path) -> None:
    with answering(tmp_path / "s"), ThreadPoolExecutor(50) as pool:
        assert set(pool.map(lambda _: ask(tmp_path / "s", 20), range(200))) == {b"well"}


def test_who_never_reads_is_not_waited_for(tmp_path: Path) -> None:
    idle = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    with answering(tmp_path / "s", lambda: b"x" * 50_000):
        for client in idle[:60]:
            client.connect(str(tmp_path / "s"))
        assert len(ask(tmp_path / "s", 20)) == 50_000
    for client in idle:
        client.close()


def test_an_answer_is_made_anew_when_it_is_old_but_not_for_everybody(tmp_path: Path) -> None:
    made: list[int] = []
    with answering(tmp_path / "s", lambda: made.append(1) or b"%d" % len(made)):  # type: ignore[func-returns-value]
        first = [ask(tmp_path / "s", 5) for _ in range(3)]
        time.sleep(0.15)
        assert ask(tmp_path / "s", 5) > first[0]
    assert len(made) <= 4


LEFT = """
import socket, sys
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(1)
import os; os._exit(0)
"""


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path / "s")], check=True)
    assert (tmp_path / "s").exists()
    with answering(tmp_path / "s"):
        assert ask(tmp_path / "s", 5) == b"well"


def test_a_living_ones_place_is_refused_and_stays(tmp_path: Path) -> None:
    with answering(tmp_path / "s"):
        with pytest.raises(InputError, match="another process answers there; end it, or name another"):
            Answerer(tmp_path / "s", lambda: b"")
        assert ask(tmp_path / "s", 5) == b"well"


def test_a_living_one_that_stands_still_is_not_taken_for_dead(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(tmp_path / "s"))
        server.listen(0)
        first.connect(str(tmp_path / "s"))  # nobody else finds room to wait
        with pytest.raises(InputError, match="another process answers there"):
            Answerer(tmp_path / "s", lambda: b"")


def test_of_many_that_begin_together_one_gets_the_place(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path / "s")], check=True)

    def begin(_: int) -> Answerer | None:
        try:
            return Answerer(tmp_path / "s", lambda: b"one")
        except InputError:
            return None

    with ThreadPoolExecutor(8) as pool:
        begun = [answerer for answerer in pool.map(begin, range(8)) if answerer]
    assert len(begun) == 1
    assert ask(tmp_path / "s", 5) == b"one"
    begun[0].close()


def test_another_things_name_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, why in (("file", "exists and is no socket"), ("link", "exists and is no socket"), (".", "is no socket"),
                      ("none/s", "No such file"), ("n" * 108, "at most 107 bytes")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            Answerer(tmp_path / name, lambda: b"")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_that_somebody_else_made_since_is_not_removed(tmp_path: Path) -> None:
    with answering(tmp_path / "s"):
        os.rename(tmp_path / "s", tmp_path / "mine")
        (tmp_path / "s").write_text("another's")
    assert (tmp_path / "s").read_text() == "another's"
