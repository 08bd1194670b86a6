"""A trial does one job by the function for its kind.

Only this module distinguishes priors, rounds and chains for computing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import ray
import torch
from ray import tune

from orchestrator.fit.fit import fit_in_blocks, run_fit, side_by_side
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.fit.subject import Subject, prior_subject
from orchestrator.prune.chain import run_chain
from orchestrator.prune.rounds import round_subject
from orchestrator.run.context import RunContext
from orchestrator.run.versions import check_code
from workers.names import Chain, PriorName, Round

REPORT_EVERY_S = 2.0
"""Tune handles a few hundred reports per second in all, and nobody looks at a fit's progress more often than this."""
_LOOK_EVERY_S = 1.0


def run_job(
    context: RunContext,
    job: FitJob,
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
) -> FitRecord:
    """Do a job, or the rest of it after earlier attempts. Arguments and errors are those of
    `orchestrator.fit.fit.run_fit`.

    Returns:
        The job's record, which is then in the store.
    """
    if isinstance(job.name, Chain):
        return run_chain(context, job, on_progress=on_progress, must_leave=must_leave)
    return run_fit(context, job, _subject_of(context, job), on_progress=on_progress, must_leave=must_leave)


def _subject_of(context: RunContext, job: FitJob) -> Callable[[], Subject]:
    """What makes the subject of a job that is one fit."""
    if isinstance(job.name, Round):
        return partial(round_subject, context, job.image, job.name)
    assert isinstance(job.name, PriorName)  # noqa: S101 - chains are no single fit
    return partial(prior_subject, context, job.image, job.view, job.name)


def run_side_by_side(
    context: RunContext,
    jobs: Sequence[FitJob],
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
) -> list[FitRecord | Exception]:
    """Do jobs that are single fits together on one device; see `orchestrator.fit.fit.side_by_side`.

    Each has its own checkpoint, so it can resume with others beside it, or alone.
    """
    reserved = sum(job.gpus for job in jobs)
    return side_by_side(
        [
            fit_in_blocks(
                context,
                replace(job, beside=reserved - job.gpus),
                _subject_of(context, job),
                on_progress=on_progress,
                must_leave=must_leave,
            )
            for job in jobs
        ]
    )


def fit_trial(jobs: Sequence[FitJob], context: RunContext) -> None:
    """Do jobs as a Tune trial: report progress now and then, and the states of their records at the end.

    The fits of several jobs that have no record are crashes, all for the reason of the first.
    """
    check_code(context.code)
    # Workers are reused, and a new thread inherits the last setting. So every trial sets the number itself.
    torch.set_num_threads(context.threads)
    last = time.monotonic()
    # Reports decide a contest, so it needs all of them; other reports only show progress.
    every = 0.0 if any(job.contest is not None for job in jobs) else REPORT_EVERY_S

    def progress(iteration: int, error: float) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            tune.report({"iteration": iteration, "held_out_error": error})

    results: list[FitRecord | Exception]
    if len(jobs) == 1:
        results = [run_job(context, jobs[0], on_progress=progress, must_leave=Notice())]
    else:
        results = run_side_by_side(context, jobs, on_progress=progress, must_leave=Notice())
    if context.device != "cpu":
        torch.cuda.empty_cache()
    records = [None if isinstance(result, Exception) else result for result in results]
    iterations = max((record.iterations or 0 for record in records if record is not None), default=0)
    tune.report({"iteration": iterations, "fit_states": [None if each is None else each.state for each in records]})
    for result in results:
        if isinstance(result, Exception):
            raise result


class Notice:
    """Asks Ray, at most once a second, whether this machine will be taken away (a spot warning)."""

    def __init__(self) -> None:
        self._asked = 0.0

    def __call__(self) -> bool:
        """Whether this machine will be taken away, as far as Ray knows."""
        if time.monotonic() - self._asked < _LOOK_EVERY_S:
            return False
        self._asked = time.monotonic()
        # Ray 2.60 has no public function for this. Without an answer, the fit later resumes from its last checkpoint.
        try:
            leaving = ray._private.worker.global_worker.gcs_client.get_draining_nodes()
        except Exception:
            return False
        return ray.get_runtime_context().get_node_id() in leaving
