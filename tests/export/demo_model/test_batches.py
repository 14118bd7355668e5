"""What a step learns from: drawn by numpy alone, the same for the same numbers, and laid out as it was drawn."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

from edge_streamer.export.demo_model.batches import Drawn, batch_of, draw
from edge_streamer.export.demo_model.dataset import Clips, place_table
from edge_streamer.export.demo_model.listening import UNITS as STREAM_UNITS
from edge_streamer.export.demo_model.listening import Backdrops, Ear
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.speech import Bank
from edge_streamer.export.wan_streamer.config import DEMO
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.runtime.evaluation.world.script import UNIT
from tests.export.demo_model.made_up import TABLE, UNITS, clips, scenes, unknown

SIZE, STREAMS = 6, 2


@pytest.fixture(scope="module")
def model() -> WanStreamer:
    return build(DEMO, 0)


@pytest.fixture(scope="module")
def ear(model: WanStreamer) -> Ear:
    commands, other = tuple(TABLE.words), unknown()
    hum = (0.2 * np.sin(0.1 * np.arange(6000))).astype(np.float32)
    bank = Bank({word: [hum] for word in (*commands, *other)})
    notes = Notes(DEMO.transformer.width, len(commands), TABLE.cards, place_table(scenes()[0].world)[-1], 0)
    return Ear(model, notes, bank, commands, other, Backdrops(bank, other, 0))


@pytest.fixture(scope="module")
def pool() -> Clips:
    """Clips whose pictures say which clip and which unit they are of."""
    number = torch.arange(len(scenes())).reshape(-1, 1, 1, 1)
    unit = torch.arange(UNITS).reshape(1, -1, 1, 1)
    return clips((1000 * number + unit).float().expand(-1, -1, *DEMO.video_latent).clone())


def drawn(ear: Ear, pool: Clips, step: int, prefix: bool = False, anew: bool = False) -> Drawn:
    return draw(ear, pool, np.random.default_rng([0, 6, step]), SIZE, prefix, DEMO if anew else None, STREAMS)


def test_equal_numbers_draw_the_same_and_any_process_may(ear: Ear, pool: Clips) -> None:
    one, same, other = (drawn(ear, pool, step, prefix=True, anew=True) for step in (1, 1, 2))
    assert pickle.dumps(one) == pickle.dumps(same) != pickle.dumps(other)
    again = pickle.loads(pickle.dumps(one))
    assert again.rng.random() == one.rng.random(), "what is drawn later follows too"
    held = [getattr(one, f.name) for f in fields(one)] + list(vars(one.told).values()) + list(one.streams)
    assert not any(isinstance(each, torch.Tensor) for each in held)
    assert one.samples.shape == (SIZE, UNITS * UNIT)
    assert one.streams[0].shape == (STREAMS, STREAM_UNITS * UNIT)


def test_a_batch_is_what_was_drawn(ear: Ear, pool: Clips, model: WanStreamer) -> None:
    made = drawn(ear, pool, 3)
    batch = batch_of(model, pool, made)
    assert torch.equal(batch.clean[0][:, 5, 0, 0], torch.from_numpy(1000.0 * made.numbers + 5).float())
    assert np.array_equal(batch.tokens.slots, pool.told.slots[made.numbers])
    assert np.array_equal(batch.ended, pool.told.ended[made.numbers])
    assert batch.tokens.user_audio.shape[:2] == (SIZE, UNITS)
    assert batch.tokens.pinned is None
    who = [scene.identity for scene in pool.scenes]
    assert [who[n] for n in made.others] == [who[n] for n in made.numbers]


def test_clips_told_anew_keep_their_camera_alone(ear: Ear, pool: Clips, model: WanStreamer) -> None:
    made = drawn(ear, pool, 4, anew=True)
    batch = batch_of(model, pool, made)
    assert made.told is not None
    assert np.array_equal(batch.tokens.slots, made.told.slots)
    assert not np.array_equal(batch.tokens.slots, pool.told.slots[made.numbers])
    assert np.array_equal(batch.cards, pool.told.cards[made.numbers])


def test_a_prefix_is_a_piece_of_a_clip_of_the_same_identity(ear: Ear, pool: Clips, model: WanStreamer) -> None:
    lengths, starts = set[int](), list[int]()
    for step in range(12):
        made = drawn(ear, pool, step, prefix=True)
        pinned = batch_of(model, pool, made).tokens.pinned
        if pinned is None:
            lengths.add(0)
            continue
        marks = pinned[0][..., 0, 0].numpy()
        assert (np.diff(marks) == 1).all(), "units in a row"
        owners, first = (marks[:, 0] // 1000).astype(int), (marks[:, 0] % 1000).astype(int)
        assert [scenes()[n].identity for n in owners] == [scenes()[n].identity for n in made.numbers]
        lengths.add(marks.shape[1])
        starts += first.tolist()
    assert 0 in lengths
    assert len(lengths) > 3
    assert 0.1 < np.mean([start == 0 for start in starts]) < 0.6
