"""Methods as data. An arm defines where an image's cohort comes from, what it is fitted to,
and the rule that picks one.

All arms of a run restore the same degraded input, and a fit belongs to no arm: two arms that ask for the same network
on the same view share it, so that they differ in what they choose and in nothing else.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.settings import ViewName
from workers.lottery.methods import TRAITS, Method, MethodTraits

Rule = Literal["held-out", "consensus", "held-out+consensus", "weighted-mean"]
NEEDS_OUTPUTS: frozenset[Rule] = frozenset({"consensus", "held-out+consensus", "weighted-mean"})
"""Rules that look at the members' images and not only at their figures."""

HEARS_HELD_OUT: frozenset[Rule] = frozenset({"held-out", "held-out+consensus"})
"""Rules that use held-out pixels."""


@dataclass(frozen=True)
class Band:
    """The cohort of images whose noise is from ``low`` to below ``high``, in 8-bit grey levels."""

    low: float
    high: float
    networks: tuple[str, ...]

    def far_from(self, sigma: float) -> float:
        """How far a level is from the band; 0 within it."""
        return max(self.low - sigma, sigma - self.high, 0.0)


@dataclass(frozen=True)
class Arm:
    """A method, resolved.

    Attributes:
        name: in rows and paths.
        networks: the cohort by name; None takes the ``size`` best candidates by ``metric``.
        metric: the metric at initialisation that orders the candidates.
        size: how many are fitted.
        view: the part and scale of the image that the cohort is fitted to.
        rule: how one of the cohort is chosen.
        full_fits: how many of the best become results at full size: the pick, and with others their mean.
        rungs: iterations at which the worse part of the cohort ends; empty where all are fitted to the end.
        races: whether only ``full_fits`` go on from its rung.
        asynchronous: whether Tune's ASHA ends members one by one instead.
        method: how a lottery's masks are found; None for other arms. The cohort of a lottery are the rounds of its
            chains, ``size`` counts the chains, and its one network is None where another arm picks it.
        source: where its masks were found, None where they are found on the image itself.
        bands: a portfolio's cohorts by the noise of an image, ascending; ``networks`` is that of unknown noise.
    """

    name: str
    networks: tuple[str, ...] | None
    metric: str
    size: int
    view: ViewName
    rule: Rule
    full_fits: int
    rungs: tuple[int, ...] = ()
    asynchronous: bool = False
    method: Method | None = None
    source: str | None = None
    bands: tuple[Band, ...] = ()
    races: bool = False

    def going_on(self, size: int, keep_share: float) -> int:
        """How many of so many members go on from a rung: at least as many as become results."""
        return self.full_fits if self.races else max(self.full_fits, round(keep_share * size))

    def networks_at(self, sigma: float | None) -> tuple[str, ...] | None:
        """The cohort of an image by its noise, in 8-bit grey levels; None where it is not known."""
        if sigma is None or not self.bands:
            return self.networks
        # Where two bands meet, the level is the upper one's.
        return min(reversed(self.bands), key=lambda band: band.far_from(sigma)).networks

    @property
    def all_networks(self) -> tuple[str, ...]:
        """Every network that some image's cohort may have by name."""
        return tuple(dict.fromkeys([*(self.networks or ()), *(name for band in self.bands for name in band.networks)]))

    @property
    def refits(self) -> int:
        """How many are fitted again at full size: none where the cohort is at full size already."""
        return 0 if self.view == "full" else self.full_fits

    @property
    def is_lottery(self) -> bool:
        """Whether it fits the rounds of pruning chains."""
        return self.method is not None

    @property
    def traits(self) -> MethodTraits:
        """The traits of a lottery's method.

        Raises:
            ValueError: the arm is no lottery.
        """
        if self.method is None:
            raise ValueError(f"arm {self.name} is no lottery")
        return TRAITS[self.method]
