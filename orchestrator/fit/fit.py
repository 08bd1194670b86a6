"""One fit as work on the store: load the image, fit, write the result.

Every attempt looks in the store first: a finished fit is not repeated, an unfinished one resumes from its checkpoint.
Nothing here knows Ray.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from traceback import clear_frames

import numpy as np

from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.blocks import BlockRunner
from orchestrator.fit.cost import fitted_sides
from orchestrator.fit.job import FitJob
from orchestrator.fit.memory import share_of_memory
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import Evaluation, FitRecord, fit_keys, read_record, record_once
from orchestrator.fit.step import step_of
from orchestrator.fit.subject import Subject
from orchestrator.run.context import RunContext
from orchestrator.run.layout import FitLayout
from orchestrator.settings import Config
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.networks.cost import multiply_adds
from workers.precision import Precision
from workers.quality import PsnrObserver, psnr
from workers.reveal import Reveal
from workers.stopping import StoppingRule, rule_of

_DEBIASED = 2
"""The first rules (`InputImage.rules`) whose running average does not begin at the untrained output."""

_ALL_LAGS = 3
"""The first rules whose noise is examined in all directions, and not between neighbours alone."""

_REVEALED = 3
"""The first rules whose fits at full size end with all pixels."""


def stopping_of(config: Config) -> StoppingRule:
    """Return the rule that stops a run's fits."""
    return rule_of(config.fit.stopping, correlated=config.task.kind.correlated_noise)


Fitting = Generator[None, None, FitRecord]
"""A fit under way: it pauses in every block, while a GPU does it, and returns its record."""


