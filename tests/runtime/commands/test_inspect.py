"""``inspect`` counts what a unit costs and what the states take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.inspect import inspect
from edge_streamer.runtime.errors import BundleError
from tests.bundles import rewrite

STEPS, SLOTS, AGENT, USER = 3, 4, 10, 12


def test_a_chain_runs_each_graph_once(counter: Path) -> None:
    inspection = inspect(Bundle.open(counter))
    assert [(p.graph, p.length, p.runs_per_unit) for p in inspection.passes] == [
        ("first", "static", 1),
        ("second", "static", 1),
    ]
    assert inspection.operations_per_unit == 8
    assert inspection.moved_bytes_per_unit == 100
    assert (inspection.parameters, inspection.weight_bytes) == (1, 4)
    assert inspection.state_bytes == 2 * 4 * 4  # a carry is held twice


def test_of_a_program_that_is_not_known_here_every_graph_counts_once(counter: Path) -> None:
    rewrite(counter, lambda m: m.update(program="moshi", constants={}))
    assert [p.runs_per_unit for p in inspect(Bundle.open(counter)).passes] == [1, 1]


def test_a_ring_is_held_once_and_remembers_its_window(ring: Path) -> None:
    rewrite(ring, lambda m: m.update(media={"unit_seconds": 0.16}))
    state = inspect(Bundle.open(ring)).states[0]
    assert (state.kind, state.bytes, state.window_seconds) == ("ring main", 6 * 4 * 4, 0.32)


def as_wan_streamer(manifest: dict[str, Any]) -> None:
    """Turn the counter bundle's manifest into one whose graphs are named and repeated as ``wan_streamer``'s are."""
    lengths = [1, AGENT, USER + 1, AGENT + USER + 1]
    costs = {str(n): n for n in lengths}
    first, second = manifest["graphs"]
    small = [
        second | {"name": name, "operations": {"static": 100}} for name in ("encode", "slot", "solve_in", "decode")
    ]
    first.update(name="core", lengths=lengths, operations=costs, moved_bytes=costs)
    first["inputs"][0]["shape"] = ["T", 4]
    manifest["states"][0]["graph"] = "core"
    manifest["graphs"] = [first, *small]
    manifest["program"] = "wan_streamer"
    counts = {"agent.video": 6, "agent.audio": 4, "user.video": 6, "user.audio": 4, "user.text": 2, "start": 1,
              "slots": SLOTS}  # fmt: skip
    manifest["constants"] = {
        "width": 8, "layers": 1, "kv_heads": 1, "head_size": 8, "rope_base": 10000.0, "positions_per_unit": 8,
        "segments": [
            {"name": name, "count": count, "ring": "main", "offset": 0.0, "step": 0.0}
            for name, count in counts.items()
        ],
        "slot_kinds": ["state", *["text"] * (SLOTS - 1)], "audio_latent": [4, 2], "video_latent": [6, 2],
        "window_units": 2, "video_window_units": 2, "prefix_tokens": 0, "candidates": 4, "default_steps": STEPS,
        "token_pad": 0, "token_start": 1, "token_listen": 2, "token_speak": 3,
    }  # fmt: skip


def test_a_unit_of_wan_streamer_is_a_block_its_slots_and_its_steps(counter: Path) -> None:
    rewrite(counter, as_wan_streamer)
    inspection = inspect(Bundle.open(counter))
    assert {(p.graph, p.length): p.runs_per_unit for p in inspection.passes} == {
        ("core", "1"): SLOTS,
        ("core", str(AGENT)): STEPS,
        ("core", str(USER + 1)): 0,  # only with early commit
        ("core", str(AGENT + USER + 1)): 1,
        ("encode", "static"): 1,
        ("slot", "static"): SLOTS,
        ("solve_in", "static"): STEPS + 1,  # the clean history too
        ("decode", "static"): 1,
    }
    core = SLOTS * 1 + STEPS * AGENT + (AGENT + USER + 1)
    assert inspection.operations_per_unit == core + 100 * (1 + SLOTS + (STEPS + 1) + 1)


def test_constants_that_cannot_be_read_are_named(counter: Path) -> None:
    def without_width(manifest: dict[str, Any]) -> None:
        as_wan_streamer(manifest)
        del manifest["constants"]["width"]

    rewrite(counter, without_width)
    with pytest.raises(BundleError, match=r"manifest\.json: constants: .*missing required field `width`"):
        inspect(Bundle.open(counter))


def test_the_tables_show_every_graph_state_and_file(counter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(counter)]) == 0
    text = capsys.readouterr().out
    for word in ("counter", "chain, bundle format 1", "first", "second", "sum", "1 x 4", "graphs/first.onnx", "total"):
        assert word in text


def test_json_is_json(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(ring), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["hash"] == Bundle.open(ring).hash
    assert content["manifest"]["states"][0]["path"] == "past"
    assert content["moved_bytes_per_unit"] == 200
