"""A snapshot's file may hold anything: it is refused in one line, before its numbers are read, and nothing changes."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edge_streamer.runtime.bundle.arrays import ArrayFile, save_arrays
from edge_streamer.runtime.compare.golden import Meta
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import Snapshot, load_snapshot
from edge_streamer.runtime.unit import LAST_UNIT, Unit
from tests.runtime.session.conversation import run

Members = dict[str, bytes]
DAMAGES = 150


@pytest.fixture
def begun(session: Session, units: list[Unit]) -> Session:
    session.prefill("hello")
    run(session, units[:5])
    return session


@pytest.fixture
def members(begun: Session, tmp_path: Path) -> Members:
    """The entries of a good snapshot's file."""
    begun.snapshot().save(tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as file:
        return {entry.filename: file.read(entry) for entry in file.infolist()}


def packed(members: Members) -> bytes:
    """An archive as NumPy writes it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            with file.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    return made.getvalue()


def npy(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def refused(session: Session, file: Path, data: bytes, says: str | None = None) -> str:
    """One line that names the file, and the session as it was, bit for bit."""
    before = session.snapshot()
    file.write_bytes(data)
    with pytest.raises(MediaError, match=says) as caught:
        session.restore(load_snapshot(file))
    assert str(caught.value).count(str(file)) == 1
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert_same_state(session.snapshot(), before)
    return str(caught.value)


def assert_same_state(one: Snapshot, other: Snapshot) -> None:
    assert one.stamp == other.stamp
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes(), name


def changed_record(members: Members, change: Callable[[dict[str, Any]], object]) -> Members:
    record = json.loads(members["meta.npy"][128:])
    change(record)
    return members | {"meta.npy": npy(np.frombuffer(json.dumps(record).encode(), np.uint8))}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_bytes_it_holds_only_one_kind_of_error_comes_out(
    begun: Session, members: Members, tmp_path: Path, seed: int
) -> None:
    chance, good, file = random.Random(seed), packed(members), tmp_path / "state.npz"
    before = begun.snapshot()
    heads = [at for at in range(len(good)) if good.startswith(b"PK", at)]
    for _ in range(DAMAGES):
        data, at = bytearray(good), chance.randrange(len(good))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data = data[:at]
            case 2:
                data[at : at + chance.randrange(40)] = chance.randbytes(chance.randrange(40))
            case 3:
                data[chance.choice(heads) + chance.randrange(22)] = chance.choice([0, 1, 127, 128, 255])
            case 4:
                name = chance.choice(list(members))
                text = bytearray(members[name])
                text[chance.randrange(min(130, len(text)))] = chance.randrange(256)
                data = bytearray(packed(members | {name: bytes(text)}))
        file.write_bytes(data)
        try:
            begun.restore(load_snapshot(file))
        except MediaError:
            assert_same_state(begun.snapshot(), before)
        else:
            begun.restore(before)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("(1000000000000,)", "<f4"), ("(((((((((", "<f4"), ("(-1,)", "<f4"), ("(True,)", "<f4"), ("(10**9,)", "<f4"),
        ("(4,)", "|O"), ("(4,)", "<U1"), ("(4,)", ">f4"), ("(4,)", "<c8"), ("(4, 4, 4, 4, 4, 4, 4, 4, 4)", "<f4"),
    ],
)  # fmt: skip
def test_a_header_is_no_source_code(begun: Session, members: Members, tmp_path: Path, shape: str, dtype: str) -> None:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00\x76\x00" + text.encode() + bytes(16)
    says = "has no header|by its header"
    refused(begun, tmp_path / "state.npz", packed(members | {"held/past.latents.audio.npy": data}), says)


def test_nothing_is_read_before_it_is_known_to_fit(
    begun: Session, members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four hundred megabytes of zeros in a small file."""
    bomb = npy(np.zeros(1, np.float32)).replace(b"(1,), }" + b" " * 8, b"(100000000,), }")[:128] + bytes(400_000_000)
    data = packed(members | {"held/past.latents.audio.npy": bomb})
    read: list[int] = []
    real = ArrayFile._bytes
    monkeypatch.setattr(ArrayFile, "_bytes", lambda *a: read.append(a[2].size) or real(*a))
    assert "wanted float32" in refused(begun, tmp_path / "state.npz", data, r"is float32 \[100000000\]")
    assert sum(read) < 10_000  # the record


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unit", -5), ("unit", 10**30), ("unit", LAST_UNIT + 1), ("unit", 1.5), ("unit", "5"), ("unit", None),
        ("past", 1), ("waiting", [-1]), ("waiting", [10**9]), ("waiting", "abc"), ("waiting", [[1]]),
        ("tail", [10**9]), ("tail", [1] * 8), ("new", 1),
    ],
)  # fmt: skip
def test_a_history_that_no_session_had(
    begun: Session, members: Members, tmp_path: Path, key: str, value: object
) -> None:
    data = packed(changed_record(members, lambda record: record["host"].update({key: value})))
    refused(begun, tmp_path / "state.npz", data, "history|record")


@pytest.mark.parametrize(
    "rings",
    [
        {"main": -1}, {"main": 2**40 + 1}, {"main": 10**30}, {"main": 1}, {"prefix": 10**6}, {"ghost": 1},
        {"video": True}, {"video": None}, {"video": "x"},
    ],
)  # fmt: skip
def test_rings_that_do_not_exist_or_stand_elsewhere(
    begun: Session, members: Members, tmp_path: Path, rings: dict[str, object]
) -> None:
    data = packed(changed_record(members, lambda record: record["rings"].update(rings)))
    refused(begun, tmp_path / "state.npz", data)


