"""Bytes in, bytes out; marks beside a backbone's own tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.tokenizer import MARKS, PROBE, byte_level, from_backbone, with_marks
from edge_streamer.runtime.errors import InputError

TEXTS = ["hello  world\n", "", " leading", "Grüße, 你好 🙂", "tab\there", "\x00\x7f\u0080ÿ", "<|speak"]


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_the_bytes_of_the_text(text: str) -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text


def test_marks_are_the_configs_and_are_silent(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    config = PRESETS["tiny"]
    numbers = [config.token_pad, config.token_start, config.token_listen, config.token_speak]
    assert [again.token_to_id(mark) for mark in MARKS] == numbers == [256, 257, 258, 259]
    assert with_marks(config, again) == config
    assert again.decode([104, 256, 105, 259], skip_special_tokens=True) == "hi"
    assert again.get_vocab_size(with_added_tokens=True) == 260 <= config.vocabulary


def foreign(path: Path, words: int) -> Path:
    """A tokenizer of another model, with a special token of its own."""
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    return path


def test_marks_take_the_free_rows_of_a_backbone(tmp_path: Path) -> None:
    path = foreign(tmp_path / "tokenizer.json", 100)
    tokenizer, config = from_backbone(path, PRESETS["tiny"])
    assert (config.token_pad, config.token_start, config.token_listen, config.token_speak) == (101, 102, 103, 104)
    assert tokenizer.token_to_id("<|endoftext|>") == 100
    tokenizer.save(str(path))
    assert from_backbone(path, PRESETS["tiny"])[1] == config  # marks that are there keep their numbers


@pytest.mark.parametrize(("words", "room"), [(315, True), (316, False), (400, False)])
def test_a_full_table_is_refused(tmp_path: Path, words: int, room: bool) -> None:
    path = foreign(tmp_path / "tokenizer.json", words)
    if room:
        assert from_backbone(path, PRESETS["tiny"])[1].token_speak == 319
    else:
        with pytest.raises(InputError, match=f"uses {words + 1} tokens and the table has 320 rows: no room"):
            from_backbone(path, PRESETS["tiny"])


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(InputError, match="cannot be read"):
        from_backbone(path, PRESETS["tiny"])
    path.write_text("{}")
    with pytest.raises(InputError, match="is not a tokenizer file"):
        from_backbone(path, PRESETS["tiny"])


def saved(path: Path, change: Callable[[Tokenizer], object]) -> Path:
    """A byte-level tokenizer with one thing changed before it was saved."""
    tokenizer = byte_level()
    change(tokenizer)
    tokenizer.save(str(path))
    return path


def begins_and_ends(tokenizer: Tokenizer) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A $A <|pad|>", special_tokens=[("<|start|>", 257), ("<|pad|>", 256)]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.enable_truncation(max_length=8), "truncation left out"),
        (lambda t: t.enable_padding(length=40, pad_id=256, pad_token="<|pad|>"), "padding left out"),
        (begins_and_ends, "post_processor left out"),
        (lambda t: setattr(t.model, "dropout", 0.9), "dropout left out"),
    ],
)
def test_what_acts_on_a_batch_or_in_training_is_left_out(
    tmp_path: Path, change: Callable[[Tokenizer], object], said: str
) -> None:
    """And so in the bundle: a session reads what is written here."""
    heard: list[str] = []
    tokenizer, _ = from_backbone(saved(tmp_path / "tokenizer.json", change), PRESETS["tiny"], heard.append)
    assert [line for line in heard if said in line] == heard != []
    again = Tokenizer.from_str(tokenizer.to_str())
    found = json.loads(tokenizer.to_str())
    assert [found["truncation"], found["padding"], found["post_processor"], found["model"]["dropout"]] == [None] * 4
    for text in TEXTS:
        assert again.encode(text).ids == again.encode(text, add_special_tokens=False).ids == list(text.encode())


def test_a_plain_tokenizer_is_taken_without_a_word(tmp_path: Path) -> None:
    heard: list[str] = []
    path = saved(tmp_path / "tokenizer.json", lambda t: setattr(t, "post_processor", processors.ByteLevel()))
    from_backbone(path, PRESETS["tiny"], heard.append)
    assert heard == []
    saved(path, lambda t: setattr(t, "normalizer", normalizers.NFC()))  # as Qwen2.5's own
    assert from_backbone(path, PRESETS["tiny"], heard.append)[0].encode("e\u0301").ids == list("é".encode())
    assert heard == []


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (lambda t: setattr(t, "normalizer", normalizers.Lowercase()), PROBE.lower()),
        (lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)), f" {PROBE}"),
    ],
)
def test_text_that_does_not_come_back_is_told(tmp_path: Path, change: Callable[[Tokenizer], object], back: str) -> None:
    heard: list[str] = []
    from_backbone(saved(tmp_path / "tokenizer.json", change), PRESETS["tiny"], heard.append)
    assert len(heard) == 1
    assert f"comes back as {back!r}" in heard[0]


def gap(found: dict[str, Any]) -> None:
    found["added_tokens"][0]["id"] = 300


def unknown(found: dict[str, Any]) -> None:
    found["model"]["sampling"] = 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (gap, r"'<\|pad\|>' is 300 in the file and 25\d when it is read"),
        (unknown, "sampling of the model is not known"),
    ],
)
def test_what_the_library_reads_otherwise_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = tmp_path / "tokenizer.json"
    found = json.loads(byte_level().to_str())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=said):
        from_backbone(path, PRESETS["tiny"])


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 7031645\n")
    with pytest.raises(InputError, match="pointer of Git LFS"):
        from_backbone(path, PRESETS["tiny"])
