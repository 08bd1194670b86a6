"""From the settings of a run to its arms."""

from dataclasses import replace

from orchestrator.arms.arm import Arm
from orchestrator.arms.budget import largest_within
from orchestrator.arms.lottery import chains_of
from orchestrator.arms.ours import base_of, candidate_count, rule_of
from orchestrator.arms.portfolio import bands_of, cohort_of
from orchestrator.run.layout import TOGETHER
from orchestrator.settings import ArmSettings, Config
from orchestrator.settings.portfolio import lists_for

_RUNNERS, _RACE_RUNG, _FEWEST_LEFT = 12, 1 / 6, 3
"""A race: how many begin, at which share of the iterations all but the best end, and how many go on at least.

With 12 at 50 of 300 iterations and 3 to the end, denoising had 27.84 dB for the price of 4.5 fits, where 8 whole fits
at random had 27.81; inpainting 30.43 where 8 had 30.40. One that goes on instead of three lost 1.1 dB (means of all
choices from 15 networks, three pictures and one).
"""

_LARGEST = 10_000
"""The largest cohort, whatever a budget pays for."""


def arms_of(config: Config) -> tuple[Arm, ...]:
    """The arms of a run, in the order of the settings."""
    return tuple(_resolve(config, arm) for arm in config.arms)


def _resolve(config: Config, wish: ArmSettings) -> Arm:
    base = base_of(config, wish.like)
    rule = base.rule if wish.rule is None else rule_of(wish.rule, config)
    base = replace(base, name=wish.name, rule=rule, full_fits=wish.full_fits or base.full_fits)
    if base.is_lottery:
        return _lottery(config, base, wish)
    budget = config.cohort.budget
    if budget is None:
        return _cohort(config, base, wish)
    return largest_within(budget, wish.size or _LARGEST, lambda size: _of_size(config, base, wish, size), config)


def _of_size(config: Config, base: Arm, wish: ArmSettings, size: int) -> Arm:
    """The arm with a cohort of so many, or of all that there are."""
    sized = config.model_copy(update={"cohort": config.cohort.model_copy(update={"size": size})})
    named = None if wish.networks is None else wish.networks[:size]
    wish = wish.model_copy(update={"size": size, "networks": named})
    # Draws of a network are as many as are asked for.
    drawn = base_of(sized, wish.like)
    networks = None if drawn.networks is None else drawn.networks[:size]
    full_fits = drawn.full_fits if wish.full_fits is None else base.full_fits
    return _cohort(sized, replace(base, networks=networks, full_fits=full_fits), wish)


def _lottery(config: Config, base: Arm, wish: ArmSettings) -> Arm:
    """An arm whose cohort are the rounds of its chains."""
    common = config.lottery.together and base.traits.sees_images
    arm = replace(base, source=wish.source or (TOGETHER if common else None))
    return replace(arm, size=len(chains_of(config, arm, "any")))


def _cohort(config: Config, base: Arm, wish: ArmSettings) -> Arm:
    """An arm whose cohort are networks by name, or the best candidates."""
    networks = base.networks if wish.networks is None else tuple(wish.networks)
    most = candidate_count(config) if networks is None else len(networks)
    size = min(wish.size or base.size, most) if networks is None else most
    lists = lists_for(wish.portfolio or [], config.task.name)
    if lists:
        size = min(wish.size or base.size, *(len(each.networks) for each in lists))
        networks = cohort_of(lists, size)
    # Where there is nothing to choose from, the cohort is the result.
    view = "full" if size == 1 or config.task.kind.sees_whole else wish.view or base.view
    # The paper's rule needs the images of all its members; a single member cannot be ended; and halving uses held-out
    # pixels, which correlated noise misleads.
    noise = config.pick.noise
    misleading = noise == "correlated" or (noise == "auto" and config.task.kind.correlated_noise)
    whole = base.rule == "weighted-mean" or size == 1 or misleading
    halving = "none" if whole else wish.halving or config.cohort.halving
    # All of a portfolio's are members of its stack, unless the arm says otherwise.
    full_fits = wish.full_fits or size if lists else base.full_fits
    arm = replace(
        base,
        networks=networks,
        metric=wish.metric or base.metric,
        size=size,
        view=view,
        bands=bands_of(lists, size),
        full_fits=min(full_fits, size),
        asynchronous=halving == "asha" and view != "full",
    )
    if halving == "synchronous":
        return replace(arm, rungs=tuple(config.cohort.rungs(config.first_rung(view), config.iterations(view))))
    return _race(config, arm, wish, most) if halving == "race" else arm


def _race(config: Config, arm: Arm, wish: ArmSettings, most: int) -> Arm:
    """An arm whose cohort begins at full size, and whose best few go on to the end without being begun anew."""
    shortlist = arm.networks is None and wish.like != "all"
    size = min(wish.size or _RUNNERS, most) if shortlist else arm.size
    view = wish.view or "full"
    full_fits = min(wish.full_fits or max(arm.full_fits, _FEWEST_LEFT), size)
    first = config.cohort.first_rung or max(1, round(_RACE_RUNG * config.iterations(view)))
    ends_some = full_fits < size and first < config.iterations(view)
    rungs = (first,) if ends_some else ()
    return replace(arm, size=size, view=view, full_fits=full_fits, rungs=rungs, races=ends_some)
