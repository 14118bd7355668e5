"""Encoders and codecs: real temporal state, causal, the same unit by unit as in one long unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_streamer.export.layers import State, Tails
from edge_streamer.export.wan_streamer.audio import LogMel
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import Part, WanStreamer, build, to_pixels
from edge_streamer.export.wan_streamer.transformer import rotary
from edge_streamer.export.wan_streamer.video import patches, picture

EXACT = 1e-4
"""Largest difference of unit by unit from one long unit, on values of about 1. Measured: 8e-6."""
UNITS = 4


@pytest.fixture(scope="module", params=["tiny", "demo"])
def model(request: pytest.FixtureRequest) -> WanStreamer:
    return build(PRESETS[request.param], seed=3)


Run = Callable[..., tuple[Tensor, ...]]


def inputs(model: WanStreamer, part: Part, seed: int) -> tuple[Tensor, Tensor]:
    """One unit of random input for ``part``."""
    generator, config = torch.Generator().manual_seed(seed), model.config
    if part == "decode":
        return (
            torch.randn(config.video_latent, generator=generator),
            torch.randn(config.audio_latent, generator=generator),
        )
    size = config.user_size if part == "encode" else config.agent_size
    frames = torch.randint(0, 256, (4, *size, 3), generator=generator).to(torch.uint8)
    return torch.randn(config.unit_samples, generator=generator) * 0.1, frames


@torch.no_grad()
def run(model: WanStreamer, part: Part, units: list[tuple[Tensor, Tensor]]) -> tuple[list[tuple[Tensor, ...]], State]:
    """All outputs of ``part`` over ``units``, and its last state."""
    method: Run = {"encode": model.encode, "decode": model.decode, "encode_agent": model.encode_agent}[part]
    state, outputs = model.start_state(part), []
    for unit in units:
        *out, state = method(*unit, state)  # type: ignore[assignment]
        outputs.append(tuple(out))
    return outputs, state


PARTS: list[Part] = ["encode", "decode", "encode_agent"]


@pytest.mark.parametrize("part", PARTS)
def test_every_tail_is_used(model: WanStreamer, part: Part) -> None:
    """After a unit no tail is zero, and zeroing any single one changes the next unit's output."""
    first, second = inputs(model, part, 0), inputs(model, part, 1)
    _, state = run(model, part, [first])
    assert set(state) == set(model.state_paths(part)) == set(model.start_state(part))
    method: Run = {"encode": model.encode, "decode": model.decode, "encode_agent": model.encode_agent}[part]
    with torch.no_grad():
        wanted = method(*second, state)
        for path, tail in state.items():
            assert tail.abs().max() > 0, path
            got = method(*second, {**state, path: torch.zeros_like(tail)})
            assert any(not torch.equal(a, b) for a, b in zip(got[:-1], wanted[:-1], strict=True)), path


@pytest.mark.parametrize("part", PARTS)
def test_the_future_never_changes_the_past(model: WanStreamer, part: Part) -> None:
    """Another unit 2 leaves units 0 and 1 as they were, bit for bit, and changes its own."""
    same = [inputs(model, part, k) for k in range(UNITS)]
    other = [*same[:2], *(inputs(model, part, 90 + k) for k in range(2, UNITS))]
    (mine, _), (theirs, _) = run(model, part, same), run(model, part, other)
    for k in range(UNITS):
        equal = [torch.equal(a, b) for a, b in zip(mine[k], theirs[k], strict=True)]
        assert all(equal) if k < 2 else not any(equal)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("part", PARTS)
def test_sound_and_picture_do_not_mix_in_the_codecs(model: WanStreamer, part: Part, which: int) -> None:
    """Of an output, exactly one of the two inputs (sound or picture) is the source."""
    first, other = inputs(model, part, 0), list(inputs(model, part, 0))
    other[which] = inputs(model, part, 1)[which]
    (mine,), (theirs,) = run(model, part, [first])[0], run(model, part, [(other[0], other[1])])[0]
    changed = [not torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)]
    from_first = [False, True, True] if part == "decode" else [False, True]
    assert changed == [source is (which == 0) for source in from_first]


