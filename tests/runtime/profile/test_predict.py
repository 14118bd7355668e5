"""The predictor's arithmetic, by hand; and every board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.profile.boards import BOARDS, KEPT_BYTES, Board, board_named
from edge_streamer.runtime.profile.predict import ASSUMED, SHARES, Shares, run_time, shares_of
from edge_streamer.runtime.profile.shape import CONTEXT, Shape, read_shape, work_of
from edge_streamer.runtime.profile.work import Work

BOARD = Board("toy", "Toy", "thor", "0.0", 1, 1.0, 100.0, {"fp16": 10.0, "int8": 20.0}, 10**10, "")
SHARES_OF_TOY = Shares(bandwidth=0.5, compute={"fp16": 0.5, "int4": 0.25}, attention=0.2, layer_cycles=2e9,
                       token_cycles=5e8)  # fmt: skip


def work(moved: float = 0.0, operations: float = 0.0, attention: float = 0.0, tokens: int = 1) -> Work:
    return Work("run", "fp16", operations, attention, moved, 1.0, tokens)


def test_the_longer_of_bytes_and_products_counts_and_kernels_come_on_top() -> None:
    moved = run_time(work(moved=500.0, operations=5.0), BOARD, SHARES_OF_TOY)
    assert (moved.memory, moved.compute, moved.kernels) == (10.0, 1.0, 2.5)
    assert moved.seconds == 12.5
    assert moved.binds == "memory"
    counted = run_time(work(moved=5.0, operations=50.0, attention=4.0, tokens=4), BOARD, SHARES_OF_TOY)
    assert (counted.compute, counted.kernels) == (12.0, 4.0)
    assert counted.seconds == 16.0
    assert counted.binds == "compute"
    assert run_time(work(), BOARD, SHARES_OF_TOY).binds == "kernels"


def test_integers_of_4_bits_are_multiplied_in_16_at_a_share_of_their_own() -> None:
    assert run_time(Work("run", "int4", 25.0, 0.0, 0.0, 0.0), BOARD, SHARES_OF_TOY).seconds == 10.0


def test_a_share_that_nobody_published_is_assumed() -> None:
    seconds = run_time(Work("run", "int8", 20.0, 0.0, 0.0, 0.0), BOARD, SHARES_OF_TOY).seconds
    assert seconds == pytest.approx(1 / ASSUMED["int8"])


def test_numbers_that_a_board_lacks_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="Toy does not compute in fp8; it computes in fp16, int8"):
        run_time(Work("run", "fp8", 1.0, 0.0, 0.0, 0.0), BOARD, SHARES_OF_TOY)


def test_a_pass_is_counted_by_hand() -> None:
    shape = Shape(layers=2, width=8, heads=2, kv_heads=1, head_size=4, feed_forward=16, vocabulary=10, tied=True,
                  tokens=3, context=5, precision="int8", head_precision="fp16")  # fmt: skip
    attention, inner, head = 8 * 8 + 2 * 8 * 4 + 8 * 8, 3 * 8 * 16, 80
    found = work_of(shape)
    assert found.operations == 2 * (2 * (attention + inner) * 3 + head)
    assert found.attention == 4 * 2 * 2 * 4 * 3 * (5 + 2)
    assert found.moved_bytes == 2 * (attention + inner) + 2 * head + 2 * 2 * 4 * (5 + 3) * 2
    assert shape.memory_bytes == found.moved_bytes  # tied: the table is the head
    untied = Shape(**{field: getattr(shape, field) for field in Shape.__struct_fields__ if field != "tied"})
    assert untied.memory_bytes == shape.memory_bytes + 2 * head


def test_of_experts_those_that_a_token_meets_are_moved_and_all_are_held() -> None:
    shape = Shape(layers=1, width=8, heads=1, kv_heads=1, head_size=8, feed_forward=4, experts=10, active_experts=2,
                  context=0, precision="int8")  # fmt: skip
    attention, expert, cache = 4 * 64, 3 * 8 * 4, 2 * 8 * 2
    assert work_of(shape).moved_bytes == attention + 2 * expert + cache
    assert shape.memory_bytes == attention + 10 * expert + cache
    assert work_of(shape).layers == 2  # their choice and sorting are as many kernels again


def test_what_is_left_out_of_a_shape_has_its_usual_value() -> None:
    full = Shape(layers=1, width=1024).full
    assert (full.heads, full.kv_heads, full.head_size, full.feed_forward, full.context) == (8, 8, 128, 2816, CONTEXT)
    assert Shape(layers=1, width=1024, tokens=16).full.context == 0


def test_a_config_of_hugging_face_is_a_shape(tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 1024, "head_dim": 128,
        "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 3072, "vocab_size": 151936,
        "tie_word_embeddings": True, "precision": "INT4-AWQ", "runtime": "vllm",
    }  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert read_shape(file) == Shape(
        layers=28, width=1024, heads=16, kv_heads=8, head_size=128, feed_forward=3072, vocabulary=151936, tied=True,
        precision="int4", runtime="vllm",
    )  # fmt: skip
    for said, numbers in (("bfloat16", "bf16"), ("auto", "fp16")):
        config.pop("precision", None)
        file.write_text(json.dumps(config | {"torch_dtype": said}))
        assert read_shape(file).precision == numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[1]", "holds no object"),
        ('{"layers": 1}', "missing required field `width`"),
        ('{"layers": 1, "width": 8, "depth": 2}', "unknown field `depth`"),
        ('{"layers": 1, "width": -8}', "Expected `int` >= 1"),
        ('{"layers": 1, "width": 8, "precision": "int3"}', "int3"),
        ('{"layers": 1, "width": 8, "precision": ["int4"]}', "precision"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_shape_is_told_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "shape.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_shape(tmp_path / "shape.json")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shape_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_shape(tmp_path / "none.json")
    (tmp_path / "large.json").write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(InputError, match="larger than 1 MB"):
        read_shape(tmp_path / "large.json")


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_has_its_constants_and_a_public_source(board: Board) -> None:
    assert shares_of("tensorrt", board) is SHARES["tensorrt", board.family]
    for runtime in ("vllm", "mlc", "llama.cpp"):
        assert shares_of(runtime, board).bandwidth > 0  # type: ignore[arg-type]
    assert board.source.startswith("https://")
    assert board.rates["int8"] == pytest.approx(2 * board.rates["fp16"])
    assert board.usable_bytes == board.ram_bytes - KEPT_BYTES > 0


def test_a_board_that_is_not_known_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean agx-orin-64gb"):
        board_named("agx-orin64")
