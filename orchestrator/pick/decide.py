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
from workers.correlation import CORRELATED
from workers.names import FitName, Round, parse_name


@dataclass(frozen=True)
class Decision:
    """An arm's decision over its cohort.

    Attributes:
        rule: the rule that was followed.
        order: the cohort, best first.
        failed: the members that have no result, with the reason.
        correlated: whether noise counts as correlated between pixels. If so, held-out pixels do not count, and a fit's
            result is where its outputs varied least.
        residual_correlation: the measured correlation: the median over the cohort.
    """

    rule: Rule
    order: list[FitName]
    failed: dict[FitName, str]
    correlated: bool = False
    residual_correlation: float | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Decision":
        """Read the decision from its record (`orchestrator.run.decisions.DECISIONS`), which has further fields."""
        own = {each.name: record[each.name] for each in fields(cls)}
        return cls(
            **own
            | {
                "order": [parse_name(name) for name in own["order"]],
                "failed": {parse_name(name): reason for name, reason in own["failed"].items()},
            }
        )


def decide(
    context: RunContext, image: InputImage, arm: Arm, cohort: Sequence[Scored], ended: Sequence[FitName]
) -> Decision:
    """Order an image's fitted cohort by an arm's rule, from the records in the store, and record the decision there.

    ``ended`` are the members that halving ended; the order leaves them out. A decision that is already recorded stands.
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
            # The round never began; the record of its chain says why.
            record = read_record(context.store, fit_keys(context, FitJob(image, arm.view, name.chain)))
            failed[name] = "no result" if record is None else str(record.reason)
        elif record is None or record.state != "done":
            failed[name] = "no result" if record is None else str(record.reason)
        else:
            records[name] = record
    seen = [r.residual_correlation for r in records.values() if r.residual_correlation is not None]
    correlation = median(seen) if seen else None
    # ISNAS-DIP as published does not ask whether noise is correlated.
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
    scores = [{"candidate": scored.name, "score": scored.score} for scored in cohort]
    record_fields = vars(decision) | {"cohort": scores, "ended_by_halving": list(ended)}
    return Decision.of_record(DECISIONS.create_or_read(context.store, key, record_fields, indent=2))


def _is_correlated(context: RunContext, arm: Arm, correlation: float | None) -> bool:
    noise = context.config.pick.noise
    if noise != "auto":
        return noise == "correlated"
    task = context.config.task.kind
    if task.correlated_noise:
        return True
    # A downscaled image has correlated noise, whatever noise it had before.
    measurable = task.residual_tells and arm.view != "downscale" and correlation is not None
    return measurable and (correlation or 0.0) > CORRELATED