@pytest.mark.parametrize("name", ["ring/main.0.k", "carry/", "held/past.latents.video", "valid/main"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(begun: Session, members: Members, tmp_path: Path, name: str, bad: float) -> None:
    found = next(key for key in members if key.startswith(name))
    array = np.load(io.BytesIO(members[found]))
    array.reshape(-1)[0] = bad
    refused(begun, tmp_path / "state.npz", packed(members | {found: npy(array)}), "NaN or an infinity")


def test_places_that_were_never_filled_stay_hidden(begun: Session, members: Members, tmp_path: Path) -> None:
    for value in (0.0, 1.0):
        array = np.load(io.BytesIO(members["valid/main.npy"]))
        array[0, -1] = value
        refused(begun, tmp_path / "state.npz", packed(members | {"valid/main.npy": npy(array)}), "has not filled")


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff\xfe", b"{}", b'{"format":' + b"9" * 5000 + b"}"])
def test_a_record_that_is_none(begun: Session, members: Members, tmp_path: Path, text: bytes) -> None:
    data = packed(members | {"meta.npy": npy(np.frombuffer(text, np.uint8))})
    refused(begun, tmp_path / "state.npz", data, "its record")


def test_arrays_too_many_too_few_or_twice(begun: Session, members: Members, tmp_path: Path) -> None:
    file, name = tmp_path / "state.npz", "ring/main.0.k.npy"
    refused(begun, file, packed({k: v for k, v in members.items() if k != name}), "lacks")
    refused(begun, file, packed(members | {"ring/ghost.npy": members[name]}), "nothing here takes")
    good = packed(members)
    entry = packed({name: members[name]})
    entry = entry[: entry.index(b"PK\x01\x02")]
    refused(begun, file, entry + good, "twice")
    refused(begun, file, good[:-22], "cut short|whole archive")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.npz")
    with pytest.raises(MediaError, match="no such snapshot file"):
        load_snapshot(tmp_path / "state.npz")
    with pytest.raises(MediaError, match="not golden units"):
        ArrayFile(tmp_path / "state.npz", Meta, "golden units")
    with pytest.raises(MediaError, match="no such snapshot file"):
        load_snapshot(tmp_path / ("x" * 300 + ".npz"))


def test_a_snapshot_that_never_was_a_file_is_checked_too(begun: Session) -> None:
    good = begun.snapshot()
    stamp = replace(good.stamp, host={**good.stamp.host, "unit": -5})
    with pytest.raises(MediaError, match="history"):
        begun.restore(Snapshot(stamp, good.arrays))
    assert_same_state(begun.snapshot(), good)


def test_a_file_that_is_replaced_later_is_not_the_one_restored(
    begun: Session, units: list[Unit], tmp_path: Path
) -> None:
    file = tmp_path / "state.npz"
    begun.snapshot().save(file)
    loaded, before = load_snapshot(file), begun.snapshot()
    run(begun, units[5:7])
    begun.snapshot().save(file)
    begun.restore(loaded)
    assert_same_state(begun.snapshot(), before)
    assert loaded.stamp.rings == before.stamp.rings


def test_what_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of arrays holds"):
        save_arrays(tmp_path / "a.npz", Meta(program="p", seed=1, units=4), {"a": np.array([object()])})
    columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    save_arrays(tmp_path / "a.npz", Meta(program="p", seed=1, units=4), {"a": columns, "b": np.float32([])})
    file = ArrayFile(tmp_path / "a.npz", Meta, "golden units")
    np.testing.assert_array_equal(file["a"], columns)
    assert file["b"].shape == (0,)


def test_a_chain_counts_its_steps_and_takes_no_other_history(counter: Path) -> None:
    session = open_session(counter)
    session.step(Unit(arrays={"x": np.ones((1, 4), np.float32)}))
    good = session.snapshot()
    for host in ({"unit": -1}, {"unit": "1"}, {}, {"unit": 1, "past": True}):
        with pytest.raises(MediaError, match="history"):
            session.restore(Snapshot(replace(good.stamp, host=host), good.arrays))
    session.restore(good)
    assert_same_state(session.snapshot(), good)


@pytest.mark.parametrize("unit", [-1, LAST_UNIT + 1, 10**30])
def test_a_session_does_not_start_where_no_unit_is(session: Session, unit: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to"):
        session.reset(unit)


# -- what they look like


def test_a_line_each(begun: Session, units: list[Unit]) -> None:
    media = begun.media
    response = begun.step(units[5])
    height, width = media.shows.size
    told = repr(response)
    assert told.startswith(f"Response(unit 5, {media.hears.unit_samples} samples at -")
    assert f"{media.sees.unit_frames} pictures {height}x{width}, " in told
    assert told.endswith(" ms)")
    assert repr(Unit()) == "Unit(silence, grey, '')"
    assert repr(Unit(np.zeros(1280, np.float32), text="hi")) == "Unit(1280 samples, silent, grey, 'hi')"
    assert "not all of them numbers" in repr(Unit(np.full(9, np.nan, np.float32)))
    assert repr(Unit([0.0] * 99)) == "Unit(samples of type list, grey, '')"  # type: ignore[arg-type]
    assert repr(Unit(frames=np.zeros((2, 2), np.float32))) == "Unit(silence, frames float32 [2, 2], '')"  # type: ignore[arg-type]
    for told in (repr(begun), repr(begun.snapshot()), repr(response)):
        assert "\n" not in told
        assert len(told) < 160
    assert "next is unit 6" in repr(begun)
    assert "next is unit 6" in repr(begun.snapshot())
