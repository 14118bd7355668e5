"""The five ways of computing a unit that the bench compares.

Receives a bundle and a snapshot to start from; hands on a :class:`Way`: ``step(unit)`` computes the next unit and gives
its :class:`Answer`. All do the same work per unit (encode, clean tokens and block, the slots, the solver's steps,
decode), draw the same noise and tokenize the same text, and so must give the same answers (:func:`compare`):

    ours     our session: bound buffers, rings written in place, every output looked at for NaN
    torch    the reference model in torch eager (``export/wan_streamer/streamer.py``)
    compile  the same with its modules compiled by inductor, one specialisation per length
    plain    the bundle's graphs through ``InferenceSession.run``; rings preallocated, written by slices (``plain.py``)
    concat   the same with rings fed back by concatenation

torch is imported only by the ways that run it: each way runs in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import made_unit, relative_error, seed_state
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.programs.noise import SOLVER, Noise
from edge_streamer.runtime.programs.wan_streamer.layout import read_constants
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.programs.wan_streamer.text import TextIn
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.session.snapshot import Snapshot
from edge_streamer.runtime.unit import Knobs, Unit

if TYPE_CHECKING:
    from edge_streamer.export.wan_streamer.model import WanStreamer

SAME = 1e-4
"""Largest relative error between two ways. Measured over 12 units: tiny 4e-7, demo 6e-7."""
ROUNDED = 0.3
"""The same of a bundle in integers: what `check` allows of one."""
SAME_PIXELS = 1e-3
"""Largest share of colour values that may differ by one, where a rounding fell the other way. Measured: 5e-5."""
MADE_SEED = 11
"""Of the made-up starting state and the units."""
UNITS_IN_TURN = 8
"""How many different units take turns as input; made beforehand, so that no way pays for making them."""


class Answer(NamedTuple):
    """What a unit came to. Arrays may be the way's own buffers: valid until its next step."""

    tokens: tuple[int, ...]
    """Of all slots."""
    samples: Array
    """[unit_samples] float32."""
    frames: Array
    """[4, height, width, 3] uint8."""
    video: Array
    """Clean latents [tokens, values]."""
    audio: Array
    """Clean latents [tokens, values]."""


class Way(Protocol):
    """One way of computing units, standing at its own place in the conversation."""

    def step(self, unit: Unit) -> Answer:
        """Compute the next unit."""


def made_start(bundle: Bundle) -> Snapshot:
    """A made-up history that fills every ring, two units before they wrap: what all ways start from."""
    session = open_session(bundle, verify=False)
    seed_state(session, MADE_SEED)
    return session.snapshot()


def made_units(bundle: Bundle) -> list[Unit]:
    """Input for all ways. BundleError where the bundle has no media."""
    if bundle.manifest.media is None:
        raise InputError(f"{bundle.path} has no media; the bench wants a wan_streamer bundle")
    return [made_unit(bundle.manifest.media, MADE_SEED, index) for index in range(UNITS_IN_TURN)]


def allowed(bundle: Bundle) -> float:
    """What :func:`compare` is to allow of ``bundle``: in integers another order of a sum is another code at times."""
    return SAME if all(graph.precision.words == "float32" for graph in bundle.manifest.graphs) else ROUNDED


def compare(came: Sequence[Answer], wanted: Sequence[Answer], most: float = SAME) -> float:
    """The largest relative error of ``came``. ValueError beyond ``most``, naming unit and quantity."""
    worst = 0.0
    for number, (left, right) in enumerate(zip(came, wanted, strict=True)):
        if left.tokens != right.tokens:
            raise ValueError(f"unit {number}: the slots said {left.tokens}; wanted {right.tokens}")
        for name in ("video", "audio", "samples"):
            error = relative_error(getattr(left, name), getattr(right, name))
            if not error <= most:
                raise ValueError(f"unit {number}, {name}: off by {error:.1e}; wanted at most {most}")
            worst = max(worst, error)
        off = np.abs(left.frames.astype(np.int16) - right.frames)
        if most == SAME and (off.max() > 1 or (off > 0).mean() > SAME_PIXELS):
            raise ValueError(f"unit {number}, frames: {(off > 0).mean():.1e} of the values differ, up to {off.max()}")
    return worst


class Host:
    """What a way needs beside its graphs: text as tokens, and the noise that our session draws."""

    def __init__(self, bundle: Bundle, start: Snapshot) -> None:
        self.constants = c = read_constants(bundle.manifest.constants)
        places = next(s.count for s in c.segments if s.name == "user.text")
        self._text_in = TextIn(bundle.tokenizer(), places, c.token_pad)
        self._waiting: tuple[int, ...] = ()
        self._noise = Noise(Knobs().seed)
        self.unit = int(str(start.stamp.host["unit"]))
        """Index of the next unit."""

    def text(self, unit: Unit) -> tuple[int, ...]:
        """The unit's text tokens, padded."""
        now, self._waiting = self._text_in.take(self._waiting, unit.text)
        return now

    def latents(self) -> list[Array]:
        """The solver's noise of the next unit: picture, sound. One draw, dealt out in this order."""
        video, audio = self.constants.video_latent, self.constants.audio_latent
        drawn = np.empty(prod(video) + prod(audio), np.float32)
        self._noise.normal(SOLVER, self.unit, drawn)
        return [drawn[: prod(video)].reshape(video), drawn[prod(video) :].reshape(audio)]


