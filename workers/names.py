"""Names of fits: a prior, a round of a pruning chain, or a chain as a whole.

A name is parsed once, by `parse_name`, and is a string again only in the store and in tables.

| text | what it names |
|---|---|
| ``158-1111101111001110001100001``, ``dip`` | a prior, fitted as it is (`workers.networks.priors`) |
| ``generator:faces``, ``adapted-generator:faces`` | a trained generator: its latent is fitted, or its weights too |
| ``dip.imp.0`` | a chain: a network, a method, the number of its initialisation |
| ``dip.imp.0.f16-5fb2ac1e`` | a chain whose masks were found elsewhere: on the image of this slug |
| ``dip.imp.0.r05`` | a round of a chain: one fit of the pruned network |
| ``dip.dense.0.r00`` | the dense network, which is round 0 of every method |
"""

import re
from dataclasses import dataclass
from typing import cast

from workers.lottery.methods import METHODS, TRAITS, Method, MethodTraits

_CHAIN = re.compile(
    r"(?P<network>[a-z0-9-]+)\.(?P<method>[a-z]+)\.(?P<initialisation>0|[1-9][0-9]{0,3})"
    r"(\.(?P<source>[a-z0-9]+(-[a-z0-9]+)+))?(\.r(?P<round>[0-9]{2}))?"
)

_GENERATOR = re.compile(r"(adapted-)?generator:([a-z0-9][a-z0-9-]{0,39})")

DRAW = re.compile(r"(.+)-draw-([2-9]|[1-9][0-9]{1,2})")
"""The name of a prior in another draw: the prior's own, and the draw's number."""


@dataclass(frozen=True)
class PriorName:
    """A prior by name. `workers.networks.prior_of` finds it by ``network``."""

    network: str

    def __str__(self) -> str:
        return self.network


@dataclass(frozen=True)
class Chain:
    """A pruning chain. ``source`` is where its masks were found, None where they are its own.

    The masks of a chain that has a source exist before it begins.
    """

    network: str
    method: Method
    initialisation: int
    source: str | None = None

    def __str__(self) -> str:
        words = [self.network, self.method, str(self.initialisation), *([self.source] if self.source else [])]
        return ".".join(words)

    def round(self, number: int) -> "Round":
        """One of its rounds."""
        return Round(self, number)

    @property
    def traits(self) -> MethodTraits:
        """How its masks are found."""
        return TRAITS[self.method]

    @property
    def dense(self) -> "Chain":
        """The chain of its round 0."""
        return Chain(self.network, "dense", self.initialisation)


@dataclass(frozen=True)
class Round:
    """A round of a chain, counted from 0: one fit."""

    chain: Chain
    number: int

    def __str__(self) -> str:
        return f"{self.chain}.r{self.number:02}"

    @property
    def network(self) -> str:
        """The name of the prior that the chain prunes."""
        return self.chain.network


FitName = PriorName | Round | Chain
"""The name of something that can be fitted. Every name has ``network``, the prior behind it, and is text by ``str``."""


def generator_of(network: str) -> tuple[str, bool] | None:
    """The generator that a network is, by its own name, and whether its weights are fitted too; None for others."""
    match = _GENERATOR.fullmatch(network)
    return (match[2], match[1] is not None) if match else None


def without_draw(prior: str) -> str:
    """The name of a prior without the number of its draw."""
    match = DRAW.fullmatch(prior)
    return match[1] if match else prior


def chain_of(name: FitName) -> Chain | None:
    """The chain of a name: itself, or the chain of a round; None for a prior."""
    if isinstance(name, Round):
        return name.chain
    return name if isinstance(name, Chain) else None


def parse_name(text: str) -> FitName:
    """The fit that a text names. Text that names no chain and no round names a prior, which may not exist."""
    match = _CHAIN.fullmatch(text)
    if match is None or match["method"] not in METHODS:
        return PriorName(text)
    chain = Chain(match["network"], cast(Method, match["method"]), int(match["initialisation"]), match["source"])
    return chain if match["round"] is None else Round(chain, int(match["round"]))
