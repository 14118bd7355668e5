"""How large the model is: every number that the reference model, its export and its manifest share.

Receives nothing; hands on :class:`Config`, the three presets in :data:`PRESETS`, and what the device side needs to
know of a config: :func:`constants` (the program's arithmetic) and :func:`media` (rates and sizes).

Stated in the papers: a unit is 160 ms, 4 frames at 25 fps; pictures of 192x336; a Qwen2.5 language model as the
start. Everything else here (token counts, slots, positions, latent widths, windows, sizes of the codecs) is our
choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from edge_streamer.runtime.bundle.manifest import MediaSpec, PicturesSpec, SoundSpec, TextSpec
from edge_streamer.runtime.programs.wan_streamer.layout import Constants, Layout, Segment

FRAME_RATE = 25
"""Frames per second, both ways."""
UNIT_FRAMES = 4
"""Frames per unit."""
UNIT_HOPS = 16
"""Steps of 10 ms per unit: the audio front end's raster."""


Join = Literal["split", "concat", "turned"]


@dataclass(frozen=True)
class TransformerConfig:
    """The Qwen2.5 shape."""

    width: int
    """Values per token, e.g. 896."""
    layers: int
    """Decoder layers, e.g. 24."""
    heads: int
    """Query heads, e.g. 14."""
    kv_heads: int
    """Key/value heads, each shared by heads / kv_heads query heads, e.g. 2."""
    head_size: int
    """Values per head, e.g. 64."""
    feed_forward: int
    """Inner width of SwiGLU, e.g. 4864."""
    rope_base: float
    """The slowest rotary angle turns 1 / base^(1 - 2 / head_size) radians per position, e.g. 1e6."""
    norm_epsilon: float = 1e-6
    """Added to the mean square in RMSNorm."""
    attention: Join = "split"
    """How rings and new tokens are joined; see `transformer.py`.

    Measured on ONNX Runtime's CPU, alternating: ``concat`` takes 0.94 of ``split``'s unit time on ``demo`` (medians of
    six), 0.77 of its time on 260-token passes of the large preset; at one token ``split`` was 0.86 of ``concat``.
    ``turned`` takes 0.88 of ``concat``'s unit time on the large preset, 1.04 on ``demo``, whose scores are few.
    """


@dataclass(frozen=True)
class UserAudioConfig:
    """The encoder of what the user says."""

    tokens: int
    """Per unit; a power of two up to 16, e.g. 4 (one per 40 ms)."""
    mels: int
    """Mel bands of the front end, e.g. 40."""
    channels: int
    """Of the causal convolutions, e.g. 96."""


def coarsest_stride(channels: tuple[int, ...]) -> int:
    """Pixels per side of a place of the coarsest of ``channels`` resolutions; the finest stands at pixels / 4."""
    return 4 * 2 ** (len(channels) - 1)


@dataclass(frozen=True)
class UserVideoConfig:
    """The encoder of what the user shows."""

    channels: tuple[int, ...]
    """Per resolution, finest (pixels / 4) first, each next one at half of it, e.g. (24, 48, 64, 96): the coarsest
    has a place every 32 pixels."""
    patch: tuple[int, int] = (1, 1)
    """(rows, columns) of the coarsest places that make one token, e.g. (2, 3)."""

    @property
    def stride(self) -> int:
        """Pixels per side of a place."""
        return coarsest_stride(self.channels)

    @property
    def token_size(self) -> tuple[int, int]:
        """(rows, columns) of pixels per token."""
        return self.stride * self.patch[0], self.stride * self.patch[1]


@dataclass(frozen=True)
class AudioVaeConfig:
    """The codec of the agent's voice."""

    tokens: int
    """Latent tokens per unit; a power of two up to 16, e.g. 4 (25 a second)."""
    values: int
    """Per token, e.g. 32."""
    channels: tuple[int, int]
    """Of the convolutions at 10 ms steps, and at 1.25 ms steps, e.g. (96, 48)."""


