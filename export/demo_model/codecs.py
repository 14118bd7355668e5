"""Training of the agent's two codecs and of the encoder of what the user shows.

Receives a model with random weights; trains parts of it in place: the voice on the agent's phrases at every offset,
the picture on looks drawn evenly (a blink is as frequent as an open eye, or the codec would forget blinks), the
camera's encoder on where the face is and which card is shown. Latents are normalised by running statistics, and noise
of a fixed size on them makes decoding robust against what a solver will hand it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.compute import device, half, tensor
from edge_streamer.export.demo_model.fitting import Losses, Stage, Task, Tell, fit
from edge_streamer.export.layers import Linear, Tails, start_state
from edge_streamer.export.wan_streamer.audio import AudioVae
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.export.wan_streamer.video import VideoVae
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES, Looks, draw_avatar
from edge_streamer.runtime.evaluation.world.backgrounds import TRAIN_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.camera import draw_camera, random_view
from edge_streamer.runtime.evaluation.world.icons import ICONS
from edge_streamer.runtime.evaluation.world.motion import BLINK, breathing, face_path
from edge_streamer.runtime.evaluation.world.script import FADE, UNIT
from edge_streamer.runtime.evaluation.world.sound import Sound

LATENT_NOISE = 0.1
"""Deviation of the noise on normalised latents while the codecs learn."""
KEEP = 0.99
"""Memory of the running statistics."""
AUDIO = Stage("audio", steps=4500, rate=3e-3, turn=1.2e-2)
VIDEO = Stage("video", steps=2600, rate=2.5e-3, turn=1e-2)
POLISH_AUDIO = Stage("polish-audio", steps=1600, rate=1.5e-3, turn=4e-3)
POLISH_VIDEO = Stage("polish-video", steps=900, rate=1.2e-3, turn=4e-3)
"""The decoders alone: latents stay as the Transformer knows them."""
CAMERA = Stage("camera", steps=2400, rate=2e-3, turn=1e-2)


Codec = AudioVae | VideoVae


@contextmanager
def bare(vae: Codec) -> Iterator[tuple[Tensor, Tensor]]:
    """Within the block ``encode`` and ``decode`` neither normalise nor undo it; gives the running (mean, std)."""
    mean, std = vae.latent_mean, vae.latent_std
    vae.latent_mean, vae.latent_std = torch.zeros_like(mean), torch.ones_like(std)
    try:
        yield mean, std
    finally:
        vae.latent_mean, vae.latent_std = mean, std


def disturbed(latents: Tensor, mean: Tensor, std: Tensor, learning: bool) -> Tensor:
    """Latents [..., values] with noise in proportion to their deviation; the running statistics follow while the
    encoder is ``learning``."""
    if not learning:
        return latents + LATENT_NOISE * std * torch.randn_like(latents)
    flat = latents.reshape(-1, latents.shape[-1])
    now = flat.std(0) + 1e-4
    with torch.no_grad():
        mean.lerp_(flat.mean(0), 1 - KEEP)
        std.lerp_(now, 1 - KEEP)
    return latents + LATENT_NOISE * now * torch.randn_like(latents)


def through(vae: Codec, clips: Tensor, learning: bool) -> Tensor:
    """``clips`` encoded, disturbed and decoded; the encoder gets a gradient only while it is ``learning``."""
    batch = len(clips)
    with bare(vae) as (mean, std):
        with half(), torch.set_grad_enabled(learning):
            latents = vae.encode(clips, Tails(start_state(vae, batch)))
        latents = disturbed(latents.float(), mean, std, learning)
        with half():
            again = vae.decode(latents, Tails(start_state(vae, batch)))
    return again.float()


# ---- the voice ----


def voice_clip(rng: np.random.Generator, phrases: list[list[Sound]], units: int) -> Sound:
    """[units * 2560]: a phrase somewhere, sometimes cut, sometimes two."""
    clip = np.zeros(units * UNIT, np.float32)
    voice = phrases[int(rng.integers(len(phrases)))]
    at = int(rng.integers(-len(clip) // 2, len(clip) // 2))
    while at < len(clip):
        sound = voice[int(rng.integers(len(voice)))].copy()
        if rng.random() < 0.25:
            sound = sound[: int(rng.integers(2 * FADE, len(sound)))]
            sound[-FADE:] *= np.linspace(1, 0, FADE, dtype=np.float32)
        first, last = max(at, 0), min(at + len(sound), len(clip))
        if last > first:
            clip[first:last] += sound[first - at : last - at]
        at += len(sound) + int(rng.integers(0, 16000))
    return clip


VOICE_POWER = 0.006
"""Mean square of the agent's voice over its clips: puts the error of samples on a scale of 1."""
WAVE, SPECTRUM = 4.0, 1.0


