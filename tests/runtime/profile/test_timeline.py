"""Sections of units become figures: nested, summed, added up; a planted sleep shows where it was planted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.shipped import MEDIA, bundle_path
from edge_streamer.runtime.commands.profile_media import Endless
from edge_streamer.runtime.engines.tape import HostTape
from edge_streamer.runtime.loop.media import filled
from edge_streamer.runtime.loop.recorded import Ends
from edge_streamer.runtime.profile.measure import run_units
from edge_streamer.runtime.profile.report import judge, timed
from edge_streamer.runtime.profile.statistics import spread
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.profile.trace import write_trace
from edge_streamer.runtime.session.fake import FakeSession
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Sections
from edge_streamer.runtime.unit import Unit
from tests.bundles import room_bundle

UNITS, SLEEP = 12, 0.02
PLANTED = (3, 7)
"""Units in which somebody sleeps."""


def told(timeline: Timeline, unit: float, **stages: float) -> None:
    """A unit of so many seconds, a step among its stages."""
    for name, seconds in stages.items():
        timeline(f"unit/{name}", "apart" if name == "wait" else "host", 0.0, seconds)
    timeline("unit", "host", 0.0, unit)


def test_a_unit_is_what_its_sections_are_and_a_rest() -> None:
    timeline = Timeline()
    timeline("unit/step/play/core at 1/slot.0", "graph", 0.0, 0.003)
    timeline("unit/step/play/core at 1/slot.1", "graph", 0.0, 0.004)
    timeline("unit/step/play", "transfer", 0.0, 0.008)
    told(timeline, 0.015, step=0.010, camera=0.002, wait=0.001)
    rows = {path: float(row[0]) for path, row in timeline.milliseconds().items()}
    assert rows == pytest.approx({
        "unit": 14, "unit/step": 10, "unit/step/play": 8, "unit/step/play/core at 1": 7,
        "unit/step/play/core at 1/slot.0": 3, "unit/step/play/core at 1/slot.1": 4, "unit/step/play/transfers": 1,
        "unit/step/rest": 2, "unit/camera": 2, "unit/rest": 2,
    })  # fmt: skip
    assert timeline.runs() == {"core at 1": (2, pytest.approx(3.5))}


def test_a_stage_that_some_units_lack_counts_as_nothing_there() -> None:
    timeline = Timeline()
    told(timeline, 0.010, step=0.008)
    told(timeline, 0.012, step=0.008, settle=0.003)
    assert timeline.milliseconds()["unit/settle"].tolist() == pytest.approx([0, 3])
    assert timeline.counts()["unit/settle"] == 0.5


def test_what_came_to_no_step_is_dropped() -> None:
    timeline = Timeline()
    told(timeline, 0.010, microphone=0.001)  # the media ended
    timeline.settle()
    assert (timeline.units, timeline.milliseconds(), list(timeline.stretches())) == (0, {}, [])


def test_sections_that_nobody_hears_leave_no_trace() -> None:
    sections = Sections()
    with sections("unit"), sections("camera"):
        assert sections.path == ""
    with pytest.raises(ZeroDivisionError), sections.told_to(lambda *told: None), sections("unit"):
        raise ZeroDivisionError
    assert (sections.path, sections.heard) == ("", False)


def test_each_listener_hears_its_own_sections() -> None:
    """Sections are kept from unit to unit, and not from one listener to the next."""
    sections, heard = Sections(), dict[str, list[str]]()
    for name in ("one", "other"):
        told = heard.setdefault(name, [])
        with sections.told_to(lambda path, *rest, told=told: told.append(path)):  # type: ignore[misc]
            for _ in range(2):
                with sections("unit"), sections("step"):
                    pass
    assert heard == dict.fromkeys(("one", "other"), ["unit/step", "unit"] * 2)


def test_listening_takes_less_than_a_hundredth_of_a_unit() -> None:
    sections, timeline, took = Sections(), Timeline(), []
    for _ in range(50):
        begin = time.perf_counter()
        with sections.told_to(timeline), sections("unit"), sections("step"), sections("play", "transfer"):
            for _ in range(8):
                with sections("stage"):
                    pass
            for n in range(20):
                sections.tell(f"core/{n}", "graph", 0.0, 0.0)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.01 * 0.03  # a unit of the demo takes 30 ms


@pytest.fixture(scope="module")
def demo() -> Any:
    with open_session(bundle_path(floats=True), engine="cpu", verify=False) as session:
        session.step(Unit())
        yield session


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with open_session(room_bundle(tmp_path_factory.mktemp("quick") / "room"), engine="cpu") as session:
        yield session


class Sleepy:
    """A camera that sleeps in some units, and else does nothing."""

    def __init__(self, units: tuple[int, ...]) -> None:
        self.units, self.unit = units, 0

    def read(self, out: Any) -> None:
        if self.unit in self.units:
            time.sleep(SLEEP)
        self.unit += 1

    def close(self) -> None: ...


def profiled(session: Any, camera: Any = None, made: bool = False) -> Timeline:
    """A run on the media that ship, or on numbers."""
    timeline = Timeline()
    media = Endless(MEDIA / "speech.flac", MEDIA / "camera.mp4", filled(session.media))
    ends = None if made else Ends(media, camera or media.camera)
    ran = run_units(session, ends, timeline, pace="fast", units=UNITS, stopped=lambda: False,
                    progress=lambda done, seconds: None)  # fmt: skip
    media.close()
    assert (timeline.units, ran.failed, ran.stopped) == (UNITS, 0, None)
    return timeline


def planted_sleep(timeline: Timeline, path: str, folder: Path) -> None:
    """It shows in its stage and in no other, in the trace and in the misses."""
    rows, asleep = timeline.milliseconds(), 950 * SLEEP
    least = {p: float(row[list(PLANTED)].min()) for p, row in rows.items()}
    stages = {p for p, ms in least.items() if ms > asleep and not p.startswith(f"{path}/")}
    assert path in stages
    assert all(path.startswith(p) for p in stages), stages
    assert rows["unit"].min() < asleep  # a unit of these sessions takes hardly a millisecond
    figures = timed(timeline, asleep)
    assert set(PLANTED) <= set(figures["misses"].units)
    assert figures["misses"].count < UNITS
    assert figures["verdict"] == "misses"
    write_trace(folder / "trace.json", timeline, "demo", asleep)
    events = valid_trace(folder / "trace.json")
    slept = {e["args"]["unit"] for e in events if e["ph"] == "X" and e["args"]["path"].startswith(path)
             and e["dur"] > 1e6 * SLEEP}  # fmt: skip
    assert set(PLANTED) <= slept
    assert {f"unit {n}" for n in PLANTED} <= {e["name"].partition(":")[0] for e in events if e.get("cat") == "miss"}


def valid_trace(path: Path) -> list[dict[str, Any]]:
    """The events, as Chrome's trace event format wants them: keys, types, and sections of a thread that are nested."""
    trace = json.loads(path.read_bytes())
    assert trace["displayTimeUnit"] in ("ms", "ns")
    events: list[dict[str, Any]] = trace["traceEvents"]
    for event in events:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ph"] in ("X", "M", "i", "C")
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] in ("X", "i"):
            assert isinstance(event["cat"], str)
        if event["ph"] == "C":
            assert all(isinstance(value, float) for value in event["args"].values())
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
        if event["ph"] == "X":
            assert event["dur"] >= 0
    open_until: list[float] = []
    for event in sorted((e for e in events if e["ph"] == "X"), key=lambda e: (e["ts"], -e["dur"])):
        while open_until and event["ts"] >= open_until[-1] - 0.01:
            open_until.pop()
        end = event["ts"] + event["dur"]
        assert not open_until or end <= open_until[-1] + 0.01, event
        open_until.append(end)
    return events


