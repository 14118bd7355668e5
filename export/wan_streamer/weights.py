"""Weights of a whole model in one safetensors file.

Receives a model and a path; saves or loads every parameter and buffer under its name in the module tree, strictly: a
missing, unexpected, misshapen or non-finite tensor is named, and the model is touched only when all is well. The
file's metadata holds the preset, so that a file for another one is told apart from a damaged one, and what the network
predicts, which no tensor's shape tells.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import replacing

SHOWN = 5
"""Names listed in an error before it says how many more there are."""


def save_weights(model: WanStreamer, path: Path, origin: str = "", licence: str = "") -> None:
    """Write all parameters and buffers, whole or not at all.

    ``origin`` and ``licence`` travel along: the bundle's manifest tells them. InputError where there is no such folder,
    or no room in it.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    about = {"format": "pt", "preset": model.config.preset, "predicts": model.config.predicts}
    about |= {"origin": origin, "licence": licence}
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata=about)
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))  # of the system, in the library's words
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from error


def load_weights(model: WanStreamer, path: Path) -> None:
    """Fill ``model`` from a file that :func:`save_weights` wrote. Raises InputError that names what is wrong."""
    tensors, about = read_tensors(path)
    if about.get("preset") != model.config.preset:
        raise InputError(f"{path} holds weights of preset {about.get('preset')!r}; wanted {model.config.preset!r}")
    predicts = about.get("predicts", "velocity")
    if predicts != model.config.predicts:
        raise InputError(
            f"{path} holds weights that predict the {predicts}; this version's {model.config.preset!r} predicts the "
            f"{model.config.predicts}: train them anew"
        )
    own = model.state_dict()
    check_names(path, set(tensors), set(own))
    for name, mine in own.items():
        check_tensor(path, name, tensors[name], mine)
    model.load_state_dict(tensors)


def read_origin(path: Path) -> tuple[str, str]:
    """(origin, licence) of a weight file; empty where it does not say. The file must be one that loads."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
    return about.get("origin", ""), about.get("licence", "")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata. Raises InputError."""
    if not path.is_file():
        raise InputError(f"there is no weight file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file, or is cut short ({error})") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None


def check_names(path: Path, came: set[str], wanted: set[str]) -> None:
    """Raise InputError naming tensors that are missing or unexpected."""
    for what, names in (("lacks", wanted - came), ("has unexpected", came - wanted)):
        if names:
            raise InputError(f"{path} {what} {listed(names)}; export the weights from the same preset again")


def check_tensor(path: Path, name: str, came: Tensor, wanted: Tensor) -> None:
    """Raise InputError where a tensor has another shape, is no float of 16 or 32 bits, or holds NaN or infinity."""
    if came.shape != wanted.shape:
        raise InputError(f"{path}: {name} has shape {list(came.shape)}; wanted {list(wanted.shape)}")
    if came.dtype not in (torch.float32, torch.float16, torch.bfloat16):  # what is smaller are codes that want a scale
        raise InputError(f"{path}: {name} is {came.dtype}; wanted floating point of 16 or 32 bits")
    if not bool(torch.isfinite(came).all()):
        raise InputError(f"{path}: {name} holds NaN or infinity")


def listed(names: set[str], most: int = SHOWN) -> str:
    """The first names in order, and how many more."""
    shown = sorted(names)[:most]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
