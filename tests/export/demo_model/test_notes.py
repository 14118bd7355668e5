"""What guides training: the notes' labels say what answers say, and the looks are read where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_streamer.export.demo_model.dataset import REMEMBERED, place_table, rewritten, told
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.sight import LOOKS, Sight
from edge_streamer.export.wan_streamer.config import DEMO
from edge_streamer.runtime.evaluation.world.script import FRAME, GRID, UNIT
from tests.export.demo_model.made_up import TABLE, UNITS, clips, scenes, unknown


def test_notes_of_cards_are_what_answers_name() -> None:
    made, asked = clips(), 0
    for number, scene in enumerate(made.scenes):
        for answer in scene.intent.answers:
            unit = answer.start // UNIT
            if answer.word == TABLE.recall.word and unit < UNITS and made.told.cards[number, unit] >= 0:
                asked += 1
                assert answer.phrase == TABLE.phrase_of_card(int(made.told.cards[number, unit]))
        first = min([s.start * FRAME // UNIT for s in scene.script.shown], default=UNITS)
        assert (made.told.cards[number, :first] == 0).all()
        last = max([s.start * FRAME // UNIT for s in scene.script.shown], default=UNITS)
        assert (made.told.cards[number, last + REMEMBERED :] == -1).all()
    assert asked > 15


def test_notes_of_commands_stand_where_answers_start() -> None:
    words, made = list(TABLE.words), clips()
    for ended, scene in zip(made.told.ended, made.scenes, strict=True):
        starts = {a.start // UNIT: a.word for a in scene.intent.answers if a.start // UNIT < UNITS}
        assert all(words[int(ended[unit]) - 1] == word for unit, word in starts.items())
        assert {words[int(n) - 1] for u, n in enumerate(ended) if n and u not in starts} <= {TABLE.stop}


def test_scenes_told_anew_keep_the_camera_and_nothing_that_was_said() -> None:
    rng = np.random.default_rng(1)
    before = [scenes()[n] for n in (3, 3, 8)]
    after = [rewritten(scene, unknown(), rng) for scene in before]
    for scene, again in zip(before, after, strict=True):
        assert again.script.shown == scene.script.shown
        assert again.script.said != scene.script.said
    assert after[0].script.said != after[1].script.said
    known = told(after, DEMO)
    assert np.array_equal(known.cards, told(before, DEMO).cards)
    assert np.array_equal(known.slots[0, :, 0] == DEMO.token_speak, after[0].intent.speaking)
    cut = lambda some: np.mean([a.cut for scene in some for a in scene.intent.answers])  # noqa: E731
    assert cut([rewritten(scene, unknown(), rng) for scene in scenes()]) > 1.2 * cut(scenes())


def test_cards_that_nobody_is_asked_for_teach_nothing() -> None:
    notes, hidden = Notes(192, 3, 5, 9, seed=0), torch.randn(2, 4, 192)
    cards = torch.tensor([[1, -1, 2, 0], [-1, 5, 0, -1]])
    other = torch.where((cards < 0)[..., None], torch.randn(2, 4, 192), hidden)
    one, two = (notes.cards(x, cards)["seen"] for x in (hidden, other))
    assert float(one.detach()) == pytest.approx(float(two.detach()))


def test_a_missed_command_costs_more_than_one_for_nothing() -> None:
    notes = Notes(8, 2, 2, 3, seed=0)

    def loss(scores: list[float], ended: int) -> float:
        """Of units in which command ``ended`` (0: none) ended, and ``scores`` were given to none and each command."""
        with torch.no_grad():
            notes.heard.weight.zero_()
            notes.heard.bias.copy_(torch.tensor(scores))
            return float(notes.commands(torch.randn(1, 2, 8), torch.full((1, 2), ended))["heard"])

    missed, for_nothing = loss([4.0, 0.0, 0.0], 1), loss([0.0, 4.0, 0.0], 0)  # wrong by as much
    assert missed == pytest.approx(3 * for_nothing)
    assert for_nothing > 1.0


def test_places_follow_the_sound_through_a_phrase() -> None:
    """The same sound has the same place wherever in a unit the answer starts; silence has none."""
    made, table = clips(), place_table(scenes()[0].world)
    sounds: dict[int, set[int]] = {}
    for places, scene in zip(made.places, made.scenes, strict=True):
        flat = places.flatten().numpy()
        starts = {a.start // GRID: a.phrase for a in scene.intent.answers if a.start < UNITS * UNIT}
        assert all(flat[at] == table[phrase] for at, phrase in starts.items())
        for answer in scene.intent.answers:
            begin, end = answer.start // GRID, min(answer.end // GRID, len(flat))
            assert set(np.diff(flat[begin:end])) <= {1}
            sounds.setdefault(answer.phrase, set()).update(flat[begin:end].tolist())
        silent = scene.intent.samples.reshape(-1, GRID).any(1) == 0
        assert not flat[silent][: starts and min(starts)].any()
        assert (flat > 0).mean() < 0.9
    groups = list(sounds.values())
    assert len(groups) > 5
    assert all(not a & b for n, a in enumerate(groups) for b in groups[n + 1 :])
    assert max(max(g) for g in groups) < table[-1]


def test_looks_are_read_where_they_lie_in_the_latents() -> None:
    torch.manual_seed(0)
    looks = torch.from_numpy(np.stack([s.looks.gaze.reshape(UNITS, 8) for s in scenes()]))
    tokens, values = DEMO.video_latent
    size = tokens * values
    basis = torch.linalg.qr(torch.randn(size, 9))[0].T
    noise = torch.randn(len(looks), UNITS, size)
    noise = noise - noise @ basis.T @ basis
    sight = Sight(clips((noise + 3.0 * looks @ basis[:8]).unflatten(2, (tokens, values))))
    shape = (1, 1, tokens, values)
    gaze = 3.0 * torch.ones(8) @ basis[:8]
    beside = basis[8] * float(gaze.norm())
    seen, unseen = (float(sight.loss(error.reshape(shape))) for error in (gaze, beside))
    wanted = LOOKS * 8 / 20 * float((1 / looks.flatten(0, 1).std(0)).pow(2).mean())
    assert seen == pytest.approx(wanted, rel=0.5)
    assert unseen < 0.05 * seen
