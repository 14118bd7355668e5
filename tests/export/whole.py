"""The whole sequence at once: an independent recomputation of a recording, to prove the streaming right.

Receives a model and the :class:`~edge_streamer.export.wan_streamer.streamer.Recording` of a run; hands on every pass's
outputs computed without rings, tails or order: encoders and decoders run over the entire recording as one long unit,
and one attention over all tokens of all units, with one large mask built from the rules below, replaces all passes.
Solver inputs are taken from the recording and stand in the sequence as extra tokens that nobody else sees; clean
latents and spoken tokens are taken from it too, so errors do not feed back. The attention here is its own (boolean
masks, rotation by complex numbers in float64); it shares only the parameters with ``transformer.py``.

The rules, n counting computed units and g groups inside a unit (clean agent 0, user 1, start 2, slot s 3 + s)::

    token q sees committed token x of ring r    window_r >= n_q - n_x > 0, or n_x = n_q and g_x <= g_q
    solver token q sees                         committed tokens of its window and unit; its own pass; nothing else
    everyone sees the prefix, from a place at most `prefix_distance` units away; prefix passes see those before them
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_streamer.export.layers import Tails
from edge_streamer.export.wan_streamer.config import TransformerConfig, layout
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.export.wan_streamer.streamer import Pass, Recording, UnitRecord
from edge_streamer.export.wan_streamer.transformer import Layer
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, GROUP_AGENT, GROUP_START, GROUP_USER, USER, Layout

TOLERANCE = 1e-4
"""Largest relative error, as :func:`errors` measures it, of streaming against this proof in float32. Measured: 3e-6
over 30 units of `tiny`, 5e-6 over 70 of `demo`; the mildest broken rule makes 0.6 on `tiny`, 0.02 on `demo`."""
ROWS = 512
"""Queries computed at a time, so that the scores of some thousand tokens stay small in memory."""
COMMITTED = -1
"""The solver number of tokens that are history."""

Outputs = list[dict[str, Pass]]
"""Per unit, by pass, by tensor: named as in the recording."""


@dataclass(frozen=True)
class Rules:
    """What is remembered and how it is met. Tests break these on purpose, to see that the proof notices."""

    main_window: int
    """Units."""
    video_window: int
    """Units."""
    prefix_distance: int
    """Units."""
    clean_seen: bool = True
    """Whether later tokens see the agent's clean tokens."""
    clean_time: float = 0.0
    """The solver time that they are embedded with."""


def rules_of(layout: Layout) -> Rules:
    """The rules that hold."""
    c = layout.constants
    return Rules(c.window_units, c.video_window_units, layout.prefix_distance_units)


class Tokens(NamedTuple):
    """A stretch of the sequence; one row per token."""

    embeddings: Tensor
    """[N, width]"""
    position: Tensor
    """[N] float64"""
    far: Tensor
    """[N] float64, the position from which the prefix is met."""
    unit: Tensor
    """[N] computed units since the reset."""
    group: Tensor
    """[N]"""
    window: Tensor
    """[N] for how many units it is remembered."""
    solver: Tensor
    """[N] COMMITTED, or the number of its solver pass."""


