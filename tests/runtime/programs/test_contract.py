"""What opens, runs: whatever a program will use is compared when it opens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.chain import Constants, check_wiring
from edge_streamer.runtime.programs.wan_streamer.contract import check_contract
from edge_streamer.runtime.programs.wan_streamer.layout import Layout, read_constants
from edge_streamer.runtime.session.session import open_session
from tests.bundles import rewrite

Change = Callable[[dict[str, Any]], object]
DEMO = (bundle_path() / "manifest.json").read_text()


def graph(m: dict[str, Any], name: str) -> dict[str, Any]:
    return next(g for g in m["graphs"] if g["name"] == name)


def constants(**values: Any) -> Change:
    return lambda m: m["constants"].update(values)


def media(*parts: str, **values: Any) -> Change:
    return lambda m: [m["media"][part].update(values) for part in parts]


def rings(m: dict[str, Any], **values: Any) -> None:
    for state in m["states"]:
        if state.get("ring") == "main":
            state.update(values)


def narrow(m: dict[str, Any], width: int) -> None:
    """Everything that is as wide as the Transformer becomes ``width`` wide."""
    before = m["constants"]["width"]
    for tensors in (g[side] for g in m["graphs"] for side in ("inputs", "outputs")):
        for tensor in tensors:
            tensor["shape"] = [width if n == before else n for n in tensor["shape"]]
    m["constants"]["width"] = m["embeddings"][0]["width"] = width


WRONG: dict[str, tuple[Change, str]] = {
    "camera of another size": (media("pictures_in", size=[64, 97]), "graph 'encode', input 'frames' is uint8 [4, 64"),
    "picture of another size": (media("pictures_out", size=[95, 160]), "graph 'decode', output 'frames'"),
    "other rates that agree": (
        media("pictures_in", "pictures_out", frame_rate=50, unit_frames=8),
        "constants and media say uint8 [8, 64, 96, 3]",
    ),
    "rates that differ": (
        media("sound_out", sample_rate=8000, unit_samples=1280),
        "media has 16000 a second in as samples and 8000 out; a conversation has one rate",
    ),
    "a part that is another tensor": (
        media("sound_in", graph="encode_agent"), "media.sound_in is 'samples' of graph 'encode_agent'; wanted 'samples'"
    ),
    "no voice": (lambda m: m["media"].update(sound_out=None), "manifest.json has no media.sound_out; a wan_streamer"),
    "more typed than there is room for": (media("text_in", unit_tokens=3), "text_in.unit_tokens is 3; the constants"),
    "a ring for one unit": (lambda m: rings(m, reset="unit"), "is emptied every unit; wanted every session"),
    "no media": (lambda m: m.update(media=None), "has no media"),
    "no table": (lambda m: m.update(embeddings=[]), "has no embedding table 'text' or no tokenizer"),
    "no tokenizer": (lambda m: m.update(tokenizer=None), "has no embedding table 'text' or no tokenizer"),
    "table of another width": (lambda m: m["embeddings"][0].update(width=64), "the embedding table is 64 wide"),
    "pad beyond the table": (constants(token_pad=320), "token_pad is 320; wanted a row of the embedding table, which"),
    "start beyond the table": (constants(token_start=2**31 - 1), "token_start is 2147483647"),
    "start of 400 digits": (constants(token_start=10**400), "Expected `int` <="),
    "one mark twice": (constants(token_listen=259), "token_listen and token_speak are both 259"),
    "odd heads": (constants(head_size=65), "head_size is 65"),
    "more layers": (constants(layers=7), "36 ring states for 7 layers; wanted 42"),
    "another window": (constants(window_units=63), "the constants say [1, 832, 64], 1, 13 and 63"),
    "a window of other places": (lambda m: rings(m, window_units=12, places_per_unit=65), "65 places per unit"),
    "rings emptied every unit": (lambda m: rings(m, reset="unit"), "is emptied every unit"),
    "another number of candidates": (constants(candidates=63), "graph 'slot', input 'noise' is float32 [64]"),
    "another width": (constants(width=191), "graph 'core', input 'embeddings' is float32 [1, 'T', 192]"),
    "a width whose rows are not aligned": (lambda m: narrow(m, 96), "width is 96; wanted a multiple of 64"),
    "other latents": (
        lambda m: m["constants"].update(video_latent=[5, 23]),
        "graph 'solve_in', input 'latents.video' is float32 [5, 24]; constants and media say float32 [5, 23]",
    ),
    "more text": (lambda m: m["constants"]["segments"][4].update(count=3), "core has lengths (1, 6, 9, 15)"),
    "more sound": (
        lambda m: (m["constants"]["segments"][3].update(count=3), m["constants"]["segments"][4].update(count=1)),
        "graph 'encode', output 'user.audio' is float32 [2, 192]; constants and media say float32 [3, 192]",
    ),
    "a segment in another ring": (
        lambda m: m["constants"]["segments"][2].update(ring="main"),
        "places per unit and a window",
    ),
    "slots without number": (constants(slot_kinds=["state"] * 65), "length <= 64"),
    "no prefix": (constants(prefix_tokens=0), "graph 'core', input 'prefix_cos' is"),
    "huge base": (constants(rope_base=1e300), "Expected `float` <="),
    "token of another type": (
        lambda m: graph(m, "slot")["outputs"][0].update(dtype="int64"),
        "graph 'slot', output 'token' is int64 [1]",
    ),
    "appends in another order": (lambda m: graph(m, "core")["outputs"].reverse(), "appends in another order"),
    "a graph without its carries": (
        lambda m: (m.update(states=[s for s in m["states"] if s.get("graph") != "encode"]),
                   [graph(m, "encode").update({side: graph(m, "encode")[side][:2]}) for side in ("inputs", "outputs")]),
        "graph 'encode' has 0 carries",
    ),
    "a missing graph": (lambda m: m["graphs"].remove(graph(m, "decode")), "the bundle has no graph 'decode'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_manifest_that_its_constants_contradict_is_refused(case: str) -> None:
    change, says = WRONG[case]
    content = json.loads(DEMO)
    change(content)
    with pytest.raises(BundleError) as caught:
        manifest = parse(json.dumps(content).encode())
        check_contract(Layout(read_constants(manifest.constants)), manifest)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_demo_keeps_its_contract() -> None:
    manifest = parse(DEMO.encode())
    check_contract(Layout(read_constants(manifest.constants)), manifest)


def test_it_is_asked_when_a_session_opens(tmp_path: Path) -> None:
    shutil.copytree(bundle_path(), tmp_path / "demo")
    rewrite(tmp_path / "demo", constants(token_pad=320))
    with pytest.raises(BundleError, match="token_pad is 320"):
        open_session(tmp_path / "demo", engine=OrtEngine(threads=1))


CHAINS: dict[str, tuple[Change, str]] = {
    "a graph twice": (constants(order=["first", "second", "first"]), "wanted every graph once"),
    "no graph": (constants(order=[]), "wanted every graph once"),
    "a graph that is not there": (constants(order=["third"]), "the bundle has no graph 'third'"),
    "an input that a graph gives": (
        constants(inputs=["x", "y"]),
        "names ['y'], which no graph of the order takes from outside",
    ),
    "an input that none reads": (
        constants(inputs=["x", "w"]),
        "names ['w'], which no graph of the order takes from outside",
    ),
    "an output that none gives": (constants(outputs=["w"]), "names ['w'], which no graph of the order has"),
    "any length": (
        lambda m: m["graphs"][1].update(lengths=[1, 2], operations={"1": 1, "2": 1}, moved_bytes={"1": 1, "2": 1}),
        "graph 'second' has tensors of any length",
    ),
    "one name for two shapes": (
        lambda m: m["graphs"][1]["inputs"][0].update(shape=[1, 5]),
        "graph 'second' wants 'y' as float32 [1, 5]; elsewhere in the chain it is float32 [1, 4]",
    ),
    "one name for two outputs": (
        lambda m: m["graphs"][1]["outputs"][0].update(name="y"),
        "graph 'second' gives 'y', which the chain has already",
    ),
    "a name of 10,000 letters": (constants(outputs=["w" * 10_000]), "length <= 300"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_that_does_not_hang_together_is_refused(made_counter: Path, case: str) -> None:
    change, says = CHAINS[case]
    content = json.loads((made_counter / "manifest.json").read_text())
    change(content)
    manifest = parse(json.dumps(content).encode())
    with pytest.raises((BundleError, msgspec.ValidationError)) as caught:
        check_wiring(msgspec.convert(manifest.constants, Constants), manifest)
    assert says in str(caught.value)