class Ours:
    """Our session."""

    def __init__(self, bundle: Bundle, start: Snapshot, threads: int | None) -> None:
        self.session = open_session(bundle, engine=OrtEngine(threads), verify=False)
        self.session.restore(start)
        self.engine_seconds = 0.0
        """Of the last step: what was spent inside the engine's runs."""

    def step(self, unit: Unit) -> Answer:
        response = self.session.step(unit)
        self.engine_seconds = response.engine_seconds
        past, read = wan_streamer(self.session.program).wiring.past, self.session.engine.read
        video, audio = read(past["latents.video"]), read(past["latents.audio"])
        return Answer(response.tokens, response.samples, response.frames, video, audio)


class Torch:
    """The reference model in torch, eager or compiled."""

    def __init__(self, bundle: Bundle, start: Snapshot, threads: int | None, backend: str | None = None) -> None:
        """``backend`` compiles the model's parts: ``"inductor"``; None leaves them eager."""
        import torch

        from edge_streamer.export.prove import load_state
        from edge_streamer.export.wan_streamer.streamer import TorchStreamer

        torch.set_num_threads(OrtEngine(threads).threads_for(bundle.manifest.graph("core")))
        model = torch_model(bundle)
        if backend:
            compile_parts(model, backend)
        self._host = Host(bundle, start)
        self._streamer = TorchStreamer(model, self._host.constants.default_steps)
        load_state(self._streamer, start)

    def step(self, unit: Unit) -> Answer:
        from torch import from_numpy

        from edge_streamer.export.wan_streamer.streamer import UnitInput

        assert unit.samples is not None
        assert unit.frames is not None
        video, audio = (from_numpy(noise) for noise in self._host.latents())
        samples, frames = from_numpy(unit.samples), from_numpy(unit.frames)
        output = self._streamer.step(UnitInput(samples, frames, video, audio, self._host.text(unit)))
        self._host.unit += 1
        arrays = (tensor.numpy() for tensor in (output.samples, output.frames, output.video, output.audio))
        return Answer(output.tokens, *arrays)


def torch_model(bundle: Bundle) -> WanStreamer:
    """The torch model that a bundle with random weights was made from. InputError for other weights."""
    from edge_streamer.export.wan_streamer.config import PRESETS
    from edge_streamer.export.wan_streamer.model import build

    made, seed = bundle.manifest.provenance, seed_of(bundle)
    if seed is None:
        raise InputError(
            f"{bundle.path} was made from preset {made.preset!r} with weights {made.weights!r}; the bench must build "
            "the same model in torch and wants 'random, seed N'"
        )
    return build(PRESETS[made.preset], seed)


def seed_of(bundle: Bundle) -> int | None:
    """The seed of a float32 bundle of a preset with random weights: what the torch model is built anew from."""
    from edge_streamer.export.wan_streamer.config import PRESETS

    made = bundle.manifest.provenance
    seed = re.fullmatch(r"random, seed (\d+)", made.weights)
    return int(seed[1]) if seed and allowed(bundle) == SAME and made.preset in PRESETS else None


def compile_parts(model: WanStreamer, backend: str) -> None:
    """Compile everything that a graph of the bundle computes. ``dynamic=False``: a specialisation per length, which is
    what a closed list of lengths allows and inductor's code is fastest with. Freezing the weights
    (TORCHINDUCTOR_FREEZING=1) was tried on demo and was not faster."""
    import torch

    for part in ("encode", "solve_in", "solve_out", "slot", "decode"):
        setattr(model, part, torch.compile(getattr(model, part), backend=backend, dynamic=False))
    model.transformer.compile(backend=backend, dynamic=False)


WAYS = {
    "ours": "session (ours)",
    "torch": "torch eager",
    "compile": "torch.compile",
    "plain": "InferenceSession.run, rings in place",
    "concat": "InferenceSession.run, rings concatenated",
}
"""Name -> title."""


def make(way: str, bundle: Bundle, start: Snapshot, threads: int | None) -> Way:
    """The way called ``way``, standing at ``start``."""
    if way == "ours":
        return Ours(bundle, start, threads)
    if way in ("torch", "compile"):
        return Torch(bundle, start, threads, "inductor" if way == "compile" else None)
    # Imported here because plain.py builds on this file.
    from tests.bench.plain import Plain

    return Plain(bundle, start, threads, way)


def save_answers(answers: Sequence[Answer], path: Path) -> None:
    """Write answers as arrays ``<unit>.<quantity>``."""
    arrays = {f"{i}.{name}": np.asarray(value) for i, a in enumerate(answers) for name, value in a._asdict().items()}
    np.savez(path, allow_pickle=False, **arrays)


def load_answers(path: Path) -> list[Answer]:
    """What :func:`save_answers` wrote."""
    with np.load(path, allow_pickle=False) as file:
        units = range(len(file.files) // len(Answer._fields))
        made = [{name: file[f"{i}.{name}"] for name in Answer._fields} for i in units]
    return [Answer(**fields | {"tokens": tuple(fields["tokens"].tolist())}) for fields in made]
