"""Many whole conversations through the Transformer at once, for training.

Receives a batch of clips as token embeddings; hands on hidden states of every token, as if each clip had been streamed
unit by unit. The rules are those of ``tests/export/whole.py``, which proves the streaming; here they are laid out for
speed: units in rows, attention in chunks of units with only the keys that a chunk can see.

    unit n   [clean y(n-1): 9] [u(n): video 1, audio 2, text 2] [start 1] [slots 4] [noisy y(n): 9]
             video | main       video | main                     main      main      nobody else's

A pinned prefix lies before the clip and is met with the queries' own angles: exact as long as a clip is no longer than
the distance at which the prefix is held, the main window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.compute import device, full, half
from edge_streamer.export.layers import Tails, start_state
from edge_streamer.export.wan_streamer.config import Config, layout
from edge_streamer.export.wan_streamer.model import Latents, WanStreamer
from edge_streamer.export.wan_streamer.transformer import Layer, both_halves, rotary, rotate, swap
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, GROUP_AGENT, GROUP_START, GROUP_USER, USER

CHUNK = 12
"""Units whose queries attend together."""
NOISY, CLEAN = 1, 0
MIDDLE = 2 / 3
"""Share of the layers after which the model must know what it hears and remembers: the others use it."""


@dataclass(frozen=True)
class Row:
    """Which segments the row of a unit holds; those that are left out are as if nobody had them."""

    agent: tuple[str, ...] = AGENT
    """Of the clean past, and of what is noisy."""
    user: tuple[str, ...] = USER
    """The last is the start token."""
    slots: bool = True
    noisy: bool = True


WHOLE = Row()
WORDS = Row((), noisy=False)
LISTENING = Row((), ("user.audio", "start"), slots=False, noisy=False)
SPEAKING = Row(("agent.audio",), ("start",))


@dataclass(frozen=True)
class Parts:
    """Where the tokens of a unit lie in its row."""

    clean: slice
    user: slice
    """what the user does, start"""
    slots: slice
    noisy: slice

    @property
    def size(self) -> int:
        return self.noisy.stop


def parts_of(config: Config, row: Row = WHOLE) -> Parts:
    """Of a row."""
    lay = layout(config)
    a, u = (sum(lay.segment(name).count for name in names) for names in (row.agent, row.user))
    s = lay.slots if row.slots else 0
    end = a + u + s
    return Parts(slice(0, a), slice(a, a + u), slice(a + u, end), slice(end, end + (a if row.noisy else 0)))


@dataclass(frozen=True)
class Plan:
    """Rotation and visibility of all tokens of clips of one length; the same for every clip."""

    cos: Tensor
    sin: Tensor
    """[L, 1, head_size]"""
    chunks: tuple[tuple[slice, Tensor, Tensor], ...]
    """Queries, keys [K] and who sees whom [queries, K], chunk by chunk; the prefix is a chunk of its own."""
    prefix: int
    """Tokens of the prefix, at the row's start."""


@lru_cache(maxsize=64)
def plan(config: Config, row: Row, units: int, prefix_units: int = 0) -> Plan:
    """Of clips that start at unit 0; the prefix holds all the agent's tokens, whatever the rows do."""
    lay, parts, c = layout(config), parts_of(config, row), layout(config).constants
    per_unit, agent = c.positions_per_unit, parts.clean.stop
    spoken = ("slots",) if row.slots else ()
    here = [lay.offsets(*row.agent) - per_unit] if row.agent else []
    here += [lay.offsets(*row.user, *spoken)] + ([lay.offsets(*row.agent)] if row.noisy else [])
    position = (np.arange(units)[:, None] * per_unit + np.concatenate(here)).reshape(-1)
    pinned = np.arange(prefix_units * lay.agent, dtype=np.float64) - config.prefix_tokens
    angles = rotary(np.concatenate([pinned, position]), c.head_size, c.rope_base)
    cos, sin = both_halves(*(x.to(device()) for x in angles))
    slots, noisy = (lay.slots if row.slots else 0), (agent if row.noisy else 0)
    groups = [GROUP_AGENT] * agent + [GROUP_USER] * (parts.user.stop - parts.user.start - 1) + [GROUP_START]
    groups += [GROUP_START + 1 + s for s in range(slots)] + [GROUP_START + slots] * noisy
    windows = {"main": config.window_units, "video": config.video_window_units}
    window = [
        windows[s.ring] for n in (*row.agent, *row.user, *spoken) for s in [lay.segment(n)] for _ in range(s.count)
    ]
    window += [0] * noisy
    kind = [CLEAN] * parts.slots.stop + [NOISY] * noisy
    shape = Rows(torch.tensor(groups), torch.tensor(window), torch.tensor(kind), units, parts)
    first = prefix_units * lay.agent
    chunks = [_prefix_chunk(prefix_units, lay.agent)] if prefix_units else []
    chunks += [_chunk(shape, s, min(s + CHUNK, units), first) for s in range(0, units, CHUNK)]
    return Plan(cos, sin, tuple(chunks), first)


