"""Halving: at a rung the worse members of a cohort end."""

from collections.abc import Sequence

from orchestrator.arms.arm import Arm
from orchestrator.errors import NotFoundError
from orchestrator.fit.arrays import read_arrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import fit_keys, read_record
from orchestrator.run.context import RunContext
from orchestrator.run.decisions import RUNGS, Rung
from orchestrator.run.inputs import InputImage
from workers.names import FitName


def halve(
    context: RunContext, image: InputImage, arm: Arm, cohort: Sequence[FitName], iterations: int
) -> list[FitName]:
    """Return the members of a cohort that go on from a rung: those of least held-out error, in the cohort's order.

    The decision is recorded; one that is already recorded stands. Fits that have ended by themselves compete with fits
    that paused.
    """
    key = context.layout.rung(image.id, arm.name, iterations)
    try:
        return list(RUNGS.read(context.store, key).go_on)
    except NotFoundError:
        pass
    errors: dict[FitName, float] = {}
    for name in cohort:
        error = _error_at(context, FitJob(image, arm.view, name, iterations), iterations)
        if error is not None:
            errors[name] = error
    keep = arm.going_on(len(cohort), context.config.cohort.keep_share)
    best = sorted(errors, key=lambda name: errors[name])[:keep]
    # If no error is known (an image of one pixel, a cohort that failed), there is no reason to end any member.
    go_on = [name for name in cohort if name in best] or list(cohort)
    return list(RUNGS.create_or_read(context.store, key, Rung(errors, go_on), indent=2).go_on)


def _error_at(context: RunContext, job: FitJob, iterations: int) -> float | None:
    """Return the least held-out error of a fit within so many iterations, even if it has gone further since; else
    None."""
    keys = fit_keys(context, job)
    record = read_record(context.store, keys, iterations)
    if record is None or record.state == "failed" or record.held_out_error is None:
        return None
    if record.state == "paused":
        return record.held_out_error
    return float(read_arrays(context.store, keys, record).held_out[:iterations].min())
