"""What goes into a step and what comes out.

Receives nothing; hands on :class:`Unit` (160 ms of the user), :class:`Response` (160 ms of the agent) and
:class:`Knobs` (what may be turned while it runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAST_UNIT = 2**40
"""Units are counted so far, 5,000 years: positions, which are multiples of it, stay exact in float64."""

MOST_STEPS = 64
"""Solver steps per unit."""


def _sound(samples: object) -> str:
    """``2560 samples at -23 dB`` of full scale; whatever came is named, since a wrong array is what one looks at."""
    if samples is None:
        return "silence"
    if not isinstance(samples, np.ndarray) or samples.dtype.kind != "f" or samples.ndim != 1:
        return f"samples {_named(samples)}"
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    if not np.isfinite(power):
        return f"{samples.size} samples, not all of them numbers"
    return (
        f"{samples.size} samples, silent"
        if power < 1e-12
        else f"{samples.size} samples at {10 * np.log10(power):.0f} dB"
    )


def _pictures(frames: object) -> str:
    """``4 pictures 96x160``, height by width."""
    if frames is None:
        return "grey"
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4:
        return f"frames {_named(frames)}"
    return f"{len(frames)} pictures {frames.shape[1]}x{frames.shape[2]}"


def _arrays(arrays: Mapping[str, object]) -> str:
    """``, y float32 [1, 4]`` for each."""
    return "".join(f", {name} {_named(value)}" for name, value in arrays.items())


def _named(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"


@dataclass(frozen=True)
class Unit:
    """What the user says and shows in one unit (of a conversation 160 ms). A missing part is silence, a still grey
    picture, no text."""

    samples: NDArray[np.float32] | None = None
    """[unit_samples], full scale -1..1."""
    frames: NDArray[np.uint8] | None = None
    """[unit_frames, height, width, 3], RGB."""
    text: str = ""
    """Typed text that begins in this unit; more than fits is taken up by the following units."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What a bundle takes beside sound, pictures and text, by the tensor's name."""

    def __repr__(self) -> str:
        return f"Unit({_sound(self.samples)}, {_pictures(self.frames)}, {self.text!r}{_arrays(self.arrays)})"


@dataclass(frozen=True)
class Response:
    """The agent's unit. The arrays are the session's own buffers: valid until the next step; see ``copy``."""

    index: int
    """The unit's index k, counted from the session's first unit."""
    samples: NDArray[np.float32] | None
    """[unit_samples], full scale -1..1; None from a bundle that gives no sound."""
    frames: NDArray[np.uint8] | None
    """[unit_frames, height, width, 3], RGB; None from a bundle that gives no pictures."""
    text: str = ""
    """What the text slots of this unit add to the transcript."""
    tokens: tuple[int, ...] = ()
    """The tokens of all slots, the state slot first."""
    seconds: float = 0.0
    """Model latency: wall time of the step, full unit available to response decoded."""
    engine_seconds: float = 0.0
    """The part of ``seconds`` spent inside the engine's runs; the rest is the host's overhead."""
    speaking: bool | None = None
    """The state slot: the agent speaks (True) or listens (False); None where it says neither."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What a bundle gives beside sound, pictures and text, by the tensor's name."""

    def __repr__(self) -> str:
        state = {True: ", speaks", False: ", listens", None: ""}[self.speaking]
        sound = "" if self.samples is None else f", {_sound(self.samples)}"
        pictures = "" if self.frames is None else f", {_pictures(self.frames)}"
        return (
            f"Response(unit {self.index}{sound}{pictures}, {self.text!r}{state}{_arrays(self.arrays)}, "
            f"{1000 * self.seconds:.1f} ms)"
        )

    def both(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """``samples`` and ``frames``, where there are both: the loops fill in what a bundle does not give. ValueError
        elsewhere."""
        if self.samples is None or self.frames is None:
            raise ValueError(f"{self!r} has no {'sound' if self.samples is None else 'pictures'}")
        return self.samples, self.frames

    def copy(self) -> Response:
        """The same response with arrays of its own, to keep beyond the next step."""
        return replace(
            self,
            samples=None if self.samples is None else self.samples.copy(),
            frames=None if self.frames is None else self.frames.copy(),
            arrays={name: array.copy() for name, array in self.arrays.items()},
        )


@dataclass(frozen=True)
class Knobs:
    """What may be turned at run time without another bundle."""

    steps: int | None = None
    """Solver steps per unit; None takes the bundle's default."""
    temperature: float = 0.0
    """Of the slots' sampling; 0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all candidates the graph offers."""
    top_p: float = 1.0
    """Keep the likeliest tokens whose probabilities reach p."""
    seed: int = 0
    """Of sampling and solver noise. Noise depends on (seed, unit index) alone, so that any unit can be replayed."""

    def __post_init__(self) -> None:
        for name in ("steps", "top_k", "seed"):
            if not isinstance(getattr(self, name), int | None):
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted a whole number")
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps is {self.steps}; wanted 1 to {MOST_STEPS}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is {self.seed}; wanted 0 to 2**64 - 1")
        if not 0.0 <= self.temperature <= 10.0:
            raise ValueError(f"temperature is {self.temperature}; wanted 0 (greedy) to 10")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; wanted 0 (all) or more")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; wanted above 0, at most 1")