def test_a_sleep_in_the_camera_shows_there(demo: Session, tmp_path: Path) -> None:
    planted_sleep(profiled(FakeSession(demo.media), Sleepy(PLANTED)), "unit/camera", tmp_path)


def test_a_sleep_in_the_step_shows_there(demo: Session, tmp_path: Path) -> None:
    session = FakeSession(demo.media, during=lambda step: time.sleep(SLEEP if step in PLANTED else 0))
    planted_sleep(profiled(session, Sleepy(())), "unit/step", tmp_path)


def test_a_sleep_in_a_graph_shows_there(quick: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play, plays = HostTape.play, iter(range(10**6))

    def slow(self: HostTape, *args: Any, **more: Any) -> Any:
        if self.name != "chain" or next(plays) not in PLANTED:
            return play(self, *args, **more)
        steps, last = self._steps, self._steps[-1]
        self._steps = [*steps[:-1], last._replace(run=lambda: (time.sleep(SLEEP), last.run())[1])]
        try:
            return play(self, *args, **more)
        finally:
            self._steps = steps

    monkeypatch.setattr(HostTape, "play", slow)
    planted_sleep(profiled(quick, made=True), "unit/step/play/meter", tmp_path)


def test_the_numbers_add_up(demo: Session) -> None:
    timeline = profiled(demo)
    figures, rows = timed(timeline, 160.0), timeline.milliseconds()
    assert float(np.median(rows["unit/rest"] / rows["unit"])) < 0.02  # of the mean one long pause may make more
    assert figures["adds_up"] == pytest.approx(1 - rows["unit/rest"].mean() / rows["unit"].mean(), abs=1e-4)
    inside = sum(row for path, row in rows.items() if path.startswith("unit/step/play/") and path.count("/") == 3)
    assert np.allclose(inside, rows["unit/step/play"])
    assert float(np.median(rows["unit/step/play/transfers"] / rows["unit/step/play"])) < 0.1
    assert {"unit/microphone", "unit/camera", "unit/step/prepare", "unit/step/commit"} <= set(rows)
    assert figures["solver_step"].p50 < figures["unit"].p50
    assert figures["sections"]["unit/step/play/core at 1"].runs == 4
    assert set(timeline.runs()) == {"encode", "solve_in", "solve_out", "slot", "decode", "core at 1", "core at 9",
                                     "core at 15"}  # fmt: skip


def test_answers_are_the_same_whether_anybody_listens_or_not(demo: Session) -> None:
    plain, listened, timeline = demo.twin(), demo.twin(), Timeline()
    for _ in range(3):
        one = plain.step(Unit()).copy()
        with listened.sections.told_to(timeline):
            other = listened.step(Unit())
        assert one.tokens == other.tokens
        for left, right in zip(one.both(), other.both(), strict=True):
            assert np.array_equal(left, right)


@pytest.mark.parametrize(
    ("longest", "misses", "word"), [(120.0, 0, "holds"), (140.0, 0, "close"), (120.0, 1, "misses")]
)
def test_the_verdict_leaves_a_quarter(longest: float, misses: int, word: str) -> None:
    assert judge(spread(np.full(200, longest)), misses, 160.0) == word
