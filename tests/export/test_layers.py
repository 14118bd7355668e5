"""The streaming layers against the same operation on the whole signal, over a grid of kernels, strides and chunks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.layers import (
    CausalConv1d,
    CausalConvTranspose1d,
    FrameMix,
    FrameSplit,
    FrameStack,
    Linear,
    RMSNorm,
    Stateful,
    Tails,
    name_paths,
    start_state,
    stateful,
)

EXACT = 1e-5
"""Largest difference of chunked from whole; sums are taken in another order. Measured: 1e-6."""
STEPS = 24
CONVS = [(k, s, d) for k, s, d in itertools.product((1, 2, 3, 4, 7, 16), (1, 2, 4, 8), (1, 3)) if (k - 1) * d + 1 > s]
TRANSPOSED = [(k, s) for k, s in itertools.product((2, 3, 4, 7, 16), (1, 2, 4, 8)) if k > s]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def chunked(layer: Stateful, x: Tensor, chunk: int, axis: int) -> tuple[Tensor, Tensor]:
    """``layer`` over ``x`` in chunks of ``chunk`` steps along ``axis``, and its last tail."""
    tail, out = torch.zeros(layer.tail_shape), []
    for part in x.split(chunk, axis):
        y, tail = layer(part, tail)
        assert tail.shape == layer.tail_shape
        out.append(y)
    return torch.cat(out, axis), tail


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 3, 8, STEPS])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), CONVS)
def test_causal_conv_equals_a_padded_conv(kernel: int, stride: int, dilation: int, chunk: int) -> None:
    layer = CausalConv1d(3, 5, kernel, stride, dilation)
    nn.init.normal_(layer.bias)
    x = torch.randn(1, 3, STEPS * stride)
    padded = F.pad(x, ((kernel - 1) * dilation + 1 - stride, 0))
    wanted = F.conv1d(padded, layer.weight, layer.bias, stride=stride, dilation=dilation)
    got, tail = chunked(layer, x, chunk * stride, 2)
    torch.testing.assert_close(got, wanted, atol=EXACT, rtol=0)
    assert torch.equal(tail, padded[..., padded.shape[2] - tail.shape[2] :])


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 3, 8, STEPS])
@pytest.mark.parametrize(("kernel", "stride"), TRANSPOSED)
def test_causal_transposed_conv_equals_a_cut_transposed_conv(kernel: int, stride: int, chunk: int) -> None:
    layer = CausalConvTranspose1d(3, 5, kernel, stride)
    nn.init.normal_(layer.bias)
    x = torch.randn(1, 3, STEPS)
    wanted = F.conv_transpose1d(x, layer.weight, layer.bias, stride=stride)
    got, tail = chunked(layer, x, chunk, 2)
    torch.testing.assert_close(got, wanted[..., : STEPS * stride], atol=EXACT, rtol=0)
    owed = wanted[..., STEPS * stride :] - layer.bias[:, None]
    torch.testing.assert_close(tail, owed, atol=EXACT, rtol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (4, 4), (2, 4)])
def test_layers_without_a_tail_are_refused(kernel: int, stride: int) -> None:
    with pytest.raises(ValueError, match="no tail"):
        CausalConv1d(1, 1, kernel, stride)
    with pytest.raises(ValueError, match="no tail"):
        CausalConvTranspose1d(1, 1, kernel, stride)


def frame_mix(layer: FrameMix, clip: Tensor) -> Tensor:
    """What FrameMix means: one clip [frames, channels, rows, columns] at once."""
    before = torch.cat([torch.zeros_like(clip[:1]), clip[:-1]])
    return F.conv2d(clip, layer.now.weight, layer.now.bias, padding=1) + F.conv2d(before, layer.before.weight)


def frame_stack(layer: FrameStack, clip: Tensor) -> Tensor:
    padded = torch.cat([torch.zeros_like(clip[: layer.before]), clip])
    windows = [padded[at : at + layer.frames + layer.before].flatten(0, 1) for at in range(0, len(clip), layer.frames)]
    return F.conv2d(torch.stack(windows), layer.conv.weight, layer.conv.bias)


def frame_split(layer: FrameSplit, clip: Tensor) -> Tensor:
    before = torch.cat([torch.zeros_like(clip[:1]), clip[:-1]])
    wide = F.conv2d(torch.cat([before, clip], 1), layer.conv.weight, layer.conv.bias)
    return torch.cat([picture.unflatten(0, (layer.frames, layer.outer)) for picture in wide])


FRAME_LAYERS = [
    (FrameMix(3, 5, (4, 6)), frame_mix, (1, 2, 4, 12)),
    (FrameStack(3, 5, (4, 6)), frame_stack, (4, 8, 12)),
    (FrameSplit(3, 5, (4, 6)), frame_split, (1, 2, 12)),
]


@torch.no_grad()
@pytest.mark.parametrize(("layer", "meaning", "chunks"), FRAME_LAYERS, ids=lambda value: type(value).__name__)
def test_frame_layers_equal_the_whole_clip(layer: Stateful, meaning: object, chunks: tuple[int, ...]) -> None:
    assert callable(meaning)
    clip = torch.randn(12, 3, 4, 6)
    wanted = meaning(layer, clip)
    for chunk in chunks:
        got, _ = chunked(layer, clip, chunk, 0)
        torch.testing.assert_close(got, wanted, atol=EXACT, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("layer", [entry[0] for entry in FRAME_LAYERS], ids=lambda layer: type(layer).__name__)
def test_frame_layers_keep_the_clips_of_a_batch_apart(layer: Stateful) -> None:
    clips = torch.randn(2, 8, 3, 4, 6)
    tails = torch.randn(2, *layer.tail_shape[1:])
    both, next_tails = layer(clips.flatten(0, 1), tails)
    for i in range(2):
        alone, tail = layer(clips[i], tails[i : i + 1])
        torch.testing.assert_close(both.unflatten(0, (2, -1))[i], alone, atol=EXACT, rtol=0)
        assert torch.equal(next_tails[i : i + 1], tail)


@torch.no_grad()
def test_linear_stores_in_by_out_and_norm_has_unit_mean_square() -> None:
    linear = Linear(3, 5)
    nn.init.normal_(linear.bias) if linear.bias is not None else None
    x = torch.randn(2, 3)
    assert linear.weight.shape == (3, 5)
    torch.testing.assert_close(linear(x), F.linear(x, linear.weight.T, linear.bias))
    pictures = torch.randn(2, 16, 4, 4) * 9
    assert torch.allclose(RMSNorm(16, axis=1, axes=3)(pictures).pow(2).mean(1), torch.ones(2, 4, 4), atol=1e-4)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = CausalConv1d(1, 2, 3)
        self.inner = nn.ModuleList([CausalConv1d(2, 1, 5)])


def test_paths_follow_the_module_tree_and_tails_collect_what_comes_next() -> None:
    module = Nested()
    name_paths(module)
    state = start_state(module, batch=3)
    assert {path: tuple(tail.shape) for path, tail in state.items()} == {"first": (3, 1, 2), "inner.0": (3, 2, 4)}
    assert [layer.path for layer in stateful(module, "inner")] == ["inner.0"]
    tails = Tails(state)
    tails.through(module.first, torch.ones(3, 1, 4))
    assert list(tails.next) == ["first"]
    assert torch.equal(tails.next["first"], torch.ones(3, 1, 2))
    assert not state["first"].any()  # the state that came is left as it was
