"""The toy world's pictures: they move as they are told to, and are read back with small errors, blurred or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world import avatar, backgrounds, camera, reading
from edge_streamer.runtime.evaluation.world.avatar import Looks, draw_avatar, resting
from edge_streamer.runtime.evaluation.world.camera import View, draw_camera, random_view
from edge_streamer.runtime.evaluation.world.icons import ICONS
from edge_streamer.runtime.evaluation.world.shapes import Bytes, Floats

MANY = 240
PLAIN = View(
    background=5, skin=1, hair=0, shirt=0, brightness=1.0, tint=(1.0, 1.0, 1.0), noise=0.0, size=1.0
)  # fmt: skip


def anyhow(count: int, open_eyes: bool) -> Looks:
    """Looks drawn at random."""
    rng = np.random.default_rng(11)
    return Looks(
        identity=rng.integers(0, avatar.IDENTITIES, count),
        mouth=rng.random(count, np.float32),
        gaze=rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        eyes=np.ones(count, np.float32) if open_eyes else rng.random(count, np.float32),
        sway=rng.uniform(-1, 1, count).astype(np.float32),
        icon=np.arange(count) % ICONS,
    )


def blurred(frames: Bytes, sigma: float = 1.2, noise: float = 4.0) -> Bytes:
    """Frames as a poor codec gives them: about 26 dB."""
    taps = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    taps /= taps.sum()
    soft = frames.astype(np.float32)
    for axis in (1, 2):
        wide = np.pad(soft, [(4, 4) if at == axis else (0, 0) for at in range(4)], mode="edge")
        count = soft.shape[axis]
        soft = sum(np.float32(tap) * wide.take(range(at, at + count), axis) for at, tap in enumerate(taps))
    soft += np.random.default_rng(3).normal(0, noise, soft.shape)
    return np.clip(soft + 0.5, 0, 255).astype(np.uint8)


def changed(one: Bytes, other: Bytes) -> NDArray[np.bool_]:
    """Which pixels of two frames differ, [h, w]."""
    return (one != other).any(axis=-1)


def test_an_avatar_frame_does_not_depend_on_its_neighbours() -> None:
    looks = anyhow(70, open_eyes=False)
    whole = draw_avatar(looks)
    assert whole.shape == (70, 96, 160, 3)
    assert whole.dtype == np.uint8
    for at in (0, 31, 32, 69):
        one = Looks(**{name: values[at : at + 1] for name, values in vars(looks).items()})
        np.testing.assert_array_equal(draw_avatar(one)[0], whole[at])
    assert draw_avatar(resting(0)).shape == (0, 96, 160, 3)


def test_looks_beyond_their_range_are_cut_to_it() -> None:
    one, two = np.full(1, 1, np.float32), np.full(1, 2, np.float32)
    beyond = replace(resting(1), mouth=two, gaze=np.full((1, 2), 2, np.float32), eyes=two, sway=two)
    ends = replace(resting(1), mouth=one, gaze=np.ones((1, 2), np.float32), eyes=one, sway=one)
    np.testing.assert_array_equal(draw_avatar(beyond), draw_avatar(ends))


def test_mouth_gaze_and_icon_change_only_their_own_places() -> None:
    rest = draw_avatar(resting(1))[0]
    one = np.ones(1, np.float32)
    mouth = changed(draw_avatar(replace(resting(1), mouth=one))[0], rest)
    eyes = changed(draw_avatar(replace(resting(1), gaze=np.ones((1, 2), np.float32)))[0], rest)
    icon = changed(draw_avatar(replace(resting(1), icon=np.asarray([2])))[0], rest)
    assert mouth.any()
    assert not np.delete(mouth, np.arange(56, 83), axis=0).any()
    assert eyes.any()
    assert not eyes[:30].any()
    assert not eyes[59:].any()
    assert icon.any()
    assert not icon[:, :108].any()


@pytest.mark.parametrize("name", ["sway", "mouth", "eyes"])
def test_motion_is_smooth_below_a_pixel(name: str) -> None:
    """Equal small steps change the picture by similar small amounts: nothing jumps from pixel to pixel."""
    steps = np.linspace(0.1, 0.9, 33, dtype=np.float32)
    frames = draw_avatar(Looks(**{**vars(resting(33)), name: steps})).astype(np.float32)
    change = np.abs(np.diff(frames, axis=0)).sum(axis=(1, 2, 3))
    assert change.min() > 0
    assert change.max() < 2.5 * np.median(change)


def test_identities_and_icons_differ_strongly() -> None:
    heads = np.concatenate([draw_avatar(resting(1, identity)) for identity in range(avatar.IDENTITIES)]).astype(
        np.float32
    )
    icons = draw_avatar(replace(resting(ICONS), icon=np.arange(ICONS)))[:, 26:70, 110:154].astype(np.float32)
    wall, head = heads[:, 30:84, :10].mean(axis=(1, 2)), heads[:, 22:32, 44:74].mean(axis=(1, 2))
    for colours, least in ((wall, 40), (head, 80)):
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
        assert apart[~np.eye(len(apart), dtype=bool)].min() > least
    apart = np.sqrt(((icons[:, None] - icons[None]) ** 2).mean(axis=(2, 3, 4)))
    assert apart[~np.eye(len(apart), dtype=bool)].min() > 30


@pytest.mark.parametrize(
    ("soften", "mouth", "gaze", "eyes", "sway"), [(False, 0.02, 0.03, 0.05, 0.03), (True, 0.04, 0.05, 0.09, 0.05)]
)
def test_looks_are_read_back(soften: bool, mouth: float, gaze: float, eyes: float, sway: float) -> None:
    """Mean errors, sharp and at about 26 dB; who it is and the icon without an error."""
    looks = anyhow(MANY, open_eyes=True)
    frames = draw_avatar(looks)
    frames = blurred(frames) if soften else frames
    np.testing.assert_array_equal(reading.read_identity(frames), looks.identity)
    np.testing.assert_array_equal(reading.read_icon(frames), looks.icon)
    assert np.abs(reading.read_mouth(frames) - looks.mouth).mean() < mouth
    assert np.abs(reading.read_gaze(frames) - looks.gaze).mean() < gaze
    assert np.abs(reading.read_eyes(frames) - looks.eyes).mean() < eyes
    assert np.abs(reading.read_sway(frames) - looks.sway).mean() < sway


@pytest.mark.parametrize("soften", [False, True])
def test_blinks_are_read_back(soften: bool) -> None:
    """Openness in between, the gaze as long as pupils show, and no gaze after that."""
    looks = anyhow(MANY, open_eyes=False)
    frames = draw_avatar(looks)
    frames = blurred(frames) if soften else frames
    eyes, gaze = reading.read_eyes(frames), reading.read_gaze(frames)
    assert np.abs(eyes - looks.eyes).mean() < 0.05
    assert np.abs(eyes - looks.eyes).max() < 0.2
    np.testing.assert_array_equal(np.isnan(gaze).all(axis=1), eyes < reading.CLOSED)
    assert np.nanmean(np.abs(gaze - looks.gaze)) < 0.05
    assert np.isnan(gaze[looks.eyes < 0.3]).all()
    assert not np.isnan(gaze[looks.eyes > 0.6]).any()


def test_a_colour_cast_moves_the_measures_little() -> None:
    looks = anyhow(MANY, open_eyes=True)
    frames = np.clip(draw_avatar(looks).astype(np.int16) + np.asarray([4, -3, 3]), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(reading.read_icon(frames), looks.icon)
    assert np.abs(reading.read_mouth(frames) - looks.mouth).mean() < 0.1
    assert np.abs(reading.read_gaze(frames) - looks.gaze).mean() < 0.05
    assert np.abs(reading.read_sway(frames) - looks.sway).mean() < 0.05


def seen(view: View, x: float, y: float, card: int = 0, present: bool = True) -> Floats:
    """One camera frame [64, 96, 3]."""
    rng = np.random.default_rng(0)
    places = np.asarray([x], np.float32), np.asarray([y], np.float32)
    frames = draw_camera(view, *places, np.asarray([card]), np.asarray([present]), rng)
    return np.asarray(frames[0], np.float32)


def test_the_camera_draws_frames_that_its_generator_decides() -> None:
    view = random_view(np.random.default_rng(1), backgrounds.TRAIN_BACKGROUNDS)
    x, y = np.linspace(-1, 1, 9, dtype=np.float32), np.linspace(1, -1, 9, dtype=np.float32)
    card, present = np.arange(9) % backgrounds.CARDS, np.arange(9) != 4
    first, again = (draw_camera(view, x, y, card, present, np.random.default_rng(2)) for _ in range(2))
    assert first.shape == (9, 64, 96, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert changed(first, draw_camera(view, x, y, card, present, np.random.default_rng(3))).any()


def test_nobody_there_is_the_background_alone() -> None:
    expected = np.clip(camera.background_picture(PLAIN.background) + 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(seen(PLAIN, 0.3, 0.1, card=2, present=False), expected)
    half = draw_camera(
        PLAIN,
        np.zeros(1, np.float32),
        np.zeros(1, np.float32),
        np.zeros(1, np.int64),
        np.full(1, 0.5, np.float32),
        np.random.default_rng(0),
    )[0]
    middle = (expected.astype(np.float32) + seen(PLAIN, 0, 0)) / 2
    assert np.abs(half - middle).max() <= 2


def centre(view: View, x: float, y: float) -> tuple[float, float]:
    """Middle of the head's sides, and of its top and the picture's shift, where the picture differs from nobody."""
    person = np.abs(seen(view, x, y) - seen(view, x, y, present=False)).sum(axis=2) > 20
    top = int(np.flatnonzero(person.any(axis=1))[0])
    columns = np.flatnonzero(person[top + 6 : top + 14].any(axis=0))
    return float(columns[0] + columns[-1]) / 2, float(top)


@pytest.mark.parametrize("x", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_the_face_is_where_it_is_told_to_be(x: float) -> None:
    view = replace(PLAIN, size=0.8)
    across, top = centre(view, x, 0.0)
    assert across == pytest.approx(48 + 26 * x, abs=1.5)
    assert centre(view, x, 0.9)[1] - top == pytest.approx(12 * 0.9, abs=1.1)


@pytest.mark.parametrize("card", [1, 2, 3, 4])
@pytest.mark.parametrize("x", [-0.6, 0.6])
def test_a_card_has_its_colour_and_is_held_away_from_the_face(card: int, x: float) -> None:
    without, held = seen(PLAIN, x, 0.0), seen(PLAIN, x, 0.0, card)
    difference = changed(held.astype(np.uint8), without.astype(np.uint8))
    columns = slice(0, 34) if x > 0 else slice(62, 96)
    assert difference[:, columns].sum() == difference.sum() > 22 * 18 * 0.8
    middle = held[38:45, 12:20] if x > 0 else held[38:45, 76:84]
    assert np.abs(middle.mean(axis=(0, 1)) - np.asarray(backgrounds.CARD_COLOURS[card])).max() < 45


def test_light_and_noise_are_the_views() -> None:
    bright, dark = seen(PLAIN, 0, 0), seen(replace(PLAIN, brightness=0.6, tint=(1.1, 1.0, 0.9)), 0, 0)
    np.testing.assert_allclose(dark, bright * np.asarray([0.66, 0.6, 0.54]), atol=1.6)
    noisy = seen(replace(PLAIN, brightness=0.6, noise=5.0), 0, 0) - seen(replace(PLAIN, brightness=0.6), 0, 0)
    assert noisy.std() == pytest.approx(5, rel=0.1)


def test_settings_are_drawn_from_the_backgrounds_given() -> None:
    rng = np.random.default_rng(4)
    views = [random_view(rng, backgrounds.HELD_OUT_BACKGROUNDS) for _ in range(40)]
    assert all(view.background in backgrounds.HELD_OUT_BACKGROUNDS for view in views)
    assert not set(backgrounds.HELD_OUT_BACKGROUNDS) & set(backgrounds.TRAIN_BACKGROUNDS)
    means = np.asarray([camera.background_picture(view.background).mean(axis=(0, 1)) for view in views])
    assert means.std(axis=0).min() > 25
    for view in views:
        assert draw_camera(
            view,
            np.ones(1, np.float32),
            -np.ones(1, np.float32),
            np.ones(1, np.int64),
            np.ones(1, bool),
            rng,
        ).any()
