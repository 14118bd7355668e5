"""The memory plan: exact where a manifest is, and a window that is too large for a board refused with what fits."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from edge_streamer.runtime.bundle.manifest import Manifest, RingSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.engines.board_memory import BOARDS
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.memory_plan import board_bytes, check_plan, largest_window, plan, rings
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.state.store import StateStore


@pytest.fixture(scope="module")
def floats() -> Manifest:
    return Bundle.open(bundle_path(floats=True)).manifest


@pytest.fixture(scope="module")
def small() -> Manifest:
    return Bundle.open(bundle_path()).manifest


def wider(manifest: Manifest, window: int) -> Manifest:
    """The same with a main ring of another window."""
    states: list[Any] = []
    for state in manifest.states:
        if isinstance(state, RingSpec) and state.ring == "main":
            places = (window + 1) * state.places_per_unit
            shape = tuple(places if axis == state.axis else size for axis, size in enumerate(state.shape))
            state = msgspec.structs.replace(state, shape=shape, window_units=window)
        states.append(state)
    return msgspec.structs.replace(manifest, states=tuple(states))


def test_the_demos_are_counted_by_hand(floats: Manifest, small: Manifest) -> None:
    """Six layers, keys and values, one head of 64: 845 places of the main ring, 54 of the video's, 64 of the prefix."""
    ring_bytes = 6 * 2 * (845 + 54 + 64) * 64 * 4
    for manifest in (floats, small):
        found = plan(manifest, "tensorrt")
        assert found.rings == ring_bytes == 2_958_336
        assert found.weights == sum(graph.weight_bytes for graph in manifest.graphs)
    assert plan(floats, "tensorrt").weights == 19_964_976
    assert plan(floats, "cuda").tables == 320 * 192 * 4
    assert plan(small, "cuda").tables == 320 * 192 + 320 * 4
    assert plan(small, "cpu").tables == 0, "pages of a file"


def test_states_are_what_a_session_allocates(floats: Manifest) -> None:
    store = StateStore(floats.states, OrtEngine(threads=1))
    pieces = [side.piece.nbytes for carries in store.carries.values() for side in (carries.committed, carries.next)]
    stacks = [len(ring.stack) * (ring.stack[1].address - ring.stack[0].address) for ring in store.rings.values()]
    found = plan(floats, "cuda")
    assert (found.carries, found.rings) == (sum(pieces), sum(stacks))


def test_weights_that_are_only_stored_in_8_bits_become_floats_but_for_tensorrt(small: Manifest) -> None:
    stored = [g for g in small.graphs if (g.precision.weights, g.precision.activations) == ("int8", "float32")]
    assert {graph.name for graph in stored} == {"encode", "decode", "encode_agent"}
    more = sum(4 * graph.parameters - graph.weight_bytes for graph in stored)
    assert plan(small, "cuda").weights == plan(small, "cpu").weights == plan(small, "tensorrt").weights + more


def test_only_tensorrt_builds(floats: Manifest) -> None:
    assert plan(floats, "cpu").building == plan(floats, "cuda").building == plan(floats, "cuda").engine_files == 0
    core = floats.graph("core").weight_bytes
    assert plan(floats, "tensorrt").loading == core  # its file, beside what is made of it
    assert plan(floats, "cpu").loading == plan(floats, "cuda").loading == 0
    assert plan(floats, "tensorrt").building == 4 * core + (512 << 20) + 700_000_000
    assert plan(floats, "tensorrt").engine_files == plan(floats, "tensorrt").weights


@pytest.mark.parametrize("window", [1, 63, 64, 65, 1000, 90_000])
def test_rings_grow_with_their_window(window: int, floats: Manifest) -> None:
    assert plan(wider(floats, window), "cuda").rings == 12 * 64 * 4 * ((window + 1) * 13 + 54 + 64)


@pytest.mark.parametrize("free", [3 * 10**9, 6_849_302_016, 10**10])
def test_a_window_that_is_too_large_is_refused_with_the_largest_that_fits(free: int, floats: Manifest) -> None:
    manifest = wider(floats, 1_000_000)
    with pytest.raises(BundleError) as caught:
        check_plan(manifest, free, "cuda")
    said = str(caught.value)
    assert "ring 'main' remembers 1000000 units (160000 s); at most " in said
    fits = int(said.partition("at most ")[2].split()[0])
    assert f"export it with a window of {fits}" in said
    other = plan(manifest, "cuda")
    most = free - (other.running - other.rings) - 12 * 64 * 4 * (54 + 64)
    assert 12 * 64 * 4 * 13 * (fits + 1) <= most < 12 * 64 * 4 * 13 * (fits + 2)
    check_plan(wider(floats, fits), free, "cuda")


def test_a_bundle_that_no_window_makes_small_is_told_so(floats: Manifest) -> None:
    with pytest.raises(BundleError, match="no window is short enough; quantize it"):
        check_plan(floats, 20_000_000, "cuda", loaded=True)
    assert largest_window(rings(floats)["main"], 0) == 0


def test_a_library_that_is_there_is_not_counted_again(floats: Manifest) -> None:
    check_plan(floats, 60_000_000, "tensorrt", loaded=True)
    with pytest.raises(BundleError, match=r"takes about 760\.0 MB on tensorrt"):
        check_plan(floats, 60_000_000, "tensorrt")


def test_a_build_that_does_not_fit_is_told_apart(floats: Manifest) -> None:
    check_plan(floats, 800_000_000, "tensorrt")
    with pytest.raises(
        BundleError, match=r"building bundle .* takes about 1\.3 GB .* and 800\.0 MB is free: end other"
    ):
        check_plan(floats, 800_000_000, "tensorrt", building=True)


def test_boards_leave_a_system_its_memory() -> None:
    assert board_bytes("orin-nano-8gb") == 7486 * 2**20 - 10**9
    assert all(3 * 10**9 < size < 140 * 10**9 for size in BOARDS.values())


def test_inspect_shows_the_plan_and_a_boards_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--json", "--board", "orin-nano-8gb"]) == 0
    told = json.loads(capsys.readouterr().out)["memory"]
    assert set(told["plans"]) == {"cpu", "cuda", "tensorrt"}
    assert (told["board"], set(told["refused"])) == ("orin-nano-8gb", {"cuda", "tensorrt"})  # the demo is for CPUs
    assert all("takes no bundle for CPUs" in why for why in told["refused"].values())
    assert cli.main(["inspect", "--board", "orin-nano-4gb"]) == 0
    shown = capsys.readouterr().out
    assert "Memory plan" in shown
    assert "orin-nano-4gb: 2.6 GB" in shown
    assert cli.main(["inspect", "--board", "toaster"]) == 2
    assert "there is no board 'toaster'; there are orin-nano-4gb, " in capsys.readouterr().err
