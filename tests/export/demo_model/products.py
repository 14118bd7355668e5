"""Products of bfloat16 as processors with instructions for it take them: in float32, and then rounded.

Without such instructions torch takes them one by one, thirty times as long. Types are the same everywhere: what goes in
and what comes out is bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default, aten.convolution.default,
    aten.convolution_backward.default,
}  # fmt: skip


class InFloat32(TorchDispatchMode):
    """Within the block the products of bfloat16, forwards and backwards, are taken in float32."""

    def __torch_dispatch__(
        self, op: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        tensors = [value for value in args if isinstance(value, torch.Tensor)]
        if op not in PRODUCTS or any(value.dtype != torch.bfloat16 for value in tensors):
            return op(*args, **given)
        made = op(*tree_map_only(torch.Tensor, torch.Tensor.float, args), **given)
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, made)
