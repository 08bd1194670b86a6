"""Choosing one network of the cohort without seeing the truth.

The rules take `Member` values, which hold nothing that a clean reference has touched.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.context import RunContext
from orchestrator.fits import FitArrays, fit_keys, read_record
from orchestrator.ingest import InputImage
from orchestrator.jobs import FitJob
from orchestrator.scoring import Scored


@dataclass(frozen=True)
class Member:
    """A fitted member of a cohort as the rules may see it; ``score`` is its metric at initialisation, lower is better."""

    candidate: str
    score: float
    held_out_error: float | None


@dataclass(frozen=True)
class Decision:
    """A cohort's order, best first, and the members that have no result, with the reason."""

    rule: str
    order: list[str]
    failed: dict[str, str]


def by_held_out_error(members: Sequence[Member]) -> list[str]:
    """Least error on the held-out pixels first: they estimate true error plus noise variance, alike for all members.

    An image too small to hold pixels out keeps the order of the scores.
    """
    if any(member.held_out_error is None for member in members):
        return [member.candidate for member in sorted(members, key=lambda member: member.score)]
    return [member.candidate for member in sorted(members, key=lambda member: member.held_out_error or 0.0)]


def by_weighted_mean(members: Sequence[Member], outputs: Sequence[NDArray[np.float32]]) -> list[str]:
    """The rule of ISNAS-DIP (arXiv 2111.15362, section 4.3): closest to the mean of the outputs first.

    The mean is weighted by (max - m) / (max - min) of the metric m; where all are equal, so are the weights.
    """
    scores = np.array([member.score for member in members], dtype=np.float64)
    spread = scores.max() - scores.min()
    weights = (scores.max() - scores) / spread if spread > 0 else np.ones_like(scores)
    mean = np.average(np.stack(outputs).astype(np.float64), axis=0, weights=weights)
    distances = [float(np.square(output - mean).mean()) for output in outputs]
    return [members[at].candidate for at in np.argsort(distances, kind="stable")]


def final_order(rule: str, fitted: Sequence[Member]) -> list[str]:
    """The order of the best few once they have been fitted at full size, given in the cohort's order.

    Their held-out errors there are over more pixels, and of the fits that become the result, so they have the last word.
    ISNAS-DIP's rule has none after the cohort.
    """
    return by_held_out_error(fitted) if rule == "held-out" else [member.candidate for member in fitted]


def decide(context: RunContext, image: InputImage, shortlist: Sequence[Scored]) -> Decision:
    """Order an image's fitted cohort by the run's rule, from what is in the store, and record it there."""
    config = context.config
    members, failed, outputs = [], {}, []
    for scored in shortlist:
        keys = fit_keys(context, FitJob(image, config.method, config.cohort.view, scored.candidate))
        record = read_record(context.store, keys)
        if record is None or record.state != "done":
            failed[scored.candidate] = "no result" if record is None else str(record.reason)
            continue
        members.append(Member(scored.candidate, scored.score, record.held_out_error))
        if config.pick.rule == "weighted-mean":
            outputs.append(FitArrays.from_bytes(context.store.get(keys.arrays)).output)
    if not members:
        order = []
    elif config.pick.rule == "weighted-mean":
        order = by_weighted_mean(members, outputs)
    else:
        order = by_held_out_error(members)
    decision = Decision(config.pick.rule, order, failed)
    context.store.put(context.layout.pick(image.id), json.dumps(asdict(decision), indent=2).encode())
    return decision
