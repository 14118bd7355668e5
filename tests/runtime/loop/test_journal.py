"""A recorded conversation is replayed bit for bit: fewer steps, failed units, settling, a killed process."""

from __future__ import annotations

import json
import os
import threading
import time
import wave
from argparse import Namespace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_streamer.devices.files.lossless import LosslessWriter
from edge_streamer.runtime.commands import replay
from edge_streamer.runtime.errors import InputError, MediaError
from edge_streamer.runtime.loop import journal as under_test
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import LiveEnds, Settings
from edge_streamer.runtime.loop.journal import EVENTS, PICTURES, SOUND, Journal
from edge_streamer.runtime.loop.live import run_live
from edge_streamer.runtime.loop.stand_ins import NoCamera, NoMicrophone, NoScreen, NoSpeaker
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import FakeClock
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.faults import FaultyEngine
from tests.runtime.loop.devices import Keys

UNITS = 24
KNOBS = Knobs(steps=4, seed=3, temperature=0.5)


class Noise(NoMicrophone):
    """A microphone in a noisy room."""

    chance = np.random.default_rng(5)

    def read(self, out: np.ndarray) -> int:
        count = super().read(out)
        out[:count] = self.chance.uniform(-0.3, 0.3, count)
        return count


class Snow(NoCamera):
    """A camera that sees noise: what compresses worst and shows every changed bit."""

    chance = np.random.default_rng(6)

    def read(self, out: np.ndarray, until: float) -> float:
        out[:] = self.chance.integers(0, 256, out.shape, np.uint8)
        return 0.0


class Timed:
    """A session whose steps take time of the fake clock: two long ones, so that the ladder goes down and up again."""

    def __init__(self, session: Session, clock: FakeClock) -> None:
        self.session, self.clock, self.media, self.count = session, clock, session.media, 0

    def step(self, unit: Unit) -> Response:
        self.count += 1
        self.clock.advance(0.3 if self.count == 6 else 0.02)
        if self.count == 12:
            engine: Any = self.session.engine
            engine.arm("decode", "", 0.0)
        return self.session.step(unit)

    def turn(self, knobs: Knobs) -> None:
        self.session.turn(knobs)

    def settle(self) -> None:
        self.session.settle()


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Session:
    return open_session(tiny_bundle, knobs=KNOBS, engine=FaultyEngine())


@pytest.fixture(scope="module")
def recorded(session: Session, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counters]:
    """A recording, and what was counted while it was made."""
    folder, clock = tmp_path_factory.mktemp("record") / "talk", FakeClock()
    journal, rate = Journal(folder, session, KNOBS, LosslessWriter), session.media.hears.sample_rate
    ends = LiveEnds(
        Noise(rate, clock), NoSpeaker(rate, clock), Snow(), NoScreen(), Keys({3: "hello"}), journal=journal
    )  # fmt: skip
    counters = run_live(Timed(session, clock), ends, clock, Settings(KNOBS, units=UNITS))
    journal.close("the test was over")
    return folder, counters


def again(session: Session, folder: Path) -> replay.Replayed:
    session.restore(replay.load_snapshot(folder / under_test.START))
    return replay.replay(folder, session, KNOBS, [])


def test_every_answer_comes_out_the_same(session: Session, recorded: tuple[Path, Counters]) -> None:
    folder, counters = recorded
    assert counters.failed == 1
    assert counters.hasty > 0  # or the replay of fewer steps would prove nothing
    assert counters.settles > 0
    result = again(session, folder)
    assert result.units == result.same == counters.answered
    assert (result.failed, result.first_different, result.ended) == (1, None, "the test was over")
    assert any(event.text == "hello" for event in replay.read_events(folder))


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_one_bit_of_what_it_heard_changes_the_answers_from_there_on(
    session: Session, recorded: tuple[Path, Counters], tmp_path: Path
) -> None:
    folder = copy(recorded[0], tmp_path / "changed")
    sound = np.fromfile(folder / SOUND, "<f4")
    sound[7 * session.media.hears.unit_samples + 100] += 0.25
    sound.tofile(folder / SOUND)
    result = again(session, folder)
    assert result.first_different == 7
    assert result.same >= 7


