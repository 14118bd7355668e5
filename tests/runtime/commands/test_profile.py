"""``edge-streamer profile``: the folder it leaves, its exit status, two profiles compared, budgets."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import profile as command
from edge_streamer.runtime.profile import ceilings as kept
from edge_streamer.runtime.profile.compare import Comparison, Difference
from edge_streamer.runtime.profile.limits import ROWS, Limits
from edge_streamer.runtime.profile.report import Profile, read_profile
from edge_streamer.runtime.profile.report_page import render
from edge_streamer.runtime.profile.report_words import compared as compared_words
from edge_streamer.runtime.profile.report_words import lines
from edge_streamer.runtime.profile.statistics import Interval, spread

DEMO = str(bundle_path(floats=True))
LIMITS = Limits(
    large=70.0, bandwidth=20.0, convolve=60e9, node=4e-7,
    products={(kind, cached, rows): (2.0 if kind == "int8" else 1.0) * 14e9 * min(rows, 5) for kind in
              ("float32", "int8") for cached in (True, False) for rows in ROWS},
    attention={(cached, rows): 5e9 * min(rows, 5) for cached in (True, False) for rows in ROWS},
)  # type: ignore[arg-type]  # fmt: skip


BUDGET = """
[unit]
p99 = 0.5
max = 1e6
[memory]
peak_resident_mb = 1
[sections."unit/camera".ms]
p50 = 1e6
[drift_ms]
value = 1
"""


@pytest.fixture(autouse=True)
def known_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured for twenty seconds."""
    monkeypatch.setattr(kept, "measure", lambda threads: LIMITS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of the demo, with everything."""
    folder = tmp_path_factory.mktemp("profile") / "demo"
    patch = pytest.MonkeyPatch()
    patch.setattr(kept, "measure", lambda threads: LIMITS)
    assert (
        cli.main(["profile", DEMO, "--engine", "cpu", "--units", "14", "--layers", "--trace", "--out", str(folder)])
        == 0
    )
    patch.undo()
    return folder


def test_the_folder_holds_a_page_figures_and_a_trace(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == ["profile.json", "report.html", "trace.json"]
    found = read_profile(made / "profile.json")
    assert (found.units, found.wanted_units, found.deadline_ms, found.steps) == (14, 14, 160.0, 2)
    assert 0.9 < found.adds_up <= 1
    assert len(found.series_ms["unit"]) == 14
    assert set(found.cold.graphs) >= {"encode", "core", "decode"}
    assert found.cold.first_unit_ms > 0
    assert found.memory.peak_resident_mb > 10
    assert json.loads((made / "trace.json").read_bytes())["traceEvents"]


def test_graphs_stand_under_their_roof_and_help_is_ranked(made: Path) -> None:
    found = read_profile(made / "profile.json")
    assert found.roof is not None
    assert {row.graph for row in found.graphs} >= {"core at 1", "core at 9", "decode"}
    one = next(row for row in found.graphs if row.graph == "core at 1")
    assert one.rate == pytest.approx(one.operations / one.run_ms / 1e6)
    assert one.of_compute == pytest.approx(one.rate / found.roof.rates["float32"])
    assert one.of_bandwidth == pytest.approx(one.moved_bytes / one.run_ms / 1e6 / 20)
    assert (one.runs, one.binds) == (4, "memory")
    gains = [one.gain for one in found.helps]
    assert gains == sorted(gains, reverse=True)
    told = " ".join(one.what for one in found.helps)
    assert all(word in told for word in ("solver steps: 1 instead of 2", "int8", "window", "tokens", "TensorRT"))


def test_layers_are_told_by_operator_with_their_types(made: Path) -> None:
    found = read_profile(made / "profile.json")
    assert {"MatMul", "Conv"} <= {one.operator for one in found.layers}
    assert sum(one.share for one in found.layers) == pytest.approx(1, abs=0.01)
    longest = found.layers[0]
    assert longest.unit_ms >= found.layers[-1].unit_ms
    assert "float32" in longest.gives
    product = next(one for one in found.layers if one.graph == "core" and "MatMul" in one.layer)
    assert product.runs == 7  # a block, four slots, two solver steps


def test_the_page_says_the_verdict_first_and_links_to_nothing(made: Path) -> None:
    page = (made / "report.html").read_text("utf-8")
    assert re.search(r"<body><h1>wan-streamer-demo (holds|is close to|misses) 160 ms here", page)
    assert not re.search(r"https?:|src=|<link|@import|url\(", page)
    assert page.index("What would help") < page.index("Unit by unit") < page.index("Cold start")
    assert page.count("<svg") > 10


def changed(made: Path, folder: Path, times: float = 1.0, **other: Any) -> Path:
    """The same profile of 200 units, each so much longer."""
    found = msgspec.to_builtins(read_profile(made / "profile.json"))
    for path, row in found["series_ms"].items():
        found["series_ms"][path] = [times * ms for ms in (row * 15)[:200]]
    found |= {"units": 200} | other
    folder.write_bytes(msgspec.json.encode(found))
    return folder


def compared(one: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    assert cli.main(["profile", "--compare", str(one), str(other), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert cli.main(["profile", "--compare", str(one), str(other)]) == 0
    return found, capsys.readouterr().out


def test_two_profiles_compare(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = changed(made, tmp_path / "a.json")
    same, words = compared(before, changed(made, tmp_path / "b.json", 1.0001), capsys)
    assert words.splitlines()[0].startswith(("no difference to be told", f"{tmp_path / 'b.json'} is as fast"))
    slower, words = compared(before, changed(made, tmp_path / "c.json", 1.5), capsys)
    assert words.startswith(f"{tmp_path / 'c.json'} is slower than {before}")
    row = next(row for row in slower["rows"] if (row["section"], row["figure"]) == ("unit", "p50"))
    assert row["interval"]["low"] > 0
    assert row["after"] == pytest.approx(1.5 * row["before"], rel=1e-3)
    assert (slower["block"], slower["apart"], same["apart"]) == (25, [], [])
    other, words = compared(before, changed(made, tmp_path / "d.json", engine="other"), capsys)
    assert "they do not compare well: engine" in words
    assert len(other["apart"]) == 1


def test_few_units_tell_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, words = compared(made / "profile.json", made / "profile.json", capsys)
    assert {row["verdict"] for row in found["rows"]} == {"not to be told"}
    assert "one has 14 units" in words


def run(out: Path, *words: str) -> int:
    return cli.main(["profile", DEMO, "--engine", "cpu", "--units", "3", "--out", str(out), *words])


def test_a_budget_fails_the_run_a_line_for_each_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(BUDGET)
    assert run(tmp_path / "out", "--budget", str(budget)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("over budget")]
    assert len(lines) == 3
    assert re.fullmatch(r"over budget: unit.p99 is [\d.]+; at most 0.5 is allowed", lines[0])
    assert lines[2] == "over budget: drift_ms.value was not measured; at most 1 is allowed"
    assert (tmp_path / "out" / "report.html").is_file()  # what was measured stays


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[unit]\np98 = 1\n", "has no 'p98'; did you mean p9"),
        ("unit = 'fast'\n", "unit is 'fast'; wanted a number"),
        ("[unit\n", "is no TOML file"),
        ("", "holds no bound"),
        ("engine = 3\n", "bounds engine, which is no number"),
        ("[cold]\ngraphs = 3\n", "bounds cold.graphs, which is no number"),
        ("[verdict]\nx = 1\n", "but verdict has no parts"),
        ('[sections."unit/camera".ms]\np98 = 1\n', "has no 'p98'; did you mean p9"),
        ("[series_ms.unit]\nx = 1\n", "but series_ms.unit has no parts"),
    ],
)
def test_a_budget_that_bounds_nothing_is_refused(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(text)
    monkeypatch.setattr(command, "start", None)  # refused before anything is opened
    assert run(tmp_path / "out", "--budget", str(budget)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_section_that_nobody_has_is_named_after_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('[sections."unit/camra".ms]\np50 = 1\n')
    assert run(tmp_path / "out", "--budget", str(budget)) == 1
    line = (
        'over budget: sections."unit/camra".ms.p50 was not measured (did you mean unit/camera?); at most 1 is allowed'
    )
    assert line in capsys.readouterr().err
    assert (tmp_path / "out" / "profile.json").is_file()  # what was measured stays


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command.run_units

    def interrupted(*args: Any, progress: Callable[[int, float], None], **more: Any) -> Any:
        def told(done: int, seconds: float) -> None:
            progress(done, seconds)
            if done == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return real(*args, progress=told, **more)

    monkeypatch.setattr(command, "run_units", interrupted)
    assert cli.main(["profile", DEMO, "--engine", "cpu", "--units", "50", "--out", str(tmp_path / "out")]) == 130
    found = read_profile(tmp_path / "out" / "profile.json")
    assert (found.units, found.wanted_units, found.stopped) == (2, 50, "by a signal, after 2 units")


def test_ctrl_c_while_ceilings_are_measured_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(threads: int) -> Limits:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "ceilings", interrupted)
    monkeypatch.setattr(command, "remembered", lambda threads: None)
    assert run(tmp_path / "out") == 130
    found = read_profile(tmp_path / "out" / "profile.json")
    assert (found.units, found.roof, found.helps) == (3, None, ())
    assert "are not measured" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_bundle_without_media_is_profiled_on_numbers(counter: Path, tmp_path: Path) -> None:
    assert cli.main(["profile", str(counter), "--engine", "cpu", "--units", "5", "--out", str(tmp_path / "out")]) == 0
    found = read_profile(tmp_path / "out" / "profile.json")
    assert (found.units, found.inputs, found.solver_step) == (5, {}, None)
    assert "unit/step/play/second/second" in found.sections


def test_media_begin_again_where_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wave

    short = tmp_path / "short.wav"
    with wave.open(str(short), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000 // 3))
    media = ["--media", str(short), str(command.MEDIA / "camera.mp4")]
    assert run(tmp_path / "out", *media, "--units", "5") == 0
    found = read_profile(tmp_path / "out" / "profile.json")
    assert (found.units, found.inputs["mic"]) == (5, str(short))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([DEMO], "--out is missing"),
        ([DEMO, "--out", "{made}"], "not an empty folder|exists|in use|is there"),
        (["--compare", "{made}/profile.json", "{made}/none.json"], "none.json cannot be read"),
        (["--compare", "{made}/profile.json", "{made}/report.html"], "report.html is no profile.json"),
        ([DEMO, "--compare", "a", "b"], "--compare runs nothing; leave BUNDLE out"),
        ([DEMO, "--steps", "99", "--out", "{tmp}/x"], "--steps is 99; wanted 1 to 64"),
        (["{counter}", "--steps", "2", "--out", "{tmp}/x"], "a chain solves and samples nothing"),
        ([DEMO, "--units", "0", "--out", "x"], "'0'; wanted a whole number from 1 to 10000000"),
        ([DEMO, "--minutes", "nan", "--out", "x"], "'nan'; wanted a number above 0, to 100000"),
        (["{counter}", "--media", "a", "b", "--units", "2", "--out", "{tmp}/x"], "bundles that take media"),
        (["{counter}", "--pace", "real", "--units", "2", "--out", "{tmp}/x"], "no pace of its own"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(
    words: list[str], says: str, made: Path, counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [word.format(made=made, counter=counter, tmp=tmp_path) for word in words]
    assert cli.main(["profile", *named]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(says, said), said
    assert not (tmp_path / "x").exists()


def test_a_profile_of_another_version_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed(made, tmp_path / "a.json", version=99)
    assert cli.main(["profile", "--compare", str(other), str(other)]) == 2
    assert "version 99" in capsys.readouterr().err


def test_ceilings_are_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept.remembered(1) is None
    assert kept.ceilings(1) == LIMITS
    assert kept.remembered(1) == LIMITS
    assert kept.remembered(2) is None
    (tmp_path / "edge-streamer" / "ceilings.json").write_text("{")
    assert kept.remembered(1) is None


def test_for_how_long_is_told_from_the_drift(made: Path) -> None:
    found = read_profile(made / "profile.json")
    unit = msgspec.structs.replace(found.unit, p99=100.0)

    def first(drift: Interval | None, seconds: float = 900.0) -> str:
        return lines(msgspec.structs.replace(found, unit=unit, drift_ms=drift, wall_seconds=seconds))[0]

    slower = first(Interval(6.0, 4.0, 8.0))  # 6 ms in 600 s, 60 ms are left
    assert "it got slower over 15 min" in slower
    assert "the p99 is beyond 160 ms after 100 min more" in slower
    assert "without getting slower" in first(Interval(1.0, -1.0, 3.0))
    assert "tells for good" not in first(Interval(1.0, -1.0, 3.0))
    assert "tells for good" in first(Interval(1.0, -1.0, 3.0), 60.0)
    assert "too short to tell" in first(None)
    assert "too unsteady to tell whether it gets slower: +1.00 ms" in first(Interval(1.0, -90.0, 150.0))
    assert "it got slower over 20 s" in (noise := first(Interval(6.0, 4.0, 8.0), 20.0))
    assert "beyond" not in noise, "seconds do not tell what comes"


def test_the_word_of_the_headline_is_explained(made: Path) -> None:
    found = read_profile(made / "profile.json")
    for verdict, says in (("holds", "holds: no unit was beyond"), ("close", "is close to: no unit was beyond, but 25%"),
                          ("misses", "misses: a unit at least was longer")):  # fmt: skip
        last = lines(msgspec.structs.replace(found, verdict=verdict))[-1]
        assert last.startswith(says)
        assert verdict == "holds" or "holds" not in last


def test_what_is_surely_slower_is_named_beside_an_unsure_median(made: Path) -> None:
    row = Difference(section="unit", figure="p50", before=45.0, after=52.7, interval=Interval(7.7, -1.0, 9.0),
                     verdict="not to be told")  # fmt: skip
    tail = msgspec.structs.replace(row, figure="p95", verdict="slower")
    core = msgspec.structs.replace(row, section="unit/step/play/core at 9", verdict="slower")
    said = compared_words(Comparison(before="a", after="b", apart=(), block=25, rows=(row, tail, core)))
    assert said.startswith("no difference to be told between a and b in 45.00 ms to 52.70 ms (p50 of a unit)")
    assert said.endswith("; surely so: unit (p95) slower, unit/step/play/core at 9 slower")


def test_percentiles_are_the_same_on_the_page_and_in_a_comparison(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(made, tmp_path / "a.json")
    rows = compared(path, path, capsys)[0]["rows"]
    row = np.array(read_profile(path).series_ms["unit"])
    for figure in ("p50", "p95"):
        (found,) = (one for one in rows if (one["section"], one["figure"]) == ("unit", figure))
        assert found["before"] == getattr(spread(row), figure)


def test_a_folder_stands_for_its_profile_and_a_place_that_takes_none_is_refused_first(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["profile", "--compare", str(made), str(made / "profile.json")]) == 0
    monkeypatch.setattr(command, "start", None)
    assert run(Path("/proc/x")) == 2
    assert "nothing can be made in /proc" in capsys.readouterr().err


def test_a_page_of_a_few_units_stands(made: Path) -> None:
    found = read_profile(made / "profile.json")
    one = msgspec.structs.replace(found, drift_ms=None, roof=None, graphs=(), helps=(), layers=(), layers_told="none")
    assert "too short to tell" in render(one)
    assert isinstance(one, Profile)
