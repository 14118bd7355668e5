"""Notes that the Transformer must take, unit by unit: what was heard, what was seen, and where in its answer it is.

Receives hidden states from the middle of the Transformer; hands on losses of probes that tell from the start token's
which command has just ended and which card was shown last, and from the noisy tokens' which 40 ms of which phrase they
are. The probes are thrown away after training.

Whoever speaks hears as well as whoever is silent, then; and a card, whose own tokens leave the window after 1.3 s,
lives on in what later tokens wrote down of it. One byte in a whole answer hardly teaches either, and an answer's own
past, whose picture gives the card away, teaches the wrong thing. And a phrase sounds the same wherever inside a unit
it starts: once a token knows its place in it, one memory serves all starts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.fitting import Losses
from edge_streamer.export.layers import Linear

PLACE = 0.3
"""Weight of the loss of places."""


class Notes(nn.Module):
    """Probes on hidden states in the middle of the Transformer: [B, U, width] of the start token, [B, U, tokens, width]
    of noisy ones."""

    def __init__(self, width: int, commands: int, cards: int, places: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heard, self.seen, self.place = (Linear(width, n) for n in (1 + commands, 1 + cards, places))

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

    def places(self, hidden: Tensor, places: Tensor) -> Losses:
        """Where in which phrase each noisy token is: ``places`` [B, U, tokens] as :attr:`Clips.places`."""
        logits, wanted = self.place(_even(hidden)).float().flatten(0, 2), places.flatten()
        said = wanted > 0
        return {
            "place": PLACE * F.cross_entropy(logits, wanted),
            "_places": (logits.argmax(-1) == wanted)[said].float().mean() if bool(said.any()) else torch.ones(()),
        }


def _even(hidden: Tensor) -> Tensor:
    """At one size: the residual stream grows from layer to layer."""
    return F.rms_norm(hidden, hidden.shape[-1:])