def spectra(x: Tensor) -> list[Tensor]:
    """Magnitudes at three resolutions, compressed so that quiet sounds count too."""
    found = []
    for size in (1024, 512, 128):
        window = torch.hann_window(size)
        found.append(torch.stft(x, size, size // 4, window=window, return_complex=True).abs().add(1e-5) ** 0.5)
    return found


def train_audio(
    model: WanStreamer, phrases: list[list[Sound]], seed: int, folder: Path, tell: Tell, stage: Stage = AUDIO
) -> None:
    """The codec of the agent's voice; with POLISH_AUDIO its decoder only."""
    vae, units, batch, whole = model.audio_vae, 8, 12, stage.name == AUDIO.name

    def draw(step: int) -> tuple[int, Sound]:
        rng = np.random.default_rng([seed, 1 if whole else 8, step])
        return int(rng.integers(2**31)), np.stack([voice_clip(rng, phrases, units) for _ in range(batch)])

    def losses(drawn: tuple[int, Sound]) -> Losses:
        torch.manual_seed(drawn[0])
        clips = tensor(drawn[1])
        again = through(vae, clips, whole)
        error, power = (again - clips).pow(2).mean(), clips.pow(2).mean()
        spectral = torch.stack([F.l1_loss(a, b) for a, b in zip(spectra(again), spectra(clips), strict=True)]).mean()
        return {
            "wave": WAVE * error / VOICE_POWER,
            "spectrum": SPECTRUM * spectral,
            "_snr_db": 10 * torch.log10(power / error),
        }

    fit(stage, vae if whole else vae.decoder, Task(draw, losses), folder, tell)


# ---- the picture ----


def even_looks(rng: np.random.Generator, units: int) -> Looks:
    """Looks over ``units``, every mouth, gaze, blink and icon as likely as any other."""
    n = units * 4
    x, y = face_path(rng, n)
    x, y = np.clip(1.3 * x, -1, 1), np.clip(1.3 * y, -1, 1)
    eyes = np.ones((units, 4), np.float32)
    eyes[rng.random(units) < 0.4] = BLINK
    mouth = np.clip(rng.uniform(-0.3, 1.2, n), 0, 1) * (rng.random() < 0.8)
    icon = np.full(n, rng.integers(ICONS))
    if rng.random() < 0.5:
        icon[int(rng.integers(n)) :] = rng.integers(ICONS)
    return Looks(
        identity=np.full(n, rng.integers(IDENTITIES)), mouth=mouth.astype(np.float32),
        gaze=np.stack([x, y], 1).astype(np.float32), eyes=eyes.reshape(-1),
        sway=breathing(float(rng.uniform(0, 6.28)), n), icon=icon,
    )  # fmt: skip


def attention_map() -> Tensor:
    """[96, 160, 1]: how much a pixel counts; eyes and mouth are small and matter most."""
    weight = np.ones((96, 160, 1), np.float32)
    weight[28:60, 26:90] = 4.0
    weight[56:84, 42:76] = 3.0
    return tensor(weight / weight.mean())


def train_video(model: WanStreamer, seed: int, folder: Path, tell: Tell, stage: Stage = VIDEO) -> None:
    """The codec of the agent's picture; with POLISH_VIDEO its decoder only."""
    vae, units, batch, whole, weight = model.video_vae, 4, 4, stage.name == VIDEO.name, attention_map()

    def draw(step: int) -> tuple[int, NDArray[np.uint8]]:
        rng = np.random.default_rng([seed, 2 if whole else 9, step])
        return int(rng.integers(2**31)), np.stack([draw_avatar(even_looks(rng, units)) for _ in range(batch)])

    def losses(drawn: tuple[int, NDArray[np.uint8]]) -> Losses:
        torch.manual_seed(drawn[0])
        frames = tensor(drawn[1])
        target = frames.float() / 127.5 - 1
        again = through(vae, frames, whole) / 127.5 - 1
        difference = again - target
        return {
            "square": 20.0 * (difference.pow(2) * weight).mean(),
            "absolute": (difference.abs() * weight).mean(),
            "_psnr_db": -10 * torch.log10(difference.pow(2).mean() / 4),
        }

    fit(stage, vae if whole else vae.decoder, Task(draw, losses), folder, tell)


# ---- the camera ----


class Probe(nn.Module):
    """Reads off a camera token what it must hold: position in each of the four frames (8), for the agent's eyes move
    between them too, card (5 classes), whether somebody is there (2)."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.out = Linear(width * tokens, 15)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, units, tokens, width] -> [B, units, 15]."""
        y: Tensor = self.out(tokens.flatten(2))
        return y


CameraClip = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]


def camera_clip(rng: np.random.Generator, units: int) -> CameraClip:
    """frames, position in the four frames of each unit [units, 8], (card, present) of each unit [units, 2]."""
    n = units * 4
    x, y = face_path(rng, n)
    card = np.zeros(n, np.int64)
    if rng.random() < 0.6:
        start = int(rng.integers(-8, n))
        card[max(start, 0) : start + int(rng.integers(12, 40))] = rng.integers(1, 5)
    present = np.full(n, rng.random() < 0.93)
    frames = draw_camera(random_view(rng, TRAIN_BACKGROUNDS), x, y, card, present, rng)
    last = slice(3, None, 4)
    labels = np.stack([card[last], present[last].astype(np.int64)], 1)
    return frames, np.stack([x, y], 1).reshape(units, 8), labels


def train_camera(model: WanStreamer, seed: int, folder: Path, tell: Tell, stage: Stage = CAMERA) -> None:
    """The encoder of what the user shows. The probe is thrown away: the Transformer reads the token itself."""
    units, batch = 3, 12
    video = model.user_video
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Probe(model.config.transformer.width, model.config.user_grid[0] * model.config.user_grid[1])
    both = nn.ModuleDict({"video": video, "probe": probe.to(device())})

    def draw(step: int) -> list[CameraClip]:
        rng = np.random.default_rng([seed, 3, step])
        return [camera_clip(rng, units) for _ in range(batch)]

    def losses(clips: list[CameraClip]) -> Losses:
        frames, place, labels = (tensor(np.stack(part)) for part in zip(*clips, strict=True))
        with half():
            tokens = video(frames, Tails(start_state(video, batch)))
            read = probe(tokens).float()
        there = labels[..., 1].float()
        off = ((read[..., :8] - place).abs().mean(-1) * there).sum() / there.sum().clamp(min=1)
        return {
            "place": 4.0 * off,
            "card": F.cross_entropy(read[..., 8:13].flatten(0, 1), labels[..., 0].flatten()),
            "present": 0.3 * F.cross_entropy(read[..., 13:].flatten(0, 1), labels[..., 1].flatten()),
            "size": 0.02 * (tokens.float().pow(2).mean() - 1.0).pow(2),
            "_card_right": (read[..., 8:13].argmax(-1) == labels[..., 0]).float().mean(),
        }

    fit(stage, both, Task(draw, losses), folder, tell)
