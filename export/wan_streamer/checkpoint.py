"""A checkpoint folder, read strictly: which tensors it has, of which type, in which file.

Receives a folder in the Hugging Face layout; hands on its settings (``config.json``) and its tensors one at a time, in
float32. The folder is read, never run: no pickle, no code. Everything that can be told without reading a weight is told
when it is opened: settings kept beside ``config.json``, shards that are missing or do not hold what the index says, and
tensors whose numbers are codes of another format and not weights. The type is asked of the file, before any conversion.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edge_streamer.export.wan_streamer.weights import listed
from edge_streamer.runtime.errors import InputError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types of weights, as safetensors and as torch call them; of all others the numbers may be codes."""
BESIDE = {
    "adapter_config.json": "an adapter, which changes the weights: merge it into the model first",
    "quantize_config.json": "the settings of a quantized model: take the model that it was made from",
    "quant_config.json": "the settings of a quantized model: take the model that it was made from",
    "hf_quant_config.json": "the settings of a quantized model: take the model that it was made from",
}
"""Files that change what the weights beside them mean, and what to do."""
OTHER_WEIGHTS = (".bin", ".gguf", ".ggml", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".npz", ".safetensors")
POINTER = b"version https://git-lfs"
"""How a file begins that stands for one that Git LFS did not fetch."""


class Header(NamedTuple):
    """What a file says of a tensor."""

    shape: tuple[int, ...]
    type: str
    """As torch calls it, e.g. ``"bfloat16"``; as safetensors does, where it is no type of weights."""
    path: Path


class Checkpoint:
    """The tensors of a folder, read one at a time from whichever file holds them."""

    def __init__(self, folder: Path) -> None:
        """Read the settings and every file's list of tensors. Raises InputError that names what is wrong."""
        if not folder.is_dir():
            what = "is a file" if os.path.isfile(folder) else "is not there"
            raise InputError(f"{folder} {what}; wanted the folder of a Qwen2.5 checkpoint")
        for name, what in BESIDE.items():
            if os.path.lexists(folder / name):
                raise InputError(f"{folder} has {name}, {what}")
        self.folder = folder
        self.settings = read_json(folder / "config.json")
        self.tensors = self._tensors()
        """Name -> what its file says of it."""

    def check_types(self) -> None:
        """Raise InputError where a tensor is no number of 16 or 32 bits."""
        for name, (_, kind, path) in self.tensors.items():
            if kind not in TYPES.values():
                raise InputError(f"{path}: {name} is {kind}; wanted {', '.join(TYPES.values())}; take the model "
                                 "that it was made from")  # fmt: skip

    def get(self, name: str) -> Tensor:
        """A tensor in float32."""
        tensor: Tensor = reading(self.tensors[name].path, lambda file: file.get_tensor(name))
        return tensor.to(torch.float32)

    def _tensors(self) -> dict[str, Header]:
        whole, index = self.folder / WHOLE, self.folder / INDEX
        if os.path.lexists(whole):
            return headers(whole)
        if not os.path.lexists(index):
            others = {p.name for p in self.folder.iterdir() if p.suffix.lower() in OTHER_WEIGHTS}
            has = f"; it has {listed(others)}, which is not read: save the model as {WHOLE}" if others else ""
            raise InputError(f"{self.folder} has neither {WHOLE} nor {INDEX}{has}")
        return self._shards(index)

    def _shards(self, index: Path) -> dict[str, Header]:
        """The tensors of all shards, which hold what the index says, all of it and nothing else."""
        shards = read_json(index).get("weight_map")
        plain = isinstance(shards, dict) and all(
            isinstance(s, str) and s not in ("", ".", "..") and Path(s).name == s for s in shards.values()
        )
        if not plain or not shards:
            raise InputError(f"{index}: weight_map must give a file name beside it for each tensor")
        missing = {s for s in shards.values() if not os.path.isfile(self.folder / s)}
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise InputError(f"{listed(missing)} {are} missing from {self.folder}, which {INDEX} names: fetch "
                             "the whole checkpoint")  # fmt: skip
        found: dict[str, Header] = {}
        for shard in sorted(set(shards.values())):
            inside = headers(self.folder / shard)
            wanted = {name for name, s in shards.items() if s == shard}
            for what, names in (("lacks", wanted - set(inside)), ("has", set(inside) - wanted)):
                if names:
                    raise InputError(f"{self.folder / shard} {what} {listed(names)}, other than {INDEX} says: fetch "
                                     "the whole checkpoint again")  # fmt: skip
            found |= inside
        return found


def headers(path: Path) -> dict[str, Header]:
    """Every tensor of a safetensors file, without its numbers. Raises InputError."""

    def take(file: Any) -> dict[str, Header]:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: Header(tuple(s.get_shape()), TYPES.get(s.get_dtype(), s.get_dtype()), path)
            for name, s in slices.items()
        }

    found: dict[str, Header] = reading(path, take)
    return found


def reading(path: Path, take: Callable[[Any], Any]) -> Any:
    """What ``take`` gets from an opened file; the library's errors as InputError."""
    refuse_pointer(path)
    try:
        with safe_open(path, framework="pt") as file:
            return take(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is missing, damaged or cut short ({error})") from None


def refuse_pointer(path: Path) -> None:
    """Raise InputError where ``path`` is no file, or only stands for one."""
    if not os.path.isfile(path):
        raise InputError(f"{path} is missing, or is not a file")
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if start == POINTER:
        raise InputError(f"{path} is a pointer of Git LFS and not the file itself; run git lfs pull in its folder")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError."""
    if not os.path.isfile(path):
        raise InputError(f"{path} cannot be read (there is no such file); wanted a Qwen2.5 checkpoint folder")
    refuse_pointer(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted a Qwen2.5 checkpoint folder") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; wanted an object")
    return value
