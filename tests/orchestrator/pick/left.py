"""Fitted cohorts that the tests write to a store."""

from typing import Any

import numpy as np

from orchestrator.arms.arm import Arm
from orchestrator.arms.resolve import arms_of
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys
from orchestrator.score.score import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench
from workers.names import PriorName, parse_name

A, B, C = CANDIDATES


SHORTLIST = [Scored(PriorName(A), 1.0), Scored(PriorName(B), 2.0), Scored(PriorName(C), 3.0)]
FAILED = {"state": "failed", "reason": "the fit diverged"}


def arm_of(bench: Bench) -> Arm:
    """Return the arm of a run with one arm."""
    (arm,) = arms_of(bench.context.config)
    return arm


def leave(bench: Bench, candidate: str, error: float | None, value: float, **known: Any) -> None:
    """Write a finished fit of the cohort: a flat output of this value, and half of it where outputs varied least."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, parse_name(candidate)))
    record = FitRecord(candidate, view, "done", held_out_error=error, stop_iteration=1, arrays="x", **known)
    curve = np.zeros(1, dtype=np.float32)
    output = np.full((3, 32, 32), value, dtype=np.float32)
    bench.store.put(keys.arrays("x"), FitArrays(output, output / 2, curve, curve).to_bytes())
    bench.store.put(keys.result, record.to_json())


def leave_record(bench: Bench, candidate: str, record: dict[str, Any], rung: int | None = None) -> None:
    """Write the record of a fit without a result: of its end, or of its pause at a rung."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, parse_name(candidate)))
    bench.store.put(keys.result if rung is None else keys.rung(rung), FitRecord(candidate, view, **record).to_json())
