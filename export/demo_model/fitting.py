"""One training loop for all stages: learning rate, clipping, progress, checkpoints, resume.

Receives a module and a task, which draws what step n learns from and makes a loss of it; hands on the trained module.
What is drawn depends on (seed, stage, n) alone, so a run that was killed and resumed sees what an uninterrupted one
would have seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edge_streamer.export.demo_model.compute import Drawn, device, drawn
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import replacing

KEEP_SECONDS = 45.0
"""Between two checkpoints."""
WARM_UP = 100
"""Steps until the learning rate is reached."""
Losses = dict[str, Tensor]
"""Name -> a term of the loss; terms whose name begins with ``_`` are only shown."""
Tell = Callable[[str, int, int, str], None]
"""Called with the stage, steps done, steps in all, and a few figures."""


@dataclass(frozen=True)
class Task(Generic[Drawn]):
    """One step of training in two halves."""

    draw: Callable[[int], Drawn]
    """What step n learns from. By numpy alone: another process may do it ahead of time."""
    losses: Callable[[Drawn], Losses]


def in_turn(*tasks: Task[Any]) -> Task[tuple[int, Any]]:
    """One after the other; each counts its own steps."""

    def draw(step: int) -> tuple[int, Any]:
        rounds, place = divmod(step, len(tasks))
        task = tasks[place]
        return place, task.draw(rounds * tasks.count(task) + tasks[:place].count(task))

    return Task(draw, lambda made: tasks[made[0]].losses(made[1]))


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    rate: float
    """Learning rate after warming up; it falls to zero along a cosine."""
    decay: float = 0.01
    """Weight decay of matrices."""
    average: float = 0.0
    """Decay of the moving average of weights that the stage ends with; 0 for none."""
    turn: float = 0.0
    """Learning rate of the Transformer's matrices and of the kernels of convolutions, which Muon takes in orthogonal
    steps; 0 for AdamW alone."""


def groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Parameters for AdamW: weight decay for matrices only."""
    matrices = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def share_at(stage: Stage, step: int) -> float:
    """Share of the learning rate in ``step``."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * 0.5 * (1.0 + math.cos(math.pi * step / stage.steps))


class Flat(nn.Module):
    """A convolution's kernel kept as a matrix, its first axis against all others."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self.shape)

    def right_inverse(self, kernel: Tensor) -> Tensor:
        return kernel.flatten(1)


def _is_kernel(weight: object) -> bool:
    return isinstance(weight, nn.Parameter) and weight.ndim > 2


@contextmanager
def flattened(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Within the block the kernels of convolutions are matrices: torch's Muon takes nothing else."""
    layers = [layer for layer in module.modules() if wanted and _is_kernel(getattr(layer, "weight", None))]
    for layer in layers:
        kernel = layer.weight
        assert isinstance(kernel, Tensor)
        parametrize.register_parametrization(layer, "weight", Flat(kernel.shape))
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight")


class Pair:
    """AdamW, and where the stage says so Muon for the matrices of a Transformer's layers (parameters below
    ``core.layers``) and for kernels: on these it needs a fraction of the steps. After 700 steps the codec of the voice
    stood at 8.5 dB, after as many of AdamW at 6, after 4500 at 9.
    """

    def __init__(self, stage: Stage, module: nn.Module) -> None:
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        turned = [p for n, p in named if stage.turn and p.ndim == 2
                  and (n.startswith("core.layers") or ".parametrizations." in n)]  # fmt: skip
        known = {id(p) for p in turned}
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(groups([p for _, p in named if id(p) not in known], stage.decay), betas=(0.9, 0.98)),
             stage.rate),
        ]  # fmt: skip
        if turned:
            muon = torch.optim.Muon(turned, weight_decay=stage.decay, adjust_lr_fn="match_rms_adamw")
            self.parts.append((muon, stage.turn))

    def set_share(self, share: float) -> None:
        """Use this share of the learning rates."""
        for part, rate in self.parts:
            for group in part.param_groups:
                group["lr"] = share * rate

    def zero_grad(self) -> None:
        for part, _ in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part, _ in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, object]]:
        return [part.state_dict() for part, _ in self.parts]

    def load_state_dict(self, kept: list[dict[str, object]]) -> None:
        for (part, _), state in zip(self.parts, kept, strict=True):
            part.load_state_dict(state)


def fit(stage: Stage, module: nn.Module, task: Task[Any], folder: Path, tell: Tell) -> None:
    """Train ``module`` in place for the stage's steps; resumes where a checkpoint lies in ``folder``.

    Raises InputError where the loss is not a number: a seed or a rate that does not work must not be shipped.
    """
    with flattened(module, stage.turn > 0):
        _fit(stage, module, task, folder, tell)


def _fit(stage: Stage, module: nn.Module, task: Task[Any], folder: Path, tell: Tell) -> None:
    optimizer = Pair(stage, module)
    slow = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad} if stage.average else {}
    kept = folder / f"{stage.name}.checkpoint"
    first = _resume(kept, module, optimizer, slow)
    module.train()
    saved = shown = time.monotonic()
    steps = range(first, stage.steps)
    for step, made in zip(steps, drawn(task.draw, steps), strict=True):
        optimizer.set_share(share_at(stage, step))
        terms = task.losses(made)
        loss = torch.stack([term for name, term in terms.items() if not name.startswith("_")]).sum()
        if not bool(torch.isfinite(loss)):
            raise InputError(f"stage {stage.name}: the loss is {float(loss)} at step {step}; try another --seed")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        for name, parameter in module.named_parameters():
            if name in slow:
                slow[name].lerp_(parameter.detach(), 1.0 - min(stage.average, (step + 1) / (step + 10)))
        now = time.monotonic()
        if now - shown > 2.0 or step + 1 == stage.steps:
            shown = now
            figures = "  ".join(f"{name.strip('_')} {float(term.detach()):.4g}" for name, term in terms.items())
            tell(stage.name, step + 1, stage.steps, figures)
        if now - saved > KEEP_SECONDS:
            saved = now
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            keep(kept, {"step": step + 1, "slow": slow, **state})
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in slow:
                parameter.copy_(slow[name])
    module.eval()
    kept.unlink(missing_ok=True)


def keep(path: Path, value: object) -> None:
    """Write what ``torch.load`` reads: whole or not at all. InputError where it cannot be written."""
    with replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch's own words for a write that failed: they do not say why
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _resume(path: Path, module: nn.Module, optimizer: Pair, slow: dict[str, Tensor]) -> int:
    """The step to go on from."""
    if not path.is_file():
        return 0
    kept = torch.load(path, weights_only=True, map_location=device())
    module.load_state_dict(kept["module"])
    optimizer.load_state_dict(kept["optimizer"])
    slow.update(kept["slow"])
    return int(kept["step"])
