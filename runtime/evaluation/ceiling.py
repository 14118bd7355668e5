"""The codec's ceiling: the best that a bundle could do, if its Transformer were never wrong.

Receives a session; hands on an agent that does what each scene intends, with picture and sound through the bundle's own
``encode_agent`` and ``decode``, state carried from unit to unit as in a real run.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.evaluation.suite import Case
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import UNIT
from edge_streamer.runtime.programs.wan_streamer.intake import take_in
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Response, Unit


class Codec:
    """``encode_agent`` and ``decode`` of a session of their own, back to back."""

    def __init__(self, session: Session) -> None:
        self._session = session.twin()
        self._input, self._script = wan_streamer(self._session.program).wiring.through_codec()

    def reset(self) -> None:
        self._session.reset()

    def through(self, unit: Unit) -> Unit:
        """The agent's picture and sound of one unit as the codec gives them back."""
        store, wiring = self._session.place.store, wan_streamer(self._session.program).wiring
        take_in(self._input, unit)
        self._script.play()
        store.commit()
        return Unit(wiring.agent["samples"].host.copy(), wiring.agent["frames"].host.copy())


class Intended:
    """An agent that does what the scene intends. ``speak_token`` and ``listen_token`` are numbers of its own."""

    speak_token, listen_token = 1, 0

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        self._scene, self._unit = scene, 0
        self._frames = scene.avatar()

    def step(self, unit: Unit) -> Response:
        k, intent = self._unit, self._scene.intent
        self._unit += 1
        samples, frames = intent.samples[k * UNIT : (k + 1) * UNIT], self._frames[k * 4 : k * 4 + 4]
        token = self.speak_token if intent.speaking[k] else self.listen_token
        return Response(k, np.array(samples, np.float32), frames, intent.text[k].decode(), (token,), 0.0, 0.0)


class Ceiling(Intended):
    """The same through the codec."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        super().begin(case, scene, fresh)
        self._codec.reset()

    def step(self, unit: Unit) -> Response:
        wanted = super().step(unit)
        came = self._codec.through(Unit(wanted.samples, wanted.frames))
        assert came.samples is not None
        assert came.frames is not None
        return Response(wanted.index, came.samples, came.frames, wanted.text, wanted.tokens, 0.0, 0.0)
