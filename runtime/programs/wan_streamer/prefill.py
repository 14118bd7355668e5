"""Filling the pinned prefix: what the agent keeps in mind for the whole conversation.

Receives text (a world, a persona, instructions) and pictures with sound (how the agent looks and sounds: they pass
through the agent's own codec and enter as clean history); hands on nothing: the prefix ring is filled, the session's
snapshot keeps it. Place i of the prefix stands at position ``i - prefix_tokens``, just before time 0. Which signals
a prefix takes and where it stands are not in the papers: our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from edge_streamer.runtime.engines.buffers import Packed
from edge_streamer.runtime.engines.contract import Buffer, Table
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, Script
from edge_streamer.runtime.programs.rotary import Rotary
from edge_streamer.runtime.programs.wan_streamer.core_pass import CorePass, empty_rows
from edge_streamer.runtime.programs.wan_streamer.intake import check_tokens, take_in
from edge_streamer.runtime.programs.wan_streamer.layout import GROUP_AGENT, Constants, Layout
from edge_streamer.runtime.programs.wan_streamer.wiring import Wiring
from edge_streamer.runtime.unit import Unit


class Prefill:
    """Passes that append to the prefix ring, each made at its first use: to ask for room makes none."""

    def __init__(self, place: Workplace, c: Constants, layout: Layout, wiring: Wiring,
                 table: Table, encode: Callable[[str], Sequence[int]]):  # fmt: skip
        self._place, self._constants, self._layout, self._wiring = place, c, layout, wiring
        self._table, self._encode_text = table, encode
        if c.prefix_tokens == 0:
            raise InputError("this bundle has no prefix; export it with --prefix-tokens N")
        self._ring = self._place.store.rings["prefix"]
        if any(self._place.store.rings[name].units for name in ("main", "video")):
            raise InputError("the conversation has begun; a prefix comes first (reset the session)")
        offsets = np.arange(c.prefix_tokens, dtype=np.float64) - c.prefix_tokens
        self._rotary = Rotary(c.rope_base, c.head_size, offsets, c.positions_per_unit)
        self._cos, self._sin = (np.empty((c.prefix_tokens, c.head_size // 2), np.float32) for _ in range(2))
        self._rotary.rows(0, self._cos, self._sin)

    def _core_pass(self, length: int) -> CorePass:
        engine, c = self._place.engine, self._constants
        groups = np.full((length,), GROUP_AGENT, np.float32)
        rows, embeddings = empty_rows(engine, length, c.head_size), engine.buffer((length, c.width), "float32")
        core = CorePass(self._place, embeddings, rows, groups, self._wiring.validity.inputs(0))
        core.add_route(self._ring, slice(0, length), 0)
        return core

    @cached_property
    def _word(self) -> tuple[Buffer, CorePass, Script]:
        """Of one token: where it is put, its pass, the tape."""
        token = self._place.engine.buffer((1,), "int32", "in")
        core, script = self._core_pass(1), Script("prefix", self._place.meter)
        script.tape.look_up(self._table, token, core.embeddings)
        core.run(script, "prefix")
        core.store(script)
        return token, core, script

    @cached_property
    def _agent(self) -> tuple[Packed, CorePass, Script]:
        """Of the agent's picture and sound: where they are put, their pass, the tape. Opens ``encode_agent``, which no
        step runs."""
        place, wiring = self._place, self._wiring
        core, script = self._core_pass(self._layout.agent), Script("prefix", place.meter)
        inputs, encode = wiring.encode_agent()
        latents, embeddings = wiring.latents | wiring.clean_time, {"embeddings": core.embeddings}
        script.run("encode_agent", encode)
        script.run("clean", Pass(place.graph("solve_in"), latents, embeddings, place.engine))
        core.run(script, "prefix")
        core.store(script)
        return inputs, core, script

    @property
    def places(self) -> int:
        return self._constants.prefix_tokens

    @property
    def places_per_unit(self) -> int:
        return self._layout.agent

    @property
    def left(self) -> int:
        return self._constants.prefix_tokens - self._ring.units

    def text(self, text: str) -> int:
        ids = self._encode_text(text)
        self._need(len(ids), f"the text has {len(ids)} tokens")
        check_tokens(ids, self._table)
        token, core, script = self._word
        for number in ids:
            token.host[0] = number
            self._append(core, script)
        return len(ids)

    def unit(self, unit: Unit) -> int:
        """The picture is of the agent's size."""
        length = self._layout.agent
        self._need(length, f"a unit of picture and sound takes {length} tokens")
        inputs, core, script = self._agent
        take_in(inputs, unit)
        self._append(core, script)
        return length

    def _need(self, tokens: int, what: str) -> None:
        if tokens > self.left:
            places = f"{self.left} of {self._constants.prefix_tokens} places left"
            raise InputError(
                f"{what}; the prefix has {places}: shorten it or export the bundle with a larger --prefix-tokens"
            )

    def _append(self, core: CorePass, script: Script) -> None:
        rotary, first, length = core.rotary, self._ring.units, core.embeddings.shape[0]
        for rows, table in ((rotary.cos, self._cos), (rotary.sin, self._sin),
                            (rotary.prefix_cos, self._cos), (rotary.prefix_sin, self._sin)):  # fmt: skip
            rows.host[...] = table[first : first + length]
        self._wiring.validity.turn(past=False)
        script.play()
        self._ring.units += length
