"""Methods as data. An arm says where an image's cohort comes from, what it is fitted to and by which rule one is chosen.

All arms of a run restore the same degraded input, and a fit belongs to no arm: two arms that ask for the same network on
the same view share it, so that they differ in what they choose and in nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from orchestrator.run.layout import TOGETHER
from orchestrator.settings.config import ArmName, ArmSettings, Config, ViewName
from workers.names import Chain, Method, Round
from workers.networks.priors import NAS_DIP

Rule = Literal["held-out", "consensus", "held-out+consensus", "weighted-mean"]
NEEDS_OUTPUTS: frozenset[Rule] = frozenset({"consensus", "held-out+consensus", "weighted-mean"})
"""Rules that look at the members' images and not at their figures alone."""

HEARS_HELD_OUT: frozenset[Rule] = frozenset({"held-out", "held-out+consensus"})
"""Rules in which held-out pixels have a say."""


@dataclass(frozen=True)
class Arm:
    """A method, resolved.

    Attributes:
        name: in rows and paths.
        networks: the cohort by name; None takes the ``size`` best candidates by ``metric``.
        metric: the metric at initialisation that orders the candidates.
        size: how many are fitted.
        view: what the cohort is fitted to.
        rule: how one of the cohort is chosen.
        full_fits: how many of the best become results at full size: the pick, and with others their mean.
        rungs: iterations at which the worse part of the cohort ends; empty where all are fitted to the end.
        asynchronous: whether Tune's ASHA ends members as they go instead.
        method: how a lottery's masks are found; None for other arms. Its cohort are the rounds of its chains, ``size`` counts
            the chains, and its one network is None where another arm picks it.
        source: where its masks were found, None where they are found on the image itself.
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

    @property
    def is_lottery(self) -> bool:
        """Whether the arm prunes networks."""
        return self.method is not None

    @property
    def refits(self) -> int:
        """How many are fitted afresh for that: none where the cohort is at full size already."""
        return 0 if self.view == "full" else self.full_fits


def arms_of(config: Config) -> tuple[Arm, ...]:
    """The arms of a run, in the order of the settings."""
    return tuple(_resolve(config, arm) for arm in config.arms)


def _resolve(config: Config, wish: ArmSettings) -> Arm:
    base = _BASES[wish.like](config)
    if base.method is not None:
        rule = base.rule if wish.rule is None else _rule(wish.rule, config)
        full = wish.full_fits or base.full_fits
        # A random mask and a deep decoder are found on no image.
        common = config.lottery.together and base.method in ("imp", "snip", "oes")
        source = wish.source or (TOGETHER if common else None)
        arm = replace(base, name=wish.name, rule=rule, full_fits=full, source=source)
        return replace(arm, size=len(chains_of(config, arm, "any")))
    networks = base.networks if wish.networks is None else tuple(wish.networks)
    most = _candidate_count(config) if networks is None else len(networks)
    size = min(wish.size or base.size, most) if networks is None else most
    view = wish.view or base.view
    rule = base.rule if wish.rule is None else _rule(wish.rule, config)
    # Where there is nothing to choose from, the cohort is the result.
    view = "full" if size == 1 else view
    full = min(wish.full_fits or base.full_fits, size)
    metric = wish.metric or base.metric
    # The paper's rule wants the images of all its members; where there is one, nothing can be ended; and halving goes by
    # held-out pixels, which correlated noise misleads.
    misleading = config.pick.noise == "correlated" or (config.pick.noise == "auto" and config.task.name == "jpeg")
    whole = rule == "weighted-mean" or size == 1 or misleading
    halving = "none" if whole else wish.halving or config.cohort.halving
    rungs = tuple(config.cohort.rungs(config.iterations(view))) if halving == "synchronous" else ()
    return Arm(wish.name, networks, metric, size, view, rule, full, rungs, halving == "asha" and view != "full")


def chains_of(config: Config, arm: Arm, network: str) -> list[Chain]:
    """The chains of a lottery's arm, the dense ones first."""
    assert arm.method is not None  # noqa: S101 - others have none
    chains = [Chain(network, arm.method, number, arm.source) for number in range(config.lottery.initialisations)]
    if arm.method in ("dense", "decoder") or is_moved(config, arm):
        return chains
    # The dense network is every method's round 0.
    return [*(chain.dense for chain in chains), *chains]


