"""Bytes in, bytes out; marks beside a backbone's own tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from edge_streamer.export.config import PRESETS
from edge_streamer.export.tokenizer import MARKS, byte_level, from_backbone, with_marks
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
