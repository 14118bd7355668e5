"""The reference Wan-Streamer-style model: its parts, and the pure functions that become graphs.

Receives a :class:`~edge_streamer.export.wan_streamer.config.Config`; hands on :class:`WanStreamer`. Its methods take
every bit of state as an argument and give it back; the order of calls is the streamer's business (`streamer.py`), the
arithmetic of tokens the layout's (`runtime/programs/wan_streamer/layout.py`).

Stated in the papers: one Transformer over one causal sequence; text by next-token prediction; agent sound and picture
as continuous latents, denoised jointly on the path z_t = (1 - t) z0 + t eps with the velocity eps - z0; clean latents
go into the history. Our choices: the network may say z0 in place of the velocity, which follows from it; time enters
the solver as an embedding added to the tokens and as a scale and shift before the last projection; clean tokens are
solver tokens of time 0 and step 0; each agent token has a learned place; the step size is an input of the network, so
that few steps may be trained to differ from many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.layers import Linear, State, Tails, name_paths, start_state, stateful
from edge_streamer.export.wan_streamer.audio import AudioVae, UserAudio
from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.export.wan_streamer.transformer import Transformer
from edge_streamer.export.wan_streamer.video import UserVideo, VideoVae
from edge_streamer.runtime.bundle.manifest import MASKED

Part = Literal["encode", "decode", "encode_agent"]
PARTS: dict[Part, tuple[str, ...]] = {
    "encode": ("user_audio.", "user_video."),
    "decode": ("audio_vae.decoder.", "video_vae.decoder."),
    "encode_agent": ("audio_vae.encoder.", "video_vae.encoder."),
}
"""Which layers' tails each graph with state carries, by the beginning of their path."""
Latents = tuple[Tensor, Tensor]
"""The agent's picture [tokens, values] and sound [tokens, values]."""


class TimeEmbedding(nn.Module):
    """A number in 0..1 as a vector: sines of 32 frequencies, then two layers."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # 100 rad at most: float32 holds the angle to 1e-5, which the whole-sequence proof needs.
        frequencies = 100.0 * torch.exp(-math.log(1000.0) * torch.arange(32, dtype=torch.float64) / 31)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.enter = Linear(64, width)
        self.out = Linear(width, width)

    def forward(self, time: Tensor) -> Tensor:
        """[..., 1] -> [..., width]."""
        angle = time * self.frequencies
        y: Tensor = self.out(F.silu(self.enter(torch.cat([angle.sin(), angle.cos()], -1))))
        return y


class Solver(nn.Module):
    """Between latents and tokens: what goes into a solver pass and what is read off its hidden states."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.transformer.width
        (self.video_tokens, video), (audio_tokens, audio) = config.video_latent, config.audio_latent
        self.video_in, self.audio_in = Linear(video, width), Linear(audio, width)
        self.place = nn.Parameter(torch.randn(self.video_tokens + audio_tokens, width) * 0.5)
        self.time, self.step = TimeEmbedding(width), TimeEmbedding(width)
        self.modulate = Linear(width, 2 * width, gain=0.3)  # scale, then shift
        self.video_out, self.audio_out = Linear(width, video), Linear(width, audio)

    def embed(self, video: Tensor, audio: Tensor, t: Tensor, dt: Tensor) -> Tensor:
        """[..., video tokens, values], [..., audio tokens, values], t and dt [..., 1] -> [..., agent, width]."""
        tokens = torch.cat([self.video_in(video), self.audio_in(audio)], -2) + self.place
        time: Tensor = self.time(t) + self.step(dt)
        return tokens + time.unsqueeze(-2)

    def predict(self, hidden: Tensor, t: Tensor, dt: Tensor) -> Latents:
        """[..., agent, width] -> what the network says of picture and sound (``Config.predicts``)."""
        scale, shift = self.modulate(F.silu(self.time(t) + self.step(dt))).unsqueeze(-2).chunk(2, -1)
        hidden = hidden * (1.0 + scale) + shift
        split = self.video_tokens
        return self.video_out(hidden[..., :split, :]), self.audio_out(hidden[..., split:, :])


