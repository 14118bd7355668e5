"""The page of a report: every word of its first screens is explained, and what is not there is said."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_streamer.quantization.choose import advise
from edge_streamer.quantization.page import curves, render
from edge_streamer.quantization.report import Kept, Report
from edge_streamer.runtime.compare.error_over_time import OUTPUTS, Drift

UNIT = 2560


def report(units: int) -> Report:
    errors = dict.fromkeys(OUTPUTS, -30.0)
    drifts = [Drift(mode=mode, units=units, error_db=errors, curve_db={name: [-30.0] * units for name in OUTPUTS},
                    same_slots=1.0, same_states=1.0) for mode in ("forced", "free")]  # fmt: skip
    return Report(
        format=1, scheme="int8", target="cpu", source="demo abc", bytes=(1000, 280), bundle_bytes=(1100, 380),
        ring_bytes=(8, 8), unit_ms=(10.0, 9.0), unit_ratio=0.9, drifts=drifts, layers=[], choices=[],
        calibrated_on="scenes", calibration_units=300, measured_on="scenes", engine="e", versions={},
        machine={"processor": "p"},
    )  # fmt: skip


def page(units: int, loud: tuple[float, float] = (0.1, 0.1)) -> str:
    """Voices of so much, in the last half of all units."""
    one, kept = report(units), Kept(units)
    for voice, size in zip(kept.voices, loud, strict=True):
        voice += [np.full(UNIT, size if 2 * n >= units else 0, np.float32) for n in range(units)]
    return render(one, kept, advise({"out/small": one}))


def test_words_are_explained_where_they_first_stand() -> None:
    shown = page(500)
    first, second = (shown.index("</table>"), shown.index("</table>", shown.index("beside float32")))
    for word, place in (("latents", first), ("dB", first), ("words that agree", first), ("its own arithmetic", second),
                        ("on its own history", second)):  # fmt: skip
        assert shown.index(f"<b>{word}</b>: ") in range(place, place + 2000)
    assert "what the Transformer itself makes" in shown
    assert "Ship int8 (out/small): of what holds -25 dB" in shown
    assert "http" not in shown


def test_few_units_advise_nothing_and_are_shown_as_points() -> None:
    shown = page(3)
    assert "<b>3 units are too few to advise by (the default is 500)" in shown
    assert "hip this" not in shown
    assert shown.count("<circle") == 2 * 3 * len(OUTPUTS)
    assert "0.48 s</text>" in shown
    assert "<circle" not in page(100)


@pytest.mark.parametrize(("units", "axis"), [(1, "0.16 s"), (10, "1.6 s"), (500, "80 s"), (1234, "197.44 s")])
def test_a_chart_has_its_time_and_its_bound(units: int, axis: str) -> None:
    shown = curves({"samples": [-60.0] * units}, -25, "bound for latents")
    assert f">{axis}</text>" in shown
    assert "bound for latents, -25 dB</text>" in shown
    (y,) = re.findall(r"y1=([\d.]+) y2=\S+ stroke='#c02626'", shown)
    assert 0 < float(y) < 200, "the bound is in the picture, however far the curve is from it"


def test_voices_that_said_nothing_are_words_and_no_picture() -> None:
    shown = page(200, (0.0, 0.01))
    assert "neither bundle spoke in the 32 s" in shown
    assert "data:image" not in shown
    shown = page(200, (0.1, 0.0))
    assert "Only float speaks." in shown
    assert shown.count("data:image") == 1
    assert "of the 12.8 s with the most sound, from 16 s on" in page(200)


def test_what_is_the_same_bit_for_bit_is_called_so() -> None:
    one = report(100)
    one.drifts[0].error_db.update(samples=-200.0, frames=200.0)
    kept = Kept(100)
    for voice in kept.voices:
        voice.extend([np.zeros(UNIT, np.float32)] * 100)
    shown = render(one, kept, advise({"a": one}))
    assert "the same, bit for bit" in shown
    assert "not finite" in shown
    assert "200.0 dB" not in shown
