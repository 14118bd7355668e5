"""What is heard and seen where there is no answer: silence and the last picture.

Receives the session's answers; hands on complete ones. Of a bundle that gives no sound there is silence, of one that
gives no pictures a black one: devices and recorders always get both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Frames
from edge_streamer.runtime.unit import Response

BLACK = 0
"""The picture held before there was one."""


class Concealment:
    """Of one loop; ``media`` has every part (``media.filled``). Its arrays serve every unit: who keeps them copies."""

    def __init__(self, media: MediaSpec) -> None:
        self._silence = np.zeros(media.says.unit_samples, np.float32)
        self._still: Frames = np.full((media.shows.unit_frames, *media.shows.size, 3), BLACK, np.uint8)
        self._held: Frames = self._still[-1].copy()

    def complete(self, response: Response) -> Response:
        """An answer that came, with what its bundle does not give; its last picture is held from now on."""
        if response.frames is not None:
            self._held[:] = response.frames[-1]  # one picture: this is every unit's way
        if response.samples is not None and response.frames is not None:
            return response
        samples = self._silence if response.samples is None else response.samples
        frames = self._still if response.frames is None else response.frames
        return replace(response, samples=samples, frames=frames)

    def answer(self, index: int) -> Response:
        """In place of one that did not come."""
        self._still[:] = self._held
        return Response(index, self._silence, self._still)
