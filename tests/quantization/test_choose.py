"""Which bundle to ship: what costs too much is out, then the smallest of the fastest."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from edge_streamer.quantization.choose import FEW, FLOAT, advise, read
from edge_streamer.quantization.options import add_arguments
from edge_streamer.quantization.report import Report
from edge_streamer.quantization.vocabulary import USUAL
from edge_streamer.runtime.compare.error_over_time import Drift
from edge_streamer.runtime.errors import InputError


def report(
    scheme: str, size: int, ratio: float, error_db: float, slots: float = 1.0, target: str = "cpu", units: int = USUAL
) -> Report:  # fmt: skip
    errors = {"latents.audio": error_db, "latents.video": error_db - 3}
    drifts = [Drift(mode=mode, units=units, error_db=errors, curve_db={}, same_slots=slots, same_states=1.0)
              for mode in ("forced", "free")]  # fmt: skip
    return Report(
        format=1, scheme=scheme, target=target, source="demo abc", bytes=(1000, size), bundle_bytes=(1100, size + 100),
        ring_bytes=(8, 8), unit_ms=(10.0, 10 * ratio), unit_ratio=ratio, drifts=drifts, layers=[], choices=[],
        calibrated_on="", calibration_units=300, measured_on="", engine="", versions={}, machine={},
    )  # fmt: skip


@pytest.mark.parametrize(("reports", "ship"), [
    ({"a": report("int8", 280, 0.86, -30)}, "int8"),
    ({"a": report("int8", 280, 0.86, -24)}, FLOAT),
    ({"a": report("int8", 280, 0.86, -30, slots=0.99)}, FLOAT),
    ({"a": report("int8", 280, 0.86, float("nan"))}, FLOAT),
    ({"a": report("int8", 280, 0.86, -30), "b": report("auto", 260, 0.89, -26)}, "auto"),
    ({"a": report("int8", 280, 0.86, -30), "b": report("auto", 260, 0.95, -26)}, "int8"),
    ({"a": report("int8", 280, 0.86, -30), "b": report("int4", 230, 0.80, -19)}, "int8"),
    ({"a": report("int4", 230, 1.4, -40)}, FLOAT),
    ({"a": report("int8", 280, 0.5, -26, target="orin"), "b": report("int4", 230, 2.0, -26, target="orin")}, "int4"),
])  # fmt: skip
def test_what_costs_too_much_is_out_then_the_smallest_of_the_fastest(reports: dict[str, Report], ship: str) -> None:
    advice = advise(reports)
    assert advice.ship.name == ship
    assert [row.name for row in advice.rows] == [FLOAT, *(r.scheme for r in reports.values())]
    assert advice.words.startswith(f"ship {ship}")


def test_who_is_out_is_told_why() -> None:
    rows = advise({"a": report("int8", 280, 0.86, -24), "b": report("int4", 230, 0.9, -30, slots=0.9)}).rows
    assert [row.against for row in rows] == [
        None, "its latents' error is above -25 dB", "words differ: 99.5% must agree"
    ]  # fmt: skip


@pytest.mark.parametrize(("reports", "why"), [
    ([report("int8", 280, 0.86, -24)],
     "nothing else holds -25 dB and 99.5% of the words; int8: its latents' error, -24.0 dB, is 1.00 dB above"),
    ([report("int8", 280, 0.86, -23.5), report("int4", 230, 0.8, -19)],
     "nothing else holds -25 dB and 99.5% of the words; int8 comes nearest: its latents' error, -23.5 dB, is 1.50 dB "
     "above"),
    ([report("int8", 280, 0.86, -24), report("int4", 230, 0.8, -30, slots=0.9)],
     "nothing else holds -25 dB and 99.5% of the words; int4 comes nearest: 90.00% of its words agree"),
    ([report("int8", 280, 0.86, -24, slots=0.99)],
     "nothing else holds -25 dB and 99.5% of the words; int8: its latents' error, -24.0 dB, is 1.00 dB above and "
     "99.00% of its words agree"),
    ([report("int8", 280, 0.86, float("nan")), report("fp16", 500, 1.0, 200)],
     "nothing else holds -25 dB and 99.5% of the words; fp16 comes nearest: its latents are not finite"),
    ([report("int4", 230, 1.4, -40), report("int8", 280, 0.5, -10)],
     "what else holds -25 dB and 99.5% of the words is slower, or no smaller: int4 takes 0.23x the weights, 1.40x the "
     "unit time"),
])  # fmt: skip
def test_float32_is_advised_with_what_kept_the_others_out(reports: list[Report], why: str) -> None:
    assert advise({str(n): one for n, one in enumerate(reports)}).words == f"ship float32: {why}"


def test_few_units_advise_nothing() -> None:
    few = advise({"a": report("int8", 280, 0.86, -30), "b": report("int4", 230, 0.8, -26, units=FEW - 1)})
    assert few.words.startswith(f"{FEW - 1} units are too few to advise by (the default is {USUAL}); ")
    assert "ship" not in few.words
    assert advise({"a": report("int8", 280, 0.86, -30, units=1)}).words.startswith("1 unit is too few")
    assert not advise({"a": report("int8", 280, 0.86, -30, units=FEW)}).few
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.get_default("units") == USUAL


def test_reports_of_other_input_ranges_are_told_apart() -> None:
    one = report("int8", 280, 1.0, -30, target="orin")
    others = [msgspec.structs.replace(one, input_range=name) for name in ("percentile", "error")]
    others.append(msgspec.structs.replace(others[0], ring_bytes=(8, 2)))
    names = [row.name for row in advise(dict(zip("abcd", [one, *others], strict=True))).rows]
    assert names == [
        FLOAT, "int8", "int8, input range percentile", "int8, input range error",
        "int8, input range percentile, rings int8",
    ]  # fmt: skip
    before = msgspec.json.decode(msgspec.json.encode(one))
    del before["input_range"]  # a report made before there was one
    assert msgspec.convert(before, Report) == one


@pytest.mark.parametrize(("text", "says"), [
    (None, "wanted the .json of an earlier quantize"), (b"{}", "no report of this version"),
    (msgspec.json.encode(report("int8", 1, 1, -30, target="orin")), "of target orin; wanted cpu"),
])  # fmt: skip
def test_a_report_that_does_not_compare_is_refused(text: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(InputError, match=says):
        read(path, "demo abc", "cpu")


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(msgspec.json.encode(report("int8", 280, 0.86, -30)))
    assert read(path, "demo abc", "cpu") == report("int8", 280, 0.86, -30)
