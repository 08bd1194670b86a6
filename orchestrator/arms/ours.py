"""The arms that every run knows by name, made from the run's settings."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast, get_args

from orchestrator.arms.arm import Arm, Rule
from orchestrator.settings import ArmName, Config, ViewName
from workers.lottery.methods import METHODS, Method
from workers.networks.priors import MOST_DRAWS, NAS_DIP, draws_of

_FIRST = 3
"""How many networks of its portfolio are fitted to an image where its arm says nothing else."""


def base_of(config: Config, name: ArmName) -> Arm:
    """The arm of this name, before the user's settings change it."""
    return _BASES[name](config)


def rule_of(name: str, config: Config) -> Rule:
    """A rule by name. ``auto`` is held-out pixels where they measure the restored image, and consensus elsewhere."""
    if name == "auto":
        return config.task.kind.pick_rule
    rule: Rule = next(known for known in get_args(Rule) if known == name)
    return rule


def candidate_count(config: Config) -> int:
    """How many candidates a run scores."""
    wanted = config.score.candidates
    return wanted if isinstance(wanted, int) else len(wanted)


def _blind(config: Config, name: str = "isnas-dip-blind", networks: tuple[str, ...] | None = None) -> Arm:
    cohort, pick = config.cohort, config.pick
    rule = rule_of(pick.rule, config)
    return Arm(name, networks, config.score.metric, cohort.size, cohort.view, rule, pick.full_fits)


def _random(config: Config) -> Arm:
    """The same budget and the same choice, but candidates at random."""
    return replace(_blind(config, "random"), metric="random")


def _as_published(config: Config) -> Arm:
    """ISNAS-DIP (arXiv 2111.15362, sections 4.3 and 5): cohort on the image made small, one pick by the weighted mean.

    The image is not made small where the measurement is already small, nor where that would change the problem.
    """
    task = config.task.kind
    view: ViewName = "full" if task.enlarges or task.why_not_small else "downscale"
    return Arm("isnas-dip", None, config.score.metric, config.cohort.size, view, "weighted-mean", 1)


def _dip(config: Config) -> Arm:
    return _blind(config, "dip", (config.task.kind.prior,))


def _seeds(config: Config) -> Arm:
    """Several draws of one cheap network, averaged: what a search has to beat at equal cost."""
    networks = draws_of(config.task.kind.prior, min(config.cohort.size, MOST_DRAWS))
    return replace(_blind(config, "seeds", networks), view="full", full_fits=len(networks))


def _portfolio(config: Config) -> Arm:
    """The first networks of a list learnt from past fits, all at full size, all members of the stack.

    Three of them do nearly as well as all that were tried (docs/results.md), so there is nothing to choose on a crop.
    """
    return replace(_blind(config, "portfolio"), size=_FIRST, view="full", full_fits=_FIRST)


def _all(config: Config) -> Arm:
    return replace(_blind(config, "all"), size=candidate_count(config))


def _lottery(method: Method) -> Callable[[Config], Arm]:
    """Rounds are fitted at full size, and the best of all is picked: a dense one if no sparse one is better."""

    def resolved(config: Config) -> Arm:
        network = config.lottery.network or config.task.kind.prior
        arm = _blind(config, f"lottery-{method}", None if network == "picked" else (network,))
        return replace(arm, view="full", method=method)

    return resolved


_BASES: dict[ArmName, Callable[[Config], Arm]] = {
    "isnas-dip-blind": _blind,
    "isnas-dip": _as_published,
    "random": _random,
    "dip": _dip,
    "seeds": _seeds,
    "portfolio": _portfolio,
    "nas-dip": lambda config: _blind(config, "nas-dip", tuple(NAS_DIP.values())),
    "deep-decoder": lambda config: _blind(config, "deep-decoder", ("deep-decoder-64", "deep-decoder-128")),
    "all": _all,
    **{cast(ArmName, f"lottery-{method}"): _lottery(method) for method in METHODS},
}
