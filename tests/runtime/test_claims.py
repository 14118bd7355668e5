"""Half-written things go when their process is gone, and no earlier; several files get their names together."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_streamer.runtime import claims
from edge_streamer.runtime.claims import Claim, scratch, sweep
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import Whole, new_folder, publish, replacing, replacing_all

TOKEN = "0123456789abcdef"


def left(folder: Path) -> set[str]:
    """Every name below ``folder``."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def killed(script: str, *words: str | Path) -> None:
    """Run ``script``, which kills itself."""
    ran = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from edge_streamer.runtime.files import new_folder, replacing
folder = Path(sys.argv[1])
with replacing(folder / "film.mp4") as film, new_folder(folder / "bundle") as bundle:
    film.write_bytes(b"half")
    (bundle / "graphs").mkdir()
    (bundle / "graphs" / "first.onnx").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_goes_when_the_next_one_writes_there(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"old")
    killed(KILLED_WHILE_IT_WRITES, tmp_path)
    assert len(left(tmp_path)) == 7  # two claims, two temporary names, what is in the folder, and the film
    with replacing(tmp_path / "other"):
        assert (tmp_path / "film.mp4").read_bytes() == b"old"
    assert left(tmp_path) == {"film.mp4", "other"}


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "film.mp4") as film, new_folder(tmp_path / "bundle") as bundle:
        (bundle / "file").touch()
        sweep(tmp_path)
        child = "import sys, pathlib; from edge_streamer.runtime.claims import sweep; sweep(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", child, tmp_path], check=True)
        assert film.exists()
        assert (bundle / "file").exists()
    assert left(tmp_path) == {"film.mp4", "bundle", "bundle/file"}


@pytest.mark.parametrize(
    "name",
    [
        f".edge-streamer.{TOKEN}.partial.wav", f".edge-streamer.{TOKEN[:-1]}.claim", f"edge-streamer.{TOKEN}.claim",
        f".edge-streamer.{TOKEN.upper()}.claim", f".edge-streamer.{TOKEN}.claim~", ".film.12345678.partial.mp4",
        ".edge-streamer.toml", "film.mp4.partial",
    ],
)  # fmt: skip
def test_names_of_others_are_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    sweep(tmp_path)
    assert (tmp_path / name).read_bytes() == b"mine"


def test_links_folders_and_pipes_of_a_claims_name_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    name = f".edge-streamer.{TOKEN[:-1]}"
    (tmp_path / f"{name}0.claim").symlink_to("mine")
    (tmp_path / f"{name}1.claim").mkdir()
    os.mkfifo(tmp_path / f"{name}2.claim")
    before = left(tmp_path)
    sweep(tmp_path)
    assert left(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_what_belongs_to_another_user_stays(tmp_path: Path) -> None:
    for ending in ("claim", "partial.wav"):
        (tmp_path / f".edge-streamer.{TOKEN}.{ending}").touch()
    os.chown(tmp_path / f".edge-streamer.{TOKEN}.claim", 12345, 12345)
    sweep(tmp_path)
    assert len(left(tmp_path)) == 2


def test_folders_that_do_not_exist_hold_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "missing", tmp_path / "missing" / "deeper")


@pytest.mark.parametrize("to", ["../stolen", "/tmp/stolen", "..", "", "a\0b", 5])
def test_a_note_reaches_nothing_outside_its_folder(tmp_path: Path, to: object) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    claim, partial = f".edge-streamer.{TOKEN}.claim", f".edge-streamer.{TOKEN}.partial"
    (inner / partial).write_bytes(b"evil")
    (inner / claim).write_text(json.dumps({"from": partial, "to": to, "set": [claim]}))
    sweep(inner)
    assert left(tmp_path) == {"inner"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"from": "a", "to": "b", "set": []}', "[" * 100_000])
def test_a_note_that_is_none_decides_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / f".edge-streamer.{TOKEN}.claim").write_text(text)
    (tmp_path / f".edge-streamer.{TOKEN}.partial").write_bytes(b"half")
    sweep(tmp_path)
    assert left(tmp_path) == set()


