"""Layers whose memory is an argument: each takes (x, tail) and gives (y, tail of the next unit).

Receives tensors and tails; hands on :class:`Linear`, the causal layers of sound and picture, and the few tools that
name, collect and start their tails. No layer remembers anything between calls, so that the same code trains on a long
clip, streams unit by unit and exports to a graph with explicit state.

A path is the layer's place in the module tree (``user_audio.down.0``); the bundle's ``state.<path>`` is its tail.
Tails have a leading batch axis, 1 when streaming.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


class Linear(nn.Module):
    """``x @ weight + bias`` with the weight stored [in, out].

    nn.Linear stores [out, in] and exports as ``Gemm`` or a transposed weight; this one exports as ``MatMul`` with a
    constant second operand, which is what 4-bit and 8-bit quantizers look for.
    """

    def __init__(self, inner: int, outer: int, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inner, outer) * (gain * inner**-0.5))
        self.bias = nn.Parameter(torch.zeros(outer)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., inner] -> [..., outer]."""
        y = torch.matmul(x, self.weight)
        return y if self.bias is None else y + self.bias


class RMSNorm(nn.Module):
    """Divide by the root mean square along ``axis`` and scale: causal, for it never looks along time."""

    def __init__(self, size: int, axis: int = -1, axes: int = 1, epsilon: float = 1e-6) -> None:
        """``axes``: how many axes the tensor has from ``axis`` on, so that the weight broadcasts."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size, *(1,) * (axes - 1)))
        self.axis, self.epsilon = axis, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        mean = x.pow(2).mean(self.axis, keepdim=True)
        return x / torch.sqrt(mean + self.epsilon) * self.weight


class Stateful(nn.Module):
    """A layer with a tail. ``path`` is set by :func:`name_paths`; ``tail_shape`` is for a batch of one."""

    path: str = ""
    tail_shape: tuple[int, ...] = ()

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """(y, the tail for the next unit)."""
        raise NotImplementedError


class Tails:
    """The tails of one pass: reads them from a state by path, gathers the next ones in ``next``."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.next: State = {}

    def through(self, layer: Stateful, x: Tensor) -> Tensor:
        """``layer`` applied to ``x`` after the tail of its path."""
        y, self.next[layer.path] = layer(x, self.state[layer.path])
        return y


def stateful(module: nn.Module, prefix: str = "") -> list[Stateful]:
    """The stateful layers of ``module`` whose path begins with ``prefix``, in the module's order."""
    return [m for m in module.modules() if isinstance(m, Stateful) and m.path.startswith(prefix)]


def name_paths(module: nn.Module) -> None:
    """Give each stateful layer its place in the module tree as its path."""
    for name, layer in module.named_modules():
        if isinstance(layer, Stateful):
            layer.path = name


def start_state(module: nn.Module, batch: int = 1, prefix: str = "") -> State:
    """Zero tails [batch, ...] of every stateful layer of ``module``."""
    return {m.path: torch.zeros(batch, *m.tail_shape[1:]) for m in stateful(module, prefix)}


