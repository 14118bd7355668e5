"""``python -m tests.export.demo_model.brief``: the demo model's training with little of everything, for a test.

Takes the words of ``edge_streamer.export.demo_model.train`` and runs all of its stages, each in its own process or in
the one that it has there, on fewer words, voices and clips, a few at a time; products of bfloat16 are taken as
processors take them that know it (products.py). Nothing else differs.
"""

from __future__ import annotations

import sys
from functools import partial

from edge_streamer.export.demo_model import learning, listening, speaking, train, words
from edge_streamer.runtime.child import python_m
from tests.export.demo_model.products import InFloat32

WORDS, CLIPS, AT_ONCE = 40, 6, 2
"""Words made up, conversations of each length, conversations in a batch."""
UNITS = {"short": 24, "long": 36}
"""Of a conversation."""
THROATS = 120
"""Beyond one folder of voices."""
SOUNDS = 4
"""Streams of words, and answers, in a batch."""


def shrink() -> None:
    """Make the training small."""
    words.MADE_UP = WORDS
    train.CLIPS = {kind: (CLIPS, units) for kind, units in UNITS.items()}
    train.FEWEST = CLIPS
    train.make_throats = partial(train.make_throats, count=THROATS)
    listening.STREAMS = speaking.ANSWERS = learning.REHEARSED = SOUNDS
    understood, converse = learning._understood, learning.converse
    learning._understood = lambda lesson, clips, number, size: understood(lesson, clips, number, AT_ONCE)
    learning.converse = lambda lesson, clips, size, own, number: converse(lesson, clips, AT_ONCE, own, number)
    train.python_m = lambda module: python_m("tests.export.demo_model.brief")


if __name__ == "__main__":
    shrink()
    with InFloat32():
        status = train.entry()
    sys.exit(status)
