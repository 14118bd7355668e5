"""Unit by unit: ring blocks, early and late commit, prefixes, positions, causality of the whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.streamer import TorchStreamer, UnitInput, UnitOutput
from tests.export.units import random_units
from tests.export.whole import relative

SAME = 1e-5
"""Relative error of early against late commit, whose passes have other lengths. Measured: 3e-6 over 30
units."""
FAR = 1e-3
"""Relative error of an index far out against a near one, after 12 free-running units. Measured: 2e-6."""
UNITS = 12


@pytest.fixture(scope="module")
def tiny() -> WanStreamer:
    return build(PRESETS["tiny"], 0)


def agent(model: WanStreamer, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(model.config.video_latent, generator=generator),
        torch.randn(model.config.audio_latent, generator=generator),
    )


def tensors(output: UnitOutput) -> list[Tensor]:
    return [output.samples, output.frames.float(), output.video, output.audio]


def worst(mine: list[UnitOutput], theirs: list[UnitOutput]) -> float:
    """The largest relative error over all outputs; frames are compared by their latents."""
    pairs = [(a, b) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return max(
        relative(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()
    )


def run(
    model: WanStreamer, units: list[UnitInput], early: bool = False, first: int = 0, prefix: bool = True
) -> tuple[list[UnitOutput], TorchStreamer]:
    streamer = TorchStreamer(model)
    streamer.reset(first)
    if prefix:
        streamer.prefill_text([72, 101, 108])
        streamer.prefill_agent(*agent(model, 5))
    outputs = []
    for unit in units:
        outputs.append(streamer.step(unit))
        if early:
            streamer.settle()
    return outputs, streamer


def test_early_and_late_commit_agree(tiny: WanStreamer) -> None:
    units = random_units(tiny, 30, seed=1)
    (late, _), (early, streamer) = run(tiny, units), run(tiny, units, early=True)
    assert [o.tokens for o in late] == [o.tokens for o in early]
    assert worst(late, early) < SAME
    streamer.settle()  # a second time changes nothing
    assert streamer.settled


def test_blocks_are_evicted_when_the_window_has_passed(tiny: WanStreamer) -> None:
    """The places of the first unit's agent stay hidden; from the window on, all of a ring but those is valid."""
    streamer = TorchStreamer(tiny)
    places = {ring: streamer.layout.places(ring) for ring in ("main", "video")}  # type: ignore[arg-type]
    counts = []
    for unit in random_units(tiny, 24, seed=2):
        streamer.step(unit)
        counts.append({ring: int((streamer.valid[ring] == 0).sum()) for ring in places})
    agents = {"main": tiny.config.audio_latent[0], "video": tiny.config.video_latent[0]}
    for n, count in enumerate(counts):
        for ring, window in (("main", 8), ("video", 3)):
            kept = min(n, window) + 1
            assert count[ring] == kept * places[ring] - (agents[ring] if n <= window else 0)


def test_what_left_the_window_is_forgotten(tiny: WanStreamer) -> None:
    """A word in the first unit is felt for `window` units per layer, and then not at all, bit for bit."""
    model = build(replace(tiny.config, window_units=2, video_window_units=1), 0)
    units = [replace(u, tokens=(258, 65), text=()) for u in random_units(model, 12, seed=3)]
    one, two = TorchStreamer(model), TorchStreamer(model)
    felt = []
    for k, unit in enumerate(units):
        first, second = one.step(unit), two.step(replace(unit, text=(90,)) if k == 0 else unit)
        felt.append(not torch.equal(first.video, second.video))
        one.past = two.past = agent(model, k)  # else the answers would hand the difference on
    reach = 2 * model.config.transformer.layers
    assert felt == [k <= reach for k in range(len(units))]


def test_the_future_never_changes_the_past(tiny: WanStreamer) -> None:
    units = random_units(tiny, UNITS, seed=4)
    (mine, _), (theirs, _) = run(tiny, units), run(tiny, [*units[:6], *random_units(tiny, 6, seed=99)])
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        same = [torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True)]
        assert all(same) if k < 6 else not any(same)


@pytest.mark.parametrize("what", ["samples", "frames", "text", "video_noise", "audio_noise", "tokens"])
def test_each_input_of_a_unit_changes_its_answer(tiny: WanStreamer, what: str) -> None:
    units = [replace(u, tokens=(258, 65)) for u in random_units(tiny, 4, seed=5)]
    others = random_units(tiny, 4, seed=6)
    new = {"text": (7,), "tokens": (259, 66)}.get(what, getattr(others[3], what))
    (mine, _), (theirs, _) = run(tiny, units), run(tiny, [*units[:3], replace(units[3], **{what: new})])
    assert worst(mine[:3], theirs[:3]) == 0.0
    assert relative(mine[3].video, theirs[3].video) > 1e-4
    assert relative(mine[3].audio, theirs[3].audio) > 1e-4


def test_far_out_is_as_near(tiny: WanStreamer) -> None:
    """From the window on the prefix keeps its distance, so unit 8 and unit 10,000,000 see the same history alike."""
    units = [replace(u, tokens=(258, 65)) for u in random_units(tiny, UNITS, seed=7)]
    near, _ = run(tiny, units, first=tiny.config.window_units + 1)
    far, _ = run(tiny, units, first=10_000_000)
    assert worst(near, far) < FAR
    nearer, _ = run(tiny, units, first=0)
    assert worst(nearer, far) > FAR  # a prefix that has not reached its distance yet is met differently


def test_prefix_is_remembered_and_reset_forgets_it(tiny: WanStreamer) -> None:
    units = random_units(tiny, 3, seed=8)
    plain, _ = run(tiny, units, prefix=False)
    pinned, streamer = run(tiny, units, prefix=True)
    assert relative(plain[2].video, pinned[2].video) > 1e-3
    assert streamer.prefix_used == 3 + streamer.layout.agent
    streamer.reset()
    again = [streamer.step(unit) for unit in units]
    assert worst(again, plain) == 0.0


def test_a_full_prefix_and_a_missing_one_are_refused(tiny: WanStreamer) -> None:
    streamer = TorchStreamer(tiny)
    streamer.prefill_text(range(24))
    with pytest.raises(ValueError, match="holds 24 tokens and 24 are taken; 1 more"):
        streamer.prefill_text([1])
    bare = TorchStreamer(build(replace(tiny.config, prefix_tokens=0), 0))
    with pytest.raises(ValueError, match="holds 0 tokens"):
        bare.prefill_agent(*agent(tiny, 0))
    assert len(bare.step(random_units(tiny, 1, 0)[0]).tokens) == 2


def test_more_steps_are_finer_steps(tiny: WanStreamer) -> None:
    """One, two and four steps start from the same noise and end apart; the count is what was asked."""
    unit = random_units(tiny, 1, seed=9)[0]
    ends = {}
    for steps in (1, 2, 4):
        streamer = TorchStreamer(tiny, steps=steps, record=True)
        ends[steps] = streamer.step(unit).video
        assert streamer.recording is not None
        passes = streamer.recording.units[0].passes
        assert sum(name.endswith(".out") for name in passes) == steps
        assert float(passes["solve.0.in"]["t"]) == 1.0
        last = passes[f"solve.{steps - 1}.in"]
        assert float(last["t"]) == pytest.approx(float(last["dt"]))
    assert relative(ends[1], ends[2]) > 1e-3
