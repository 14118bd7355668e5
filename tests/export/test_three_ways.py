"""Three ways, one answer: whole sequence at once = unit by unit in torch = unit by unit through the bundle.

A free run of the torch streamer records every pass: slots, latents, each solver step's input. The whole sequence is
then computed at once (windows, groups and the prefix as one mask), and the bundle's session runs over the same units
with the same noise and the recorded slots. Every tensor of every pass is compared, over enough units for every ring
to wrap.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.export.prove import Passes, Recorded, compare_passes, numpy_passes, unit_input
from edge_streamer.export.wan_streamer.config import PRESETS, layout, with_attention
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.streamer import TorchStreamer
from edge_streamer.runtime.compare.golden import made_unit, relative_error
from edge_streamer.runtime.programs.noise import Noise
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.bundles import SEED, exported_bundle
from tests.export.whole import errors, whole_sequence

TOLERANCE = 1e-4
"""Relative, float32, of every pass. Measured: whole sequence 5e-6, bundle 1.3e-6."""
BEYOND_THE_WINDOW = 4
PREFIX = "a calm voice"


@pytest.fixture(scope="module")
def turned_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny``, but keys are joined as in the large preset."""
    return exported_bundle("tiny", tmp_path_factory.mktemp("exported") / "turned", "turned")


@pytest.fixture(params=["tiny", "demo", "turned"])
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(preset: str, request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{preset}_bundle"))


@pytest.fixture
def model(preset: str) -> WanStreamer:
    return build(with_attention(PRESETS["tiny"], "turned") if preset == "turned" else PRESETS[preset], SEED)


@pytest.mark.parametrize("early", [False, True])
def test_three_ways_one_answer(preset: str, bundle: Path, model: WanStreamer, early: bool) -> None:
    session = open_session(bundle)
    free = open_session(bundle)
    streamer = TorchStreamer(model, record=True)
    ids = wan_streamer(session.program).encode_text(PREFIX)
    for each in (session, free):
        each.prefill(PREFIX)
    streamer.prefill_text(ids)
    noise = Noise(0)
    waiting: tuple[int, ...] = ()
    count = layout(model.config).window("main") + BEYOND_THE_WINDOW
    worst: dict[str, float] = {}
    ahead: Passes = {}
    same_tokens = 0
    for k in range(count):
        made = made_unit(session.media, 11, k)
        unit = Unit(made.samples, made.frames, "hi" if k % 4 == 0 else "")
        text, waiting = wan_streamer(session.program).text_in.take(waiting, unit.text)
        output = streamer.step(unit_input(session, unit, text, noise, k))
        came = Recorded()
        came.passes.update(ahead)
        with session.recording(came):
            session.step(unit, output.tokens)
        assert streamer.recording is not None
        wanted = numpy_passes(streamer.recording.units[-1].passes)
        for kind, error in compare_passes(k, came.passes, wanted).items():
            worst[kind] = max(worst.get(kind, 0.0), error)
        same_tokens += free.step(unit).tokens == output.tokens
        if early:
            streamer.settle()
            with session.recording(settled := Recorded()):
                session.settle()
            ahead = settled.passes
    print(f"\n{preset}, {'early' if early else 'late'}: bundle against torch: {worst}")
    print(f"free-running: the same slots in {same_tokens} of {count} units")
    assert max(worst.values()) <= TOLERANCE
    if preset == "demo" and early:
        return  # the whole sequence is the late run's, pass by pass; at this size it takes a minute
    assert streamer.recording is not None
    off = errors(streamer.recording, whole_sequence(model, streamer.recording))
    print(f"whole sequence against torch: {max(off.values()):.1e} at {max(off, key=lambda name: off[name])}")
    assert max(off.values()) <= TOLERANCE


def test_the_comparison_can_fail(tiny_bundle: Path) -> None:
    """Another seed's model is not this bundle's."""
    session, streamer = open_session(tiny_bundle), TorchStreamer(build(PRESETS["tiny"], SEED + 1), record=True)
    unit = made_unit(session.media, 11, 0)
    output = streamer.step(unit_input(session, unit, (), Noise(0), 0))
    response = session.step(unit, output.tokens)
    assert relative_error(response.samples, output.samples.numpy()) > 100 * TOLERANCE
    assert np.abs(response.frames.astype(int) - output.frames.numpy()).max() > 1
