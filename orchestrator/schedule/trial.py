"""A trial does one job by the function for its kind.

Only this module distinguishes priors, rounds and chains for computing.
"""

import time
from collections.abc import Callable
from functools import partial

import ray
import torch
from ray import tune

from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.fit.subject import prior_subject
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
    match job.name:
        case Chain():
            return run_chain(context, job, on_progress=on_progress, must_leave=must_leave)
        case Round() as name:
            subject_of = partial(round_subject, context, job.image, name)
        case PriorName() as name:
            subject_of = partial(prior_subject, context, job.image, job.view, name)
    return run_fit(context, job, subject_of, on_progress=on_progress, must_leave=must_leave)


def fit_trial(job: FitJob, context: RunContext) -> None:
    """Do a job as a Tune trial: report progress now and then, and the state of the job's record at the end."""
    check_code(context.code)
    # Workers are reused, and a new thread inherits the last setting. So every trial sets the number itself.
    torch.set_num_threads(context.threads)
    last = time.monotonic()
    # Reports decide a contest, so it needs all of them; other reports only show progress.
    every = 0.0 if job.contest is not None else REPORT_EVERY_S

    def progress(iteration: int, error: float) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            tune.report({"iteration": iteration, "held_out_error": error})

    record = run_job(context, job, on_progress=progress, must_leave=Notice())
    if context.device != "cpu":
        torch.cuda.empty_cache()
    tune.report({"iteration": record.iterations or 0, "fit_state": record.state})


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
