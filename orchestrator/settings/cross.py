"""Checks of settings against each other.

Each check raises a ValueError, which names the settings and what to change.
"""

import math
from collections.abc import Sequence

from orchestrator.settings.arms import ArmSettings
from orchestrator.settings.cohort import Cohort
from orchestrator.settings.fit import Fit
from orchestrator.settings.generators import Generator
from orchestrator.settings.learnt import weights_for
from orchestrator.settings.lottery import Lottery
from orchestrator.settings.names import check_width
from orchestrator.settings.portfolio import lists_for
from orchestrator.settings.score import Score
from orchestrator.settings.task import Task
from workers.names import generator_of
from workers.space import Candidate

_LEARNT = "learnt"


def check_names(arms: Sequence[ArmSettings]) -> None:
    """Every arm has a name of its own."""
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"arms: {', '.join(twice)} is there twice; give one of them another name")
    if "classical" in names:
        raise ValueError("arms: 'classical' is the name of the filters (classical.use); give the arm another name")


def check_generators(
    generators: Sequence[Generator], task: Task, arms: Sequence[ArmSettings], lottery: Lottery
) -> None:
    """Every generator that an arm names is there, and the task is one that generators are priors of."""
    there = [generator.name for generator in generators]
    if len(set(there)) < len(there):
        raise ValueError("generators: one name is there twice")
    if lottery.network is not None and generator_of(lottery.network) is not None:
        raise ValueError("lottery.network: a generator is no network of a lottery")
    for arm in arms:
        named = [(network, found) for network in arm.networks or () if (found := generator_of(network))]
        for network, (name, _) in named:
            if name not in there:
                known = ", ".join(there) or "none"
                raise ValueError(f"arm {arm.name}: network {network}: generators has no {name}; there are: {known}")
        if named and not task.kind.sees_whole:
            raise ValueError(f"arm {arm.name}: a generator is a prior of compressed-sensing, not of {task.name}")


def _of_portfolio(arm: ArmSettings, task: Task) -> list[str]:
    """The networks of an arm's lists for the task."""
    return [network for each in lists_for(arm.portfolio or [], task.name) for network in each.networks]


def check_portfolios(task: Task, arms: Sequence[ArmSettings]) -> None:
    """Every portfolio has a list for the task, and one for each band of noise."""
    for arm in arms:
        if arm.portfolio is None:
            continue
        lists = lists_for(arm.portfolio, task.name)
        if not lists:
            there = ", ".join(dict.fromkeys(each.task for each in arm.portfolio))
            raise ValueError(
                f"arm {arm.name}: its portfolio has no list for the task {task.name}, only for {there}; give it another"
                " table, or networks"
            )
        bands = [each.noise for each in lists]
        if len(set(bands)) < len(bands):
            raise ValueError(f"arm {arm.name}: its portfolio has two lists for the same noise of the task {task.name}")


def check_widths(width: int, score: Score, task: Task, arms: Sequence[ArmSettings]) -> None:
    """Every network that the settings name can be built at the width."""
    if isinstance(score.candidates, list):
        for text in score.candidates:
            needed = Candidate.parse(text).cell.width_multiple
            if width % needed:
                raise ValueError(f"candidate {text} needs a network.width that is a multiple of {needed}")
    for arm in arms:
        for network in dict.fromkeys([*(arm.networks or ()), *_of_portfolio(arm, task)]):
            check_width(width, network, f"arm {arm.name}: network {network}")


def check_lotteries(lottery: Lottery, arms: Sequence[ArmSettings], width: int) -> None:
    """The lotteries know their network, where their masks come from, and the rounds that they need."""
    lotteries = [arm for arm in arms if arm.is_lottery]
    if not lotteries:
        return
    if lottery.network == "picked" and len(lotteries) == len(arms):
        raise ValueError("lottery.network: 'picked' by which arm? There are only lotteries")
    if lottery.network not in (None, "picked"):
        check_width(width, str(lottery.network), f"lottery.network {lottery.network}")
    if lottery.network == "picked" and lottery.together:
        raise ValueError("lottery.together: images for which different networks are picked have no mask in common")
    if lottery.together and lottery.tickets is not None:
        raise ValueError(
            "lottery.together: masks are found here, on all images, or are another run's (lottery.tickets)"
        )
    moved = [arm.name for arm in lotteries if arm.source is not None]
    if moved and lottery.tickets is None:
        raise ValueError(f"arm {moved[0]}: it has a source, but lottery.tickets names no run")
    # Only there do the masks of a round come out of the fit of the round before.
    own = [arm.name for arm in lotteries if arm.traits.round_by_round and arm.source is None]
    if lottery.fit_rounds is not None and own and lottery.target == "observed" and not lottery.together:
        raise ValueError(f"lottery.fit_rounds: arm {own[0]} finds its masks round by round, and needs all of them")


def check_budget(cohort: Cohort, fit: Fit, arms: Sequence[ArmSettings]) -> None:
    """A budget pays for a fit at full size at least; lotteries have their own."""
    least = math.ceil((1 + fit.reveal) * fit.iterations)
    if cohort.budget is not None and cohort.budget < least and not all(arm.is_lottery for arm in arms):
        raise ValueError(
            f"cohort.budget: {cohort.budget} iterations pay for no fit at full size, which takes {least}"
            " (fit.iterations, and fit.reveal of them with all pixels); give at least as many"
        )


def check_learnt(score: Score, task: Task, arms: Sequence[ArmSettings]) -> None:
    """The metric ``learnt`` has weights for the task, wherever it is asked for."""
    places = ["score.metric"] * (score.metric == _LEARNT) + ["score.also"] * (_LEARNT in score.also)
    places += [f"arm {arm.name}" for arm in arms if arm.metric == _LEARNT]
    if places and score.learnt is None:
        raise ValueError(
            f"{places[0]}: the metric 'learnt' needs score.learnt, a table that study --portfolio has made of past fits"
        )
    if places and weights_for(score.learnt or [], task.name) is None:
        raise ValueError(f"score.learnt: it has learnt nothing about the task {task.name}; give another table")


def check_views(task: Task, cohort: Cohort, arms: Sequence[ArmSettings]) -> None:
    """No image is made small where that would change the problem."""
    places = [f"arm {arm.name}" for arm in arms if arm.view == "downscale"]
    places += ["cohort.view"] * (cohort.view == "downscale")
    # Check the task last: its traits need numpy, for which most settings need not wait.
    if places and (why := task.kind.why_not_small):
        raise ValueError(f"{', '.join(places)}: {why}; take crop or full instead of downscale")
