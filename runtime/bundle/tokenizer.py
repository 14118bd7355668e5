"""A bundle's tokenizer: opened so that text is all it can do.

Receives a ``tokenizer.json``; hands on a ``tokenizers.Tokenizer`` whose every token has a row in the embedding table.

Such a file is a small program: replacements upon replacements can make a hundred million letters of two. So the parts
it is made of are known here by name, each with how much longer it can make a text, and those that belong to training
(truncation, padding, words dropped by chance, marks around a text) do not act: the file may have been saved with them.
The library is Rust: where it comes upon what it did not expect it panics, which is no ``Exception``;
:func:`telling_tokenizer` is the one place where that becomes an error of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import read_small

LARGEST = 40_000_000
"""Bytes of the file. A vocabulary of 256,000 words takes 34 MB."""
LONGEST_TEXT = 50_000
"""Letters that are encoded at once; at a few tokens per unit this is half an hour of listening."""
GROWTH = 100
"""Times that normalizer or decoder may make a text longer, at most. All Unicode has to offer, in a row: 66."""
LONGEST_TOKEN = 4096
"""Letters. The longest words of the vocabularies we know are runs of 128 spaces."""
_PARTS, _DEEPEST = 64, 8
"""Steps of a normalizer or a decoder; steps within steps."""
_AFFIX, _LONGEST_WORD = 100, 1000
"""Bytes of what begins or ends every piece of a word; letters of a word that is looked up piece by piece."""
_UNTOUCHED = {"truncation": None, "padding": None, "post_processor": None}
"""What does not act: encoding is asked for a text's own tokens."""

_NORMALIZERS = {"NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11, "Lowercase": 2, "Strip": 1, "StripAccents": 1, "Nmt": 1,
                "BertNormalizer": 12, "ByteLevel": 2}  # fmt: skip
_DECODERS = {"ByteLevel": 2, "WordPiece": 2, "Metaspace": 1, "Fuse": 1, "ByteFallback": 3}
_PRE_TOKENIZERS = {"ByteLevel": 2, "Split": 1, "Whitespace": 1, "WhitespaceSplit": 1, "Punctuation": 1, "Digits": 1,
                   "Metaspace": 3, "BertPreTokenizer": 1, "CharDelimiterSplit": 1, "UnicodeScripts": 1}  # fmt: skip
"""By kind, how many times as long (in UTF-8) it can make a text."""


def load_tokenizer(path: Path, rows: int | None) -> Tokenizer:
    """The tokenizer in the file ``path``. ``rows``: of the embedding table, if there is one.

    Raises BundleError where the file is none, could make a text very much longer, or has tokens without a row.
    """
    with telling_tokenizer(f"{path} is not a tokenizer.json"):
        content = msgspec.json.decode(read_small(path, LARGEST), type=dict[str, msgspec.Raw])
        model = msgspec.json.decode(content["model"], type=dict[str, msgspec.Raw]) if "model" in content else {}
        _check_model(model)
        for key, kinds in (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS), ("decoder", _DECODERS)):
            part = msgspec.json.decode(content.get(key, b"null"), type=dict[str, Any] | None)
            growth = _growth(part, kinds, [])
            if growth > GROWTH:
                raise ValueError(f"its {key} could make a text {growth} times as long; wanted at most {GROWTH}")
        ours = content | _UNTOUCHED | {"model": {**model, "dropout": None} if "dropout" in model else model}
        tokenizer = Tokenizer.from_str(msgspec.json.encode(ours).decode("utf-8"))
        words = tokenizer.get_vocab(with_added_tokens=True)
    longest = max(words, key=len, default="")
    if len(longest) > LONGEST_TOKEN:
        raise BundleError(f"{path} has a token of {len(longest)} letters; wanted at most {LONGEST_TOKEN}")
    largest = max(words.values(), default=0)
    if rows is not None and max(len(words), largest + 1) > rows:
        raise BundleError(
            f"{path} has {len(words)} words, the embedding table {rows} rows, and the largest number of a word is "
            f"{largest}; wanted a row for every word; export the bundle again"
        )
    return tokenizer


@contextmanager
def telling_tokenizer(what: str) -> Iterator[None]:
    """Turn whatever the library raises into a BundleError that begins with ``what``."""
    try:
        yield
    except BaseException as error:  # the library raises bare Exception, and panics, which are no Exception
        if isinstance(error, MemoryError) or not (
            isinstance(error, Exception) or type(error).__name__ == "PanicException"
        ):
            raise
        line = " ".join(str(error).split())[:300]
        raise BundleError(f"{what}: {line}; export the bundle again") from None


def _check_model(model: dict[str, msgspec.Raw]) -> None:
    """Nothing in it is repeated for every word, or makes a word's time grow with the square of a long length."""
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(model.get(key, b"")) > _AFFIX:
            raise ValueError(f"its model has a {key} of more than {_AFFIX} bytes")
    most = msgspec.json.decode(model.get("max_input_chars_per_word", b"0"), type=int)
    if most > _LONGEST_WORD:
        raise ValueError(f"its model looks at words of {most} letters; wanted at most {_LONGEST_WORD}")


def _growth(part: dict[str, Any] | None, kinds: dict[str, int], seen: list[str], depth: int = 0) -> int:
    """How many times as long ``part`` can make a text. ValueError for a kind that is not known."""
    if part is None:
        return 1
    kind = part.get("type")
    seen.append(str(kind))
    if depth > _DEEPEST or len(seen) > _PARTS:
        raise ValueError(f"it has more than {_PARTS} steps in a row, or {_DEEPEST} within each other")
    if kind == "Sequence":
        steps: list[Any] = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), [])
        whole = 1
        for step in steps:
            whole *= _growth(step, kinds, seen, depth + 1)
        return whole
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    if kinds is not _PRE_TOKENIZERS and kind == "Replace":
        return _replaced(part)
    if kinds is _NORMALIZERS and kind == "Prepend" and 0 < _bytes(part["prepend"]) <= _AFFIX:
        return 1  # once per text
    if kinds is _DECODERS and kind == "Strip" and part["start"] + part["stop"] <= LONGEST_TOKEN:
        return 1
    if kinds is _DECODERS and kind in ("BPEDecoder", "CTC"):
        taken = part["suffix"] if kind == "BPEDecoder" else part["word_delimiter_token"]
        if taken:
            return 2
    raise ValueError(f"it has a step of kind {str(kind)[:100]!r}, which is not known here or lacks what it needs")


def _replaced(part: dict[str, Any]) -> int:
    content, pattern = _bytes(part["content"]), part["pattern"]
    if "String" in pattern:
        if not pattern["String"]:
            raise ValueError("it replaces the empty text")
        return max(1, -(-content // _bytes(pattern["String"])))
    return 1 + content  # it may find something at every letter


def _bytes(text: str) -> int:
    return len(text.encode("utf-8"))