def heard(model: WanStreamer, samples: Tensor) -> Tensor:
    """The tokens of what the user says, [B, U, n, width], from whole clips of samples [B, U * unit_samples].

    In bfloat16 but for the spectrum, whose quiet bands it would round away.
    """
    audio, batch = model.user_audio, samples.shape[0]
    tails = Tails(start_state(audio, batch))
    with full():
        mels = tails.through(audio.mel, samples[:, None])
    with half():
        tokens = audio.read(mels, tails)
    return tokens.reshape(batch, samples.shape[1] // model.config.unit_samples, -1, tokens.shape[-1])


def listen(model: WanStreamer, audio: Tensor) -> Tensor:
    """The start token's hidden state in every unit, [B, U, width], from the user's sound [B, U, n, width] alone, after
    MIDDLE of the layers."""
    batch, units = audio.shape[:2]
    start = model.rows(torch.full((batch, units, 1), model.config.token_start))
    x = torch.cat([audio.float(), start.float()], 2)
    hidden = run_half(model, x.flatten(1, 2), plan(model.config, LISTENING, units))
    return hidden.reshape(batch, units, x.shape[2], -1)[:, :, -1]


@dataclass(frozen=True)
class Rows:
    """What every unit's row looks like: group, window and kind of each token [row]."""

    group: Tensor
    window: Tensor
    kind: Tensor
    units: int
    parts: Parts


def _prefix_chunk(units: int, agent: int) -> tuple[slice, Tensor, Tensor]:
    """Each pass of the prefix sees itself and the passes before it."""
    number = torch.arange(units * agent) // agent
    return slice(0, units * agent), torch.arange(units * agent), number[None, :] <= number[:, None]


def _chunk(rows: Rows, begin: int, end: int, first: int) -> tuple[slice, Tensor, Tensor]:
    """Units ``begin`` to ``end``; ``first`` tokens of prefix lie before unit 0."""
    size = rows.parts.size
    unit = torch.arange(rows.units).repeat_interleave(size)
    group, window, kind = (x.repeat(rows.units) for x in (rows.group, rows.window, rows.kind))
    born = unit.clone()
    exists = ~((born == 0) & (torch.arange(size) < rows.parts.clean.stop).repeat(rows.units))  # there is no y(-1)
    near = (unit < end) & (unit + torch.where(kind == NOISY, 0, window) >= begin) & exists
    keys = torch.nonzero(near).squeeze(1)
    queries = torch.arange(begin * size, end * size)
    q, k = (lambda x: x[queries, None]), (lambda x: x[keys][None, :])
    age = q(unit) - k(unit)
    history = (k(kind) == CLEAN) & (((age > 0) & (age <= k(window))) | ((age == 0) & (k(group) <= q(group))))
    own = (q(kind) == NOISY) & (k(kind) == NOISY) & (age == 0)
    seen = history | own
    empty = ~seen.any(1)  # clean tokens before the first answer: they see nothing and nobody sees them
    seen[empty, 0] = True
    pinned = torch.arange(first)
    mask = torch.cat([torch.ones(len(queries), first, dtype=torch.bool), seen], 1)
    return slice(first + begin * size, first + end * size), torch.cat([pinned, keys + first]), mask


def run(model: WanStreamer, x: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """[B, L, width] -> twice [B, L, width]: after the last norm, and after MIDDLE of the layers."""
    norm = model.transformer.norm
    middle = run_half(model, x, plan)
    x = _through(model.transformer.layers[_middle(model) :], middle, plan)
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.epsilon), middle


def run_half(model: WanStreamer, x: Tensor, plan: Plan) -> Tensor:
    """MIDDLE of the layers alone."""
    return _through(model.transformer.layers[: _middle(model)], x, plan)


def _middle(model: WanStreamer) -> int:
    return max(1, round(MIDDLE * len(model.transformer.layers)))


def _through(layers: nn.ModuleList, x: Tensor, plan: Plan) -> Tensor:
    for layer in layers:
        assert isinstance(layer, Layer)
        x = _layer(layer, x, plan)
    return x


def _layer(layer: Layer, x: Tensor, plan: Plan) -> Tensor:
    attention, norm = layer.attention, layer.attention_norm
    batch, length, width = x.shape
    heads, kv, size = attention.heads, attention.kv_heads, attention.size
    both = attention.qkv(F.rms_norm(x, (width,), norm.weight, norm.epsilon))
    both = both.reshape(batch, length, heads + 2 * kv, size)
    turned, value = both.split([heads + kv, kv], 2)
    cos, sin = plan.cos.to(both.dtype), plan.sin.to(both.dtype)
    query, key = rotate(turned, swap(turned), cos, sin).split([heads, kv], 2)
    seen = []
    for queries, keys, mask in plan.chunks:
        q = query[:, queries].transpose(1, 2).reshape(batch, kv, -1, size)  # heads that share a key head, in one row
        k, v = key[:, keys].transpose(1, 2), value[:, keys].transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, mask.repeat(heads // kv, 1))
        seen.append(out.reshape(batch, heads, -1, size).transpose(1, 2).flatten(2))
    x = x + attention.out(torch.cat(seen, 1))
    feed = layer.feed_forward
    gate, up = feed.gate_up(F.rms_norm(x, (width,), layer.feed_forward_norm.weight, norm.epsilon)).chunk(2, -1)
    return x + feed.down(F.silu(gate) * up)


@dataclass
class Tokens:
    """A batch of clips, [B, U, ...]."""

    user_video: Tensor
    """[B, U, n, width]"""
    user_audio: Tensor
    """[B, U, n, width]"""
    text: Tensor
    """[B, U, n] typed tokens"""
    slots: Tensor
    """[B, U, S]"""
    past: Latents
    """Clean latents of each unit, as the history holds them: video [B, U, tokens, values] and audio."""
    pinned: Latents | None = None
    """Clean latents of the prefix [B, P, tokens, values]; None for none."""


@dataclass
class Noisy:
    """What the solver is given in each unit."""

    latents: Latents
    """[B, U, tokens, values] each, at time t."""
    t: Tensor
    """[B, U, 1]"""
    dt: Tensor
    """[B, U, 1]"""


@dataclass
class Hidden:
    """Hidden states of the tokens that say something."""

    before_slots: Tensor
    """[B, U, S, width]: of the token before each slot."""
    noisy: Tensor | None
    """[B, U, agent, width]"""
    middle: Tensor
    """[B, U, width]: of the start token, after MIDDLE of the layers."""
    noisy_middle: Tensor | None
    """[B, U, agent, width]: of the noisy tokens, likewise."""


def forward(model: WanStreamer, tokens: Tokens, noisy: Noisy | None) -> Hidden:
    """All passes of all units; where nothing is ``noisy``, from what the user does and what was said, without the
    history's sound and pictures."""
    config, solver = model.config, model.solver
    batch, units = tokens.slots.shape[:2]
    start = model.rows(torch.full((batch, units, 1), config.token_start))
    parts_in = [tokens.user_video, tokens.user_audio, model.rows(tokens.text), start, model.rows(tokens.slots)]
    if noisy is not None:
        zero = torch.zeros(batch, units, 1)
        clean = solver.embed(*tokens.past, zero, zero)
        clean = torch.cat([torch.zeros_like(clean[:, :1]), clean[:, :-1]], 1)
        parts_in = [clean, *parts_in, solver.embed(*noisy.latents, noisy.t, noisy.dt)]
    x = torch.cat([part.float() for part in parts_in], 2).flatten(1, 2)
    pinned = 0
    if tokens.pinned is not None:
        pinned = tokens.pinned[0].shape[1]
        still = torch.zeros(batch, pinned, 1)
        x = torch.cat([solver.embed(*tokens.pinned, still, still).float().flatten(1, 2), x], 1)
    row = WORDS if noisy is None else WHOLE
    laid, parts = plan(config, row, units, pinned), parts_of(config, row)
    came = run(model, x, laid)
    hidden, middle = (h[:, laid.prefix :].reshape(batch, units, parts.size, -1) for h in came)
    before = hidden[:, :, parts.slots.start - 1 : parts.slots.stop - 1]
    start = middle[:, :, parts.user.stop - 1]
    if noisy is None:
        return Hidden(before, None, start, None)
    return Hidden(before, hidden[:, :, parts.noisy], start, middle[:, :, parts.noisy])


def speak(
    model: WanStreamer, slots: Tensor, past: Tensor, pinned: Latents, noisy: Tensor, t: Tensor, dt: Tensor
) -> tuple[Tensor, Tensor]:
    """What is predicted of the sound [B, U, tokens, values] from words and the sound before alone, and hidden states of
    the noisy tokens after MIDDLE of the layers [B, U, tokens, width]; who speaks is in ``pinned``. ``past`` and
    ``noisy`` are latents of the sound, else as in :func:`forward`."""
    solver, (batch, units) = model.solver, slots.shape[:2]
    zero = torch.zeros(batch, units, 1)
    clean = _sound(model, past, zero, zero)
    clean = torch.cat([torch.zeros_like(clean[:, :1]), clean[:, :-1]], 1)
    start = model.rows(torch.full((batch, units, 1), model.config.token_start))
    row = torch.cat([x.float() for x in (clean, start, model.rows(slots), _sound(model, noisy, t, dt))], 2)
    still = torch.zeros(batch, pinned[0].shape[1], 1)
    prefix = solver.embed(*pinned, still, still).float().flatten(1, 2)
    laid, parts = plan(model.config, SPEAKING, units, pinned[0].shape[1]), parts_of(model.config, SPEAKING)
    came = run(model, torch.cat([prefix, row.flatten(1, 2)], 1), laid)
    hidden, middle = (h[:, laid.prefix :].reshape(batch, units, parts.size, -1)[:, :, parts.noisy] for h in came)
    picture = hidden.new_zeros(batch, units, solver.video_tokens, hidden.shape[-1])
    return model.predict(torch.cat([picture, hidden], 2), t, dt)[1], middle


def _sound(model: WanStreamer, audio: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    """The tokens of the sound at time ``t``."""
    tokens, values = model.config.video_latent
    picture = audio.new_zeros(*audio.shape[:2], tokens, values)
    return model.solver.embed(picture, audio, t, dt)[:, :, tokens:]
