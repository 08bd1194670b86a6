"""A pruning chain as work on the store: find its masks and fit its rounds, one after the other.

A round's ticket is written before the fit that uses it. It is also written before the round that it comes from counts
as finished. So an attempt that resumes a chain finds all finished rounds and the checkpoint of an unfinished one.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from orchestrator.arms.lottery import finds_apart, rounds_of
from orchestrator.errors import ImageRejectedError, TicketError
from orchestrator.fit.blocks import BlockRunner
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.fit.memory import share_of_memory
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import FitRecord, fit_keys, read_record, record_once
from orchestrator.prune.rounds import round_subject
from orchestrator.prune.search import Search
from orchestrator.run.context import RunContext
from workers.fitting import FitDivergedError
from workers.names import Chain


def run_chain(
    context: RunContext,
    job: FitJob,
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> FitRecord:
    """Find a chain's masks and fit its rounds, or do the rest of that after earlier attempts.

    A job for several images together only finds the masks. Arguments and errors are those of
    `orchestrator.fit.fit.run_fit`. A round whose fit has no result counts as failed. It fails the whole chain if the
    next round's masks come from it.

    Returns:
        The chain's record, which is then in the store.
    """
    chain = job.name
    assert isinstance(chain, Chain)  # noqa: S101 - only chains come here
    keys = fit_keys(context, job)
    finished = read_record(context.store, keys)
    # The rounds of a finished chain are checked too: somebody may have removed a damaged one.
    if finished is not None and finished.state == "failed":
        return finished
    problem = Problem(context, job.image)
    search = Search(
        context,
        job,
        chain,
        problem,
        lambda number: BlockRunner(context, keys.finding(number), on_progress, must_leave, clock),
    )
    try:
        with share_of_memory(context, job):
            try:
                search.prepare()
            except ValueError as error:
                # The last step made weights infinite or NaN, or the settings exempt layers that this network lacks.
                raise TicketError(f"no masks could be found: {error}") from None
        if not job.together:
            for number in rounds_of(context.config, chain):
                name = chain.round(number)
                fitted = run_fit(
                    context,
                    replace(job, name=name),
                    partial(round_subject, context, job.image, name),
                    problem=problem,
                    on_progress=on_progress,
                    must_leave=must_leave,
                    clock=clock,
                )
                if fitted.state == "failed" and not finds_apart(context.config, chain):
                    raise TicketError(f"round {number} has no result for the next to be pruned by: {fitted.reason}")
        record = FitRecord(job.name, job.view, "done")
    except (TicketError, FitDivergedError, ImageRejectedError) as error:
        record = FitRecord(job.name, job.view, "failed", reason=str(error))
    spent = replace(
        record,
        iterations=search.iterations,
        seconds=round(search.seconds, 3),
        multiply_adds=search.multiply_adds,
    )
    return record_once(context.store, keys.result, spent)
