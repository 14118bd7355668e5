"""A tokenizer is text and nothing else: what could fill the memory, hang or panic is refused in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.bundle.tokenizer import LONGEST_TEXT, load_tokenizer
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.programs.wan_streamer.text import TextIn, TextOut

Change = Callable[[dict[str, Any]], object]
TEXT = (bundle_path() / "tokenizer.json").read_text()


def changed(folder: Path, change: Change) -> Path:
    content = json.loads(TEXT)
    change(content)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def nested(depth: int) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        part = {"type": "Sequence", "normalizers": [part]}
    return part


HARMFUL: dict[str, tuple[Change, str]] = {
    "one long replacement": (lambda t: t.update(normalizer=replace("a", "b" * 1_000_000)), "1000000 times as long"),
    "ten short ones": (
        lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [replace("a", "a" * 10)] * 10}),
        "10000000000 times as long",
    ),
    "a replacement by rule": (lambda t: t.update(normalizer=replace("x*", "y" * 200, "Regex")), "201 times"),
    "a replacement of nothing": (lambda t: t.update(normalizer=replace("", "ab")), "replaces the empty text"),
    "a long beginning": (lambda t: t.update(normalizer={"type": "Prepend", "prepend": "x" * 200}), "'Prepend'"),
    "an empty beginning": (lambda t: t.update(normalizer={"type": "Prepend", "prepend": ""}), "'Prepend'"),
    "a table nobody reads": (
        lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "'Precompiled', which is not known",
    ),
    "steps within steps": (lambda t: t.update(normalizer=nested(50)), "or 8 within each other"),
    "very many steps": (
        lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [{"type": "Strip"}] * 100}),
        "more than 64 steps",
    ),
    "pieces of no length": (lambda t: t.update(pre_tokenizer={"type": "FixedLength", "length": 0}), "'FixedLength'"),
    "decoder that writes": (lambda t: t.update(decoder=replace("a", "b" * 1_000_000)), "decoder could make"),
    "decoder that takes too much": (
        lambda t: t.update(decoder={"type": "Strip", "content": "h", "start": 10**9, "stop": 10**9}),
        "'Strip'",
    ),
    "a word of a million letters": (lambda t: t["model"]["vocab"].update({"x" * 1_000_000: 300}), "a token of 1000000"),
    "a long end of every word": (lambda t: t["model"].update(end_of_word_suffix="x" * 1000), "end_of_word_suffix of"),
    "words looked at piece by piece": (
        lambda t: t.update(model={"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a",
                                  "continuing_subword_prefix": "", "max_input_chars_per_word": 10**9}),
        "words of 1000000000 letters",
    ),
    "a word beyond the table": (lambda t: t["model"]["vocab"].update(zz=4_294_967_295), "is 4294967295; wanted a row"),
    "a merge that panics": (
        lambda t: (t["model"].update(continuing_subword_prefix="\xe9", merges=["b a"]),
                   t["model"]["vocab"].update(ba=300)),
        "is not a tokenizer.json",
    ),
    "no model": (lambda t: t.update(model=None), "is not a tokenizer.json"),
    "a merge of no words": (lambda t: t["model"].update(merges=["a b"]), "is not a tokenizer.json: Token `ab` out of"),
    "a rule that is none": (lambda t: t.update(normalizer=replace("(", "", "Regex")), "is not a tokenizer.json"),
    "steps of another kind": (lambda t: t.update(normalizer=[1]), "is not a tokenizer.json: Expected `object"),
    "a step without its parts": (lambda t: t.update(normalizer={"type": "Replace"}), "is not a tokenizer.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMFUL)
def test_what_is_no_plain_tokenizer_is_refused(tmp_path: Path, case: str) -> None:
    change, says = HARMFUL[case]
    before = time.process_time()
    with pytest.raises(BundleError) as caught:
        load_tokenizer(changed(tmp_path, change), 320)
    text = str(caught.value)
    assert says in text
    assert text.isprintable()
    assert len(text) < 1000
    assert time.process_time() - before < 2


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"model":' + b"[" * 5000, b"null"])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"t\.json is not a tokenizer\.json"):
        load_tokenizer(tmp_path / "t.json", 320)


def test_what_belongs_to_training_does_not_act(tmp_path: Path) -> None:
    def trained(t: dict[str, Any]) -> None:
        t["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}
        t["padding"] = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                        "pad_type_id": 0, "pad_token": "x"}  # fmt: skip
        t["model"]["dropout"] = 0.9
        t["post_processor"] = {
            "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {},
        }  # fmt: skip

    tokenizer = load_tokenizer(changed(tmp_path, trained), 320)
    for text in ("hello", "longer than eight"):
        assert TextIn(tokenizer, 2, 256).encode(text) == tuple(text.encode())


def test_known_kinds_of_tokenizers_open(tmp_path: Path) -> None:
    """As Qwen2.5, Llama and SentencePiece models have them."""
    tokenizer = Tokenizer(
        models.BPE(vocab={"\N{LOWER ONE EIGHTH BLOCK}": 0, "a": 1, "<unk>": 2}, merges=[], unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Prepend("\N{LOWER ONE EIGHTH BLOCK}"),
         normalizers.Replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")]
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\N{LOWER ONE EIGHTH BLOCK}", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    tokenizer.save(str(tmp_path / "t.json"))
    opened = load_tokenizer(tmp_path / "t.json", None)
    assert opened.decode(opened.encode("a a").ids) == "a a"


def test_a_text_longer_than_any_is_refused() -> None:
    text_in = TextIn(load_tokenizer(bundle_path() / "tokenizer.json", 320), 2, 256)
    assert len(text_in.encode("x" * LONGEST_TEXT)) == LONGEST_TEXT
    with pytest.raises(InputError, match="the text has 50001 letters; at most 50000 are taken at once"):
        text_in.encode("x" * (LONGEST_TEXT + 1))


def test_a_tokenizer_that_cannot_read_every_text_is_refused_at_open(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda t: t.update(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}))
    with pytest.raises(BundleError, match=r"the bundle's tokenizer\.json cannot be used: WordLevel error: Missing"):
        TextIn(load_tokenizer(path, 320), 2, 256)


def test_a_panic_in_the_middle_is_one_line(tmp_path: Path) -> None:
    """A rule that tries for ever: the library gives up with a panic."""
    path = changed(tmp_path, lambda t: t.update(normalizer=replace("(a+)+$", "", "Regex")))
    text_in = TextIn(load_tokenizer(path, 320), 2, 256)
    with pytest.raises(BundleError, match="retry-limit-in-match over"):
        text_in.encode("a" * 40 + "!")


def test_a_panic_while_decoding_is_one_line() -> None:
    class Panicking:
        def get_added_tokens_decoder(self) -> dict[int, object]:
            return {}

        def get_vocab_size(self, with_added_tokens: bool) -> int:
            return 300

        def decode(self, *_: object, **__: object) -> str:
            raise type("PanicException", (BaseException,), {})("index out of\nbounds")

    text_out = TextOut(Panicking())  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="cannot be used: index out of bounds; export the bundle again"):
        text_out.add((), (104,))
