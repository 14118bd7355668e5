"""Every buffer and every bound pass of ``wan_streamer``, made once when a session opens, and the tapes of them.

Receives the workplace; hands on :class:`Wiring`. Graphs hand on to each other without a copy: ``encode`` writes
straight into the block's embeddings, ``slot`` reads the core's last hidden row, ``solve_in`` writes the solver pass's
embeddings, a step of the solver reads what the step before wrote.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from edge_streamer.runtime.engines.buffers import Packed, packed
from edge_streamer.runtime.engines.contract import Buffer, Table
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, Script, free_inputs, free_outputs, sizes
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
from edge_streamer.runtime.programs.wan_streamer.validity import Validity


class Wiring:
    """Buffers and passes. The block's embeddings are [agent + user + 1, width]."""

    def __init__(self, place: Workplace, constants: Constants, layout: Layout, table: Table):
        self._place, self._constants, self._layout, self._table = place, constants, layout, table
        self.rotary = RotaryTable(place.engine, constants, layout)
        self.validity = Validity(place.engine, layout, place.store.rings)
        self._solvers: dict[int, list[tuple[Pass, Pass]]] = {}
        self._units: dict[tuple[bool, int, bool], Script] = {}
        self._make_buffers()
        self._make_core_passes()
        self._make_other_passes()

    def _make_buffers(self) -> None:
        c, layout, engine = self._constants, self._layout, self._place.engine
        encode, slot, decode = (self._place.graph(n).spec for n in ("encode", "slot", "decode"))
        self.user = packed(engine, sizes(free_inputs(encode)), "in")
        self.agent = packed(engine, sizes(free_outputs(decode)), "out")
        latents = {"latents.video": (c.video_latent, "float32"), "latents.audio": (c.audio_latent, "float32")}
        self.noise = packed(engine, latents, "in")
        """What the solver begins with."""
        self.latents, self._between = packed(engine, latents), packed(engine, latents)
        """y_k, clean, which the last step of the solver writes; the step before it writes the other ones."""
        self.past = packed(engine, latents)
        """y_{k-1}, clean: history."""
        self._place.store.keep("decode", self.past.piece, self.latents.piece)
        self.clean_time = packed(engine, dict.fromkeys(("t", "dt"), ((1,), "float32")), "in")  # stays 0: clean
        sampling = {"temperature": "float32", "top_k": "int32", "top_p": "float32"}
        self.sampling = packed(engine, {name: ((1,), dtype) for name, dtype in sampling.items()}, "in")
        self.slot_noise = engine.stack(layout.slots, (c.candidates,), "float32", axis=0, side="in")
        self.sampled = [packed(engine, sizes(slot.outputs), "out") for _ in range(layout.slots)]
        self.forced = engine.stack(layout.slots, (1,), "int32", axis=0, side="in")
        """Tokens instead of those that the slots choose."""
        self.text = engine.buffer((layout.segment("user.text").count + 1,), "int32", "in")
        """The user's text, and the token that opens the slots."""
        self.text.host[-1] = c.token_start
        self._tokens = engine.buffer((layout.agent + layout.user + 1, c.width), "float32")

    def _make_core_passes(self) -> None:
        layout, place, a = self._layout, self._place, self._layout.agent
        counts = [a, layout.user, 1]
        groups = np.repeat(np.array([GROUP_AGENT, GROUP_USER, GROUP_START], np.float32), counts)
        tokens, rotary, engine = self._tokens, self.rotary, place.engine
        width, end = self._constants.width, a + layout.user + 1
        begin, *between, solve = (self.validity.inputs(moment) for moment in range(layout.slots + 2))
        self._block = CorePass(place, tokens, rotary.block, groups, begin)
        self._settled_block = CorePass(place, tokens.part(a, end), rotary.settled_block, groups[a:], begin)
        self._settle = CorePass(place, tokens.part(0, a), rotary.agent, groups[:a], begin)
        self._slots = [
            CorePass(place, engine.buffer((1, width), "float32"), rows, groups[:1], valid)
            for rows, valid in zip(rotary.slots, between, strict=True)
        ]
        self._solve = CorePass(place, engine.buffer((a, width), "float32"), rotary.agent, groups[:a], solve)
        rings = place.store.rings
        add_unit_routes(self._block, layout, rings, AGENT + USER)
        add_unit_routes(self._settled_block, layout, rings, USER)
        add_unit_routes(self._settle, layout, rings, AGENT)
        start = layout.place("slots").start
        for s, core in enumerate(self._slots):
            core.add_route(rings[layout.segment("slots").ring], slice(0, 1), start + s)

    def _make_other_passes(self) -> None:
        layout, tokens = self._layout, self._tokens
        a, nv = layout.agent, layout.segment("user.video").count
        after_audio, end = a + nv + layout.segment("user.audio").count, a + layout.user
        perceived = {"user.video": tokens.part(a, a + nv), "user.audio": tokens.part(a + nv, after_audio)}
        self._words = tokens.part(after_audio, end + 1)
        self._encode = self._pass("encode", self.user, perceived)
        self._clean = self._pass("solve_in", self.past | self.clean_time, {"embeddings": tokens.part(0, a)})
        self._decode = self._pass("decode", self.latents, self.agent)
        first = {core: self._token(0, last_row(core.hidden)) for core in (self._block, self._settled_block)}
        self._first_token = first
        self._next_tokens = [self._token(s, self._slots[s - 1].hidden) for s in range(1, layout.slots)]

    def _pass(self, graph: str, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> Pass:
        place = self._place
        return Pass(place.graph(graph), inputs, outputs, place.engine, place.store.carries.get(graph))

    def _token(self, s: int, hidden: Buffer) -> Pass:
        return self._pass("slot", {"hidden": hidden, "noise": self.slot_noise[s]} | self.sampling, self.sampled[s])

    def solver(self, steps: int) -> list[tuple[Pass, Pass]]:
        """The ends of every step of the solver, (solve_in, solve_out): equal Euler steps from noise at t = 1 to clean
        latents at t = 0. Made at the first use of so many steps."""
        if steps not in self._solvers:
            engine = self._place.engine
            times, length = engine.stack(steps, (1,), "float32", 0, "in"), engine.buffer((1,), "float32", "in")
            times.host[:, 0] = [1.0 - i / steps for i in range(steps)]
            length.host[0] = 1.0 / steps
            made = self._solvers[steps] = []
            came = self.noise
            for i in range(steps):
                latents = came | {"t": times[i], "dt": length}
                came = self._between if (steps - i) % 2 == 0 else self.latents
                begin = self._pass("solve_in", latents, {"embeddings": self._solve.embeddings})
                following = {f"next.{name}": buffer for name, buffer in came.items()}
                made.append((begin, self._pass("solve_out", latents | {"hidden": self._solve.hidden}, following)))
        return self._solvers[steps]

    # -- tapes

    def unit(self, past: bool, steps: int, forced: bool) -> Script:
        """A whole unit, made at its first use. ``past``: y_{k-1} rides in the block; ``forced``: the slots' tokens are
        :attr:`forced`."""
        key = past, steps, forced
        if key not in self._units:
            script = self._units[key] = self._script("unit")
            script.run("encode", self._encode)
            script.tape.look_up(self._table, self.text, self._words)
            block = self._block if past else self._settled_block
            if past:
                script.run("clean", self._clean)
            block.run(script, "block")
            block.store(script)
            for s, core in enumerate(self._slots):
                script.run(f"token.{s}", self._next_tokens[s - 1] if s else self._first_token[block])
                token = self.forced[s] if forced else self.sampled[s]["token"]
                script.tape.look_up(self._table, token, core.embeddings)
                core.run(script, f"slot.{s}")
                core.store(script)
            for i, (begin, end) in enumerate(self.solver(steps)):
                script.run(f"solve.{i}.in", begin)
                self._solve.run(script, f"solve.{i}")
                script.run(f"solve.{i}.out", end)
            script.run("decode", self._decode)
        return self._units[key]

    @cached_property
    def settle(self) -> Script:
        """The clean pass of y_{k-1} by itself."""
        script = self._script("settle")
        script.run("clean", self._clean)
        self._settle.run(script, "settle")
        self._settle.store(script)
        return script

    def encode_agent(self) -> tuple[Packed, Pass]:
        """The agent's encoder, into the latents: its inputs, and the pass. Opens a graph that no step runs."""
        inputs = packed(self._place.engine, sizes(free_inputs(self._place.graph("encode_agent").spec)), "in")
        return inputs, self._pass("encode_agent", inputs, self.latents)

    def through_codec(self) -> tuple[Packed, Script]:
        """The agent's encoder and decoder back to back: inputs, and the tape."""
        inputs, encode = self.encode_agent()
        script = self._script("codec")
        script.run("encode_agent", encode)
        script.run("decode", self._decode)
        return inputs, script

    def _script(self, name: str) -> Script:
        return Script(name, self._place.meter)


def last_row(buffer: Buffer) -> Buffer:
    """The last row of ``buffer``, [1, ...]."""
    rows = buffer.shape[0]
    return buffer.part(rows - 1, rows)