def test_a_recording_that_was_cut_is_replayed_as_far_as_it_goes(
    session: Session, recorded: tuple[Path, Counters], tmp_path: Path
) -> None:
    folder = copy(recorded[0], tmp_path / "cut")
    (folder / SOUND).write_bytes((folder / SOUND).read_bytes()[: 10 * session.media.hears.unit_samples * 4 + 77])
    (folder / EVENTS).write_bytes((folder / EVENTS).read_bytes()[:-30])
    result = again(session, folder)
    assert result.units == result.same == 10
    pictures = copy(recorded[0], tmp_path / "pictures") / PICTURES
    pictures.write_bytes(pictures.read_bytes()[: pictures.stat().st_size // 2])
    result = again(session, pictures.parent)
    assert 0 < result.units == result.same < recorded[1].answered


def test_the_command_says_how_it_went(
    recorded: tuple[Path, Counters], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = recorded[0], tmp_path / "out"
    assert replay.main(Namespace(recording=folder, bundle=None, out=out, json=True, engine="auto")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same"] == told["units"] == recorded[1].answered
    assert sorted(path.name for path in out.iterdir()) == ["face.mp4", "voice.wav"]
    assert replay.main(Namespace(recording=folder, bundle=None, out=None, json=False, engine="auto")) == 0
    assert "answers are the same, bit for bit" in capsys.readouterr().out


def test_what_is_no_recording_is_refused(recorded: tuple[Path, Counters], tmp_path: Path, session: Session) -> None:
    with pytest.raises(InputError, match="is no recording by 'run --record'"):
        replay.read_header(tmp_path)
    folder = copy(recorded[0], tmp_path / "broken")
    lines = (folder / EVENTS).read_bytes().replace(b'"steps"', b'"stops"', 1)
    (folder / EVENTS).write_bytes(lines)
    with pytest.raises(MediaError, match=r"line 1: .*damaged"):
        list(replay.read_events(folder))
    with pytest.raises(InputError, match="not an empty folder"):
        Journal(recorded[0], session, KNOBS, LosslessWriter)
    (tmp_path / "a file").touch()
    with pytest.raises(InputError, match=r"name another place|not an empty folder"):
        Journal(tmp_path / "a file" / "below", session, KNOBS, LosslessWriter)


def test_another_bundle_is_refused(recorded: tuple[Path, Counters], tmp_path: Path) -> None:
    folder = copy(recorded[0], tmp_path / "moved")
    header = json.loads((folder / under_test.HEADER).read_text())
    header["bundle"]["path"] = str(tmp_path / "gone")
    (folder / under_test.HEADER).write_text(json.dumps(header))
    with pytest.raises(InputError, match=r"no longer at .*; name it with --bundle"):
        replay.main(Namespace(recording=folder, bundle=None, out=None, json=False, engine="auto"))
    header["bundle"]["path"], header["bundle"]["hash"] = (
        json.loads((recorded[0] / under_test.HEADER).read_text())["bundle"]["path"],
        "0" * 64,
    )
    (folder / under_test.HEADER).write_text(json.dumps(header))
    with pytest.raises(InputError, match="the recording was made with"):
        replay.main(Namespace(recording=folder, bundle=None, out=None, json=False, engine="auto"))


def test_a_disk_that_fills_ends_the_recording_with_the_reason(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "full", session, KNOBS, LosslessWriter)
    media = session.media
    silence = np.zeros(media.hears.unit_samples, np.float32)
    unit = Unit(silence, np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8))
    journal.unit(unit, 4, None)

    def full(frames: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal._pictures, "write", full)
    journal.unit(unit, 4, None)
    ends = time.monotonic() + 30
    while not journal.stopped and time.monotonic() < ends:
        time.sleep(0.01)
    for _ in range(3 * under_test.MOST_WAITING):
        journal.unit(unit, 4, None)
    journal.close()
    assert "No space left" in journal.stopped
    ended = [event.ended for event in replay.read_events(tmp_path / "full")]
    assert "No space left" in str(ended[-1])


def test_a_disk_that_cannot_follow_ends_the_recording_and_nothing_waits_for_it(
    session: Session, tmp_path: Path
) -> None:
    journal, slow = Journal(tmp_path / "slow", session, KNOBS, LosslessWriter), threading.Event()
    media = session.media
    silence = np.zeros(media.hears.unit_samples, np.float32)
    unit = Unit(silence, np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8))
    write = journal._write

    def stalled(*item: Any) -> None:
        slow.wait(30)
        write(*item)

    journal._write = stalled  # type: ignore[method-assign]
    for _ in range(under_test.MOST_WAITING + 3):
        journal.unit(unit, 4, None)
    assert "cannot follow" in journal.stopped
    slow.set()
    closing = threading.Thread(target=journal.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    events = list(replay.read_events(tmp_path / "slow"))
    assert "cannot follow" in str(events[-1].ended)
    assert sum(event.unit is not None for event in events) >= under_test.MOST_WAITING  # what waited was written


# -- damaged recordings


def damaged(folder: Path, name: str, says: str) -> None:
    """The command ends with one line and status 2."""
    with pytest.raises(InputError, match=says) as caught:
        replay.main(Namespace(recording=folder, bundle=None, out=None, json=True, engine="auto"))
    assert caught.value.exit_status == 2, name
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.fixture
def quick(session: Session, recorded: tuple[Path, Counters], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage, whose replay does not load the weights anew."""

    def opened(path: Path, knobs: Knobs, **_: Any) -> Session:
        session.reset()
        session.turn(knobs)
        return session

    monkeypatch.setattr(replay, "open_session", opened)
    return copy(recorded[0], tmp_path / "damaged")


@pytest.mark.parametrize("name", [under_test.HEADER, under_test.START, SOUND, PICTURES, EVENTS])
def test_files_that_are_missing_or_no_files(quick: Path, name: str) -> None:
    (quick / name).unlink()
    damaged(quick, name, "no recording|no such|not whole")
    os.mkfifo(quick / name)
    damaged(quick, name, "not a regular file|no such")
    (quick / name).unlink()
    (quick / name).mkdir()
    damaged(quick, name, "not a regular file|no such")
    (quick / name).rmdir()
    (quick / name).symlink_to(name)
    damaged(quick, name, "no recording|no such|not whole")
    (quick / name).unlink()
    for junk in (
        b"\0" * 5000,
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"9" * 5000 + b"\n",
        b"ffconcat version 1.0\nfile x\n",
    ):
        (quick / name).write_bytes(junk)
        if name != SOUND:
            damaged(quick, name, "no recording|not a snapshot|no recorded pictures|damaged")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("knobs", {"steps": 0}), ("knobs", {"steps": 65}), ("knobs", {"seed": -1}), ("knobs", {"seed": 10**30}),
        ("knobs", {"temperature": "x"}), ("knobs", {"top_p": []}), ("knobs", {"what": 1}), ("knobs", 5),
        ("bundle", {}), ("bundle", {"name": "a", "hash": "b"}), ("bundle", {"name": 1, "hash": "", "path": ""}),
        ("bundle", {"name": "a", "hash": "b", "path": "\0"}), ("bundle", {"name": "a", "hash": "b", "path": "a" * 300}),
        ("format", 2), ("format", "1"), ("format", 10**30), ("machine", []), ("versions", {"numpy": 1}), ("x", 1),
    ],
)  # fmt: skip
def test_a_header_that_no_recorder_wrote(quick: Path, key: str, value: object) -> None:
    header = json.loads((quick / under_test.HEADER).read_bytes())
    (quick / under_test.HEADER).write_text(json.dumps({**header, key: value}))
    damaged(quick, key, "no recording|format|damaged|no longer at")


@pytest.mark.parametrize(
    "change",
    [
        {"unit": 5}, {"unit": -1}, {"unit": 10**30}, {"unit": "0"}, {"unit": 0.5}, {"steps": 0}, {"steps": 65},
        {"steps": 10**30}, {"digest": "x"}, {"digest": "0" * 31}, {"text": 5}, {"text": None}, {"settled": 1}, {"x": 1},
    ],
)  # fmt: skip
def test_a_line_that_no_recorder_wrote(quick: Path, change: dict[str, object]) -> None:
    lines = (quick / EVENTS).read_bytes().split(b"\n")
    first = json.loads(lines[0])
    (quick / EVENTS).write_bytes(b"\n".join([json.dumps(first | change).encode(), *lines[1:]]))
    damaged(quick, "", "line 1: .*damaged")


def test_lines_lost_or_twice(quick: Path) -> None:
    lines = (quick / EVENTS).read_bytes().splitlines(keepends=True)
    units = [at for at, line in enumerate(lines) if b'"unit"' in line]
    for changed in (
        [*lines[: units[3]], *lines[units[3] + 1 :]],
        [*lines[: units[3]], *lines[units[3] :][:1], *lines[units[3] :]],
    ):
        (quick / EVENTS).write_bytes(b"".join(changed))
        damaged(quick, "", r"unit \d+; wanted \d+; the recording is damaged")
    (quick / EVENTS).write_bytes(b"")
    damaged(quick, "", "nothing to compare")


def test_sound_that_is_no_number_is_told_by_its_unit(quick: Path) -> None:
    sound = np.fromfile(quick / SOUND, "<f4")
    sound[5] = np.nan
    sound.tofile(quick / SOUND)
    damaged(quick, "", "unit 0 was answered .* NaN")


def test_pictures_of_another_size_or_kind(quick: Path, session: Session) -> None:
    (quick / PICTURES).unlink()
    writer = LosslessWriter(quick / PICTURES, (16, 24), session.media.sees.frame_rate)
    writer.write(np.zeros((4, 16, 24, 3), np.uint8))
    writer.close()
    damaged(quick, "", "holds pictures of 16x24; this bundle's are")
    with wave.open(str(quick / PICTURES), "wb") as other:
        other.setparams((1, 2, 8000, 0, "NONE", ""))
        other.writeframes(b"\0" * 8000)
    damaged(quick, "", "holds no recorded pictures")
    with av.open(str(quick / PICTURES), "w", format="matroska") as container:  # sound alone
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    damaged(quick, "", "wanted one FFV1 stream")


def test_a_cut_recording_says_how_much_it_lacks(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = (quick / SOUND).read_bytes()
    (quick / SOUND).write_bytes(sound[: len(sound) // 2])
    assert replay.main(Namespace(recording=quick, bundle=None, out=None, json=False, engine="auto")) == 0
    assert f"; {UNITS - UNITS // 2} more units have no sound or picture" in capsys.readouterr().out