STEPS = ("open", "pwrite", "ftruncate", "fsync", "replace", "unlink", "close")

KILLED_AT_STEP = """
import os, sys
from itertools import count
from pathlib import Path
from edge_streamer.runtime.claims import sweep
from edge_streamer.runtime.files import Whole, publish

root = Path(sys.argv[1])
steps = sys.argv[2].split()
real = {name: getattr(os, name) for name in steps}
seen = {"old": 0, "new": 0}


def begin(number):
    folders = (root / str(number) / "one", root / str(number) / "two")
    for folder in folders:
        folder.mkdir(parents=True)
    names = [folders[0] / "voice.wav", folders[0] / "film.mp4", folders[int(sys.argv[3])] / "report.json"]
    for name in names:
        name.write_text("old")
    return folders, names


def write(names, number):
    wholes = [Whole(name) for name in names]
    for whole in wholes:
        whole.partial.write_text("new")
    left = number

    def counted(name):
        def call(*words, **more):
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return real[name](*words, **more)
        return call

    for name in steps:
        setattr(os, name, counted(name))
    publish(wholes)
    os._exit(0)


for number in count():
    folders, names = begin(number)
    child = os.fork()
    if not child:
        write(names, number)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, 9), ended
    sweep(*(folders if number % 2 else reversed(folders)))
    came = {name.read_text() for name in names}
    assert len(came) == 1, (number, [name.read_text() for name in names])
    seen[came.pop()] += 1
    over = [path for folder in folders for path in folder.iterdir() if path not in names]
    assert not over, (number, over)
    if not ended:
        break
assert min(seen.values()) > 5, seen
print(number)
"""