@dataclass(frozen=True)
class VideoVaeConfig:
    """The codec of the agent's picture."""

    channels: tuple[int, ...]
    """Per resolution, finest (pixels / 4) first, e.g. (32, 64, 96, 96): latents at 1/32 of the pixels."""
    latent_channels: int
    """Of the latent picture, e.g. 32."""
    patch: tuple[int, int]
    """(rows, columns) of latent pixels that make one token, e.g. (2, 2): a token holds 4 * latent_channels values."""

    @property
    def stride(self) -> int:
        """Pixels per side of a latent pixel."""
        return coarsest_stride(self.channels)

    @property
    def token_size(self) -> tuple[int, int]:
        """(rows, columns) of pixels per token."""
        return self.stride * self.patch[0], self.stride * self.patch[1]

    @property
    def values(self) -> int:
        """Values per token."""
        return self.patch[0] * self.patch[1] * self.latent_channels


@dataclass(frozen=True)
class Config:
    """The whole model and how much of the past it keeps."""

    preset: str
    """The preset it came from, e.g. ``"demo"``."""
    transformer: TransformerConfig
    user_audio: UserAudioConfig
    user_video: UserVideoConfig
    audio_vae: AudioVaeConfig
    video_vae: VideoVaeConfig
    sample_rate: int
    """Samples per second, both ways; a multiple of 800 (a hop is 10 ms and is split in 8), e.g. 16000."""
    user_size: tuple[int, int]
    """(height, width) of the camera picture in pixels, multiples of ``user_video.token_size``, e.g. (96, 160)."""
    agent_size: tuple[int, int]
    """(height, width) of the agent's picture in pixels, multiples of ``video_vae.token_size``, e.g. (96, 160)."""
    vocabulary: int
    """Rows of the token table, e.g. 320."""
    tied: bool
    """Whether the output head is the token table."""
    user_text: int
    """Places for typed tokens per unit, e.g. 2."""
    text_slots: int
    """Text slots per unit after the state slot, e.g. 3."""
    window_units: int
    """Units that the main ring (text, sound) remembers, e.g. 64."""
    video_window_units: int
    """Units that the video ring (pictures) remembers, e.g. 8."""
    prefix_tokens: int
    """Places of the pinned prefix; 0 for none, e.g. 128."""
    candidates: int = 64
    """How many of the likeliest tokens a slot samples among; an exported model's at most 3840 (graphs.py)."""
    default_steps: int = 2
    """Solver steps per unit."""
    predicts: Literal["velocity", "clean"] = "velocity"
    """What the network says of noisy latents z_t = (1 - t) z0 + t eps: the velocity eps - z0, as the paper has it, or
    the clean latents z0, from which the velocity follows as (z_t - z0) / t. A small network spends nothing on copying
    the noise then, and the last step's result is what it says, free of the errors of the steps before."""
    token_pad: int = 256
    """Number of ``<|pad|>``; the byte-level tokenizer's, as the three below."""
    token_start: int = 257
    token_listen: int = 258
    token_speak: int = 259

    def __post_init__(self) -> None:
        t = self.transformer
        checks = (
            (t.heads % t.kv_heads == 0, f"heads {t.heads} must be a multiple of kv_heads {t.kv_heads}"),
            (t.width % 64 == 0, f"width {t.width} must be a multiple of 64, for its rows to be aligned"),
            (t.head_size % 2 == 0, f"head_size {t.head_size} must be even"),
            (self.sample_rate % 800 == 0, f"sample_rate {self.sample_rate} must be a multiple of 800"),
            (UNIT_HOPS % self.user_audio.tokens == 0, f"user_audio.tokens {self.user_audio.tokens} must divide 16"),
            (UNIT_HOPS % self.audio_vae.tokens == 0, f"audio_vae.tokens {self.audio_vae.tokens} must divide 16"),
            (self.window_units >= 1, f"window_units is {self.window_units}; wanted 1 or more"),
            (self.video_window_units >= 1, f"video_window_units is {self.video_window_units}; wanted 1 or more"),
            (self.prefix_tokens >= 0, f"prefix_tokens is {self.prefix_tokens}; wanted 0 or more"),
            (self.candidates <= self.vocabulary, f"candidates {self.candidates} exceed the {self.vocabulary} tokens"),
        )
        for right, text in checks:
            if not right:
                raise ValueError(text)
        for name, size, token in (
            ("user_size", self.user_size, self.user_video.token_size),
            ("agent_size", self.agent_size, self.video_vae.token_size),
        ):
            if size[0] % token[0] or size[1] % token[1]:
                raise ValueError(f"{name} {size} must be multiples of {token} pixels, the size of a token")

    @property
    def hop(self) -> int:
        """Samples in 10 ms."""
        return self.sample_rate // 100

    @property
    def unit_samples(self) -> int:
        """Samples in a unit."""
        return self.hop * UNIT_HOPS

    @property
    def user_grid(self) -> tuple[int, int]:
        """(rows, columns) of the user's video tokens."""
        rows, columns = self.user_video.token_size
        return self.user_size[0] // rows, self.user_size[1] // columns

    @property
    def agent_grid(self) -> tuple[int, int]:
        """(rows, columns) of the agent's video tokens."""
        rows, columns = self.video_vae.token_size
        return self.agent_size[0] // rows, self.agent_size[1] // columns

    @property
    def video_latent(self) -> tuple[int, int]:
        """[tokens, values] of the agent's picture per unit."""
        return self.agent_grid[0] * self.agent_grid[1], self.video_vae.values

    @property
    def audio_latent(self) -> tuple[int, int]:
        """[tokens, values] of the agent's sound per unit."""
        return self.audio_vae.tokens, self.audio_vae.values


