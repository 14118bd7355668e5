"""Every buffer and every bound pass of ``wan_streamer``, made once when a session opens.

Receives the workplace; hands on :class:`Wiring`, whose passes the program runs in order. Graphs hand on to each other
without a copy: ``encode`` writes straight into the block's embeddings, ``slot`` reads the core's last hidden row,
``solve_in`` writes the solver pass's embeddings.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.engines.buffers import packed
from edge_streamer.runtime.engines.contract import Buffer, between_runs
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, free_inputs, free_outputs, sizes
from edge_streamer.runtime.programs.wan_streamer.core_pass import CorePass, RotaryTable, add_unit_routes
from edge_streamer.runtime.programs.wan_streamer.layout import (
    AGENT,
    GROUP_AGENT,
    GROUP_START,
    GROUP_USER,
    USER,
    Constants,
    Layout,
)


class Wiring:
    """Buffers and passes. ``tokens`` are the block's embeddings [agent + user + 1, width]."""

    def __init__(self, place: Workplace, constants: Constants, layout: Layout):
        self._place, self._constants, self._layout = place, constants, layout
        self.rotary = RotaryTable(place.engine, constants, layout)
        self._make_buffers()
        self._make_core_passes()
        self._make_other_passes()

    def _make_buffers(self) -> None:
        c, layout, engine = self._constants, self._layout, self._place.engine
        encode, slot, decode = (self._place.graph(n).spec for n in ("encode", "slot", "decode"))
        self.user = packed(engine, sizes(free_inputs(encode)), "in")
        self.agent = packed(engine, sizes(free_outputs(decode)), "out")
        latents = {"latents.video": (c.video_latent, "float32"), "latents.audio": (c.audio_latent, "float32")}
        self.latents = packed(engine, latents, "in")
        """The solver's, from noise to y_k."""
        self.past = packed(engine, latents)
        """y_{k-1}, clean: history."""
        self._next = packed(engine, latents)
        self.time = packed(engine, dict.fromkeys(("t", "dt"), ((1,), "float32")), "in")
        self.clean_time = packed(engine, dict.fromkeys(("t", "dt"), ((1,), "float32")), "in")  # stays 0: clean
        sampling = {"temperature": "float32", "top_k": "int32", "top_p": "float32"}
        self.sampling = packed(engine, {name: ((1,), dtype) for name, dtype in sampling.items()}, "in")
        self.slot_noise = engine.stack(layout.slots, (c.candidates,), "float32", axis=0, side="in")
        self.sampled = [packed(engine, sizes(slot.outputs), "out") for _ in range(layout.slots)]
        self._tokens = engine.buffer((layout.agent + layout.user + 1, c.width), "float32")

    def _make_core_passes(self) -> None:
        layout, place, a = self._layout, self._place, self._layout.agent
        counts = [a, layout.user, 1]
        groups = np.repeat(np.array([GROUP_AGENT, GROUP_USER, GROUP_START], np.float32), counts)
        tokens, rotary, engine = self._tokens, self.rotary, place.engine
        width, end = self._constants.width, a + layout.user + 1
        self.block = CorePass(place, "block", tokens, rotary.block, groups)
        self.settled_block = CorePass(place, "block", tokens.part(a, end), rotary.settled_block, groups[a:])
        self.settle = CorePass(place, "settle", tokens.part(0, a), rotary.agent, groups[:a])
        self.slots = [
            CorePass(place, f"slot.{s}", engine.buffer((1, width), "float32", "in"), rows, groups[:1])
            for s, rows in enumerate(rotary.slots)
        ]
        self.solve = CorePass(place, "solve", engine.buffer((a, width), "float32"), rotary.agent, groups[:a])
        rings = place.store.rings
        add_unit_routes(self.block, layout, rings, AGENT + USER)
        add_unit_routes(self.settled_block, layout, rings, USER)
        add_unit_routes(self.settle, layout, rings, AGENT)
        start = layout.place("slots").start
        for s, core in enumerate(self.slots):
            core.add_route(rings[layout.segment("slots").ring], slice(0, 1), slice(start + s, start + s + 1))

    def _make_other_passes(self) -> None:
        layout, tokens = self._layout, self._tokens
        a, nv = layout.agent, layout.segment("user.video").count
        after_audio, end = a + nv + layout.segment("user.audio").count, a + layout.user
        perceived = {"user.video": tokens.part(a, a + nv), "user.audio": tokens.part(a + nv, after_audio)}
        self.user_text, self.start = tokens.part(after_audio, end), tokens.part(end, end + 1)
        self.encode = self._with_carries("encode", self.user, perceived)
        self.clean = self._simple("solve_in", "clean", self.past | self.clean_time, {"embeddings": tokens.part(0, a)})
        noisy = self.latents | self.time
        self.solve_in = self._simple("solve_in", "solve.in", noisy, {"embeddings": self.solve.embeddings})
        following = {f"next.{name}": buffer for name, buffer in self._next.items()}
        self.solve_out = self._simple("solve_out", "solve.out", noisy | {"hidden": self.solve.hidden}, following)
        self.decode = self._with_carries("decode", self.latents, self.agent)
        self.first_token = {core: self._token(0, last_row(core.hidden)) for core in (self.block, self.settled_block)}
        self.tokens = [self._token(s, self.slots[s - 1].hidden) for s in range(1, layout.slots)]

    def take_step(self) -> None:
        """The solver's step becomes the latents."""
        for name, latents in self.latents.items():
            latents.host[...] = between_runs(self._next[name])

    def keep_latents(self) -> None:
        """The latents, clean now, become history."""
        for name, latents in self.latents.items():
            between_runs(self.past[name])[...] = latents.host

    def _simple(self, graph: str, name: str, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> Pass:
        return Pass(name, self._place.graph(graph), inputs, outputs, self._place.meter)

    def _token(self, s: int, hidden: Buffer) -> Pass:
        inputs = {"hidden": hidden, "noise": self.slot_noise[s]} | self.sampling
        return self._simple("slot", f"token.{s}", inputs, self.sampled[s])

    def encode_agent(self) -> tuple[dict[str, Buffer], list[Pass]]:
        """The agent's encoder, into the latents: its inputs, and a pass per side. Opens a graph that no step runs."""
        inputs = packed(self._place.engine, sizes(free_inputs(self._place.graph("encode_agent").spec)), "in")
        return inputs, self._with_carries("encode_agent", inputs, self.latents)

    def _with_carries(self, name: str, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> list[Pass]:
        """The graph bound twice, once per committed piece of its carries."""
        carries = self._place.store.carries[name]
        return [
            self._simple(name, name, inputs | carries.reads(front), outputs | carries.writes(front)) for front in (0, 1)
        ]


def last_row(buffer: Buffer) -> Buffer:
    """The last row of ``buffer``, [1, ...]."""
    rows = buffer.shape[0]
    return buffer.part(rows - 1, rows)
