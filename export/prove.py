"""Does the bundle compute what the torch model computes?

Receives a model and its bundle; starts both from the same made-up state (``runtime/compare/golden.py``), feeds both the
same golden units and compares every pass of every unit: inputs, outputs, appended keys and values. Hands on the largest
errors and the answers that become the bundle's golden units. Beyond :data:`PARITY` the export is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from edge_streamer.export.onnx_files import ExportError
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.export.wan_streamer.streamer import TorchStreamer, UnitInput, UnitOutput
from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import block_means, made_unit, relative_error, seed_state, state_norms
from edge_streamer.runtime.programs.noise import SOLVER, Noise
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import Snapshot
from edge_streamer.runtime.unit import Unit

GOLDEN_SEED = 25
GOLDEN_UNITS = 4
"""Two before all rings wrap, two after."""
TIMED_UNITS = 5
PARITY = 1e-4
"""Largest relative error of any pass, float32. Measured: tiny 8e-7, demo 1e-6, qwen2.5-0.5b 9e-6."""

Passes = dict[str, dict[str, Array]]
"""pass -> tensor -> value"""


@dataclass(frozen=True)
class Proof:
    """What the comparison found."""

    errors: dict[str, float]
    """Largest relative error by kind of pass."""
    answers: dict[str, Array]
    """The torch model's, as golden units keep them."""
    seconds_per_unit: float
    """Median, of units after the proof."""


def prove(model: WanStreamer, bundle: Bundle) -> Proof:
    """Run both over the golden units. ExportError where they differ, naming unit, pass and tensor."""
    session = open_session(bundle, verify=False)
    seed_state(session, GOLDEN_SEED)
    streamer = TorchStreamer(model, record=True)
    load_state(streamer, session.snapshot())
    noise = Noise(0)
    waiting: tuple[int, ...] = ()
    errors: dict[str, float] = {}
    answers: dict[str, Array] = {}
    for index in range(GOLDEN_UNITS):
        unit = made_unit(session.media, GOLDEN_SEED, index)
        text, waiting = wan_streamer(session.program).text_in.take(waiting, unit.text)
        output = streamer.step(unit_input(session, unit, text, noise, streamer.unit))
        assert streamer.recording is not None
        wanted = numpy_passes(streamer.recording.units[-1].passes)
        came = Recorded()
        with session.recording(came):
            session.step(unit, output.tokens)
        for kind, error in compare_passes(index, came.passes, wanted).items():
            errors[kind] = max(errors.get(kind, 0.0), error)
        answers |= _answers(index, output, wanted)
    errors["states"] = _compare_states(session, streamer)
    answers |= {f"end.{path}": norm for path, norm in torch_norms(session, streamer).items()}
    return Proof(errors, answers, _unit_seconds(session))


def _unit_seconds(session: Session) -> float:
    """What a unit takes once it is warm and nothing is copied aside."""
    units = [made_unit(session.media, GOLDEN_SEED, GOLDEN_UNITS + index) for index in range(TIMED_UNITS)]
    return float(np.median([session.step(unit).seconds for unit in units]))