def run_fit(
    context: RunContext,
    job: FitJob,
    subject_of: Callable[[], Subject],
    *,
    problem: Problem | None = None,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> FitRecord:
    """Do a fit, or take the result of an earlier attempt from the store.

    Args:
        context: The run.
        job: The fit to do.
        subject_of: Makes the subject. It is called only if there is something to fit.
        problem: The image's inputs, if the caller has them already.
        on_progress: Called with the iteration and the held-out error so far after every block.
        must_leave: Asked after every block whether this machine is being taken away.
        clock: Returns the time in seconds.

    Returns:
        The record, which is then in the store.

    Raises:
        FitOutOfMemoryError: there is too little memory.
        ImageRejectedError: the image cannot be used.
        NodeLeavingError: ``must_leave`` returned True; the fit can resume elsewhere from its checkpoint.
    """
    fitting = fit_in_blocks(
        context, job, subject_of, problem=problem, on_progress=on_progress, must_leave=must_leave, clock=clock
    )
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            record: FitRecord = end.value
            return record


def side_by_side(fittings: Sequence[Fitting]) -> list[FitRecord | Exception]:
    """Do fits together: each begins its next block while a GPU still does those of the others.

    Returns:
        What became of each: its record, or why there is none. One that fails does not disturb the others.
    """
    results: dict[int, FitRecord | Exception] = {}
    while len(results) < len(fittings):
        for place, fitting in enumerate(fittings):
            if place not in results:
                try:
                    next(fitting)
                except StopIteration as end:
                    results[place] = end.value
                except Exception as error:
                    # Its traceback would keep what the fit had in memory, beside the others.
                    for each in (error, error.__context__):
                        clear_frames(None if each is None else each.__traceback__)
                    results[place] = error
    return [results[place] for place in range(len(fittings))]


def fit_in_blocks(
    context: RunContext,
    job: FitJob,
    subject_of: Callable[[], Subject],
    *,
    problem: Problem | None = None,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Fitting:
    """Do what `run_fit` does, with a pause in every block."""
    keys = fit_keys(context, job)
    if job.tile is not None:
        # Once the tiles are one image, the fits that it was made of may be gone.
        whole = fit_keys(context, replace(job, tile=None))
        finished = read_record(context.store, whole, job.until)
        if finished is not None and _is_whole(context, whole, finished):
            return finished
    finished = read_record(context.store, keys, job.until)
    if finished is not None and _is_whole(context, keys, finished):
        return finished
    if finished is not None:
        # The record's arrays are gone; perhaps somebody deleted damaged ones. The fit is done again.
        context.store.delete(keys.result)
    with share_of_memory(context, job):
        prepared = _PreparedFit(context, job, problem or Problem(context, job.image), subject_of)
        runner = BlockRunner(context, keys.checkpoint, on_progress, must_leave, clock)
        return (yield from _finish(context, job, prepared, runner))


def _is_whole(context: RunContext, keys: FitLayout, record: FitRecord) -> bool:
    """Whether the outputs that a record names are there."""
    return record.state != "done" or context.store.exists(keys.arrays(str(record.arrays)))


def _finish(context: RunContext, job: FitJob, prepared: "_PreparedFit", runner: BlockRunner) -> Fitting:
    store, keys, fit = context.store, fit_keys(context, job), prepared.fit
    following: BlockRunner | None = None
    runner.restore(fit)
    last = fit.settings.iterations if job.until is None else job.until
    try:
        yield from runner.blocks(fit, last, lambda: fit.finished)
        if not fit.finished:
            # The checkpoint is written first, so that it exists wherever the record does.
            runner.save(fit)
            return record_once(store, keys.rung(last), prepared.paused(runner.seconds, last))
        prepared.subject.before_record(fit)
        seconds, reveal = runner.seconds, fit.reveal()
        if reveal is not None:
            following = runner.following(keys.reveal, at=fit.settings.iterations)
            following.restore(reveal)
            yield from following.blocks(reveal, reveal.iterations, lambda: reveal.finished)
            seconds += following.seconds
        record, arrays = prepared.outcome(seconds, reveal)
        data = arrays.to_bytes()
        record = replace(record, arrays=hashlib.sha256(data).hexdigest()[:16])
        store.put(keys.arrays(str(record.arrays)), data)
    except FitDivergedError as error:
        record = FitRecord(
            job.name, job.view, "failed", reason=f"the fit diverged: {error}", seconds=round(runner.seconds, 3)
        )
    record = record_once(store, keys.result, record)
    runner.forget()
    if following is not None:
        following.forget()
    return record


class _PreparedFit:
    """A fit that is ready to run, and its outcome."""

    def __init__(self, context: RunContext, job: FitJob, problem: Problem, subject_of: Callable[[], Subject]) -> None:
        config = context.config
        view = problem.view(job.view) if job.tile is None else problem.tile_view(job.tile)
        self._job, self.subject = job, subject_of()
        self._step = multiply_adds(self.subject.network, *fitted_sides(config, job.fitted, job.view))
        reference = problem.reference
        self._peak = problem.peak
        # Only an observer sees the reference; the fit reads nothing back from it.
        self._reference = None if reference is None else view.of_restored(config.task.scale).take(reference)[0]
        self._observer = (
            None if self._reference is None else PsnrObserver(self._reference, context.device, problem.peak)
        )
        self.fit = Fit(
            self.subject.network,
            problem.measurement(view) if job.tile is None else problem.tile_measurement(job.tile),
            config.task.make().operator_of(problem.observation),
            FitSettings(
                iterations=self.subject.iterations,
                patience=self.subject.patience,
                stopping=stopping_of(config).name,
                learning_rate=config.fit.learning_rate,
                input_noise=config.fit.input_noise,
                average=config.fit.average,
                debias=job.image.rules >= _DEBIASED,
                neighbours_only=job.image.rules < _ALL_LAGS,
                reveal=self._reveal(config, job),
                # On a CPU every operation is deterministic, and the plain ones are faster.
                deterministic=config.fit.deterministic and context.device != "cpu",
                precision=Precision(config.fit.precision if context.device != "cpu" else "fp32"),
                step=step_of(context, job, self.subject.network, self.subject.iterations),
            ),
            seed=self.subject.seed,
            device=context.device,
            observers=() if self._observer is None else (self._observer,),
        )

    @staticmethod
    def _reveal(config: Config, job: FitJob) -> float:
        """The share of iterations with all pixels: none where the fit only chooses."""
        return config.fit.reveal if job.view == "full" and job.image.rules >= _REVEALED else 0.0

    def paused(self, seconds: float, iterations: int) -> FitRecord:
        """Make the record of a pause after so many iterations; the fit itself may have come further."""
        curve = self.fit.result().held_out_curve[:iterations]
        best = int(np.argmin(curve))
        return FitRecord(
            self._job.name,
            self._job.view,
            "paused",
            held_out_error=curve[best] if self.fit.blind else None,
            stop_iteration=best + 1,
            iterations=len(curve),
            parameters=self.subject.parameters,
            seconds=round(seconds, 3),
            multiply_adds=len(curve) * self._step,
        )

    def outcome(self, seconds: float, reveal: Reveal | None) -> tuple[FitRecord, FitArrays]:
        """Return the record and the arrays of the finished fit, and of its iterations with all pixels."""
        result = self.fit.result()
        revealed = None if reveal is None else reveal.output()
        shown = 0 if reveal is None or revealed is None else reveal.iterations
        evaluation = None
        # Iterations in the last block after the rule had stopped are no part of the fit.
        curve = [] if self._observer is None else self._observer.curve()[: result.iterations]
        if self._reference is not None and np.isfinite(curve).all():
            evaluation = Evaluation(
                psnr=psnr(result.output, self._reference, self._peak),
                psnr_steady=psnr(result.steady_output, self._reference, self._peak),
                psnr_oracle_stop=max(curve),
                psnr_last=curve[-1],
                psnr_revealed=None if revealed is None else psnr(revealed, self._reference, self._peak),
            )
        record = FitRecord(
            self._job.name,
            self._job.view,
            "done",
            held_out_error=result.held_out_error,
            held_out_standard_error=result.held_out_standard_error,
            stop_iteration=result.stop_iteration,
            steady_iteration=result.steady_iteration,
            iterations=result.iterations,
            revealed=shown or None,
            residual_correlation=result.residual_correlation,
            parameters=self.subject.parameters,
            sparsity=self.subject.sparsity,
            blind=self.subject.blind,
            seconds=round(seconds, 3),
            evaluation=evaluation,
            multiply_adds=(result.iterations + shown) * self._step,
            unrecorded=self.fit.steps.failure,
        )
        curves = (np.array(values, dtype=np.float32) for values in (result.held_out_curve, curve))
        given = () if revealed is None else (revealed,)
        return record, FitArrays(result.output, result.steady_output, *curves, *given)
