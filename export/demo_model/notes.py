"""Notes that the Transformer must take, unit by unit: what was heard, and what was seen.

Receives hidden states of the start token from the middle of the Transformer; hands on losses of probes that tell from
them which command has just ended and which card was shown last. The probes are thrown away after training.

Whoever speaks hears as well as whoever is silent, then; and a card, whose own tokens leave the window after 1.3 s,
lives on in what later tokens wrote down of it. One byte in a whole answer hardly teaches either, and an answer's own
past, whose picture gives the card away, teaches the wrong thing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.fitting import Losses
from edge_streamer.export.layers import Linear


class Notes(nn.Module):
    """Probes on the start token's hidden state in the middle of the Transformer, [B, U, width]."""

    def __init__(self, width: int, commands: int, cards: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heard, self.seen = Linear(width, 1 + commands), Linear(width, 1 + cards)

    def commands(self, hidden: Tensor, ended: Tensor) -> Losses:
        """Which command has ended: ``ended`` [B, U], 1 and up for the command whose answer would start there. Units
        with one count three times: there are few."""
        logits, wanted = self.heard(_even(hidden)).float().flatten(0, 1), ended.flatten()
        each = F.cross_entropy(logits, wanted, reduction="none")
        named, right = wanted > 0, logits.argmax(-1) == wanted
        return {
            "heard": (each * (1.0 + 2.0 * named)).mean() * 4.0,
            "_commands": right[named].float().mean(),
            "_rest": right[~named].float().mean(),
        }

    def cards(self, hidden: Tensor, cards: Tensor) -> Losses:
        """Which card was last: ``cards`` [B, U] as :attr:`Clips.cards`."""
        logits, wanted = self.seen(_even(hidden)).float().flatten(0, 1), cards.flatten()
        return {
            "seen": F.cross_entropy(logits, wanted, ignore_index=-1),
            "_cards": (logits.argmax(-1) == wanted)[wanted > 0].float().mean(),
        }


def _even(hidden: Tensor) -> Tensor:
    """At one size: the residual stream grows from layer to layer."""
    return F.rms_norm(hidden, hidden.shape[-1:])
