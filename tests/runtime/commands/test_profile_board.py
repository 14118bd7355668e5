"""``edge-streamer profile`` on a board of files: what changes meanwhile is told first; energy is what rails took."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_streamer.devices.board.program import no_program
from edge_streamer.devices.jetson import power
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import profile as command
from edge_streamer.runtime.commands.profile_board import Watched
from edge_streamer.runtime.profile import ceilings as kept
from edge_streamer.runtime.profile.board import Board, Curve, Figure, unlike, warning
from edge_streamer.runtime.profile.board_page import section
from edge_streamer.runtime.profile.report import Profile, read_profile
from tests.devices.board.trees import AGX, DESK, HWMON, NANO, POLICIES, T5000, build, change
from tests.runtime.commands.test_profile import LIMITS

Run = Callable[..., tuple[int, Profile, str, str]]


@pytest.fixture
def run(counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Profiles on a board of these files, of which some change during the second unit: exit status, profile, page and
    what was printed."""
    monkeypatch.setattr(kept, "measure", lambda threads: LIMITS)
    numbers = iter(range(100))

    def go(files: Mapping[str, str], planted: Mapping[str, str] = {}, *words: str) -> tuple[int, Profile, str, str]:
        n = next(numbers)
        system, out = build(tmp_path / f"board{n}", files), tmp_path / f"out{n}"
        real = command.run_units

        def changing(*args: Any, progress: Callable[[int, float], None], **more: Any) -> Any:
            def told(done: int, seconds: float) -> None:
                progress(done, seconds)
                if done == 2:
                    change(system, planted)

            return real(*args, progress=told, **more)

        with monkeypatch.context() as patch:
            patch.setattr(command, "run_units", changing)
            patch.setattr(command, "Watched", lambda: Watched(system, no_program))
            status = cli.main(["profile", str(counter), "--engine", "cpu", "--units", "4", "--out", str(out), *words])
        printed = capsys.readouterr()
        page = (out / "report.html").read_text("utf-8")
        return status, read_profile(out / "profile.json"), page, printed.out + printed.err

    return go