def segments(config: Config) -> tuple[tuple[Segment, ...], int]:
    """The unit's segments in the program's order, and the positions that a unit spans.

    Time runs inside the unit as it is computed (our choice): the user's picture at 0, then sound, text, start and
    slots one position apart, then the agent's picture together with the first token of the agent's sound::

        offset   0        1..          ..           ..       ..         A        A, A + 1, ...      P = A + audio tokens
                 u video  u audio      u text       start    slots      y video  y audio            next unit
    """
    user_audio, text, slots = config.user_audio.tokens, config.user_text, 1 + config.text_slots
    rows, columns = config.user_grid
    start = 1 + user_audio + text
    answer = start + 1 + slots
    return (
        Segment(name="agent.video", count=config.video_latent[0], ring="video", offset=answer, step=0),
        Segment(name="agent.audio", count=config.audio_latent[0], ring="main", offset=answer, step=1),
        Segment(name="user.video", count=rows * columns, ring="video", offset=0, step=0),
        Segment(name="user.audio", count=user_audio, ring="main", offset=1, step=1),
        Segment(name="user.text", count=text, ring="main", offset=1 + user_audio, step=1),
        Segment(name="start", count=1, ring="main", offset=start, step=1),
        Segment(name="slots", count=slots, ring="main", offset=start + 1, step=1),
    ), answer + config.audio_latent[0]


def constants(config: Config) -> Constants:
    """What the device's program needs to know of ``config``."""
    parts, positions = segments(config)
    t = config.transformer
    kinds: list[Literal["state", "text"]] = ["state"]
    kinds += ["text"] * config.text_slots
    return Constants(
        width=t.width,
        layers=t.layers,
        kv_heads=t.kv_heads,
        head_size=t.head_size,
        rope_base=t.rope_base,
        positions_per_unit=positions,
        segments=parts,
        slot_kinds=tuple(kinds),
        audio_latent=config.audio_latent,
        video_latent=config.video_latent,
        window_units=config.window_units,
        video_window_units=config.video_window_units,
        prefix_tokens=config.prefix_tokens,
        candidates=config.candidates,
        default_steps=config.default_steps,
        token_pad=config.token_pad,
        token_start=config.token_start,
        token_listen=config.token_listen,
        token_speak=config.token_speak,
    )


def layout(config: Config) -> Layout:
    """The token arithmetic of ``config``."""
    return Layout(constants(config))