class WanStreamer(nn.Module):
    """The whole model. Parameters are random until a backbone or weights are loaded; see :func:`build`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, rows = config.transformer.width, config.vocabulary
        self.user_audio = UserAudio(config.user_audio, config.hop, width)
        self.user_video = UserVideo(config.user_video, config.user_size, width)
        self.transformer = Transformer(config.transformer)
        self.solver = Solver(config)
        self.audio_vae = AudioVae(config.audio_vae, config.hop)
        self.video_vae = VideoVae(config.video_vae, config.agent_size)
        # Tied: one table [width, rows], the orientation that the head's MatMul and its quantizers want; the row of a
        # token is a column of it. Untied: a table [rows, width] and a head of its own.
        self.embedding_columns = nn.Parameter(torch.randn(width, rows) * width**-0.5) if config.tied else None
        self.embedding = None if config.tied else nn.Parameter(torch.randn(rows, width))
        self.head = None if config.tied else Linear(width, rows, bias=False)
        name_paths(self)

    # ---- state ----

    def state_paths(self, part: Part) -> tuple[str, ...]:
        """The paths of the tails that ``part`` carries."""
        return tuple(m.path for m in stateful(self) if m.path.startswith(PARTS[part]))

    def start_state(self, part: Part, batch: int = 1) -> State:
        """Zero tails of ``part``."""
        state = start_state(self, batch)
        return {path: state[path] for path in self.state_paths(part)}

    # ---- the user ----

    def encode(self, samples: Tensor, frames: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, State]:
        """samples [unit_samples], frames uint8 [4, height, width, 3] -> video tokens [n, width], audio tokens
        [n, width], next tails."""
        tails = Tails(state)
        video = self.user_video(frames.to(torch.float32).unsqueeze(0), tails)  # TensorRT takes uint8 into a Cast only
        audio = self.user_audio(samples.unsqueeze(0), tails)
        return video.flatten(0, 2), audio.flatten(0, 1), tails.next

    # ---- words ----

    def rows(self, ids: Tensor) -> Tensor:
        """Token embeddings: ids [...] -> [..., width]."""
        if self.embedding is not None:
            return F.embedding(ids, self.embedding)
        assert self.embedding_columns is not None
        return self.embedding_columns[:, ids].movedim(0, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [..., vocabulary]."""
        if self.head is not None:
            scores: Tensor = self.head(hidden)
            return scores
        assert self.embedding_columns is not None
        return torch.matmul(hidden, self.embedding_columns)

    def slot(
        self, hidden: Tensor, noise: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token from the hidden state before its slot.

        hidden [1, width]; noise [K] (Gumbel, from the host); temperature [1] above 0; top_k [1] int32, 1 to K; top_p
        [1] in (0, 1] -> token [1] int32, the K best scores [K], falling, and their tokens [K] int32. Greedy is noise
        0, temperature 1, top_k 1. Candidates are kept while the probability of those before them (among the top_k)
        is below top_p; the best is always kept. K is ``config.candidates``.
        """
        scores, candidates = torch.topk(self.logits(hidden), self.config.candidates)  # [1, K] from here on: see below
        rank = torch.arange(self.config.candidates, dtype=torch.int32, device=hidden.device)
        kept = torch.where(rank < top_k, scores / temperature, MASKED)
        probability = torch.softmax(kept, 1)  # TensorRT takes neither a softmax nor an argmax of one axis alone
        before = torch.ones(len(rank), len(rank), device=hidden.device).triu(1)  # [i, j] = 1 where i < j
        kept = torch.where(torch.matmul(probability, before) < top_p, kept, MASKED)
        best = torch.argmax(kept + noise, 1)
        candidates = candidates.to(torch.int32).squeeze(0)
        return candidates.index_select(0, best), scores.squeeze(0), candidates

    # ---- the solver ----

    def solve_in(self, video: Tensor, audio: Tensor, t: Tensor, dt: Tensor) -> Tensor:
        """Latents [tokens, values] at time t [1], about to step by dt [1] -> embeddings [agent, width], the picture
        first. Clean latents of the history: t = 0, dt = 0."""
        tokens: Tensor = self.solver.embed(video, audio, t, dt)
        return tokens

    def predict(self, hidden: Tensor, t: Tensor, dt: Tensor) -> Latents:
        """Hidden states [..., agent, width] -> the velocity eps - z0 of picture and sound, or their clean latents z0
        (``config.predicts``): what training fits."""
        return self.solver.predict(hidden, t, dt)

    def solve_out(self, hidden: Tensor, video: Tensor, audio: Tensor, t: Tensor, dt: Tensor) -> Latents:
        """One Euler step towards t = 0: hidden [..., agent, width], latents as given to ``solve_in``, t above 0 ->
        latents at t - dt."""
        picture, sound = self.predict(hidden, t, dt)
        if self.config.predicts == "velocity":
            return video - dt * picture, audio - dt * sound
        share = dt / t  # of the way to t = 0; exactly 1 in the last step, whose result is the prediction itself
        return (1.0 - share) * video + share * picture, (1.0 - share) * audio + share * sound

    # ---- the agent ----

    def decode(self, video: Tensor, audio: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, State]:
        """Clean latents [tokens, values] -> samples [unit_samples], frames uint8 [4, height, width, 3], level [4] (mean
        of each frame before it is rounded: unlike uint8 it can carry a NaN), next tails."""
        tails = Tails(state)
        picture = self.video_vae.decode(video[None, None], tails).squeeze(0)
        samples = self.audio_vae.decode(audio.unsqueeze(0), tails).squeeze(0)
        return samples, to_pixels(picture), picture.flatten(1).mean(1), tails.next

    def encode_agent(
        self, samples: Tensor, frames: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, State]:
        """samples [unit_samples], frames uint8 [4, height, width, 3] -> the agent's latents, picture and sound, each
        [tokens, values], next tails: for a persona's prefix and for training."""
        tails = Tails(state)
        video = self.video_vae.encode(frames.to(torch.float32).unsqueeze(0), tails)
        audio = self.audio_vae.encode(samples.unsqueeze(0), tails)
        return video.flatten(0, 2), audio.flatten(0, 1), tails.next


def to_pixels(picture: Tensor) -> Tensor:
    """0..255 with fractions -> uint8, rounded half to even, clamped."""
    return picture.round().clamp(0.0, 255.0).to(torch.uint8)


def build(config: Config, seed: int) -> WanStreamer:
    """A model with random weights that depend on ``config`` and ``seed`` alone, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WanStreamer(config)
    return model.eval()
