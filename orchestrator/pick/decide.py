"""The decision over an image's cohort, made from what is in the store and recorded there."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from orchestrator.arms.arm import NEEDS_OUTPUTS, Arm, Rule
from orchestrator.errors import NotFoundError
from orchestrator.fit.arrays import read_arrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.pick.rules import Member, order_by
from orchestrator.run.context import RunContext
from orchestrator.run.decisions import DECISIONS
from orchestrator.run.inputs import InputImage
from orchestrator.score.score import Scored
from workers.names import FitName, Round, parse_name
from workers.noise import CORRELATED


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
    order: list[FitName]
    failed: dict[FitName, str]
    correlated: bool = False
    residual_correlation: float | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Decision":
        """The decision out of the fields of its record (`orchestrator.run.decisions.DECISIONS`), which says more than that."""
        said = {each.name: record[each.name] for each in fields(cls)}
        return cls(
            **said
            | {
                "order": [parse_name(name) for name in said["order"]],
                "failed": {parse_name(name): reason for name, reason in said["failed"].items()},
            }
        )


def decide(
    context: RunContext, image: InputImage, arm: Arm, cohort: Sequence[Scored], ended: Sequence[FitName]
) -> Decision:
    """Order an image's fitted cohort by an arm's rule, from what is in the store, and record it there.

    ``ended`` are the members that halving ended; they are no part of the order. A decision that is there already stands.
    """
    key = context.layout.pick(image.id, arm.name)
    with contextlib.suppress(NotFoundError):
        return Decision.of_record(DECISIONS.read(context.store, key))
    records: dict[FitName, FitRecord] = {}
    failed: dict[FitName, str] = {}
    for scored in cohort:
        name = scored.name
        if name in ended:
            continue
        record = read_record(context.store, fit_keys(context, FitJob(image, arm.view, name)))
        if record is None and isinstance(name, Round):
            # A round that was never begun: its chain says why.
            record = read_record(context.store, fit_keys(context, FitJob(image, arm.view, name.chain)))
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
        name = scored.name
        if name in records:
            output = None
            if rule in NEEDS_OUTPUTS:
                keys = fit_keys(context, FitJob(image, arm.view, name))
                arrays = read_arrays(context.store, keys, records[name])
                output = arrays.steady if correlated else arrays.output
            held_out_error = records[name].held_out_error
            members.append(Member(name, scored.score, held_out_error, output))
    decision = Decision(rule, order_by(rule, members), failed, correlated, correlation)
    scores = [{"candidate": str(scored.name), "score": scored.score} for scored in cohort]
    said = vars(decision) | {
        "order": [str(name) for name in decision.order],
        "failed": {str(name): reason for name, reason in failed.items()},
        "cohort": scores,
        "ended_by_halving": [str(name) for name in ended],
    }
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
