"""A session on the tiny bundle: history, time, chance. Everything that can be exact is compared bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.compare.golden import made_unit, relative_error
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError, EdgeStreamerError, InputError, MediaError
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.engines.split import CapturedEngine, SplitEngine
from tests.runtime.session.conversation import LONG_ENOUGH, assert_same, differs, run

FAR_POSITION = 1e-3
"""Relative error allowed between unit 10,000,000 and a small index. Measured: 4e-7 (float32 cosines)."""


# -- what goes in and comes out


def test_response_has_the_media_contracts_shapes(session: Session, units: list[Unit]) -> None:
    response, media = session.step(units[0]), session.media
    assert response.samples.shape == (media.hears.unit_samples,)
    assert response.frames.shape == (media.sees.unit_frames, *media.shows.size, 3)
    assert response.frames.dtype == np.uint8
    assert np.abs(response.samples).max() <= 1.0
    assert response.index == 0
    assert 0 < response.engine_seconds < response.seconds


def test_the_state_slot_tells_whether_the_agent_speaks(session: Session, units: list[Unit]) -> None:
    constants = wan_streamer(session.program).constants
    rest = (constants.token_pad,) * (len(constants.slot_kinds) - 1)
    states = (constants.token_speak, constants.token_listen, constants.token_pad)
    heard = [session.step(unit, (state, *rest)).speaking for unit, state in zip(units, states, strict=False)]
    assert heard == [True, False, None]


def test_a_missing_part_is_silence_and_grey(session: Session, shared: Session) -> None:
    media = session.media
    silence = np.zeros(media.hears.unit_samples, np.float32)
    grey = np.full((media.sees.unit_frames, *media.sees.size, 3), 128, np.uint8)
    assert_same(session.step(Unit()).copy(), shared.twin().step(Unit(silence, grey)).copy())


@pytest.mark.parametrize(
    "unit",
    [
        Unit(samples=np.zeros(3, np.float32)),
        Unit(samples=np.zeros(1280, np.float64)),
        Unit(frames=np.zeros((4, 8, 8, 3), np.uint8)),
        Unit(samples=np.full(1280, np.nan, np.float32)),
        Unit(samples=[0.0] * 1280),  # type: ignore[arg-type]
        Unit(text=5),  # type: ignore[arg-type]
        Unit(text="\ud800"),
    ],
)
def test_arrays_outside_the_contract_are_refused_and_leave_no_trace(
    session: Session, shared: Session, units: list[Unit], unit: Unit
) -> None:
    with pytest.raises(ValueError, match="the unit's"):
        session.step(unit)
    assert_same(session.step(units[0]).copy(), shared.twin().step(units[0]).copy())


def test_long_text_is_heard_over_several_units(session: Session, shared: Session, units: list[Unit]) -> None:
    at_once = run(session, [Unit(units[0].samples, units[0].frames, "abc"), *units[1:4]])
    spelled = [Unit(u.samples, u.frames, t) for u, t in zip(units, ("a", "b", "c", ""), strict=False)]
    for one, other in zip(at_once, run(shared.twin(), spelled), strict=True):
        assert_same(one, other)


# -- causality


def test_future_input_never_changes_an_earlier_output(session: Session, shared: Session, units: list[Unit]) -> None:
    base = run(session, units)
    for changed in (3, 9):
        other = list(units)
        other[changed] = made_unit(session.media, 99, changed)
        outputs = run(shared.twin(), other)
        for k in range(changed):
            assert_same(base[k], outputs[k])
        assert differs(base[changed], outputs[changed])
        assert differs(base[changed + 1], outputs[changed + 1])


@pytest.mark.parametrize("part", ["samples", "frames", "text"])
def test_each_current_input_changes_the_current_output(
    session: Session, shared: Session, units: list[Unit], part: str
) -> None:
    other = shared.twin()
    for each in (session, other):
        run(each, [Unit(u.samples, u.frames) for u in units[:2]])
    fresh = made_unit(session.media, 99, 1)
    unit = units[2]
    changed = {
        "samples": Unit(fresh.samples, unit.frames),
        "frames": Unit(unit.samples, fresh.frames),
        "text": Unit(unit.samples, unit.frames, "Z"),
    }[part]
    assert differs(session.step(unit).copy(), other.step(changed).copy())


# -- history


def test_what_left_the_window_is_forgotten(shared: Session, units: list[Unit]) -> None:
    """Two pasts, the same last units: K/V of old units are gone, only what deeper layers made of them fades."""
    far, near = shared.twin(), shared.twin()
    run(far, [made_unit(shared.media, 50 + k, k) for k in range(3)] + units[:LONG_ENOUGH])
    visible = [far.place.store.rings[name].valid() for name in ("main", "video")]
    run(near, units[:LONG_ENOUGH])
    layout = wan_streamer(shared.program).layout
    for row, name in zip(visible, ("main", "video"), strict=True):
        places = layout.window(name) * layout.places(name)  # type: ignore[arg-type]
        assert int((row == 0).sum()) == places


def test_early_and_late_commit_agree(session: Session, shared: Session, units: list[Unit]) -> None:
    late, early = run(session, units), []
    other = shared.twin()
    for unit, reference in zip(units, late, strict=True):
        early.append(other.step(unit, reference.tokens).copy())
        other.settle()
        other.settle()  # a second time changes nothing
    for one, two in zip(late, early, strict=True):
        assert relative_error(two.samples, one.samples) < 1e-4  # measured 3e-7: sums in another order
        assert np.abs(one.frames.astype(int) - two.frames).max() <= 1


def test_positions_are_exact_at_any_hour(shared: Session, units: list[Unit]) -> None:
    """Unit 10,000,000 (18 days) behaves as the same history does soon after the prefix has stopped receding."""
    outputs = []
    for start in (20, 10_000_000):
        session = shared.twin()
        session.prefill("a persona")
        snapshot = session.snapshot()
        host = {**snapshot.stamp.host, "unit": start}
        session.program.set_host(host)
        # The solver's noise depends on the index; give both runs the noise of the same unit.
        wan_streamer(session.program).noise_offset = -start
        tokens = None if not outputs else [r.tokens for r in outputs[0]]
        outputs.append([session.step(u, None if tokens is None else tokens[k]).copy() for k, u in enumerate(units)])
    for near, far in zip(*outputs, strict=True):
        assert relative_error(far.samples, near.samples) < FAR_POSITION
        assert np.abs(far.frames.astype(int) - near.frames).max() <= 1
        assert far.tokens == near.tokens


def test_prefix_is_seen_and_never_forgotten(shared: Session, units: list[Unit]) -> None:
    plain, with_prefix = shared.twin(), shared.twin()
    with_prefix.prefill("you are a cat", Unit(units[0].samples, units[0].frames))
    ring = with_prefix.place.store.rings["prefix"]
    keys = ring.read("prefix.0.k")
    one, two = run(plain, units), run(with_prefix, units)
    assert all(differs(a, b) for a, b in zip(one, two, strict=True))
    np.testing.assert_array_equal(ring.read("prefix.0.k"), keys)


def test_prefix_that_does_not_fit_is_refused_whole(session: Session) -> None:
    session.prefill("short")
    left = session.prefill("")
    before = session.snapshot()
    with pytest.raises(InputError, match="places left"):
        session.prefill("x" * (left + 1))
    after = session.snapshot()
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)


def test_prefix_comes_before_the_conversation(session: Session, units: list[Unit]) -> None:
    session.step(units[0])
    with pytest.raises(InputError, match="has begun"):
        session.prefill("too late")


# -- snapshots


@pytest.mark.parametrize("cut", [0, 1, 4, 9, LONG_ENOUGH])
@pytest.mark.parametrize("settled", [False, True])
def test_splitting_a_run_changes_nothing(
    session: Session, shared: Session, units: list[Unit], cut: int, settled: bool, tmp_path: Path
) -> None:
    whole = run(session, units) if not settled else run_settling(session, units)
    first = shared.twin()
    _ = run(first, units[:cut]) if not settled else run_settling(first, units[:cut])
    first.snapshot().save(tmp_path / "state.npz")
    second = shared.twin()
    run(second, units[:3])  # a past of its own, which restore must wipe out
    second.restore(load_snapshot(tmp_path / "state.npz"))
    rest = run(second, units[cut:]) if not settled else run_settling(second, units[cut:])
    for one, two in zip(whole[cut:], rest, strict=True):
        assert_same(one, two)


def run_settling(session: Session, units: list[Unit]) -> list[Response]:
    outputs = []
    for unit in units:
        outputs.append(session.step(unit).copy())
        session.settle()
    return outputs


def test_reset_is_a_fresh_session(session: Session, shared: Session, units: list[Unit]) -> None:
    session.prefill("soon forgotten")
    run(session, units)
    session.reset()
    for one, two in zip(run(session, units), run(shared.twin(), units), strict=True):
        assert_same(one, two)


def test_snapshot_of_another_bundle_is_refused_and_changes_nothing(
    session: Session, shared: Session, units: list[Unit], tmp_path: Path
) -> None:
    from msgspec.structs import replace

    from edge_streamer.runtime.session.snapshot import Snapshot

    run(session, units[:2])
    other = session.snapshot()
    foreign = Snapshot(replace(other.stamp, bundle="0" * 64, name="other"), other.arrays)
    with pytest.raises(MediaError, match="other"):
        session.restore(foreign)
    reference = shared.twin()
    run(reference, units[:2])
    assert_same(session.step(units[2]).copy(), reference.step(units[2]).copy())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no snapshot at all"])
def test_damaged_snapshot_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.npz").write_bytes(content)
    with pytest.raises(MediaError, match=r"state\.npz"):
        load_snapshot(tmp_path / "state.npz")


# -- sessions beside each other


def test_two_sessions_do_not_disturb_each_other(
    tiny_bundle: Path, session: Session, shared: Session, units: list[Unit]
) -> None:
    alone = run(session, units)
    one, two = shared.twin(), open_session(tiny_bundle, engine=OrtEngine(threads=1))
    for k, unit in enumerate(units):
        response = one.step(unit).copy()
        two.step(units[-1 - k])
        assert_same(response, alone[k])


@pytest.mark.parametrize("engine", [SplitEngine, CapturedEngine])
def test_an_engine_with_memory_of_its_own_gives_the_same(
    tiny_bundle: Path, session: Session, units: list[Unit], engine: type[SplitEngine]
) -> None:
    split = open_session(tiny_bundle, engine=engine())
    for one, two in zip(run(session, units), run(split, units), strict=True):
        assert_same(one, two)


# -- chance


def test_knobs_change_what_they_say(shared: Session, units: list[Unit]) -> None:
    def tokens(knobs: Knobs) -> list[tuple[int, ...]]:
        return [r.tokens for r in run(shared.twin(knobs), units)]

    greedy = tokens(Knobs())
    hot = tokens(Knobs(temperature=2.0, seed=1))
    assert tokens(Knobs()) == greedy
    assert tokens(Knobs(temperature=2.0, seed=1)) == hot
    assert tokens(Knobs(temperature=2.0, seed=2)) != hot
    assert hot != greedy


def test_top_k_and_top_p_narrow_the_choice(shared: Session, units: list[Unit]) -> None:
    session = shared.twin(Knobs(temperature=5.0, top_k=3, seed=4))
    ranks = set()
    for unit in units:
        session.step(unit)
        for sampled in wan_streamer(session.program).wiring.sampled:
            ranks.add(int(np.flatnonzero(sampled["candidates"].host == sampled["token"].host[0])[0]))
    assert ranks <= {0, 1, 2}
    assert len(ranks) > 1
    narrow = shared.twin(Knobs(temperature=5.0, top_p=1e-6, seed=4))
    for unit in units:
        narrow.step(unit)
        for sampled in wan_streamer(narrow.program).wiring.sampled:
            assert sampled["candidates"].host[0] == sampled["token"].host[0]


@pytest.mark.parametrize(
    "knobs", [{"steps": 0}, {"steps": 1.5}, {"seed": -1}, {"seed": 2**64}, {"top_p": 0.0}, {"temperature": -1.0}]
)
def test_knobs_that_mean_nothing_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        Knobs(**knobs)  # type: ignore[arg-type]


def test_steps_are_a_run_time_knob(shared: Session, units: list[Unit]) -> None:
    outputs = [run(shared.twin(Knobs(steps=n)), units[:2])[-1] for n in (1, 2, 4)]
    assert differs(outputs[0], outputs[1])
    assert differs(outputs[1], outputs[2])


def test_knobs_may_be_turned_between_units(session: Session, shared: Session, units: list[Unit]) -> None:
    run(session, units[:3])
    session.turn(Knobs(steps=1))
    fewer = session.step(units[3]).copy()
    reference = shared.twin()
    run(reference, units[:3])
    assert differs(fewer, reference.step(units[3]).copy())


def test_more_candidates_than_the_graph_has_are_refused(shared: Session) -> None:
    with pytest.raises(ValueError, match="candidates"):
        shared.twin(Knobs(top_k=10_000))


# -- what cannot be opened


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"default_steps": 0}, "default_steps"), ({"width": 65}, "embeddings"), ({"window_units": 9}, "main.0.k"),
     ({"candidates": 16}, "noise"), ({"layers": 3}, "layers")],
)  # fmt: skip
def test_constants_that_contradict_the_graphs_are_named(
    tiny_bundle: Path, tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["constants"] |= changes
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=said):
        open_session(copy)


def test_every_error_of_the_public_functions_is_ours(tmp_path: Path) -> None:
    with pytest.raises(EdgeStreamerError, match="no bundle"):
        open_session(tmp_path / "nothing")
