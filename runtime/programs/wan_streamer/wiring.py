"""Every buffer and every bound pass of ``wan_streamer``, made once when a session opens.

Receives the workplace; hands on :class:`Wiring`, whose passes the program runs in order. Graphs hand on to each other
without a copy: ``encode`` writes straight into the block's embeddings, ``slot`` reads the core's last hidden row,
``solve_in`` writes the solver pass's embeddings.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.engines.contract import Engine
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, free_inputs, free_outputs
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
from edge_streamer.runtime.state.store import arena


class Wiring:
    """Buffers and passes. ``tokens`` below is the block's embeddings [agent + user + 1, width]."""

    def __init__(self, place: Workplace, constants: Constants, layout: Layout):
        self._place, self._constants, self._layout = place, constants, layout
        self.rotary = RotaryTable(constants, layout)
        self._make_buffers()
        self._make_core_passes()
        self._make_other_passes()

    def _make_buffers(self) -> None:
        c, layout, place = self._constants, self._layout, self._place
        empty = place.engine.empty
        encode, slot, decode = (self._place.graph(n).spec for n in ("encode", "slot", "decode"))
        self.user = {t.name: empty(fixed(t.shape), t.dtype) for t in free_inputs(encode)}
        self.agent = {t.name: empty(fixed(t.shape), t.dtype) for t in free_outputs(decode)}
        shapes = {"latents.video": c.video_latent, "latents.audio": c.audio_latent}
        self.all_latents, self.latents = _neighbours(place.engine, shapes)
        """The solver's latents, from noise to y_k: in one piece, and by name."""
        self.all_past, self.past = _neighbours(place.engine, shapes)
        """y_{k-1}, clean: history."""
        self._all_next, after = _neighbours(place.engine, shapes)
        self._next = {f"next.{name}": array for name, array in after.items()}
        self.time = {"t": empty((1,), "float32"), "dt": empty((1,), "float32")}
        self._clean_time = {"t": empty((1,), "float32"), "dt": empty((1,), "float32")}  # stays 0: clean
        self.sampling = {
            n: empty((1,), d) for n, d in (("temperature", "float32"), ("top_k", "int32"), ("top_p", "float32"))
        }
        self.slot_noise = empty((layout.slots, c.candidates), "float32")
        self.sampled = [{t.name: empty(fixed(t.shape), t.dtype) for t in slot.outputs} for _ in range(layout.slots)]
        self._embeddings = empty((1, layout.agent + layout.user + 1, c.width), "float32")

    def _make_core_passes(self) -> None:
        layout, place, a = self._layout, self._place, self._layout.agent
        counts = [a, layout.user, 1]
        groups = np.repeat(np.array([GROUP_AGENT, GROUP_USER, GROUP_START], np.float32), counts)
        whole, rotary, empty = self._embeddings, self.rotary, place.engine.empty
        width = self._constants.width
        self.block = CorePass(place, "block", whole, rotary.block, groups)
        self.settled_block = CorePass(place, "block", whole[:, a:], rotary.settled_block, groups[a:])
        self.settle = CorePass(place, "settle", whole[:, :a], rotary.agent, groups[:a])
        self.slots = [
            CorePass(place, f"slot.{s}", empty((1, 1, width), "float32"), rows, groups[:1])
            for s, rows in enumerate(rotary.slots)
        ]
        self.solve = CorePass(place, "solve", empty((1, a, width), "float32"), rotary.agent, groups[:a])
        rings = place.store.rings
        add_unit_routes(self.block, layout, rings, AGENT + USER)
        add_unit_routes(self.settled_block, layout, rings, USER)
        add_unit_routes(self.settle, layout, rings, AGENT)
        start = layout.place("slots").start
        for s, core in enumerate(self.slots):
            core.add_route(rings[layout.segment("slots").ring], slice(0, 1), slice(start + s, start + s + 1))

    def _make_other_passes(self) -> None:
        layout, tokens = self._layout, self._embeddings[0]
        a, nv = layout.agent, layout.segment("user.video").count
        after_audio = a + nv + layout.segment("user.audio").count
        self.user_text = tokens[after_audio : a + layout.user]
        self.start = tokens[a + layout.user :]
        self.encode = self._with_carries(
            "encode", self.user, {"user.video": tokens[a : a + nv], "user.audio": tokens[a + nv : after_audio]}
        )
        self.clean = self._simple("solve_in", "clean", self.past | self._clean_time, {"embeddings": tokens[:a]})
        noisy = self.latents | self.time
        self.solve_in = self._simple("solve_in", "solve.in", noisy, {"embeddings": self.solve.embeddings[0]})
        hidden = {"hidden": self.solve.hidden[0]}
        self.solve_out = self._simple("solve_out", "solve.out", noisy | hidden, self._next, [self._all_next])
        self.decode = self._with_carries("decode", self.latents, self.agent)
        self.first_token = {core: self._token(0, core.hidden[0, -1:]) for core in (self.block, self.settled_block)}
        self.tokens = [self._token(s, self.slots[s - 1].hidden[0]) for s in range(1, layout.slots)]

    def take_step(self) -> None:
        """The solver's step becomes the latents."""
        np.copyto(self.all_latents, self._all_next)

    def _simple(
        self,
        graph: str,
        name: str,
        inputs: dict[str, Array],
        outputs: dict[str, Array],
        pieces: list[Array] | None = None,
    ) -> Pass:
        return Pass(name, self._place.graph(graph), inputs, outputs, self._place.meter, pieces)

    def _token(self, s: int, hidden: Array) -> Pass:
        inputs = {"hidden": hidden, "noise": self.slot_noise[s]} | self.sampling
        return self._simple("slot", f"token.{s}", inputs, self.sampled[s])

    def encode_agent(self) -> tuple[dict[str, Array], list[Pass]]:
        """The agent's encoder, into the latents: its inputs, and a pass per side. Opens a graph that no step runs."""
        spec = self._place.graph("encode_agent").spec
        inputs = {t.name: self._place.engine.empty(fixed(t.shape), t.dtype) for t in free_inputs(spec)}
        return inputs, self._with_carries("encode_agent", inputs, self.latents)

    def _with_carries(self, name: str, inputs: dict[str, Array], outputs: dict[str, Array]) -> list[Pass]:
        """The graph bound twice, once per committed side of its carries."""
        carries, graph = self._place.store.carries[name], self._place.graph(name)
        passes = []
        for side in (0, 1):
            ins, outs = inputs | carries.reads(side), outputs | carries.writes(side)
            pieces = [*outputs.values(), carries.arenas[1 - side].flat]
            passes.append(Pass(name, graph, ins, outs, self._place.meter, pieces))
        return passes


def _neighbours(engine: Engine, shapes: dict[str, tuple[int, int]]) -> tuple[Array, dict[str, Array]]:
    """Float buffers of these shapes in one piece of memory: (all of it, flat, and each by name)."""
    made = arena(engine, [(shape, "float32") for shape in shapes.values()])
    return made.flat, dict(zip(shapes, made.views, strict=True))


def fixed(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    """A shape without a symbolic length; ValueError where it has one."""
    if not all(isinstance(n, int) for n in shape):
        raise ValueError(f"shape {shape} has a symbolic length where a fixed one was wanted")
    return tuple(int(n) for n in shape)
