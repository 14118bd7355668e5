"""What auto picks: the least bytes within the room, and groups that cover every layer once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_streamer.quantization import auto, graph
from edge_streamer.quantization.auto import ATTEMPTS, Option, Trials, _told, _weigh, group_of, least_held, smallest
from edge_streamer.quantization.streams import Stream
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.compare.error_over_time import HEARD_AND_SEEN

ROOM = {"latents.audio": 1.0, "latents.video": 0.5}


def option(size: int, sound: float = 0.0, picture: float = 0.0, words: str = "x") -> Option:
    return Option({}, words, size, {"latents.audio": sound, "latents.video": picture})


def test_the_smallest_is_within_the_room_and_nearly_the_best() -> None:
    rng, worst = np.random.default_rng(0), 1.0
    for _ in range(60):
        groups = [
            [option(400), option(100, *rng.uniform(0, 0.2, 2)), option(62, *rng.uniform(0.02, 0.8, 2))]
            for _ in range(6)
        ]
        picked = smallest(groups, ROOM)
        assert all(sum(o.error[name] for o in picked) <= most for name, most in ROOM.items())
        sizes = [
            sum(o.bytes for o in some) for some in product(*groups)
            if all(sum(o.error[name] for o in some) <= most for name, most in ROOM.items())
        ]  # fmt: skip
        worst = max(worst, sum(o.bytes for o in picked) / min(sizes))
    assert worst < 1.35


def test_without_room_everything_stays_and_with_much_nothing_does() -> None:
    groups = [[option(400), option(100, 0.1, 0.1), option(62, 0.3, 0.3)] for _ in range(4)]
    assert [o.bytes for o in smallest(groups, {"latents.audio": 1e-9, "latents.video": 1e-9})] == [400] * 4
    assert [o.bytes for o in smallest(groups, {"latents.audio": 9.0, "latents.video": 9.0})] == [62] * 4


def test_a_choice_says_what_a_smaller_one_would_have_cost() -> None:
    options = [option(400, words="float32"), option(100, 0.01, 0.01, "int8"), option(62, 0.9, 0.1, "int4")]
    told = _told("core: layers.0.attention.qkv", options, options[1], ROOM)
    assert (told.chosen, told.bytes) == ("int8", 100)
    assert told.weighed == pytest.approx({"float32": 0.0, "int8": 0.02, "int4": 0.9})
    assert told.why == "int4 would take 90% of the bound to save 38 bytes"
    assert "the smallest there is" in _told("g", options, options[2], ROOM).why


@pytest.mark.parametrize("real", [0.3, 1.0, 2.5, 3.5])
def test_what_room_is_left_is_used_and_what_was_too_much_is_shared(real: float) -> None:
    """Layers together err ``real`` times as much as alone: the mixture found is the smallest that holds."""
    groups = [[option(400), option(100, 1e-4, 1e-4), option(62, 2e-3 * (1 + n), 1e-3 * (1 + n))] for n in range(60)]
    tried: list[int] = []

    def measured(attempt: int, picked: Sequence[Option]) -> dict[str, float]:
        tried.append(attempt)
        return {name: most / (real * sum(o.error[name] for o in picked)) for name, most in ROOM.items()}

    best = least_held(groups, ROOM, measured)
    size, held = sum(o.bytes for o in best), {n: most / real for n, most in ROOM.items()}
    assert all(sum(o.error[name] for o in best) <= held[name] for name in ROOM)
    assert size == sum(o.bytes for o in smallest(groups, held))
    assert tried == list(range(1, len(tried) + 1))
    assert len(tried) <= ATTEMPTS


def test_where_nothing_holds_there_is_no_mixture_and_an_end() -> None:
    groups = [[option(400), option(100, 0.1, 0.1)] for _ in range(3)]
    assert least_held(groups, ROOM, lambda *_: dict.fromkeys(ROOM, 1e-9)) == []
    everything = least_held(groups, ROOM, lambda *_: dict.fromkeys(ROOM, 1e9))
    assert [o.bytes for o in everything] == [100] * 3


def test_groups_of_a_deep_model_are_spans_of_one_kind() -> None:
    names = [f"layers.{n}.{kind}" for n in range(24) for kind in ("attention.qkv", "feed_forward.down")]
    groups = [group_of("core", name, 24) for name in names]
    assert len(set(groups)) == 12
    assert groups[0] == group_of("core", "layers.3.attention.qkv", 24) == "core: layers.0-3.attention.qkv"
    assert groups[-1] == "core: layers.20-23.feed_forward.down"
    assert group_of("core", "layers.3.attention.qkv", 6) == "core: layers.3.attention.qkv"
    assert group_of("decode", "video_vae.decoder.out", 6) == "decode"
    for depth in (7, 11, 25):
        spans = {group_of("core", f"layers.{n}.attention.qkv", depth).split(".")[1] for n in range(depth)}
        bounds = sorted(tuple(map(int, span.split("-"))) for span in spans)
        assert [n for a, b in bounds for n in range(a, b + 1)] == list(range(depth))


def test_a_bound_that_nothing_holds_is_said_and_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(auto, "PROBED", 1)  # a unit weighs every layer: what is weighed is not what is said here
    words = ["quantize", str(tiny_bundle), "--scheme", "auto", "--max-error", "-190", "--out", str(out)]
    assert cli.main([*words, "--units", "4", "--calibration-units", "4"]) == 1  # as for every scheme
    assert "no mixture of 8 holds -190 dB over 4 units" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_layer_is_in_one_group(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(tiny_bundle)
    alike = SimpleNamespace(error_db=dict.fromkeys(HEARD_AND_SEEN, -30.0))
    monkeypatch.setattr(Trials, "run", lambda *_: alike)
    trials, probe = Trials(bundle, {}, "cpu", tmp_path), Stream("none", lambda: iter(()))
    _, weighed = _weigh(trials, probe, lambda *_: None)
    files = [(spec.name, bundle.file(spec.file)) for spec in bundle.manifest.graphs]
    wanted = sorted((name, layer.name) for name, file in files for layer in graph.layers(graph.load(file)))
    for number in range(2):  # as they are, and in the first of the formats
        assert sorted(key for options in weighed.values() for key in options[number].plans) == wanted
    assert all(name == group.partition(":")[0] for group, (one, *_) in weighed.items() for name, _ in one.plans)
