"""What must hold in a manifest's media contract, part by part.

Receives a manifest that has one; hands on nothing, or a BundleError that names the part: its tensor is not the graph's,
or its rates and sizes do not fit the tensor or the unit.
"""

from __future__ import annotations

from math import isfinite, prod

from edge_streamer.runtime.bundle.manifest import Manifest, PicturesSpec, SoundSpec, TensorSpec, TextSpec
from edge_streamer.runtime.errors import BundleError

SAMPLE_RATES = (1000, 384_000)
FRAME_RATES = (1, 1000)
LONGEST_UNIT = 3600.0
"""Seconds."""
_OFF = 1e-4
"""Of a sample or a frame: far below what any count could be off by, and far above rounding."""

Part = SoundSpec | PicturesSpec | TextSpec


def check_media(manifest: Manifest) -> None:
    """Raise BundleError at the first part that cannot be right."""
    media = manifest.media
    assert media is not None
    if not (isfinite(media.unit_seconds) and 0 < media.unit_seconds <= LONGEST_UNIT):
        raise BundleError(
            f"manifest.json: media.unit_seconds is {media.unit_seconds:g}; wanted above 0 to {LONGEST_UNIT:g}"
        )
    for side in ("in", "out"):
        sound, pictures, text = (getattr(media, f"{kind}_{side}") for kind in ("sound", "pictures", "text"))
        if sound is not None:
            _check_sound(f"media.sound_{side}", sound, _tensor(manifest, f"sound_{side}", sound), media.unit_seconds)
        if pictures is not None:
            tensor = _tensor(manifest, f"pictures_{side}", pictures)
            _check_pictures(f"media.pictures_{side}", pictures, tensor, media.unit_seconds)
        if text is not None:
            _tensor(manifest, f"text_{side}", text)
            if text.unit_tokens < 1:
                count = text.unit_tokens
                raise BundleError(f"manifest.json: media.text_{side}.unit_tokens is {count}; wanted 1 or more")


def _tensor(manifest: Manifest, name: str, part: Part) -> TensorSpec:
    """The tensor that the part is."""
    graph, side = manifest.graph(part.graph), "input" if name.endswith("_in") else "output"
    for tensor in graph.inputs if side == "input" else graph.outputs:
        if tensor.name == part.tensor:
            return tensor
    raise BundleError(
        f"manifest.json: media.{name} is {side} {part.tensor!r} of graph {part.graph!r}, which has none of that name"
    )


def _check_sound(where: str, sound: SoundSpec, tensor: TensorSpec, seconds: float) -> None:
    _check_rate(f"{where}.unit_samples", sound.unit_samples, sound.sample_rate, seconds, SAMPLE_RATES)
    numbers = prod(tensor.shape) if all(isinstance(n, int) for n in tensor.shape) else 0
    if tensor.dtype != "float32" or numbers != sound.unit_samples or max(tensor.shape, default=0) != numbers:
        _differs(where, f"float32 [{sound.unit_samples}]", tensor)


def _check_pictures(where: str, pictures: PicturesSpec, tensor: TensorSpec, seconds: float) -> None:
    _check_rate(f"{where}.unit_frames", pictures.unit_frames, pictures.frame_rate, seconds, FRAME_RATES)
    wanted = (pictures.unit_frames, *pictures.size, 3)
    if tensor.dtype != "uint8" or tensor.shape != wanted:
        _differs(where, f"uint8 {list(wanted)}", tensor)


def _check_rate(where: str, count: int, rate: int, seconds: float, rates: tuple[int, int]) -> None:
    if not rates[0] <= rate <= rates[1]:
        raise BundleError(f"manifest.json: {where}: the rate is {rate} per second; wanted {rates[0]} to {rates[1]}")
    if count < 1 or abs(rate * seconds - count) > _OFF:
        raise BundleError(
            f"manifest.json: {where} is {count}; wanted {rate} per second x {seconds} s = {rate * seconds:g}, a whole "
            "number"
        )


def _differs(where: str, wanted: str, tensor: TensorSpec) -> None:
    raise BundleError(
        f"manifest.json: {where} is {wanted} per unit, but {tensor.name!r} is {tensor.dtype} {list(tensor.shape)}; "
        "wanted the same"
    )
