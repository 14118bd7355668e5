"""Text tokens: a byte-level tokenizer for models without a backbone, and our marks in a backbone's own.

Receives nothing, or a checkpoint's ``tokenizer.json``; hands on a ``tokenizers.Tokenizer`` and the numbers of the four
marks that the model's slots speak in. Which marks exist is our choice: the papers name no special tokens.

A byte is its own token number, so any text in any language can be typed, a transcript is UTF-8, and a token is never
unknown. The marks follow the 256 bytes; the table has rows to spare so that its size divides by 64.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from edge_streamer.export.config import Config
from edge_streamer.runtime.errors import InputError

MARKS = ("<|pad|>", "<|start|>", "<|listen|>", "<|speak|>")
"""Nothing here; the slots begin; the agent listens; the agent speaks."""


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


def from_backbone(path: Path, config: Config) -> tuple[Tokenizer, Config]:
    """A checkpoint's tokenizer with the marks in free rows of the table, and ``config`` with their numbers.

    Raises InputError where the file is no tokenizer, or where the table has no rows left for the marks.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); a checkpoint folder needs its tokenizer") from None
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise InputError(f"{path} is not a tokenizer file ({error})") from None
    before = tokenizer.get_vocab_size(with_added_tokens=True)
    add_marks(tokenizer)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= config.vocabulary:
        raise InputError(
            f"{path} uses {before} tokens and the table has {config.vocabulary} rows: no room for our marks "
            f"{', '.join(MARKS)}; take a checkpoint with at least {largest + 1} rows"
        )
    return tokenizer, with_marks(config, tokenizer)


def with_marks(config: Config, tokenizer: Tokenizer) -> Config:
    """``config`` with the numbers that ``tokenizer`` gives the marks."""
    numbers: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    pad, start, listen, speak = (numbers[mark] for mark in MARKS)
    return replace(config, token_pad=pad, token_start=start, token_listen=listen, token_speak=speak)
