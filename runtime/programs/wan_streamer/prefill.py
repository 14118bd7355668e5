"""Filling the pinned prefix: what the agent keeps in mind for the whole conversation.

Receives text (a world, a persona, instructions) and pictures with sound (how the agent looks and sounds: they pass
through the agent's own codec and enter as clean history); hands on nothing: the prefix ring is filled, the session's
snapshot keeps it. Place i of the prefix stands at position ``i - prefix_tokens``, just before time 0. Which signals
a prefix takes and where it stands are not in the papers: our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_streamer.runtime.engines.contract import Buffer, Side
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, run_carried
from edge_streamer.runtime.programs.rotary import Rotary
from edge_streamer.runtime.programs.wan_streamer.core_pass import CorePass, empty_rows
from edge_streamer.runtime.programs.wan_streamer.intake import take_in
from edge_streamer.runtime.programs.wan_streamer.layout import GROUP_AGENT, Constants, Layout
from edge_streamer.runtime.programs.wan_streamer.wiring import Wiring
from edge_streamer.runtime.unit import Unit


class Prefill:
    """Passes that append to the prefix ring. Made only when a prefix is wanted: it opens ``encode_agent``."""

    def __init__(self, place: Workplace, c: Constants, layout: Layout, wiring: Wiring,
                 encode: Callable[[str], Sequence[int]], look_up: Callable[[Sequence[int], Buffer], None]):  # fmt: skip
        self._place, self._constants, self._layout, self._wiring = place, c, layout, wiring
        self._encode_text, self._look_up = encode, look_up
        if c.prefix_tokens == 0:
            raise InputError("this bundle has no prefix; export it with --prefix-tokens N")
        self._ring = self._place.store.rings["prefix"]
        if any(self._place.store.rings[name].units for name in ("main", "video")):
            raise InputError("the conversation has begun; a prefix comes first (reset the session)")
        offsets = np.arange(c.prefix_tokens, dtype=np.float64) - c.prefix_tokens
        self._rotary = Rotary(c.rope_base, c.head_size, offsets, c.positions_per_unit)
        self._cos, self._sin = (np.empty((c.prefix_tokens, c.head_size // 2), np.float32) for _ in range(2))
        self._rotary.rows(0, self._cos, self._sin)
        self._token = self._core_pass(1, c.width, c.head_size, "in")
        self._agent = self._core_pass(layout.agent, c.width, c.head_size, "inner")
        self._make_agent_passes()

    def _core_pass(self, length: int, width: int, head_size: int, side: Side) -> CorePass:
        engine = self._place.engine
        groups = np.full((length,), GROUP_AGENT, np.float32)
        rows, embeddings = empty_rows(engine, length, head_size), engine.buffer((length, width), "float32", side)
        core = CorePass(self._place, "prefix", embeddings, rows, groups)
        core.add_route(self._ring, slice(0, length), slice(0, length))
        return core

    def _make_agent_passes(self) -> None:
        place, wiring = self._place, self._wiring
        self._input, self._encode = wiring.encode_agent()
        latents, embeddings = wiring.latents | wiring.clean_time, {"embeddings": self._agent.embeddings}
        self._clean = Pass("clean", place.graph("solve_in"), latents, embeddings, place.meter)

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
        for token in ids:
            self._look_up((token,), self._token.embeddings)
            self._append(self._token, 1)
        return len(ids)

    def unit(self, unit: Unit) -> int:
        """The picture is of the agent's size."""
        length = self._layout.agent
        self._need(length, f"a unit of picture and sound takes {length} tokens")
        take_in(self._input, unit)
        run_carried(self._place.store.carries["encode_agent"], self._encode)
        self._clean.run()
        self._append(self._agent, length)
        return length

    def _need(self, tokens: int, what: str) -> None:
        if tokens > self.left:
            places = f"{self.left} of {self._constants.prefix_tokens} places left"
            raise InputError(
                f"{what}; the prefix has {places}: shorten it or export the bundle with a larger --prefix-tokens"
            )

    def _append(self, core: CorePass, length: int) -> None:
        rotary, first = core.rotary, self._ring.units
        for rows, table in ((rotary.cos, self._cos), (rotary.sin, self._sin),
                            (rotary.prefix_cos, self._cos), (rotary.prefix_sin, self._sin)):  # fmt: skip
            rows.host[...] = table[first : first + length]
        core.run()
        core.commit()
        self._ring.units += length
