"""Choosing one network of the cohort without seeing the truth.

The rules take `Member` values, which hold nothing that a clean reference has touched.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from orchestrator.arms.arm import HEARS_HELD_OUT, NEEDS_OUTPUTS, Arm, Rule
from orchestrator.errors import NotFoundError
from orchestrator.fit.arrays import read_arrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import fit_keys, read_record
from orchestrator.run.context import RunContext
from orchestrator.run.decisions import DECISIONS, RUNGS, Rung
from orchestrator.run.inputs import InputImage
from orchestrator.score.score import Scored
from workers.names import Round, parse_name
from workers.noise import CORRELATED

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Member:
    """A fitted member of a cohort as the rules may see it; ``score`` is its metric at initialisation, lower is better.

    ``output`` is its restored view (C, H, W), for the rules that look at images.
    """

    candidate: str
    score: float
    held_out_error: float | None
    output: Array | None = None


@dataclass(frozen=True)
class Decision:
    """How an arm chose.

    Attributes:
        rule: the rule that was followed.
        order: the cohort, best first.
        failed: the members that have no result, with the reason.
        correlated: whether noise is taken to be correlated between pixels, so that held-out pixels do not count and a fit's
            result is where its outputs varied least.
        residual_correlation: what was seen of it: the median over the cohort.
    """

    rule: Rule
    order: list[str]
    failed: dict[str, str]
    correlated: bool = False
    residual_correlation: float | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Decision":
        """The decision out of the fields of its record (`orchestrator.run.decisions.DECISIONS`), which says more than that."""
        return cls(**{each.name: record[each.name] for each in fields(cls)})


def _outputs(members: Sequence[Member]) -> Array:
    return np.stack([member.output for member in members if member.output is not None])


def _distances(outputs: Array, centre_of: Callable[[Array], NDArray[Any]]) -> list[float]:
    """Mean squared distance of each output (K, C, H, W) to their common centre, row by row: a cohort may be hundreds."""
    sums = np.zeros(len(outputs))
    for row in range(outputs.shape[2]):
        rows = outputs[:, :, row]
        sums += np.square(rows - centre_of(rows), dtype=np.float64).sum(axis=(1, 2))
    distances: list[float] = (sums / outputs[0].size).tolist()
    return distances


def _held_out(members: Sequence[Member]) -> list[float]:
    """The held-out errors: they estimate true error plus noise variance, alike for all members.

    An image too small to hold pixels out has none; the scores stand for them.
    """
    if any(member.held_out_error is None for member in members):
        return [member.score for member in members]
    return [member.held_out_error or 0.0 for member in members]


def _from_median(members: Sequence[Member]) -> list[float]:
    """Mean squared distance to the pixelwise median of the outputs: far from what most agree on is likely wrong."""
    return _distances(_outputs(members), partial(np.median, axis=0))


def _from_weighted_mean(members: Sequence[Member]) -> list[float]:
    """ISNAS-DIP (arXiv 2111.15362, section 4.3): distance to the mean of the outputs.

    It is weighted by (max - m) / (max - min) of the metric m; where all are equal, so are the weights.
    """
    scores = np.array([member.score for member in members], dtype=np.float64)
    spread = scores.max() - scores.min()
    weights = (scores.max() - scores) / spread if spread > 0 else np.ones_like(scores)
    return _distances(_outputs(members), partial(np.average, axis=0, weights=weights))


def _both(members: Sequence[Member]) -> list[float]:
    """The sum of the two ranks: where held-out pixels see only part of what is restored (super-resolution)."""
    ranks: list[float] = (rankdata(_held_out(members)) + rankdata(_from_median(members))).tolist()
    return ranks


_RULES: dict[Rule, Callable[[Sequence[Member]], list[float]]] = {
    "held-out": _held_out,
    "consensus": _from_median,
    "held-out+consensus": _both,
    "weighted-mean": _from_weighted_mean,
}


def values_by(rule: Rule, members: Sequence[Member]) -> list[float]:
    """What a rule thinks of each member; lower is better.

    All rules but ``held-out`` need the members' outputs, of equal shape.
    """
    return _RULES[rule](members) if members else []


def order_by(rule: Rule, members: Sequence[Member]) -> list[str]:
    """The members' names, best first; equal ones stay in their order. See `values_by`."""
    return [members[at].candidate for at in np.argsort(values_by(rule, members), kind="stable")]


