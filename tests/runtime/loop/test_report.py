"""What a run tells about itself: exact percentiles, every figure in the table and in the JSON."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from edge_streamer.runtime.loop.report import RunReport, live_line
from edge_streamer.runtime.machine import machine, peak_megabytes, versions
from edge_streamer.runtime.pages.terminal import SPARSE_SECONDS, StatusLine, bars, show_end
from edge_streamer.runtime.timing import Durations, FakeClock, MonotonicClock
from tests.fakes import FakeSession
from tests.media_files import MEDIA


def report_of(milliseconds: list[int]) -> RunReport:
    """A run whose steps took so long, nine tenths of it in the engine."""
    report = RunReport(unit_seconds=0.16)
    for ms in milliseconds:
        report.add(step=ms / 1000, engine=0.9 * ms / 1000, latency=ms / 1000)
    return report


def shown(report: RunReport, files: dict[str, Path] | None = None) -> str:
    console = Console(file=io.StringIO(), width=100)
    show_end(report, files or {}, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_percentiles_are_times_that_were_measured() -> None:
    times = Durations()
    for number in range(100, 0, -1):
        times.add(number)
    assert [times.percentile(p) for p in (0, 1, 50, 95, 99, 99.5, 100)] == [1, 1, 50, 95, 99, 100, 100]
    assert [times.percentile(p, newest=10) for p in (50, 95)] == [5, 10]
    assert (times.first, times.last, times.max, times.total, len(times)) == (100, 1, 100, 5050, 100)


def test_what_runs_for_weeks_keeps_the_newest_times() -> None:
    times = Durations(newest=80)
    for number in range(1000, 0, -1):
        times.add(number)
    assert 80 <= len(times) <= 90
    assert (times.first, times.last, times.max, times.total) == (1000, 1, 1000, 500500)
    assert times.percentile(100) == len(times)


def test_one_or_no_duration() -> None:
    times = Durations()
    assert (times.percentile(50), times.max, times.first, times.last, times.total) == (0, 0, 0, 0, 0)
    times.add(0.5)
    assert (times.percentile(1), times.percentile(99), times.percentile(95, newest=250)) == (0.5, 0.5, 0.5)


def test_figures() -> None:
    report = report_of([40] * 98 + [100, 200])
    figures = report.figures()
    assert figures["units"] == 100
    assert figures["seconds"] == 16.0
    assert figures["unit_time_ms"] == {"p50": 40.0, "p95": 40.0, "p99": 100.0, "max": 200.0, "first": 40.0}
    assert figures["deadline_misses"] == 1
    assert figures["real_delay_ms"] == {"p50": 200.0, "p95": 200.0, "p99": 260.0}
    assert figures["host_overhead"] == pytest.approx(0.1)
    assert figures["real_time_factor"] == pytest.approx(4.22 / 16, abs=1e-5)
    assert json.loads(json.dumps(figures)) == figures


def test_the_table_has_every_figure_a_person_wants() -> None:
    text = shown(report_of([40] * 98 + [100, 200]), {"film": Path("out/film.mp4")})
    for words in (
        "100 of 160 ms = 16.00 s", "p50 40.0  p95 40.0  p99 100.0  max 200.0 ms", "1 of 100", "10.0% of unit time",
        "0.26 (below 1 keeps up)", "p50 200  p95 200 ms", "out/film.mp4",
    ):  # fmt: skip
        assert words in text
    assert "concealed" not in text
    assert "stopped" not in text


def test_trouble_shows_in_the_table() -> None:
    report = report_of([40])
    report.conceal("core gave a NaN")
    report.clipped_samples, report.unread_texts, report.stopped = 3, 2, "5 units failed in a row"
    text = shown(report)
    for words in ("1 (unit 1: core gave a NaN)", "clipped samples", "2 texts begin after", "5 units failed in a row"):
        assert words in text


def test_what_was_wrong_with_a_file_shows_in_the_table_and_in_the_figures() -> None:
    report = report_of([40])
    assert "sound" not in shown(report)
    report.sound = {"gaps": 1, "filled_seconds": 1.0, "dropped_seconds": 0.1, "joins": 2, "lost_packets": 3,
                    "not_numbers": 1, "broken_off": None, "channels": 1}  # fmt: skip
    report.pictures = {"joins": 0, "lost_packets": 1, "broken_off": "Invalid data"}
    told = dict(report.rows())
    assert told["sound"] == (
        "1.00 s were missing in 1 place and are silence; 0.10 s that came twice were left out; its clock leapt 2 times "
        "and was joined; 3 damaged packets passed over; 1 value that is no number became silence"
    )
    assert told["pictures"] == "1 damaged packet passed over; it breaks off before its end: Invalid data"
    figures = report.figures()
    assert (figures["sound"], figures["pictures"]) == (report.sound, report.pictures)
    report.sound = {"gaps": 0, "filled_seconds": 0.0, "joins": 0, "lost_packets": 0, "broken_off": None}
    assert "sound" not in dict(report.rows()), "nothing was wrong"


def test_a_run_without_units_says_so() -> None:
    assert "nothing was recorded" in shown(RunReport(unit_seconds=0.16))


def test_a_run_in_which_every_unit_failed_shows_no_times() -> None:
    report = RunReport(unit_seconds=0.16)
    report.conceal("NaN")
    text = shown(report)
    assert "1 (unit 0: NaN)" in text
    for words in ("unit time", "deadline", "overhead", "real-time", "real delay"):
        assert words not in text
    figures = report.figures()
    for key in ("unit_time_ms", "model_latency_ms", "real_delay_ms", "host_overhead", "real_time_factor"):
        assert figures[key] is None


def test_misses_due_to_recording_are_told() -> None:
    report = report_of([40, 200])
    report.add(step=0.04, engine=0.03, latency=0.2, held_up=0.16)
    report.recordings.add(0.3)
    assert report.figures()["deadline_misses"] == 2
    assert report.figures()["deadline_misses_held_up_by_recording"] == 1
    text = " ".join(shown(report).split())
    assert "2 of 3 (later than 160 ms after the unit was full); 1 of these because recording held up the loop" in text
    assert "300.0 ms per unit, after its answer" in text


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_a_watcher_that_goes_away_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr("sys.stderr", Gone())
    report, clock = report_of([40]), FakeClock()
    with StatusLine("demo", clock=clock) as line:
        clock.advance(SPARSE_SECONDS)
        line.show("word0", lambda said: live_line(report, said, None))
        line.note("mic lost: unplugged")


def test_a_terminal_whose_connection_dropped_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    report, clock, ended = report_of([40]), FakeClock(), False
    with suppress(OSError), os.fdopen(theirs, "w") as terminal:  # what is left in it can go nowhere
        monkeypatch.setattr("sys.stderr", terminal)
        with StatusLine("demo", clock=clock) as line:
            line.show("word0", lambda said: live_line(report, said, None))
            assert b"demo" in os.read(ours, 4096)
            os.close(ours)
            with pytest.raises(OSError, match="Input/output error"):
                os.write(theirs, b"x")
            clock.advance(1.0)
            line.show("word1", lambda said: live_line(report, said, None))
            line.note("mic lost: unplugged")
            ended = True
    assert ended


def test_only_the_first_failures_are_kept() -> None:
    report = RunReport(unit_seconds=0.16)
    for _ in range(100_000):
        report.conceal("NaN")
    assert (report.concealed, len(report.failures)) == (100_000, 5)


def test_the_live_line() -> None:
    report = report_of([40, 80, 50])
    assert live_line(report, " it\n said", 50) == "unit 3/50  0.5 s  unit time 50 ms (p95 80)  misses 0  it said"
    assert live_line(report, "a\x1b[2Jb", None).endswith("a [2Jb"), "no control characters reach a terminal"
    assert live_line(report, "", None).startswith("unit 3  0.5 s")


def test_where_nobody_watches_lines_are_sparse() -> None:
    clock, console = FakeClock(), Console(file=io.StringIO(), force_terminal=False, width=200)
    response = FakeSession().step(_unit())
    report = RunReport(unit_seconds=0.16)
    with StatusLine("demo", console, clock) as line:
        for _ in range(300):  # 48 s
            report.add(0.04, 0.03, 0.04)
            clock.advance(0.16)
            line.show(response.text, lambda said: live_line(report, said, 300))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "demo"
    assert len(lines) == 1 + int(48 / SPARSE_SECONDS)
    assert all("\x1b" not in text and text.startswith("unit ") for text in lines[1:])
    assert lines[1].endswith("word0")


def test_on_a_terminal_one_line_is_drawn_over_and_over() -> None:
    clock, console = FakeClock(), Console(file=io.StringIO(), force_terminal=True, width=80)
    response = FakeSession().step(_unit())
    report = RunReport(unit_seconds=0.16)
    with StatusLine("demo", console, clock) as line:
        for _ in range(300):
            report.add(0.04, 0.03, 0.04)
            clock.advance(0.16)
            line.show(response.text, lambda said: live_line(report, said, 300))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("\n") <= 3
    assert 100 < text.count("unit time") <= 200, "four times a second at most"


def _unit():  # type: ignore[no-untyped-def]
    import numpy as np

    from edge_streamer.runtime.unit import Unit

    return Unit(np.zeros(MEDIA.hears.unit_samples, np.float32), np.zeros((4, *MEDIA.sees.size, 3), np.uint8))


def test_machine_and_versions_name_what_figures_depend_on() -> None:
    assert set(machine()) == {"system", "architecture", "processor", "cores"}
    assert all(machine().values())
    assert {"edge-streamer", "python", "numpy", "onnxruntime", "av"} <= set(versions())
    assert 10 < peak_megabytes() < 100_000


def test_the_real_clock_sleeps_until() -> None:
    clock = MonotonicClock()
    until = clock.now() + 0.02
    clock.sleep_until(until)
    assert clock.now() >= until
    clock.sleep_until(until - 1)
    assert clock.now() < until + 0.5


def test_without_a_terminal_a_long_job_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    with bars("cases", clock) as tell:
        for done in range(26):
            tell("suite", done, 25)
            clock.advance(1.0)
        tell("ceiling", 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "suite: 0 of 25 cases", "suite: 10 of 25 cases", "suite: 20 of 25 cases", "suite: 25 of 25 cases",
        "ceiling: 1 of 1 cases",
    ]  # fmt: skip
