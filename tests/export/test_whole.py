"""The whole sequence at once equals unit by unit; broken rules do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge_streamer.export.wan_streamer.config import PRESETS, Config, layout, with_attention
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.streamer import Recording, TorchStreamer
from tests.export.units import random_units
from tests.export.whole import TOLERANCE, Rules, errors, relative, rules_of, whole_sequence

TINY = PRESETS["tiny"]
SMALL_DEMO = replace(PRESETS["demo"], window_units=4, video_window_units=2, prefix_tokens=32)
"""The demo's geometry with windows that wrap within a few units."""
FAR_ABOVE = 1000 * TOLERANCE
"""What a broken rule must exceed. Measured: the mildest makes 0.6."""


def record(config: Config, units: int, prefix: bool, early: bool | None) -> tuple[WanStreamer, Recording]:
    """A recorded run. ``early`` None commits early after every third unit."""
    model = build(config, 0)
    streamer = TorchStreamer(model, record=True)
    if prefix:
        generator = torch.Generator().manual_seed(3)
        video = torch.randn(config.video_latent, generator=generator)
        streamer.prefill_text([72, 101, 108])
        streamer.prefill_agent(video, torch.randn(config.audio_latent, generator=generator))
        streamer.prefill_text([33])
    for k, unit in enumerate(random_units(model, units, seed=1)):
        streamer.step(unit)
        if early or (early is None and k % 3 == 1):
            streamer.settle()
    assert streamer.recording is not None
    return model, streamer.recording


@pytest.mark.parametrize("early", [False, True, None])
@pytest.mark.parametrize("prefix", [False, True])
def test_tiny_over_thirty_units(prefix: bool, early: bool | None) -> None:
    model, recording = record(TINY, 30, prefix, early)
    found = errors(recording, whole_sequence(model, recording))
    assert max(found.values()) <= TOLERANCE, found
    assert {name.split(".")[0] for name in found} >= {"encode", "clean", "block", "slot", "token", "solve", "decode"}
    assert ("settle.hidden" in found) is (early is not False)


@pytest.mark.parametrize(
    "config",
    [with_attention(TINY, "concat"), with_attention(TINY, "turned"), SMALL_DEMO, replace(TINY, prefix_tokens=0)],
)
def test_other_geometries(config: Config) -> None:
    model, recording = record(config, 10, prefix=bool(config.prefix_tokens), early=None)
    found = errors(recording, whole_sequence(model, recording))
    assert max(found.values()) <= TOLERANCE, found


@pytest.fixture(scope="module")
def recorded() -> tuple[WanStreamer, Recording]:
    return record(TINY, 20, prefix=True, early=None)


HOLDING = rules_of(layout(TINY))
BROKEN = {
    "main window one longer": replace(HOLDING, main_window=HOLDING.main_window + 1),
    "main window one shorter": replace(HOLDING, main_window=HOLDING.main_window - 1),
    "video window one longer": replace(HOLDING, video_window=HOLDING.video_window + 1),
    "video window one shorter": replace(HOLDING, video_window=HOLDING.video_window - 1),
    "clean tokens unseen": replace(HOLDING, clean_seen=False),
    "clean tokens at another time": replace(HOLDING, clean_time=0.02),
    "prefix one unit further": replace(HOLDING, prefix_distance=HOLDING.prefix_distance + 1),
    "prefix one unit nearer": replace(HOLDING, prefix_distance=HOLDING.prefix_distance - 1),
}


@pytest.mark.parametrize("rules", BROKEN.values(), ids=BROKEN.keys())
def test_broken_rules_are_noticed(recorded: tuple[WanStreamer, Recording], rules: Rules) -> None:
    model, recording = recorded
    assert max(errors(recording, whole_sequence(model, recording, rules)).values()) > FAR_ABOVE


def test_a_lost_prefix_is_noticed(recorded: tuple[WanStreamer, Recording]) -> None:
    model, recording = recorded
    bare = Recording(prefix=[], units=recording.units)
    assert max(errors(recording, whole_sequence(model, bare)).values()) > FAR_ABOVE


def test_one_changed_number_is_noticed(recorded: tuple[WanStreamer, Recording]) -> None:
    """A single key written to the wrong place shows: here, one hidden value of one unit."""
    model, recording = recorded
    outputs = whole_sequence(model, recording)
    hidden = outputs[7]["slot.0"]["hidden"]
    hidden[0, 3] += 0.01
    assert errors(recording, outputs)["slot.0.hidden"] > TOLERANCE
    hidden[0, 3] = float("nan")
    assert errors(recording, outputs)["slot.0.hidden"] == float("inf")


def test_relative_error_is_of_the_size_of_what_was_wanted() -> None:
    wanted = torch.tensor([3.0, -4.0, 0.0, 0.0])
    assert relative(wanted + torch.tensor([0.0, 0.0, 0.025, 0.0]), wanted) == pytest.approx(0.01)
    assert relative(wanted, wanted) == 0.0