@torch.no_grad()
def test_within_a_unit_samples_and_frames_are_causal(model: WanStreamer) -> None:
    """The first frame that the decoder gives is the same whatever comes later; the voice's first hop too."""
    config = model.config
    video, audio = inputs(model, "decode", 0)
    later = audio.clone()
    later[-1] += 1.0
    samples, _, _, _ = model.decode(video, audio, model.start_state("decode"))
    others, _, _, _ = model.decode(video, later, model.start_state("decode"))
    changed = (samples != others).nonzero()
    assert int(changed[0]) >= config.unit_samples * (config.audio_latent[0] - 1) // config.audio_latent[0]
    heard, frames = inputs(model, "encode", 0)
    louder = heard.clone()
    louder[-1] += 1.0
    _, one, _ = model.encode(heard, frames, model.start_state("encode"))
    _, two, _ = model.encode(louder, frames, model.start_state("encode"))
    assert torch.equal(one[:-1], two[:-1])
    assert not torch.equal(one[-1], two[-1])


@torch.no_grad()
def test_one_long_unit_equals_many(model: WanStreamer) -> None:
    units = [inputs(model, "encode_agent", k) for k in range(UNITS)]
    outputs, state = run(model, "encode_agent", units)
    tails = Tails(model.start_state("encode_agent"))
    video = model.video_vae.encode(torch.cat([u[1] for u in units])[None], tails)[0]
    audio = model.audio_vae.encode(torch.cat([u[0] for u in units])[None], tails)[0]
    torch.testing.assert_close(video, torch.stack([o[0] for o in outputs]), atol=EXACT, rtol=0)
    torch.testing.assert_close(audio, torch.cat([o[1] for o in outputs]), atol=EXACT, rtol=0)
    for path, tail in tails.next.items():
        torch.testing.assert_close(tail, state[path], atol=EXACT, rtol=0)


@torch.no_grad()
def test_a_batch_of_clips_equals_each_clip(model: WanStreamer) -> None:
    """Training runs clips side by side; they must not leak into each other."""
    config = model.config
    samples, frames = torch.randn(2, 2 * config.unit_samples) * 0.1, torch.rand(2, 8, *config.agent_size, 3) * 255
    both = Tails(model.start_state("encode_agent", batch=2))
    video, audio = model.video_vae.encode(frames, both), model.audio_vae.encode(samples, both)
    for i in range(2):
        alone = Tails(model.start_state("encode_agent"))
        torch.testing.assert_close(
            video[i : i + 1], model.video_vae.encode(frames[i : i + 1], alone), atol=EXACT, rtol=0
        )
        torch.testing.assert_close(
            audio[i : i + 1], model.audio_vae.encode(samples[i : i + 1], alone), atol=EXACT, rtol=0
        )


@torch.no_grad()
def test_latents_are_normalised_on_the_way_out_and_back_on_the_way_in() -> None:
    model = build(PRESETS["tiny"], 0)
    unit = inputs(model, "encode_agent", 0)
    plain = run(model, "encode_agent", [unit])[0][0]
    for vae in (model.video_vae, model.audio_vae):
        vae.latent_mean.fill_(0.5)
        vae.latent_std.fill_(2.0)
    scaled = run(model, "encode_agent", [unit])[0][0]
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close((a - 0.5) / 2.0, b)
    shifted = run(model, "decode", [(scaled[0], scaled[1])])[0][0]
    for vae in (model.video_vae, model.audio_vae):
        vae.latent_mean.zero_()
        vae.latent_std.fill_(1.0)
    back = run(model, "decode", [(plain[0], plain[1])])[0][0]
    torch.testing.assert_close(shifted[0], back[0], atol=EXACT, rtol=0)
    torch.testing.assert_close(shifted[2], back[2], atol=1e-3, rtol=0)


@pytest.mark.parametrize("patch", [(1, 1), (2, 2), (3, 1), (2, 3)])
def test_patches_and_pictures_are_inverse(patch: tuple[int, int]) -> None:
    """Bit for bit, both ways, where rows and columns of the grid and of the patch differ."""
    (high, wide), grid = patch, (2, 3)
    x = torch.randn(2, 5, grid[0] * high, grid[1] * wide)
    tokens = patches(x, patch)
    assert tokens.shape == (2, 6, 5 * high * wide)
    assert torch.equal(picture(tokens, grid, patch), x)
    assert torch.equal(patches(picture(tokens, grid, patch), patch), tokens)


@pytest.mark.parametrize("patch", [(3, 1), (2, 3)])
def test_a_token_is_its_rectangle_channel_by_channel(patch: tuple[int, int]) -> None:
    """Tokens run along rows; a token's values are channel, then row, then column of its patch."""
    (high, wide), x = patch, torch.randn(1, 5, 2 * patch[0], 3 * patch[1])
    for token, values in enumerate(patches(x, patch)[0]):
        row, column = token // 3 * high, token % 3 * wide
        assert torch.equal(values, x[0, :, row : row + high, column : column + wide].flatten())