@pytest.mark.parametrize("folders", ["one folder", "two folders"])
def test_killed_at_any_step_all_files_are_old_or_all_are_new(tmp_path: Path, folders: str) -> None:
    words = (tmp_path, " ".join(STEPS), "0" if folders == "one folder" else "1")
    ran = subprocess.run(
        [sys.executable, "-c", KILLED_AT_STEP, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 20  # steps


def test_a_folder_that_was_moved_in_the_middle_is_completed_where_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    killed(KILLED_IN_THE_MIDDLE, tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "now")
    sweep(tmp_path / "now")
    assert {name: (tmp_path / "now" / name).read_text() for name in "abc"} == dict.fromkeys("abc", "new")
    assert left(tmp_path / "now") == set("abc")


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from edge_streamer.runtime.files import replacing_all
folder, real = Path(sys.argv[1]), os.replace
def once(*names):
    real(*names)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = once
with replacing_all(*(folder / name for name in "abc")) as partials:
    for partial in partials:
        partial.write_text("new")
"""


@pytest.mark.parametrize("at", range(3))
def test_ctrl_c_between_two_names_gives_the_others_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    calls, real = iter(range(100)), os.replace

    def interrupted(*names: Path) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt
        real(*names)

    with pytest.raises(KeyboardInterrupt), replacing_all(*(tmp_path / name for name in "abc")) as partials:
        for partial in partials:
            partial.write_text("new")
        monkeypatch.setattr(os, "replace", interrupted)
    assert left(tmp_path) == set("abc")


def failing(monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> None:
    """``os.replace`` fails from its ``at``-th call on."""
    calls, real = iter(range(100)), os.replace

    def replace(*names: Path) -> None:
        if next(calls) >= at:
            raise OSError(number, os.strerror(number))
        real(*names)

    monkeypatch.setattr(os, "replace", replace)


def test_where_not_one_name_can_be_given_all_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match="Permission denied"), replacing_all(tmp_path / "a", tmp_path / "b"):
        failing(monkeypatch, 0, errno.EACCES)
    assert left(tmp_path) == {"a", "b"}
    assert {(tmp_path / name).read_text() for name in "ab"} == {"old"}


def test_a_disk_that_fails_between_two_names_leaves_the_rest_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="Input/output error"), replacing_all(*names) as partials:
        for partial in partials:
            partial.write_text("new")
        failing(monkeypatch, 1, errno.EIO)
    monkeypatch.undo()
    sweep(tmp_path)
    assert left(tmp_path) == {"a", "b"}
    assert {(tmp_path / name).read_text() for name in "ab"} == {"new"}


def test_a_folder_whose_name_was_taken_meanwhile_takes_the_pages_along(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("old")
    page, bundle = tmp_path / "page", tmp_path / "bundle"
    with pytest.raises(InputError, match="bundle"), replacing_all(page, folder=bundle) as (partial, _):
        partial.write_text("new")
        bundle.mkdir()
        (bundle / "file").touch()
    assert left(tmp_path) == {"page", "bundle", "bundle/file"}
    assert (tmp_path / "page").read_text() == "old"


def test_one_of_several_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"), replacing_all(tmp_path / "a", tmp_path):
        pytest.fail("the block must not run")
    assert left(tmp_path) == set()


def test_two_sets_of_the_same_names_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, real = [tmp_path / str(number) for number in range(20)], os.replace

    def slow(*words: Path) -> None:
        real(*words)
        threading.Event().wait(0.001)

    def write(text: str) -> None:
        wholes = [Whole(name) for name in names]
        for whole in wholes:
            whole.partial.write_text(text)
        ready.wait()
        publish(wholes)

    monkeypatch.setattr(os, "replace", slow)
    ready = threading.Barrier(2)
    writers = [threading.Thread(target=write, args=(text,)) for text in ("one", "other")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len({name.read_text() for name in names}) == 1
    assert left(tmp_path) == {name.name for name in names}


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(claims.fcntl, "flock", none)
    with replacing_all(tmp_path / "a", tmp_path / "b"):
        sweep(tmp_path)  # takes nothing for left behind
    assert left(tmp_path) == {"a", "b"}


def test_a_stopped_process_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PATIENCE_SECONDS", 0.0)
    holder = os.open(tmp_path / claims.MUTEX, os.O_CREAT | os.O_RDWR)
    claims.fcntl.flock(holder, claims.fcntl.LOCK_EX)
    with replacing_all(tmp_path / "a", tmp_path / "b"):
        pass
    os.close(holder)
    sweep(tmp_path)
    assert left(tmp_path) == {"a", "b"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_scratch_folder_is_private_and_goes(temporary: Path) -> None:
    with scratch() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "weights").touch()
    assert left(temporary) == set()
    killed(
        "import os, signal; from edge_streamer.runtime.claims import scratch\n"
        f"import tempfile; tempfile.tempdir = {str(temporary)!r}\n"
        "with scratch() as folder: (folder / 'weights').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert len(left(temporary)) == 3
    with scratch():
        pass
    assert left(temporary) == set()


@pytest.mark.parametrize(
    ("name", "ending"),
    [("film.mp4", ".partial.mp4"), ("x" * 240 + ".tar.gz", ".partial.gz"), ("a.\udcff", ".partial"),
     ("a." + "y" * 250, ".partial"), ("a.\u00fc", ".partial"), ("plain", ".partial")],
)  # fmt: skip
def test_a_temporary_name_is_short_and_plain(tmp_path: Path, name: str, ending: str) -> None:
    claim = Claim(tmp_path, name)
    assert claim.partial.name.endswith(ending)
    assert len(claim.partial.name) < 64
    claim.release()


def both(make: Callable[[Path], None], folder: Path) -> None:
    """``make`` in two threads at once."""
    threads = [threading.Thread(target=make, args=(folder,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_that_start_at_once_do_not_sweep_each_other(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def make(folder: Path) -> None:
        try:
            for number in range(50):
                with replacing(folder / f"{threading.get_ident()}-{number}") as partial:
                    partial.write_text("whole")
        except BaseException as error:
            failed.append(error)

    both(make, tmp_path)
    assert not failed
    assert len(left(tmp_path)) == 100