class Recorded:
    """A session's recorder that keeps copies."""

    def __init__(self) -> None:
        self.passes: Passes = {}

    def __call__(self, name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        kept = {n: a for n, a in {**inputs, **outputs}.items() if not n.startswith(("state", "valid"))}
        self.passes[name] = {n: a.copy() for n, a in kept.items()}


def numpy_passes(passes: dict[str, dict[str, torch.Tensor]]) -> Passes:
    """A torch recording's passes as arrays."""
    return {name: {n: t.numpy() for n, t in tensors.items()} for name, tensors in passes.items()}


def unit_input(session: Session, unit: Unit, text: tuple[int, ...], noise: Noise, index: int) -> UnitInput:
    """A session's unit, with the noise that the session will draw, as the torch streamer wants it."""
    c = wan_streamer(session.program).constants
    (video_tokens, video_values), (audio_tokens, audio_values) = c.video_latent, c.audio_latent
    drawn = np.empty(video_tokens * video_values + audio_tokens * audio_values, np.float32)
    noise.normal(SOLVER, index, drawn)
    video, audio = np.split(drawn, [video_tokens * video_values])
    samples, frames = unit.samples, unit.frames
    if samples is None or frames is None:
        raise ValueError("a unit for the torch streamer needs samples and frames")
    return UnitInput(
        samples=torch.from_numpy(samples), frames=torch.from_numpy(frames), text=text,
        video_noise=torch.from_numpy(video.reshape(c.video_latent)),
        audio_noise=torch.from_numpy(audio.reshape(c.audio_latent)),
    )  # fmt: skip


def load_state(streamer: TorchStreamer, snapshot: Snapshot) -> None:
    """Put a session's state into the torch streamer."""
    arrays = {name: torch.from_numpy(array.copy()) for name, array in snapshot.arrays.items()}
    host = snapshot.stamp.host
    streamer.reset(int(str(host["unit"])))
    streamer.computed = streamer.opened = snapshot.stamp.rings["main"]
    streamer.settled = not host["past"]
    streamer.past = (arrays["held/past.latents.video"], arrays["held/past.latents.audio"])
    for name in streamer.encode_state:
        streamer.encode_state[name] = arrays[f"carry/{name}"]
    for name in streamer.decode_state:
        streamer.decode_state[name] = arrays[f"carry/{name}"]
    for number, layer in enumerate(streamer.rings):
        for ring, pair in layer.items():
            for kind, held in zip("kv", pair, strict=True):
                stored = arrays[f"ring/{ring}.{number}.{kind}"].transpose(0, 1)  # places came first
                held[:, : stored.shape[1]] = stored
    for ring, row in streamer.valid.items():
        row.copy_(arrays[f"valid/{ring}"])
    streamer.prefix_used = snapshot.stamp.rings.get("prefix", 0)


def compare_passes(unit: int, came: Passes, wanted: Passes) -> dict[str, float]:
    """Largest relative error by kind of pass. ExportError beyond PARITY, naming unit, pass and tensor."""
    if came.keys() != wanted.keys():
        raise ExportError(f"unit {unit}: the bundle ran {sorted(came)}, the torch model {sorted(wanted)}")
    errors: dict[str, float] = {}
    for name, tensors in wanted.items():
        for tensor, value in tensors.items():
            if tensor in came[name]:  # the torch streamer notes prefix angles even where there is no prefix
                error = tensor_error(came[name][tensor], value)
                if not error <= PARITY:
                    raise ExportError(
                        f"unit {unit}, pass {name}, {tensor}: the graph is off by {error:.1e} (allowed {PARITY})"
                    )
                kind = name.split(".")[0]
                errors[kind] = max(errors.get(kind, 0.0), error)
    return errors


def tensor_error(came: Array, wanted: Array) -> float:
    """Relative error; of pictures, in units of their rounding: one step of 255 at few pixels is no error."""
    if wanted.dtype == np.uint8:
        off = np.abs(came.astype(np.int16) - wanted.astype(np.int16))
        return 0.0 if off.max() <= 1 and (off > 0).mean() < 1e-3 else float("inf")
    if wanted.dtype.kind == "i":  # candidates behind near ties may swap; the token and the scores are compared
        return 0.0 if wanted.size > 1 or (came == wanted).all() else float("inf")
    return relative_error(came, wanted.reshape(came.shape) if wanted.size == came.size else wanted)


def _answers(index: int, output: UnitOutput, passes: Passes) -> dict[str, Array]:
    slots = [passes[f"token.{s}"] for s in range(len(output.tokens))]
    return {
        f"{index}.tokens": np.array([s["token"][0] for s in slots], np.int32),
        f"{index}.scores": np.stack([s["scores"] for s in slots]),
        f"{index}.samples": output.samples.numpy().copy(),
        f"{index}.frames": block_means(output.frames.numpy()),
        f"{index}.latents.video": output.video.numpy().copy(),
        f"{index}.latents.audio": output.audio.numpy().copy(),
    }


def torch_states(streamer: TorchStreamer) -> dict[str, Array]:
    """The torch streamer's states under the session's names."""
    assert streamer.past is not None
    states = {f"held/past.latents.{n}": t for n, t in zip(("video", "audio"), streamer.past, strict=True)}
    states |= {f"carry/{path}": t for path, t in (streamer.encode_state | streamer.decode_state).items()}
    for number, layer in enumerate(streamer.rings):
        for ring, pair in layer.items():
            states |= {f"ring/{ring}.{number}.{kind}": t for kind, t in zip("kv", pair, strict=True)}
    return {name: tensor.numpy() for name, tensor in states.items()}


def torch_norms(session: Session, streamer: TorchStreamer) -> dict[str, Array]:
    """The lengths of all states after the torch run; those that no unit touches are the session's."""
    norms = {name: np.array([np.linalg.norm(a.astype(np.float64))]) for name, a in torch_states(streamer).items()}
    return state_norms(session) | norms


def _compare_states(session: Session, streamer: TorchStreamer) -> float:
    """Largest relative error of the states after the last unit. ExportError beyond PARITY."""
    wanted, worst = torch_norms(session, streamer), 0.0
    for path, norm in state_norms(session).items():
        error = relative_error(norm, wanted[path])
        if not error <= PARITY:
            raise ExportError(f"state {path}: its length is off by {error:.1e} after {GOLDEN_UNITS} units")
        worst = max(worst, error)
    return worst