@pytest.mark.parametrize("side", [1, 2])
def test_square_patches_are_ordered_as_by_pixel_unshuffle(side: int) -> None:
    x = torch.randn(2, 5, 2 * side, 3 * side)
    assert torch.equal(patches(x, (side, side)), F.pixel_unshuffle(x, side).flatten(2).transpose(1, 2))


class Patching(torch.nn.Module):
    """What the graphs do with patches, and nothing else."""

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 5, 6, 3] -> its tokens [1, 6, 15]; tokens [1, 6, 15] -> their picture [1, 5, 6, 3]."""
        return patches(x, (3, 1)), picture(tokens, (2, 3), (3, 1))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter, about its own workings
def test_patches_export_as_reshapes_and_transposes() -> None:
    """All engines have those; none of the shapes is computed in the graph."""
    given = torch.randn(1, 5, 6, 3), torch.randn(1, 6, 15)
    program = torch.onnx.export(Patching().eval(), given, dynamo=True, verbose=False)
    assert program is not None
    assert {node.op_type for node in program.model.graph} == {"Reshape", "Transpose"}


@torch.no_grad()
def test_log_mel_equals_a_fourier_transform() -> None:
    """Against numpy: windowed frames, their spectrum at the front end's frequencies, the same triangles."""
    hop, mels = 160, 40
    front = LogMel(hop, mels)
    x = torch.randn(1, 1, 16 * hop) * 0.1
    got, _ = front(x, torch.zeros(1, 1, 2 * hop))
    signal = np.concatenate([np.zeros(2 * hop), x.double().numpy().ravel()])
    window = torch.hann_window(3 * hop, dtype=torch.float64).numpy()
    bins = front.mel.shape[0]
    time = np.arange(3 * hop) / (100 * hop)
    waves = np.exp(-2j * np.pi * 62.5 * np.arange(1, bins + 1)[:, None] * time)
    power = np.array([np.abs(waves @ (signal[t * hop : (t + 3) * hop] * window)) ** 2 for t in range(16)])
    wanted = (np.log(power / (0.75 * hop) ** 2 @ front.mel.double().numpy() + 1e-6) + 7) / 7
    np.testing.assert_allclose(got[0].T.numpy(), wanted, atol=1e-4)
    assert (front.mel.sum(0) > 0).all()  # no band is deaf


@torch.no_grad()
def test_a_full_scale_sine_has_power_one_in_its_band() -> None:
    front = LogMel(160, 40)
    sine = torch.sin(2 * torch.pi * 1000.0 * torch.arange(16 * 160) / 16000.0)
    level, _ = front(sine[None, None], torch.zeros(1, 1, 320))
    assert float(level[0, :, -1].max()) == pytest.approx(1.0, abs=0.15)


@torch.no_grad()
def test_level_carries_what_a_pixel_cannot() -> None:
    model = build(PRESETS["tiny"], 0)
    video, audio = inputs(model, "decode", 0)
    samples, frames, level, _ = model.decode(video, audio, model.start_state("decode"))
    assert samples.shape == (model.config.unit_samples,)
    assert frames.dtype == torch.uint8
    torch.testing.assert_close(level, frames.float().mean((1, 2, 3)), atol=0.5, rtol=0)
    video[0, 0] = float("nan")
    assert not bool(torch.isfinite(model.decode(video, audio, model.start_state("decode"))[2]).all())


def test_pixels_round_half_to_even_and_clamp() -> None:
    assert to_pixels(torch.tensor([-3.0, 0.5, 1.5, 254.6, 300.0])).tolist() == [0, 0, 2, 255, 255]


def test_rotary_is_exact_far_out() -> None:
    """The difference of two far positions turns like the difference itself: what float32 angles could not do."""
    far, near = rotary(np.array([1.8e8, 1.8e8 + 3.5]), 64, 1e4), rotary(np.array([0.0, 3.5]), 64, 1e4)

    def turned(pair: tuple[Tensor, Tensor]) -> Tensor:
        cos, sin = pair
        return cos[0] * cos[1] + sin[0] * sin[1]

    torch.testing.assert_close(turned(far), turned(near), atol=1e-6, rtol=0)
