"""Engines that are kept: only what belongs to this card, library, driver and graph is ever handed to TensorRT."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_streamer.runtime.engines.tensorrt.cache import FOLDER, MAGIC, Cache, Key, Told
from edge_streamer.runtime.errors import InputError

KEY = Key(
    graph="core", graph_sha256="ab" * 32, lengths=(1, 8), library="TensorRT 10.3.0", compute_capability=(8, 7),
    device="Orin", driver=12060, options={"tf32": False},
)  # fmt: skip
TOLD = Told(seconds=61.5, workspace=1 << 20, precision={"int8": 8}, wider=("a",), untold=1)
BLOB = bytes(range(256)) * 40

ANOTHER: dict[str, dict[str, Any]] = {
    "graph": {"graph_sha256": "cd" * 32}, "lengths": {"lengths": (1, 10)}, "library": {"library": "TensorRT 10.13.3"},
    "kind of card": {"compute_capability": (11, 0)}, "card": {"device": "Thor"}, "driver": {"driver": 13000},
    "options": {"options": {"tf32": True}},
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


def test_what_was_kept_comes_back_with_what_was_told_of_it(cache: Cache) -> None:
    assert cache.load(KEY) is None
    assert not cache.has(KEY)
    assert not cache.folder.exists(), "nothing is made before something is kept"
    kept = cache.keep(KEY, BLOB, TOLD)
    assert cache.load(KEY) == kept
    assert cache.has(KEY)
    assert (kept.blob, kept.told) == (BLOB, TOLD)
    assert [path.name for path in cache.folder.iterdir()] == [kept.path.name], "no temporary file stays"


@pytest.mark.parametrize("what", ANOTHER)
def test_an_engine_of_another_is_not_found_nor_loaded_under_its_name(cache: Cache, what: str) -> None:
    other = msgspec.structs.replace(KEY, **ANOTHER[what])
    kept = cache.keep(other, BLOB, TOLD)
    assert cache.load(KEY) is None
    os.replace(kept.path, cache.path(KEY))  # as a copied or renamed folder may have it
    assert cache.load(KEY) is None


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "cut short": lambda data: data[:-1],
    "cut within the header": lambda data: data[:60],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\0",
    "a bit of the engine": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "its first line": lambda data: data.replace(b"engine 1", b"engine 2", 1),
    "no header": lambda data: data.split(b"\n", 1)[0] + b"\n" + BLOB,
    "a header of another writer": lambda data: data.replace(b'"told"', b'"toll"', 1),
    "an engine as TensorRT wrote it": lambda data: BLOB,
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_damaged_is_not_loaded_and_is_made_anew(cache: Cache, what: str) -> None:
    path = cache.keep(KEY, BLOB, TOLD).path
    path.write_bytes(DAMAGES[what](path.read_bytes()))
    assert cache.load(KEY) is None
    assert cache.keep(KEY, BLOB, TOLD) == cache.load(KEY)


def test_a_pipe_or_a_folder_in_its_place_is_no_engine(cache: Cache) -> None:
    cache.ready()
    os.mkfifo(cache.path(KEY))
    assert cache.load(KEY) is None
    cache.path(KEY).unlink()
    cache.path(KEY).mkdir()
    assert cache.load(KEY) is None


def test_the_folder_is_the_users_cache_or_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(FOLDER, raising=False)
    assert Cache().folder == tmp_path / "edge-streamer/engines"
    monkeypatch.setenv(FOLDER, str(tmp_path / "named"))
    assert Cache().folder == tmp_path / "named"


def test_a_folder_that_cannot_be_is_told_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"cannot make .*file/engines for engines .* name another in {FOLDER}"):
        Cache(tmp_path / "file/engines").ready()
    with pytest.raises(InputError), Cache(tmp_path / "file").one_builds():
        pass


def test_one_builds_and_the_others_wait_until_it_ends_however_that_is(cache: Cache) -> None:
    cache.ready()
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
    builder = subprocess.Popen([sys.executable, "-c", code, str(cache.folder / "lock")], stdout=subprocess.PIPE)
    assert builder.stdout is not None
    builder.stdout.readline()
    entered = threading.Event()

    def enter() -> None:
        with cache.one_builds():
            entered.set()

    waits = threading.Thread(target=enter)
    waits.start()
    assert not entered.wait(0.3)
    builder.kill()
    builder.wait()
    builder.stdout.close()
    assert entered.wait(10)
    waits.join()


def test_a_timing_cache_is_of_one_card_and_whole(cache: Cache) -> None:
    assert cache.timing(KEY) == b""
    cache.ready()
    cache.keep_timing(KEY, b"measured")
    assert cache.timing(msgspec.structs.replace(KEY, graph="slot")) == b"measured", "for every graph"
    assert cache.timing(msgspec.structs.replace(KEY, driver=13000)) == b""
    (path,) = cache.folder.glob("timing-*")
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.timing(KEY) == b""


def test_what_belongs_to_something_else_is_listed_and_pruned(cache: Cache) -> None:
    mine, old = cache.keep(KEY, BLOB, TOLD), cache.keep(msgspec.structs.replace(KEY, driver=1), BLOB, TOLD)
    other = cache.keep(msgspec.structs.replace(KEY, graph="another"), BLOB, TOLD)
    (cache.folder / "broken.engine").write_bytes(MAGIC + b"x")
    (cache.folder / "yolo.engine").write_bytes(b"somebody else's")
    keys = {entry.path.name: entry.key and entry.key.graph for entry in cache.entries()}
    assert keys == {mine.path.name: "core", old.path.name: "core", other.path.name: "another", "broken.engine": None}
    gone = cache.prune([KEY])
    assert {entry.path for entry in gone} == {old.path, cache.folder / "broken.engine"}
    assert {entry.path for entry in cache.entries()} == {mine.path, other.path}, "another bundle's stay"
    assert (cache.folder / "yolo.engine").exists(), "others' are none of ours"