class CausalConv1d(Stateful):
    """Conv1d that looks back only. Tail: the last ``(kernel - 1) * dilation + 1 - stride`` input steps, zero at first.

    kernel 4, stride 2, tail 2; unit 1 = a b c d, unit 2 = e f g h::

        0 0 a b c d          y0 sees 0 0 a b, y1 sees a b c d; next tail: c d
                c d e f g h  y2 sees c d e f, y3 sees e f g h
    """

    def __init__(
        self, inner: int, outer: int, kernel: int, stride: int = 1, dilation: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__()
        left = (kernel - 1) * dilation + 1 - stride
        if left < 1:
            raise ValueError(f"kernel {kernel}, dilation {dilation}, stride {stride} has no tail; use nn.Conv1d")
        self.stride, self.dilation, self.left = stride, dilation, left
        self.weight = nn.Parameter(torch.randn(outer, inner, kernel) * (gain * (inner * kernel) ** -0.5))
        self.bias = nn.Parameter(torch.zeros(outer))
        self.tail_shape = (1, inner, left)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B, inner, steps], steps a multiple of stride -> [B, outer, steps / stride]."""
        x = torch.cat([tail, x], 2)
        y = F.conv1d(x, self.weight, self.bias, stride=self.stride, dilation=self.dilation)
        return y, x[:, :, x.shape[2] - self.left :]


class CausalConvTranspose1d(Stateful):
    """Transposed convolution with overlap-add. Tail: what the last inputs still owe to the next outputs.

    kernel 4, stride 2, tail 2; input a b, then c::

        a0 a1 a2 a3             y = a0 a1 (a2+b0) (a3+b1); next tail: b2 b3
              b0 b1 b2 b3
                    c0 c1 ...   y = (b2+c0) (b3+c1); ...

    The bias is added to what leaves, never to the tail, or the overlap would carry it twice.
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, gain: float = 1.0) -> None:
        super().__init__()
        if kernel <= stride:
            raise ValueError(f"kernel {kernel}, stride {stride} has no tail; use nn.ConvTranspose1d")
        self.stride, self.left = stride, kernel - stride
        self.weight = nn.Parameter(torch.randn(inner, outer, kernel) * (gain * (inner * kernel / stride) ** -0.5))
        self.bias = nn.Parameter(torch.zeros(outer))
        self.tail_shape = (1, outer, self.left)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B, inner, steps] -> [B, outer, steps * stride]."""
        ready = x.shape[2] * self.stride
        y = F.conv_transpose1d(x, self.weight, None, stride=self.stride)
        y = torch.cat([y[:, :, : self.left] + tail, y[:, :, self.left :]], 2)
        return y[:, :, :ready] + self.bias[:, None], y[:, :, ready:]


def conv2d(inner: int, outer: int, kernel: int, stride: int = 1, gain: float = 1.0, bias: bool = True) -> nn.Conv2d:
    """A convolution over one picture: its size kept or, with a stride, divided by it."""
    padding = 0 if kernel == stride else (kernel - 1) // 2
    layer = nn.Conv2d(inner, outer, kernel, stride, padding=padding, bias=bias)
    nn.init.normal_(layer.weight, std=gain * (inner * kernel**2) ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class FrameMix(Stateful):
    """A picture convolution that also sees the frame before: 3x3 over this frame, 1x1 over the previous one.

    Frames lie along the batch axis, clip after clip: x is [B * frames, channels, rows, columns], the tail is the last
    frame [B, 1, channels, rows, columns]. Conv3d would say the same and is slow on a CPU.
    """

    def __init__(self, inner: int, outer: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.now = conv2d(inner, outer, 3, gain=0.8)
        self.before = conv2d(inner, outer, 1, gain=0.6, bias=False)
        self.tail_shape = (1, 1, inner, *size)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B * frames, inner, rows, columns] -> [B * frames, outer, rows, columns]."""
        clips = torch.cat([tail, x.reshape(tail.shape[0], -1, *x.shape[1:])], 1)  # [B, 1 + frames, ...]
        before = clips[:, :-1].reshape(x.shape)
        return self.now(x) + self.before(before), clips[:, -1:]


class FrameStack(Stateful):
    """Four frames become one: a 1x1 convolution over the channels of the two frames before and the unit's four.

    ``before`` frames in the tail, stride ``frames``; two units of one clip::

        t t | 0 1 2 3 | 4 5 6 7        unit 0 sees t t 0 1 2 3; unit 1 sees 2 3 4 5 6 7; next tail: 6 7
    """

    def __init__(self, inner: int, outer: int, size: tuple[int, int], frames: int = 4, before: int = 2) -> None:
        super().__init__()
        self.frames, self.before = frames, before
        self.conv = conv2d(inner * (frames + before), outer, 1)
        self.tail_shape = (1, before, inner, *size)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B * units * frames, inner, rows, columns] -> [B * units, outer, rows, columns]."""
        _, channels, rows, columns = x.shape
        clips = torch.cat([tail, x.reshape(tail.shape[0], -1, channels, rows, columns)], 1)
        last = clips.shape[1] - self.frames  # one past the first frame of the last unit's window, less `before`
        seen = self.frames + self.before
        if clips.shape[1] == seen:  # one unit: its window is the whole clip, nothing to copy
            stacked = clips.reshape(-1, seen * channels, rows, columns)
        else:
            picks = [clips[:, i : last - self.before + i + 1 : self.frames] for i in range(seen)]
            stacked = torch.stack(picks, 2).reshape(-1, seen * channels, rows, columns)
        return self.conv(stacked), clips[:, clips.shape[1] - self.before :]


class FrameSplit(Stateful):
    """One latent picture becomes four frames: a 1x1 convolution over it and the one before, channels to frames."""

    def __init__(self, inner: int, outer: int, size: tuple[int, int], frames: int = 4) -> None:
        super().__init__()
        self.frames, self.outer = frames, outer
        self.conv = conv2d(2 * inner, frames * outer, 1)
        self.tail_shape = (1, 1, inner, *size)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B * units, inner, rows, columns] -> [B * units * frames, outer, rows, columns]."""
        clips = torch.cat([tail, x.reshape(tail.shape[0], -1, *x.shape[1:])], 1)  # [B, 1 + units, ...]
        before = clips[:, :-1].reshape(x.shape)
        y = self.conv(torch.cat([before, x], 1))
        return y.reshape(-1, self.outer, *x.shape[2:]), clips[:, -1:]
