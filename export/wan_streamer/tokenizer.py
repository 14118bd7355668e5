"""Text tokens: a byte-level tokenizer for models without a backbone, and our marks in a backbone's own.

Receives nothing, or a checkpoint's ``tokenizer.json``; hands on a ``tokenizers.Tokenizer`` and the numbers of the four
marks that the model's slots speak in. Which marks exist is our choice: the papers name no special tokens.

A byte is its own token number, so any text in any language can be typed, a transcript is UTF-8, and a token is never
unknown. The marks follow the 256 bytes; the table has rows to spare so that its size divides by 64.

Of a checkpoint's tokenizer what makes tokens of text stays as it is: model, normalizer, pre-tokenizer, added tokens.
What acts on a batch or in training (a length to cut or fill to, tokens that begin and end a text, merges left out at
random) was saved with it by chance and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from edge_streamer.export.wan_streamer.checkpoint import read_json
from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.export.wan_streamer.weights import listed
from edge_streamer.runtime.errors import InputError

MARKS = ("<|pad|>", "<|start|>", "<|listen|>", "<|speak|>")
"""Nothing here; the slots begin; the agent listens; the agent speaks."""
PROBE = "Hello, world! Grüße, 你好"
"""Text that a Qwen2.5 tokenizer hands back as it was."""


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte in ``tokenizer.json``, as GPT-2 chose them: a printable byte is
    itself, the others take the letters from 256 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def byte_level() -> Tokenizer:
    """Tokens 0 to 255 are the bytes, 256 to 259 the marks."""
    tokenizer = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in enumerate(byte_letters())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    add_marks(tokenizer)
    return tokenizer


def add_marks(tokenizer: Tokenizer) -> None:
    """Give the marks numbers, the next free ones; marks that are there keep theirs."""
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])


def from_backbone(
    path: Path, config: Config, tell: Callable[[str], object] = lambda _: None
) -> tuple[Tokenizer, Config]:
    """A checkpoint's tokenizer with the marks in free rows of the table, and ``config`` with their numbers.

    ``tell`` hears in one line each what of the file was left out, and where text does not come back as it went in.
    Raises InputError where the file is no tokenizer or is not read as it says, or where the table has no rows left for
    the marks.
    """
    found = read_json(path)
    left_out = leave_out(found)
    try:
        tokenizer = Tokenizer.from_str(json.dumps(found))
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise InputError(f"{path} is not a tokenizer file ({error})") from None
    check_read(path, found, tokenizer)
    if left_out:
        tell(f"{path}: {', '.join(left_out)} left out; a session's text is never cut, filled or drawn at random")
    again = tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False).ids)
    if again != PROBE:
        tell(f"{path}: the text {PROBE!r} comes back as {again!r}; so will typed text and transcripts")
    before = tokenizer.get_vocab_size(with_added_tokens=True)
    add_marks(tokenizer)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= config.vocabulary:
        raise InputError(
            f"{path} uses {before} tokens and the table has {config.vocabulary} rows: no room for our marks "
            f"{', '.join(MARKS)}; take a checkpoint with at least {largest + 1} rows"
        )
    return tokenizer, with_marks(config, tokenizer)


def leave_out(found: dict[str, Any]) -> list[str]:
    """Take out of a ``tokenizer.json`` what must not act; the names of what was there."""
    model = found["model"] if isinstance(found.get("model"), dict) else {}
    places = [(found, "truncation"), (found, "padding"), (found, "post_processor"), (model, "dropout")]
    names = []
    for place, name in places:
        value = place.get(name)
        # ByteLevel's only moves the offsets of tokens, which nobody asks for.
        if value and not (isinstance(value, dict) and value.get("type") == "ByteLevel"):
            names.append(name)
        if name in place:
            place[name] = None
    return names


def check_read(path: Path, found: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Raise InputError where the library read something else than the file says: it gives added tokens other numbers
    where theirs leave a gap, and passes over settings of the model that it does not know."""
    for token in found.get("added_tokens") or ():
        text, number = token["content"], token["id"]
        if tokenizer.token_to_id(text) != number:
            raise InputError(f"{path}: token {text!r} is {number} in the file and {tokenizer.token_to_id(text)} when "
                             "it is read; added tokens must follow the vocabulary without a gap")  # fmt: skip
    unread = set(found["model"]) - set(json.loads(tokenizer.to_str())["model"])
    if unread:
        raise InputError(f"{path}: {listed(unread)} of the model is not known; wanted a plain tokenizer")


def with_marks(config: Config, tokenizer: Tokenizer) -> Config:
    """``config`` with the numbers that ``tokenizer`` gives the marks."""
    numbers: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    pad, start, listen, speak = (numbers[mark] for mark in MARKS)
    return replace(config, token_pad=pad, token_start=start, token_listen=listen, token_speak=speak)
