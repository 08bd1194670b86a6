"""Names of pruning chains and of their rounds.

A chain is a network, a method, the number of its initialisation and, where its masks were found elsewhere, where:
``dip.imp.0``, ``dip.imp.0.f16-5fb2ac1e``. A round of it is one fit: ``dip.imp.0.r05``. Round 0 is the dense network, which
all methods have in common: ``dip.dense.0.r00``.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

Method = Literal["dense", "imp", "random", "snip", "oes", "decoder"]
"""How a round's weights are chosen; ``decoder`` chooses none but fits a deep decoder of about as many weights."""

METHODS: tuple[Method, ...] = get_args(Method)

_NAME = re.compile(
    r"(?P<network>[a-z0-9-]+)\.(?P<method>[a-z]+)\.(?P<initialisation>0|[1-9][0-9]{0,3})"
    r"(\.(?P<source>[a-z0-9]+(-[a-z0-9]+)+))?(\.r(?P<round>[0-9]{2}))?"
)


@dataclass(frozen=True)
class Chain:
    """A chain; ``source`` is where its masks were found, None where they are its own.

    The masks of a chain that has a source are there before it begins.
    """

    network: str
    method: Method
    initialisation: int
    source: str | None = None

    def __str__(self) -> str:
        words = [self.network, self.method, str(self.initialisation), *([self.source] if self.source else [])]
        return ".".join(words)

    def round(self, number: int) -> str:
        """The name of one of its rounds."""
        return f"{self}.r{number:02}"

    @property
    def dense(self) -> "Chain":
        """The chain of its round 0."""
        return Chain(self.network, "dense", self.initialisation)


def parse(name: str) -> tuple[Chain, int | None] | None:
    """The chain that a name is of, and the round if it names one; None if it is no such name but a prior's."""
    match = _NAME.fullmatch(name)
    if match is None or match["method"] not in METHODS:
        return None
    chain = Chain(match["network"], cast(Method, match["method"]), int(match["initialisation"]), match["source"])
    return chain, None if match["round"] is None else int(match["round"])


def parse_chain(name: str) -> Chain:
    """The chain of this name, or that a round of this name is of.

    Raises:
        ValueError: it is no such name.
    """
    parsed = parse(name)
    if parsed is None:
        raise ValueError(f"{name!r} names no chain")
    return parsed[0]


def round_number(name: str) -> int:
    """The number of the round of this name.

    Raises:
        ValueError: it names no round.
    """
    parsed = parse(name)
    if parsed is None or parsed[1] is None:
        raise ValueError(f"{name!r} names no round")
    return parsed[1]


def prior_name(name: str) -> str:
    """The name of the network behind any name: of a chain, of a round, or of a prior itself."""
    parsed = parse(name)
    return name if parsed is None else parsed[0].network
