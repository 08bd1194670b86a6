"""The methods of a lottery as data: how each chooses the weights of a round.

| method | how |
|---|---|
| ``dense`` | it keeps all weights |
| ``imp`` | it prunes the least weights of a fitted network, round by round (arXiv 1803.03635) |
| ``random`` | it prunes at random |
| ``snip`` | it prunes the least sensitive weights at initialisation (arXiv 1810.02340) |
| ``oes`` | it learns a mask at initialisation |
| ``decoder`` | it prunes nothing: it fits a deep decoder of about as many weights |
"""

from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal["dense", "imp", "random", "snip", "oes", "decoder"]
"""How the weights of a round are chosen. ``decoder`` chooses none: it fits a deep decoder of about as many weights."""

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class MethodTraits:
    """How a method finds its masks.

    Attributes:
        prunes: whether its rounds are a network with masks, so that the dense network is its round 0.
        many_rounds: whether a chain has rounds of decreasing size; otherwise it is fitted once.
        sees_images: whether its masks are found on images; others are equal for all images.
        round_by_round: whether the masks of a round come out of a fit of the round before. The rounds of such a chain
            begin from the weights that the setting ``lottery.rewind`` chooses.
        learns_masks: whether masks are learnt in iterations of their own.
        decoder: whether a round is a deep decoder in place of the network.
    """

    prunes: bool = True
    many_rounds: bool = True
    sees_images: bool = True
    round_by_round: bool = False
    learns_masks: bool = False
    decoder: bool = False


TRAITS: dict[Method, MethodTraits] = {
    "dense": MethodTraits(prunes=False, many_rounds=False, sees_images=False),
    "imp": MethodTraits(round_by_round=True),
    "random": MethodTraits(sees_images=False),
    "snip": MethodTraits(),
    "oes": MethodTraits(learns_masks=True),
    "decoder": MethodTraits(prunes=False, sees_images=False, decoder=True),
}
"""All methods by name."""