class Sequencer:
    """All tokens of a recording in one row, and which rows each recorded pass owns."""

    def __init__(self, model: WanStreamer, recording: Recording, rules: Rules) -> None:
        self.layout, self.rules = layout(model.config), rules
        self.parts: list[Tokens] = []
        self.rows: list[dict[str, slice]] = []
        self.length = 0
        embedded = embed(model, recording, rules)
        solvers = 0
        for n, (record, made) in enumerate(zip(recording.units, embedded, strict=True)):
            rows = self._add_history(n, record, made)
            for name in (p for p in record.passes if p.startswith("solve.") and p.count(".") == 1):
                rows[name] = self._add(AGENT, made[name], n, record.index, [GROUP_AGENT] * self.layout.agent, solvers)
                solvers += 1
            self.rows.append(rows)

    def _add_history(self, n: int, record: UnitRecord, made: Pass) -> dict[str, slice]:
        """[clean agent] [user, start] [slots]: what unit ``n`` leaves behind."""
        rows: dict[str, slice] = {}
        user_groups = [GROUP_USER] * self.layout.user + [GROUP_START]
        clean = None
        if "clean" in made:
            groups = [GROUP_AGENT] * self.layout.agent
            clean = self._add(AGENT, made["clean"], n, record.index - 1, groups)
        rows["block"] = self._add(USER, made["user"], n, record.index, user_groups)
        if clean is not None and "settle" in record.passes:
            rows["settle"] = clean
        elif clean is not None:
            rows["block"] = slice(clean.start, rows["block"].stop)
        slots = [GROUP_START + 1 + s for s in range(self.layout.slots)]
        spoken = self._add(("slots",), made["slots"], n, record.index, slots)
        return rows | {f"slot.{s}": slice(spoken.start + s, spoken.start + s + 1) for s in range(self.layout.slots)}

    def _add(
        self, names: Sequence[str], rows: Tensor, n: int, index: int, groups: list[int], solver: int = COMMITTED
    ) -> slice:
        """Tokens of segments ``names`` that belong to unit ``index`` and are computed as the n-th unit."""
        per_unit, offsets = self.layout.constants.positions_per_unit, torch.from_numpy(self.layout.offsets(*names))
        windows = {"main": self.rules.main_window, "video": self.rules.video_window}
        window = [windows[s.ring] for s in map(self.layout.segment, names) for _ in range(s.count)]
        far = min(index, self.rules.prefix_distance) * per_unit + offsets
        position, alike = index * per_unit + offsets, torch.ones(len(rows), dtype=torch.long)
        group, remembered = torch.tensor(groups), torch.tensor(window)
        self.parts.append(Tokens(rows, position, far, n * alike, group, remembered, solver * alike))
        self.length += len(rows)
        return slice(self.length - len(rows), self.length)

    def tokens(self) -> Tokens:
        """The sequence as one stretch."""
        return Tokens(*(torch.cat(column) for column in zip(*self.parts, strict=True)))


def visible(query: Tokens, key: Tokens, rules: Rules) -> Tensor:
    """[queries, keys]: the rules at the top of this file."""
    solving = query.solver[:, None] != COMMITTED
    age = query.unit[:, None] - key.unit
    past = (age > 0) & (age <= key.window)
    now = (age == 0) & (solving | (key.group <= query.group[:, None]))
    history = (key.solver == COMMITTED) & (past | now)
    if not rules.clean_seen:
        among_themselves = (query.group[:, None] == GROUP_AGENT) & ~solving & (age == 0)
        history &= (key.group != GROUP_AGENT) | among_themselves
    return history | (solving & (query.solver[:, None] == key.solver))


# ---- everything but the Transformer, over the whole recording ----


def recorded(recording: Recording, name: str, tensor: str) -> Tensor:
    """A tensor of every unit's pass ``name``: [units, ...]."""
    return torch.stack([record.passes[name][tensor] for record in recording.units])


def encode(model: WanStreamer, recording: Recording) -> tuple[Tensor, Tensor]:
    """User tokens of all units from one long unit: [units, n, width] each."""
    tails, units = Tails(model.start_state("encode")), len(recording.units)
    video = model.user_video(recorded(recording, "encode", "frames").flatten(0, 1)[None], tails)
    audio = model.user_audio(recorded(recording, "encode", "samples").flatten()[None], tails)
    return video.squeeze(0), audio.reshape(units, -1, audio.shape[-1])


def embed(model: WanStreamer, recording: Recording, rules: Rules) -> list[Pass]:
    """Per unit: user, slots, clean (but in the first), and every solver pass, as token embeddings."""
    units = len(recording.units)
    video, audio = encode(model, recording)
    text = model.rows(torch.tensor([record.text for record in recording.units]))
    start = model.rows(torch.tensor([[model.config.token_start]])).expand(units, -1, -1)
    slots = model.rows(torch.tensor([record.tokens for record in recording.units]))
    time, zero = torch.full((units, 1), rules.clean_time), torch.zeros(units, 1)
    picture, sound = (recorded(recording, "decode", f"latents.{kind}") for kind in ("video", "audio"))
    clean = model.solver.embed(picture, sound, time, zero)
    user = torch.cat([video, audio, text, start], 1)
    made = [{"user": user[n], "slots": slots[n], "video": video[n], "audio": audio[n]} for n in range(units)]
    for n in range(1, units):
        made[n]["clean"] = clean[n - 1]
    for n, record in enumerate(recording.units):
        for name, entry in record.passes.items():
            if name.startswith("solve.") and name.endswith(".in"):
                wanted = (entry[key][None] for key in ("latents.video", "latents.audio", "t", "dt"))
                made[n][name.removesuffix(".in")] = model.solver.embed(*wanted)[0]
    return made