@pytest.mark.parametrize(
    ("files", "planted", "says"),
    [
        (NANO, {power.STATUS: "pmode:0000\n"}, "the power mode changed from 25W to 15W"),
        (NANO, {f"{POLICIES}/policy4/scaling_max_freq": "729600\n"},
         "the highest clock of cpu policy4 changed from 1344 to 730 MHz"),
        (AGX, {"/sys/class/devfreq/17000000.gpu/max_freq": "408000000\n"},
         "the highest clock of gpu changed from 1300 to 408 MHz"),
        (T5000, {"/sys/devices/virtual/thermal/cooling_device0/cur_state": "3\n"}, "tj throttled for"),
        (DESK, {"/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "6\n"},
         "throttled 2 times (cores)"),
    ],
)  # fmt: skip
def test_what_changed_is_told_first(files: dict[str, str], planted: dict[str, str], says: str, run: Run) -> None:
    _, found, page, printed = run(files, planted)
    first = rf"These numbers do not compare with others: [^.]*{re.escape(says)}"
    assert found.board is not None
    assert says in "; ".join(found.board.changed)
    assert re.search(rf"<h1>[^<]*</h1><p class=\"alarm\">{first}", page)
    assert re.search(rf"^\S+ holds 160 ms here.*\n{first}", printed, re.MULTILINE)


def test_a_board_that_stays_as_it_is_is_told_after_the_rest(run: Run) -> None:
    status, found, page, printed = run(NANO)
    board = found.board
    assert status == 0
    assert board is not None
    assert (board.changed, board.told, warning(board)) == ((), (), "")
    assert "do not compare" not in page.split("<h2>", 1)[0] + printed
    assert (board.module, board.l4t, board.jetpack, board.cuda, board.tensorrt, board.driver) == (
        "Orin Nano 8 GB", "36.4.3", "6.2", "12.6.11", "10.3.0", "540.4.0",
    )  # fmt: skip
    assert (str(board.power_mode), str(board.governor), str(board.cores)) == ("25W", "schedutil", "0-5")
    assert board.clocks_pinned is False
    assert (board.power_of, board.hottest, board.hottest_c) == (("VDD_IN",), "tj-thermal", 48.8)
    assert board.power_w == pytest.approx(5.7)
    assert board.energy_mj_per_unit == pytest.approx(
        5700 * board.seconds / 4, rel=0.05, abs=1
    )  # of ms, which are rounded
    assert board.seconds == pytest.approx(found.wall_seconds, abs=1)
    assert board.rails_w["VDD_SOC"].mean == pytest.approx(1.6226, abs=1e-3)
    assert (board.clocks_mhz["gpu"].start, board.highest_mhz["gpu"].end, board.loads["gpu"].mean) == (510, 918, 0.25)
    assert (board.fans_rpm["pwm_tach"].end, board.fans["pwmfan"].end) == (1800, 0.2)
    assert (board.peak_ram_mb, board.peak_swap_mb, board.least_block_mb) == (2547.6, 0, 4.1943)
    part = page[page.index("<h2>The board</h2>") :]
    for words in ("Orin Nano 8 GB", "5.70 W, mean of VDD_IN", "48.8 °C, tj-thermal", "temperature: cpu-thermal",
                  "may be at most: gpu", "never, as far as it tells", "of a core"):  # fmt: skip
        assert words in part
    assert "board: power 5.70 W, mean of VDD_IN; energy of a unit" in printed


def test_where_nobody_tells_power_there_is_no_energy(run: Run) -> None:
    dark = {name: text for name, text in NANO.items() if not name.startswith(HWMON)}
    _, found, page, printed = run(dark)
    assert found.board is not None
    assert (found.board.power_w, found.board.energy_mj_per_unit, found.board.rails_w) == (None, None, {})
    assert "power not read" in printed
    assert "energy of a unit" not in page


def test_power_of_a_part_of_the_run_is_no_energy(tmp_path: Path) -> None:
    system = build(tmp_path, NANO)
    with Watched(system, no_program) as watched:
        watched.monitor._stop.wait(1.5)
        system.path(f"{HWMON}/hwmon1").rename(system.path("/away"))
        watched.monitor._stop.wait(1.5)
    board = watched.board(10)
    assert board.energy_mj_per_unit is None
    assert board.power_w == pytest.approx(5.7)
    assert "too little for the energy of a unit" in board.told[-1]


def test_a_release_that_nobody_knows_is_a_warning(run: Run) -> None:
    line = NANO["/etc/nv_tegra_release"].replace("R36", "R41").replace("4.3", "1.0")
    status, found, page, _ = run(NANO | {"/etc/nv_tegra_release": line})
    assert status == 0
    assert found.board is not None
    assert "L4T 41.1.0 is not among those that are known here" in found.board.told[0]
    assert "L4T 41.1.0 is not among" in page


def test_a_budget_bounds_the_board(tmp_path: Path, run: Run) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text(
        "[board]\nenergy_mj_per_unit = 0.001\nhottest_c = 40\npower_w = 99\npeak_ram_mb = 1e6\n"
        '[board.temperatures_c."cpu-thermal"]\nhigh = 40\n'
    )
    status, _, _, printed = run(NANO, {}, "--budget", str(budget))
    broken = [line for line in printed.splitlines() if line.startswith("over budget")]
    assert status == 1
    assert len(broken) == 3
    assert broken[1] == "over budget: board.hottest_c is 48.8; at most 40 is allowed"
    budget.write_text("[board]\nenergy_mj_per_unit = 0.001\n")
    status, _, _, printed = run({}, {}, "--budget", str(budget))
    assert status == 1
    assert "over budget: board.energy_mj_per_unit was not measured; at most 0.001 is allowed" in printed


def test_a_comparison_says_first_what_differs_of_the_boards(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_bytes(msgspec.json.encode(run(NANO)[1]))
    faster = {power.STATUS: "pmode:0002\n", f"{POLICIES}/policy0/scaling_max_freq": "1728000\n",
              "/etc/nv_tegra_release": NANO["/etc/nv_tegra_release"].replace("4.3", "5.0")}  # fmt: skip
    second.write_bytes(msgspec.json.encode(run(NANO | faster, {power.STATUS: "pmode:0000\n"})[1]))
    assert cli.main(["profile", "--compare", str(first), str(second)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("well: ")[2] for line in said[:3]] == [
        "power mode: 25W and MAXN_SUPER", "highest clocks, MHz: cpu policy0 1344 and cpu policy0 1728",
        "L4T: 36.4.3 and 36.5.0",
    ]  # fmt: skip
    assert "in the second, the power mode changed from MAXN_SUPER to 15W" in said[3]
    assert cli.main(["profile", "--compare", str(first), str(second), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["apart"][0] == "power mode: 25W and MAXN_SUPER"
    found = read_profile(first)
    assert unlike(found.board, found.board) == unlike(None, None) == []
    assert unlike(found.board, None) == ["one of them has no readings of the board"]


def test_a_profile_without_a_board_is_read(tmp_path: Path, run: Run) -> None:
    """As one that was written before boards were watched."""
    facts = msgspec.to_builtins(run({})[1])
    del facts["board"]
    path = tmp_path / "old.json"
    path.write_bytes(msgspec.json.encode(facts))
    assert read_profile(path).board is None
    assert section(None) == []


def test_a_page_of_strange_names_and_one_value_stands(run: Run) -> None:
    found = run({})[1].board
    assert isinstance(found, Board)
    odd = '<script>"&'
    figure = Figure(1.0, 1.0, 1.0, 1.0, 1.0)
    board = msgspec.structs.replace(
        found, module=odd, hottest=odd, hottest_c=1.0, told=(odd,), rails_w={odd: figure},
        curves={"power_w": {odd: Curve([0.0, 1.0], [2.0, 2.0]), "one": Curve([0.0], [1.0])},
                "clocks_mhz": {f"cpu policy{n}": Curve([0.0, 1.0], [0.0, float(n)]) for n in range(12)},
                "temperatures_c": {"cold": Curve([0.0, 1.0], [-3.0, -2.0])}},
    )  # fmt: skip
    page = "".join(section(board))
    assert "<script" not in page
    assert page.count("<svg") == 3
    assert "4 more in profile.json" in page
    assert "nan" not in page