def final_order(rule: Rule, fitted: Sequence[Member]) -> list[str]:
    """The order of the best few once they have been fitted at full size, given in the cohort's order.

    Their held-out errors there are over more pixels, and of the fits that become the result, so they have the last word;
    for super-resolution together with the few's consensus, since a fit may go wrong where no low-resolution pixel sees it.
    Rules that hear nothing of held-out pixels keep the cohort's order.
    """
    return order_by(rule, fitted) if rule in HEARS_HELD_OUT else [member.candidate for member in fitted]


def halve(context: RunContext, image: InputImage, arm: Arm, cohort: Sequence[str], iterations: int) -> list[str]:
    """Which members of a cohort go on from a rung: those of least held-out error, in the cohort's order.

    The decision is recorded, and one that is there already stands. Fits that have ended by themselves compete with those
    that paused.
    """
    key = context.layout.rung(image.id, arm.name, iterations)
    try:
        return list(RUNGS.read(context.store, key).go_on)
    except NotFoundError:
        pass
    errors: dict[str, float] = {}
    for candidate in cohort:
        error = _error_at(context, FitJob(image, arm.view, parse_name(candidate), iterations), iterations)
        if error is not None:
            errors[candidate] = error
    # As many as are wanted at full size go on in any case.
    keep = max(arm.full_fits, round(context.config.cohort.keep_share * len(cohort)))
    best = sorted(errors, key=lambda candidate: errors[candidate])[:keep]
    # Where no error is known (an image of one pixel, a cohort that failed) there is nothing to end anyone for.
    go_on = [candidate for candidate in cohort if candidate in best] or list(cohort)
    return list(RUNGS.create_or_read(context.store, key, Rung(errors, go_on), indent=2).go_on)


def _error_at(context: RunContext, job: FitJob, iterations: int) -> float | None:
    """The least held-out error of a fit within so many iterations, also if it has gone further since; None without one."""
    keys = fit_keys(context, job)
    record = read_record(context.store, keys, iterations)
    if record is None or record.state == "failed" or record.held_out_error is None:
        return None
    if record.state == "paused":
        return record.held_out_error
    return float(read_arrays(context.store, keys, record).held_out[:iterations].min())


def decide(
    context: RunContext, image: InputImage, arm: Arm, cohort: Sequence[Scored], ended: Sequence[str]
) -> Decision:
    """Order an image's fitted cohort by an arm's rule, from what is in the store, and record it there.

    ``ended`` are the members that halving ended; they are no part of the order. A decision that is there already stands.
    """
    key = context.layout.pick(image.id, arm.name)
    with contextlib.suppress(NotFoundError):
        return Decision.of_record(DECISIONS.read(context.store, key))
    records, failed = {}, {}
    for scored in cohort:
        name = str(scored.name)
        if name in ended:
            continue
        record = read_record(context.store, fit_keys(context, FitJob(image, arm.view, scored.name)))
        if record is None and isinstance(scored.name, Round):
            # A round that was never begun: its chain says why.
            record = read_record(context.store, fit_keys(context, FitJob(image, arm.view, scored.name.chain)))
            failed[name] = "no result" if record is None else str(record.reason)
        elif record is None or record.state != "done":
            failed[name] = "no result" if record is None else str(record.reason)
        else:
            records[name] = record
    seen = [r.residual_correlation for r in records.values() if r.residual_correlation is not None]
    correlation = median(seen) if seen else None
    # ISNAS-DIP as published has no such doubts.
    correlated = arm.rule != "weighted-mean" and _is_correlated(context, arm, correlation)
    rule: Rule = "consensus" if correlated else arm.rule
    members = []
    for scored in cohort:
        name = str(scored.name)
        if name in records:
            output = None
            if rule in NEEDS_OUTPUTS:
                keys = fit_keys(context, FitJob(image, arm.view, scored.name))
                arrays = read_arrays(context.store, keys, records[name])
                output = arrays.steady if correlated else arrays.output
            held_out_error = records[name].held_out_error
            members.append(Member(name, scored.score, held_out_error, output))
    decision = Decision(rule, order_by(rule, members), failed, correlated, correlation)
    scores = [{"candidate": str(scored.name), "score": scored.score} for scored in cohort]
    said = asdict(decision) | {"cohort": scores, "ended_by_halving": list(ended)}
    return Decision.of_record(DECISIONS.create_or_read(context.store, key, said, indent=2))


def _is_correlated(context: RunContext, arm: Arm, correlation: float | None) -> bool:
    wish = context.config.pick.noise
    if wish != "auto":
        return wish == "correlated"
    task = context.config.task.kind
    if task.correlated_noise:
        return True
    # An image made small has correlated noise whatever it had before.
    told = task.residual_tells and arm.view != "downscale" and correlation is not None
    return told and (correlation or 0.0) > CORRELATED
