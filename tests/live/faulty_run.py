"""``edge-streamer`` with steps that raise now and then, for the soak: everything else is the product.

python -m tests.live.faulty_run EVERY WORDS...: every EVERYth step raises in the engine, in the middle of its unit.
"""

from __future__ import annotations

import sys
from typing import Any

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.programs.wan_streamer.program import WanStreamer
from edge_streamer.runtime.unit import Response, Unit


def main(words: list[str]) -> int:
    every, count = int(words[0]), 0
    whole = WanStreamer.step

    def step(self: WanStreamer, unit: Unit, tokens: Any = None) -> Response:
        nonlocal count
        count += 1
        response = whole(self, unit, tokens)
        if count % every == 0:
            raise EngineError("the engine broke, as the test wanted")
        return response

    WanStreamer.step = step  # type: ignore[method-assign]
    return cli.main(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
