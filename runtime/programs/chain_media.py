"""What of a unit goes into a chain's tensors, and which of them make its response.

Receives a chain's inputs and outputs and the bundle's media contract; hands on :class:`Parts`: sound and pictures are
the tensors that the contract names, everything else goes in and comes out as arrays by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.engines.contract import Buffer
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.intake import take, take_pictures, take_sound
from edge_streamer.runtime.unit import Unit

_SHOWN = 20
"""Names in a line."""


class Parts:
    """Of one chain. Raises BundleError for media that a chain does not have."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str], media: MediaSpec | None):
        if media is not None and (media.text_in or media.text_out):
            raise BundleError("manifest.json: media has text; a chain has none: its tokens are arrays")
        self._sound_in = _tensor("sound_in", media and media.sound_in, inputs)
        self._pictures_in = _tensor("pictures_in", media and media.pictures_in, inputs)
        self._sound_out = _tensor("sound_out", media and media.sound_out, outputs)
        self._pictures_out = _tensor("pictures_out", media and media.pictures_out, outputs)
        self.arrays_in = [name for name in inputs if name not in (self._sound_in, self._pictures_in)]
        self.arrays_out = [name for name in outputs if name not in (self._sound_out, self._pictures_out)]

    def take_in(self, unit: Unit, buffers: Mapping[str, Buffer]) -> None:
        """Copy a unit into ``buffers``. ValueError for what the chain does not take."""
        wrong = {
            "samples": unit.samples is not None and not self._sound_in,
            "frames": unit.frames is not None and not self._pictures_in,
            "text": bool(unit.text),
        }
        if any(wrong.values()):
            came = ", ".join(what for what, is_wrong in wrong.items() if is_wrong)
            raise ValueError(f"the unit has {came}; this chain takes {self._wanted()}")
        if unit.arrays.keys() != set(self.arrays_in):
            raise ValueError(f"the unit has the arrays {sorted(unit.arrays)}; wanted {sorted(self.arrays_in)}")
        if self._sound_in:
            take_sound(buffers[self._sound_in].host.reshape(-1), unit.samples)
        if self._pictures_in:
            take_pictures(buffers[self._pictures_in].host, unit.frames)
        for name, array in unit.arrays.items():
            take(buffers[name].host, array, f"array {name!r}")

    def _wanted(self) -> str:
        media = {"samples": self._sound_in, "frames": self._pictures_in}
        wanted = [word for word, tensor in media.items() if tensor]
        return ", ".join([*wanted, *(f"the array {name!r}" for name in self.arrays_in[:_SHOWN])])

    def given(self, buffers: Mapping[str, Buffer]) -> tuple[Array | None, Array | None, dict[str, Array]]:
        """Sound, pictures and arrays of a response: live buffers."""
        sound = buffers[self._sound_out].host.reshape(-1) if self._sound_out else None
        pictures = buffers[self._pictures_out].host if self._pictures_out else None
        return sound, pictures, {name: buffers[name].host for name in self.arrays_out}


def _tensor(part: str, spec: object, names: Sequence[str]) -> str | None:
    """The tensor of ``part``, one of ``names``; None where the bundle has no such part."""
    if spec is None:
        return None
    tensor: str = spec.tensor  # type: ignore[attr-defined]
    if tensor not in names:
        side = "inputs" if part.endswith("in") else "outputs"
        raise BundleError(
            f"manifest.json: media.{part} is {tensor!r}, which is not among the chain's {side} {list(names)[:_SHOWN]}"
        )
    return tensor
