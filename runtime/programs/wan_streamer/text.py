"""Text on its way in and out, a few tokens per unit.

Receives a tokenizer; hands on token numbers for the user's text places, and the words of the agent's text slots.
Both are pure: what waits (tokens not yet heard, bytes of a half character) is given in and handed back, so that a
failed unit leaves it as it was.
"""

from __future__ import annotations

from tokenizers import Tokenizer

from edge_streamer.runtime.bundle.tokenizer import LONGEST_TEXT, telling_tokenizer
from edge_streamer.runtime.errors import InputError

LONGEST_TAIL = 8
"""Tokens of an unfinished character that are kept waiting: UTF-8 needs at most 4 bytes."""
UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_TRIED = "".join(map(chr, range(32, 127))) + "\n\t\N{LATIN SMALL LETTER E WITH ACUTE}\N{CJK UNIFIED IDEOGRAPH-6F22}"
"""What a tokenizer must be able to read; one without a word for the unknown fails at the first letter it lacks."""
_UNFIT = "the bundle's tokenizer.json cannot be used"


class TextIn:
    """The user's text: tokens wait until a unit has room for them."""

    def __init__(self, tokenizer: Tokenizer, places: int, pad: int):
        """Raises BundleError for a tokenizer that cannot read every text."""
        self._tokenizer, self._places, self._pad = tokenizer, places, pad
        self.encode(_TRIED)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token numbers of ``text``, no special tokens added. ValueError for what is not text, InputError for what is
        too long."""
        try:
            text.encode("utf-8")
        except (AttributeError, UnicodeEncodeError):
            raise ValueError(f"the unit's text is {text!r}; wanted a string of Unicode characters") from None
        if len(text) > LONGEST_TEXT:
            raise InputError(f"the text has {len(text)} letters; at most {LONGEST_TEXT} are taken at once: shorten it")
        with telling_tokenizer(_UNFIT):
            return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def take(self, waiting: tuple[int, ...], text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(this unit's tokens, padded; what waits afterwards)."""
        waiting += self.encode(text) if text else ()
        now = waiting[: self._places]
        return now + (self._pad,) * (self._places - len(now)), waiting[self._places :]


class TextOut:
    """The agent's words: special tokens are silent, a half character waits for its rest."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._special = frozenset(n for n, token in tokenizer.get_added_tokens_decoder().items() if token.special)
        self._size = tokenizer.get_vocab_size(with_added_tokens=True)

    def add(self, tail: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """(the text that ``tokens`` complete, the tokens that still wait)."""
        spoken = tuple(t for t in tokens if self._speaks(t))
        if not spoken:
            return "", tail
        ids = tail + spoken
        with telling_tokenizer(_UNFIT):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        if text.endswith(UNFINISHED) and len(ids) < LONGEST_TAIL:
            return "", ids
        return text, ()

    def knows(self, tail: tuple[int, ...]) -> bool:
        """Could :meth:`add` have left ``tail`` waiting?"""
        return all(self._speaks(t) for t in tail)

    def _speaks(self, token: int) -> bool:
        return token not in self._special and token < self._size
