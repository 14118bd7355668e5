"""Where the training computes: on two CPU cores, or on a GPU for which the other cores draw ahead.

Receives the name of a device; hands on tensors there, and what steps learn from. On a GPU drawing what a step learns
from takes longer than learning from it, so there processes of their own draw; on a CPU nothing would be gained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.machine import cores

DEVICES = ("auto", "cpu", "cuda")
AHEAD = 4
"""Draws that each process keeps ready."""
Drawn = TypeVar("Drawn")


_device = torch.device("cpu")
_drawing: int | None = None


def use(name: str, drawing: int | None = None) -> None:
    """Compute there from now on: everything that is made new lies there. ``auto`` is the GPU where there is one.
    ``drawing``: processes that draw ahead. InputError where there is no GPU."""
    global _device, _drawing
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError(f"--device cuda: torch {torch.__version__} sees no GPU; take --device cpu, or install a torch "
                         "with CUDA and the driver that it wants")  # fmt: skip
    if there and name != "cpu":
        _device = torch.device("cuda")
        torch.set_default_device(_device)
        # Spectra and statistics are taken in float32 because quiet bands matter: not in the 10 bits of TF32.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    _drawing = drawing


def device() -> torch.device:
    """Where; torch's own default device holds for one thread alone."""
    return _device


def on_gpu() -> bool:
    return device().type != "cpu"


def tensor(array: NDArray[Any]) -> Tensor:
    """``array`` where the training computes."""
    return torch.as_tensor(array, device=_device)


def half() -> AbstractContextManager[None]:
    """Within the block products are taken in bfloat16."""
    return torch.autocast(device().type, torch.bfloat16)


def full() -> AbstractContextManager[None]:
    """Within the block they are not, whatever was asked for around it."""
    return torch.autocast(device().type, enabled=False)


def processes() -> int:
    """How many draw ahead; 0 for none. Where nothing was said: on a GPU all cores but two, on a CPU none."""
    if _drawing is not None:
        return _drawing
    return max(1, cores() - 2) if on_gpu() else 0


class _Numbered(Dataset[Drawn]):
    def __init__(self, draw: Callable[[int], Drawn], numbers: range) -> None:
        self.draw, self.numbers = draw, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: int) -> Drawn:
        return self.draw(self.numbers[at])


def _as_it_is(drawn: Drawn) -> Drawn:
    return drawn


def drawn(draw: Callable[[int], Drawn], numbers: range) -> Iterator[Drawn]:
    """``draw(n)`` for every number, in order, wherever it is made. ``draw`` uses numpy alone."""
    if not processes():
        yield from map(draw, numbers)
        return
    yield from DataLoader(
        _Numbered(draw, numbers), batch_size=None, collate_fn=_as_it_is, num_workers=processes(), prefetch_factor=AHEAD,
        multiprocessing_context="fork", in_order=True,
    )  # fmt: skip