# ---- the Transformer, by its own arithmetic ----


def turn(x: Tensor, position: Tensor, base: float) -> Tensor:
    """[N, heads, size] turned by its position: the pair (i, i + size / 2) as a complex number, in float64."""
    half = x.shape[-1] // 2
    frequency = torch.exp(-math.log(base) * torch.arange(half, dtype=torch.float64) / half)
    angle = (position[:, None] * frequency)[:, None]
    turned = torch.complex(x[..., :half].double(), x[..., half:].double()) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1).float()


def heads_of(layer: Layer, x: Tensor, config: TransformerConfig) -> tuple[Tensor, Tensor, Tensor]:
    """[N, width] -> queries, keys, values, each [N, heads, size], keys and values repeated for their group."""
    linear = layer.attention.qkv
    assert linear.bias is not None
    x = F.rms_norm(x, x.shape[-1:], layer.attention_norm.weight, config.norm_epsilon)
    flat = F.linear(x, linear.weight.T, linear.bias).unflatten(-1, (-1, config.head_size))
    query, key, value = flat.split([config.heads, config.kv_heads, config.kv_heads], 1)
    repeats = config.heads // config.kv_heads
    return query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)


def finish(layer: Layer, x: Tensor, seen: Tensor, config: TransformerConfig) -> Tensor:
    """What a layer does after its attention: [N, heads, size] seen -> the new stream [N, width]."""
    x = x + seen.flatten(1) @ layer.attention.out.weight
    inner = F.rms_norm(x, x.shape[-1:], layer.feed_forward_norm.weight, config.norm_epsilon)
    gate, up = (inner @ layer.feed_forward.gate_up.weight).chunk(2, -1)
    return x + (F.silu(gate) * up) @ layer.feed_forward.down.weight


def see(scores: Tensor, values: Tensor) -> Tensor:
    """[heads, N, C], [C, heads, size] -> [N, heads, size]."""
    return torch.einsum("hnc,chd->nhd", torch.softmax(scores, -1), values)


class Prefix(NamedTuple):
    """The pinned tokens."""

    embeddings: Tensor
    """[P, width]"""
    position: Tensor
    """[P] float64"""
    order: Tensor
    """[P] number of the pass that made them: a token sees passes up to its own."""


def prefix_of(model: WanStreamer, recording: Recording) -> Prefix:
    """The recording's prefix as tokens."""
    rows, zero = [torch.zeros(0, model.config.transformer.width)], torch.zeros(1)
    for part in recording.prefix:
        if len(part) == 2 and isinstance(part[0], Tensor) and isinstance(part[1], Tensor):
            rows.append(model.solver.embed(part[0], part[1], zero, zero))
        else:
            rows.extend(model.rows(torch.tensor([token])) for token in part)
    position = torch.arange(sum(map(len, rows)), dtype=torch.float64) - model.config.prefix_tokens
    order = torch.cat([torch.full((len(row),), i) for i, row in enumerate(rows)])
    return Prefix(torch.cat(rows), position, order)


def hidden_states(model: WanStreamer, tokens: Tokens, prefix: Prefix, rules: Rules) -> Tensor:
    """All tokens through all layers at once: [N, width] after the last norm."""
    config = model.config.transformer
    x, pinned = tokens.embeddings, prefix.embeddings
    scale, base = config.head_size**-0.5, config.rope_base
    earlier = prefix.order <= prefix.order[:, None]
    rows = [slice(at, at + ROWS) for at in range(0, len(x), ROWS)]
    masks = [visible(Tokens(*(column[part] for column in tokens)), tokens, rules) for part in rows]
    for layer in model.transformer.layers:
        assert isinstance(layer, Layer)
        query, key, value = heads_of(layer, x, config)
        pinned_query, pinned_key, pinned_value = heads_of(layer, pinned, config)
        far, near = turn(query, tokens.far, base) * scale, turn(query, tokens.position, base) * scale
        key, pinned_key = turn(key, tokens.position, base), turn(pinned_key, prefix.position, base)
        values, seen = torch.cat([pinned_value, value]), []
        for part, mask in zip(rows, masks, strict=True):
            scores = torch.einsum("nhd,chd->hnc", near[part], key).masked_fill(~mask, -math.inf)
            seen.append(see(torch.cat([torch.einsum("nhd,chd->hnc", far[part], pinned_key), scores], -1), values))
        own = torch.einsum("nhd,chd->hnc", turn(pinned_query, prefix.position, base) * scale, pinned_key)
        pinned = finish(layer, pinned, see(own.masked_fill(~earlier, -math.inf), pinned_value), config)
        x = finish(layer, x, torch.cat(seen), config)
    return F.rms_norm(x, x.shape[-1:], model.transformer.norm.weight, config.norm_epsilon)