def is_moved(config: Config, arm: Arm) -> bool:
    """Whether a lottery's tickets are those of another run."""
    return arm.source is not None and config.lottery.tickets is not None


def rounds_in(config: Config) -> set[Round]:
    """All rounds that a run's lotteries fit an image in: arms share what they have in common."""
    lotteries = [arm for arm in arms_of(config) if arm.method is not None]
    chains = {chain for arm in lotteries for chain in chains_of(config, arm, (arm.networks or ("picked",))[0])}
    return {chain.round(number) for chain in chains for number in rounds_of(config, chain)}


def rounds_of(config: Config, chain: Chain) -> list[int]:
    """The rounds of a chain, each of them a fit."""
    if chain.method == "dense":
        return [0]
    return config.lottery.fit_rounds or list(range(1, config.lottery.rounds + 1))


def finds_apart(config: Config, chain: Chain) -> bool:
    """Whether a chain's masks are all found before its rounds are fitted: not where each comes out of the fit before it."""
    own = chain.source is None and not config.lottery.together
    return not (chain.method == "imp" and own and config.lottery.target == "observed")


def _rule(name: str, config: Config) -> Rule:
    """What ``auto`` means: held-out pixels where they see what is restored, consensus where they do not."""
    by_task: dict[str, Rule] = {"super-resolve": "held-out+consensus", "jpeg": "consensus"}
    if name == "auto":
        return by_task.get(config.task.name, "held-out")
    rule: Rule = next(known for known in get_args(Rule) if known == name)
    return rule


def _candidate_count(config: Config) -> int:
    wanted = config.score.candidates
    return wanted if isinstance(wanted, int) else len(wanted)


def _blind(config: Config, name: str = "isnas-dip-blind", networks: tuple[str, ...] | None = None) -> Arm:
    cohort, pick = config.cohort, config.pick
    rule = _rule(pick.rule, config)
    return Arm(name, networks, config.score.metric, cohort.size, cohort.view, rule, pick.full_fits)


def _random(config: Config) -> Arm:
    """The same budget and the same choice, but for the shortlist."""
    arm = _blind(config, "random")
    return Arm("random", None, "random", arm.size, arm.view, arm.rule, arm.full_fits)


def _as_published(config: Config) -> Arm:
    """ISNAS-DIP (arXiv 2111.15362, sections 4.3 and 5): cohort on the image made small, one pick by the weighted mean.

    For super-resolution and deblurring the image is not made small: the measurement is small already, or the kernel would
    no longer be the one that blurred it.
    """
    view: ViewName = "full" if config.task.name in ("super-resolve", "deblur") else "downscale"
    return Arm("isnas-dip", None, config.score.metric, config.cohort.size, view, "weighted-mean", 1)


def _dip(config: Config) -> Arm:
    return _blind(config, "dip", (_dip_network(config),))


def _dip_network(config: Config) -> str:
    return "dip-inpaint" if config.task.name == "inpaint" else "dip"


def _all(config: Config) -> Arm:
    arm = _blind(config, "all")
    return Arm("all", None, arm.metric, _candidate_count(config), arm.view, arm.rule, arm.full_fits)


def _lottery(method: Method) -> Callable[[Config], Arm]:
    """Rounds are fitted at full size, and the best of all is picked: a dense one if no sparse one is better."""

    def resolved(config: Config) -> Arm:
        network = config.lottery.network
        if network is None:
            network = _dip_network(config)
        arm = _blind(config, f"lottery-{method}", None if network == "picked" else (network,))
        return replace(arm, view="full", method=method)

    return resolved


_BASES: dict[ArmName, Callable[[Config], Arm]] = {
    "isnas-dip-blind": _blind,
    "isnas-dip": _as_published,
    "random": _random,
    "dip": _dip,
    "nas-dip": lambda config: _blind(config, "nas-dip", tuple(NAS_DIP.values())),
    "deep-decoder": lambda config: _blind(config, "deep-decoder", ("deep-decoder-64", "deep-decoder-128")),
    "all": _all,
    "lottery-imp": _lottery("imp"),
    "lottery-random": _lottery("random"),
    "lottery-snip": _lottery("snip"),
    "lottery-oes": _lottery("oes"),
    "lottery-dense": _lottery("dense"),
    "lottery-decoder": _lottery("decoder"),
}
