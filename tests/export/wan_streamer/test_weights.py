"""Weight files come back as they were, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.export.wan_streamer.weights import load_weights, read_origin, save_weights
from edge_streamer.runtime.errors import InputError


@pytest.mark.parametrize("preset", ["tiny", "demo"])
def test_weights_come_back(tmp_path: Path, preset: str) -> None:
    config, path = PRESETS[preset], tmp_path / "w.safetensors"
    one, two = build(config, 1), build(config, 2)
    one.audio_vae.latent_mean.fill_(0.25)
    save_weights(one, path)
    load_weights(two, path)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert float(two.audio_vae.latent_mean[0]) == 0.25
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("solver.place"), "lacks solver.place"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            lambda t: t.update({"solver.place": torch.zeros(3, 64)}),
            r"solver.place has shape \[3, 64\]; wanted \[8, 64\]",
        ),
        (lambda t: t.update({"solver.place": torch.zeros(8, 64, dtype=torch.int32)}), "solver.place is torch.int32"),
        (lambda t: t["solver.place"].fill_(float("inf")), "solver.place holds NaN or infinity"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("audio")], r"and \d+ more"),
    ],
)
def test_a_bad_tensor_is_named_and_the_model_left_alone(tmp_path: Path, change: Change, said: str) -> None:
    path, model = tmp_path / "w.safetensors", build(PRESETS["tiny"], 1)
    save_weights(build(PRESETS["tiny"], 2), path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"preset": "tiny"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=said):
        load_weights(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    model, path = build(PRESETS["tiny"], 1), tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="there is no weight file"):
        load_weights(model, path)
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="is not a safetensors file"):
        load_weights(model, path)
    save_weights(model, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cut short"):
        load_weights(model, path)
    save_weights(build(PRESETS["demo"], 0), path)
    with pytest.raises(InputError, match="preset 'demo'; wanted 'tiny'"):
        load_weights(model, path)
    save_weights(build(replace(PRESETS["tiny"], predicts="clean"), 0), path)
    with pytest.raises(InputError, match="predict the clean; this version's 'tiny' predicts the velocity"):
        load_weights(model, path)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.float64])
def test_codes_are_no_weights(tmp_path: Path, kind: torch.dtype) -> None:
    model, path, name = build(PRESETS["tiny"], 1), tmp_path / "w.safetensors", "transformer.norm.weight"
    tensors = {**model.state_dict(), name: model.state_dict()[name].to(kind)}
    about = {"preset": "tiny", "predicts": "velocity"}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata=about)
    with pytest.raises(InputError, match=f"{name} is {kind}; wanted floating point of 16 or 32 bits"):
        load_weights(model, path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "w.safetensors", build(PRESETS["tiny"], 1)
    save_weights(model, path)
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        Path(str(args[1])).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("edge_streamer.export.wan_streamer.weights.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_origin_and_licence_travel_along(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(build(PRESETS["tiny"], 0), path)
    assert read_origin(path) == ("", "")
    save_weights(build(PRESETS["tiny"], 0), path, "made here", "Apache-2.0")
    assert read_origin(path) == ("made here", "Apache-2.0")
