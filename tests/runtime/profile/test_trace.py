"""The trace is what Perfetto wants: its own trace processor takes it in without a fault and nests every section."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines.choose import choose
from edge_streamer.runtime.profile.measure import run_units
from edge_streamer.runtime.profile.timeline import UNIT, Timeline
from edge_streamer.runtime.profile.trace import write_trace
from edge_streamer.runtime.session.session import open_session
from tests.trace_processor import TraceProcessor

UNITS = 6
FAULTS = "select name, value from stats where value and (severity != 'info' or name like '%drop%')"
"""Whatever it could not understand, or left out."""
SECTIONS = """select extract_arg(arg_set_id, 'args.path'), extract_arg(arg_set_id, 'args.unit'), depth, dur
              from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
              where thread.name = 'sections'"""
MARKS = """select slice.name, slice.ts from slice join thread_track on slice.track_id = thread_track.id
           join thread using (utid) where thread.name = 'deadline misses' order by slice.ts"""
COUNTED = "select track.name, value from counter join track on track.id = counter.track_id order by counter.ts"


def processed(timeline: Timeline, folder: Path, deadline: float = 1e9, dry: tuple[int, ...] = ()) -> TraceProcessor:
    write_trace(folder / "trace.json", timeline, "what runs", deadline, dry)
    return TraceProcessor((folder / "trace.json").read_bytes())


@pytest.fixture(scope="module")
def demo() -> Timeline:
    """Units of the demo."""
    timeline = Timeline()
    with open_session(bundle_path(floats=True), engine=choose("cpu").engine, verify=False) as session:
        run_units(session, None, timeline, pace="fast", units=UNITS, stopped=lambda: False,
                  progress=lambda done, seconds: None)  # fmt: skip
    return timeline


def test_every_section_of_every_unit_is_there_and_nested(demo: Timeline, tmp_path: Path) -> None:
    found = processed(demo, tmp_path)
    assert found.query(FAULTS) == []
    told = Counter((one.path, one.unit) for one in demo.stretches())
    rows = found.query(SECTIONS)
    assert Counter((path, unit) for path, unit, _, _ in rows) == told
    assert len(rows) > 20 * UNITS
    for path, _, depth, _ in rows:  # the graph's own level is no section: its runs lie in the play
        assert depth == len(path.split("/")) - 1 - (path.count("/") == 4)
    units = [nanoseconds for path, _, _, nanoseconds in rows if path == UNIT]
    assert units == pytest.approx([1e9 * one.seconds for one in demo.stretches() if one.path == UNIT], abs=2)
    assert found.query("select name from process where name is not null") == [("what runs",)]


def test_misses_are_marked_and_time_is_a_counter(demo: Timeline, tmp_path: Path) -> None:
    took = demo.milliseconds()[UNIT]
    deadline = float(sorted(took)[-2]) - 1e-6  # two are beyond
    found = processed(demo, tmp_path, deadline, (1,))
    late = [f"unit {n}: {ms:.1f} ms" for n, ms in enumerate(took) if ms > deadline]
    names = [name for name, _ in found.query(MARKS)]
    assert sorted(names) == sorted([*late, "unit 1: the speaker had run dry"])
    counted = found.query(COUNTED)
    assert [value for name, value in counted if name == "ms a unit"] == pytest.approx(took, abs=1e-3)
    assert {value for name, value in counted if name == "ms its deadline"} == {deadline}
    assert found.query(FAULTS) == []


def test_what_begins_together_is_nested_too(tmp_path: Path) -> None:
    timeline = Timeline()
    for path in ("unit/step/play", "unit/step", "unit"):  # inner ones are told first
        timeline(path, "host", 5.0, 0.001)
    timeline("unit/step", "host", 5.002, 0.0)
    timeline("unit", "host", 5.002, 0.0)
    found = processed(timeline, tmp_path)
    assert found.query(FAULTS) == []
    assert {(path, depth) for path, _, depth, _ in found.query(SECTIONS)} == {
        ("unit", 0), ("unit/step", 1), ("unit/step/play", 2)
    }  # fmt: skip


def test_the_processor_notices_sections_that_do_not_nest(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline("unit/step", "host", 0.005, 0.010)
    timeline("unit", "host", 0.0, 0.010)
    assert processed(timeline, tmp_path).query(FAULTS) != []