# ---- the proof ----


@torch.no_grad()
def whole_sequence(model: WanStreamer, recording: Recording, rules: Rules | None = None) -> Outputs:
    """Recompute all passes of ``recording`` (a run from a reset on). ``rules`` other than the model's are for tests
    that must fail."""
    rules = rules or rules_of(layout(model.config))
    laid = Sequencer(model, recording, rules)
    hidden = hidden_states(model, laid.tokens(), prefix_of(model, recording), rules)
    outputs: Outputs = []
    for record, made, rows in zip(recording.units, embed(model, recording, rules), laid.rows, strict=True):
        out: dict[str, Pass] = {"encode": {"user.video": made["video"], "user.audio": made["audio"]}}
        if "clean" in record.passes:
            out["clean"] = {"embeddings": made["clean"]}
        for name, place in rows.items():
            out[name] = {"hidden": hidden[place]}
            if name.startswith("solve."):
                out[f"{name}.in"] = {"embeddings": made[name]}
                out[f"{name}.out"] = step_of(model, hidden[place], record.passes[f"{name}.in"])
        for s in range(laid.layout.slots):
            before = hidden[rows[f"slot.{s - 1}"]] if s else hidden[rows["block"]][-1:]
            scores = model.logits(before).flatten().sort(descending=True).values
            out[f"token.{s}"] = {"scores": scores[: model.config.candidates]}
        outputs.append(out)
    for out, decoded in zip(outputs, decode(model, recording), strict=True):
        out["decode"] = decoded
    return outputs


def step_of(model: WanStreamer, hidden: Tensor, given: Pass) -> Pass:
    """The Euler step that these hidden states make of the recorded latents."""
    said = dict(zip(("latents.video", "latents.audio"), model.predict(hidden, given["t"], given["dt"]), strict=True))
    if model.config.predicts == "clean":
        said = {name: (given[name] - clean) / given["t"] for name, clean in said.items()}
    return {f"next.{name}": given[name] - velocity * given["dt"] for name, velocity in said.items()}


def decode(model: WanStreamer, recording: Recording) -> list[Pass]:
    """The agent's units from one long unit: samples, level, and the picture before it is rounded."""
    tails, units = Tails(model.start_state("decode")), len(recording.units)
    picture = model.video_vae.decode(recorded(recording, "decode", "latents.video")[None], tails)
    samples = model.audio_vae.decode(recorded(recording, "decode", "latents.audio").flatten(0, 1)[None], tails)
    pictures, sounds = picture.reshape(units, -1, *picture.shape[2:]), samples.reshape(units, -1)
    return [{"samples": s, "level": p.flatten(1).mean(1), "picture": p} for s, p in zip(sounds, pictures, strict=True)]


def errors(recording: Recording, outputs: Outputs) -> dict[str, float]:
    """The worst relative error of each pass over all units: largest difference over the root mean square of the
    recorded tensor. Keys are pass and tensor, ``block.hidden``; a NaN anywhere makes the error infinite.

    Recorded frames are rounded; they may be half a level from the picture and count only beyond that.
    """
    worst: dict[str, float] = {}
    for record, out in zip(recording.units, outputs, strict=True):
        if set(out) != set(record.passes):
            raise ValueError(f"unit {record.index} has passes {sorted(record.passes)}; recomputed {sorted(out)}")
        for name, tensors in out.items():
            for key, mine in tensors.items():
                theirs = record.passes[name]["frames" if key == "picture" else key].float().reshape(mine.shape)
                if key == "picture":
                    mine = theirs + torch.copysign(F.relu((mine.clamp(0, 255) - theirs).abs() - 0.5), mine)
                found = relative(theirs, mine)
                worst[f"{name}.{key}"] = max(worst.get(f"{name}.{key}", 0.0), found)
    return worst


def relative(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the root mean square of ``wanted``; infinite where something is not a number."""
    size = max(float(wanted.double().pow(2).mean().sqrt()), float(np.finfo(np.float32).tiny))
    found = float((got.double() - wanted.double()).abs().max()) / size
    return found if math.isfinite(found) else math.inf
