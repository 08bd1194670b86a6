"""Fitted cohorts in a store for the tests."""

from typing import Any

import numpy as np

from orchestrator.arms.arm import Arm
from orchestrator.arms.resolve import arms_of
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys
from orchestrator.score.score import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench
from workers.names import FitName, PriorName

NAMES = tuple(map(PriorName, CANDIDATES))
A, B, C = NAMES
SHORTLIST = [Scored(A, 1.0), Scored(B, 2.0), Scored(C, 3.0)]
FAILED = {"state": "failed", "reason": "the fit diverged"}


def arm_of(bench: Bench) -> Arm:
    """The arm of a run that has one."""
    (arm,) = arms_of(bench.context.config)
    return arm


def leave(bench: Bench, name: FitName, error: float | None, value: float, **known: Any) -> None:
    """A finished fit of the cohort in the store: a flat output of this value, and half of it where it was steadiest."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, name))
    record = FitRecord(name, view, "done", held_out_error=error, stop_iteration=1, arrays="x", **known)
    curve = np.zeros(1, dtype=np.float32)
    output = np.full((3, 32, 32), value, dtype=np.float32)
    bench.store.put(keys.arrays("x"), FitArrays(output, output / 2, curve, curve).to_bytes())
    bench.store.put(keys.result, record.to_json())


def leave_record(bench: Bench, name: FitName, record: dict[str, Any], rung: int | None = None) -> None:
    """The record of a fit that has no result: of its end, or of its pause at a rung."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, name))
    bench.store.put(keys.result if rung is None else keys.rung(rung), FitRecord(name, view, **record).to_json())