def media(config: Config) -> MediaSpec:
    """What goes in and comes out per unit."""
    lay = layout(config)
    sound = partial(SoundSpec, tensor="samples", sample_rate=config.sample_rate, unit_samples=config.unit_samples)
    pictures = partial(PicturesSpec, tensor="frames", frame_rate=FRAME_RATE, unit_frames=UNIT_FRAMES)
    texts = lay.constants.slot_kinds.count("text")
    return MediaSpec(
        unit_seconds=UNIT_FRAMES / FRAME_RATE,
        sound_in=sound(graph="encode"),
        sound_out=sound(graph="decode"),
        pictures_in=pictures(graph="encode", size=config.user_size),
        pictures_out=pictures(graph="decode", size=config.agent_size),
        text_in=TextSpec(graph="core", tensor="embeddings", unit_tokens=lay.segment("user.text").count),
        text_out=TextSpec(graph="slot", tensor="token", unit_tokens=texts),
    )


TINY = Config(
    preset="tiny",
    transformer=TransformerConfig(
        width=64, layers=2, heads=2, kv_heads=1, head_size=32, feed_forward=128, rope_base=1e4
    ),
    user_audio=UserAudioConfig(tokens=2, mels=16, channels=16),
    user_video=UserVideoConfig(channels=(8, 16, 24)),
    audio_vae=AudioVaeConfig(tokens=2, values=8, channels=(16, 8)),
    video_vae=VideoVaeConfig(channels=(8, 16), latent_channels=4, patch=(2, 2)),
    sample_rate=8000,
    user_size=(32, 48),
    agent_size=(32, 48),
    vocabulary=320,
    tied=True,
    user_text=1,
    text_slots=1,
    window_units=8,
    video_window_units=3,
    prefix_tokens=24,
    candidates=32,
)
"""For tests: milliseconds per unit, seconds to export; a tied head and latent patches as in the large preset."""

DEMO = Config(
    preset="demo",
    transformer=TransformerConfig(
        width=192, layers=6, heads=3, kv_heads=1, head_size=64, feed_forward=512, rope_base=1e4, attention="concat"
    ),
    user_audio=UserAudioConfig(tokens=2, mels=40, channels=96),
    user_video=UserVideoConfig(channels=(24, 48, 64, 96), patch=(2, 3)),
    audio_vae=AudioVaeConfig(tokens=4, values=32, channels=(96, 48)),
    video_vae=VideoVaeConfig(channels=(32, 64, 96, 96), latent_channels=8, patch=(3, 1)),
    sample_rate=16000,
    user_size=(64, 96),
    agent_size=(96, 160),
    vocabulary=320,
    tied=False,
    user_text=2,
    text_slots=3,
    window_units=64,
    video_window_units=8,
    prefix_tokens=64,
    predicts="clean",
)
"""The embedded default: faster than real time on two CPU cores in float32."""

QWEN = Config(
    preset="qwen2.5-0.5b",
    transformer=TransformerConfig(
        width=896, layers=24, heads=14, kv_heads=2, head_size=64, feed_forward=4864, rope_base=1e6, attention="turned"
    ),
    user_audio=UserAudioConfig(tokens=4, mels=80, channels=256),
    user_video=UserVideoConfig(channels=(48, 96, 192)),
    audio_vae=AudioVaeConfig(tokens=4, values=64, channels=(256, 96)),
    video_vae=VideoVaeConfig(channels=(64, 128), latent_channels=16, patch=(2, 2)),
    sample_rate=24000,
    user_size=(192, 336),
    agent_size=(192, 336),
    vocabulary=151936,
    tied=True,
    user_text=4,
    text_slots=3,
    window_units=50,
    video_window_units=4,
    prefix_tokens=64,
)
"""The real geometry: 252 video tokens per unit each way, the sizes of Qwen2.5-0.5B."""

PRESETS: dict[str, Config] = {config.preset: config for config in (TINY, DEMO, QWEN)}
"""By name."""


def with_attention(config: Config, attention: Join) -> Config:
    """``config`` with another way of joining rings and new tokens."""
    return replace(config, transformer=replace(config.transformer, attention=attention))
