"""One fit as work on the store: load the image, fit, leave the result.

Whoever runs it next looks in the store first: a finished fit is not repeated, an unfinished one goes on from its
checkpoint. Nothing here knows Ray.
"""

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.arms.chains import iterations_of
from orchestrator.errors import DamagedError, FitOutOfMemoryError, NodeLeavingError, NotFoundError
from orchestrator.fit.checkpoint import Work, take_up, to_bytes
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import load_observation, load_reference, measurement_of, view_of
from orchestrator.fit.record import FIT_RECORDS, Evaluation, FitRecord
from orchestrator.prune.tickets import leave_next, round_network
from orchestrator.resources.share import fit_bytes
from orchestrator.run.context import RunContext
from orchestrator.run.layout import FitLayout
from orchestrator.settings import Config
from orchestrator.store import Store
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.names import Chain, PriorName, Round
from workers.networks import parameter_count, prior_of
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of, seed_of
from workers.stopping import StoppingRule, rule_of
from workers.views import view_size


@dataclass(frozen=True)
class FitArrays:
    """Outputs (C, H, W) of a fit at its view's size, and its curves.

    ``output`` is where the fit was stopped, ``steady`` where its outputs varied least; ``psnr`` is empty without a
    reference.
    """

    output: NDArray[np.float32]
    steady: NDArray[np.float32]
    held_out: NDArray[np.float32]
    psnr: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """A compressed npz file."""
        file = io.BytesIO()
        np.savez_compressed(file, output=self.output, steady=self.steady, held_out=self.held_out, psnr=self.psnr)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitArrays":
        """The arrays back; nothing but arrays is accepted."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(arrays["output"], arrays["steady"], arrays["held_out"], arrays["psnr"])


def fit_keys(context: RunContext, job: FitJob) -> FitLayout:
    """Where a fit's objects are."""
    return context.layout.fit(job.image.id, job.view, job.name)


def stopping_of(config: Config) -> StoppingRule:
    """The rule that stops a run's fits."""
    return rule_of(config.fit.stopping, correlated=config.task.kind.correlated_noise)


def read_record(store: Store, keys: FitLayout, until: int | None = None) -> FitRecord | None:
    """The record of a fit's pause after ``until`` iterations if there is one, or else of its end.

    So a fit that another arm has taken further is compared at a rung as it was there.
    """
    for key in (None if until is None else keys.rung(until), keys.result):
        with contextlib.suppress(NotFoundError):
            if key is not None:
                return FIT_RECORDS.read(store, key)
    return None


def read_arrays(store: Store, keys: FitLayout, record: FitRecord) -> FitArrays:
    """The outputs and curves of a fit that is done."""
    return FitArrays.from_bytes(store.get(keys.arrays(str(record.arrays))))


def run_fit(
    context: RunContext,
    job: FitJob,
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    must_leave: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> FitRecord:
    """Fit, or take from the store what an earlier attempt has left; returns the record, which is in the store then.

    ``on_progress(iteration, held-out error so far)`` is called after every block, and ``must_leave`` asked.

    Raises:
        FitOutOfMemoryError: there is too little memory.
        NodeLeavingError: ``must_leave`` said so; the fit goes on elsewhere from its checkpoint.
    """
    keys = fit_keys(context, job)
    finished = read_record(context.store, keys, job.until)
    if finished is not None and (finished.state != "done" or context.store.exists(keys.arrays(str(finished.arrays)))):
        return finished
    if finished is not None:
        # Somebody has removed what the record speaks of, as it was damaged perhaps: the fit is made again.
        context.store.delete(keys.result)
    with out_of_memory_told(context, job):
        return _run_fit(context, job, Pace(context, keys.checkpoint, on_progress, must_leave, clock))


@contextlib.contextmanager
def out_of_memory_told(context: RunContext, job: FitJob) -> Iterator[None]:
    """Within it a job has its share of the memory, and want of more is told with what would fit.

    Raises:
        FitOutOfMemoryError: there is too little memory.
    """
    if context.device != "cpu" and job.gpus:
        # Shares of a GPU are bookkeeping to Ray; with this no fit takes the memory of another.
        torch.cuda.set_per_process_memory_fraction(1.0 if job.alone else job.gpus)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise FitOutOfMemoryError(_what_would_fit(context, job)) from None


class Pace:
    """Does work in blocks, tells of each, and leaves checkpoints under a key, from which it is taken up again.

    Attributes:
        block: iterations between two looks at the clock.
    """

    def __init__(
        self,
        context: RunContext,
        key: str,
        on_progress: Callable[[int, float], None],
        must_leave: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._checkpoint_s, self._key = context.store, context.config.fit.checkpoint_s, key
        self.block = context.config.fit.block
        self._on_progress, self._must_leave, self._clock = on_progress, must_leave, clock
        self._before = 0.0
        self._started = self._saved = clock()

    @property
    def seconds(self) -> float:
        """Spent on the work, also by the attempts whose checkpoint was found."""
        return self._before + self._clock() - self._started

    def restore(self, work: Work) -> None:
        """Take up an earlier attempt's state, if there is one."""
        self._before = 0.0
        # Without one that can be read the work is begun anew, and comes to the same result.
        with contextlib.suppress(NotFoundError, DamagedError):
            self._before = take_up(work, self._store.get(self._key))
        self._started = self._saved = self._clock()

    def go(self, work: Work, last: int, finished: Callable[[], bool]) -> None:
        """Work until it is finished, or has come to iteration ``last``.

        Raises:
            NodeLeavingError: the machine is taken away; there is a checkpoint.
        """
        while not finished() and work.iteration < last:
            error = work.advance(min(self.block, last - work.iteration))
            self._on_progress(work.iteration, error)
            leaving = self._must_leave()
            due = self._clock() - self._saved >= self._checkpoint_s
            if (leaving or due) and not finished():
                self.save(work)
                if leaving:
                    raise NodeLeavingError(f"its machine is being taken away at iteration {work.iteration}")

    def save(self, work: Work) -> None:
        """Leave a checkpoint."""
        self._store.put(self._key, to_bytes(work, self.seconds))
        self._saved = self._clock()

    def forget(self) -> None:
        """The work is done, and its result in the store."""
        self._store.delete(self._key)


def _run_fit(context: RunContext, job: FitJob, pace: Pace) -> FitRecord:
    store = context.store
    keys = fit_keys(context, job)
    prepared = _Prepared(context, job)
    fit = prepared.fit
    pace.restore(fit)
    last = fit.settings.iterations if job.until is None else job.until
    try:
        pace.go(fit, last, lambda: fit.finished)
        if not fit.finished:
            # The checkpoint first: who finds the record may rely on it.
            pace.save(fit)
            return record_once(store, keys.rung(last), prepared.paused(pace.seconds, last))
        record, arrays = prepared.outcome(pace.seconds)
        data = arrays.to_bytes()
        record = replace(record, arrays=hashlib.sha256(data).hexdigest()[:16])
        prepared.leave_next()
        store.put(keys.arrays(str(record.arrays)), data)
    except FitDivergedError as error:
        record = FitRecord(
            str(job.name), job.view, "failed", reason=f"the fit diverged: {error}", seconds=round(pace.seconds, 3)
        )
    record = record_once(store, keys.result, record)
    pace.forget()
    return record


def record_once(store: Store, key: str, record: FitRecord) -> FitRecord:
    """Leave a record in the store; if another attempt at the fit was faster, its record is the one that counts."""
    return FIT_RECORDS.create_or_read(store, key, record)


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch says it in words only.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _what_would_fit(context: RunContext, job: FitJob) -> str:
    """What an image of this kind may measure for the memory that is free here now."""
    config, scale = context.config, context.config.task.scale
    needed = fit_bytes(config, job.image, job.view, job.name)
    if context.device == "cpu":
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
    crop, downscale = config.cohort.crop_px, config.cohort.downscale_px
    sides = view_size(job.view, job.image.height, job.image.width, crop_px=crop, downscale_px=downscale, scale=scale)
    height, length = (scale * side for side in sides)
    # What is free may be more than what could be had a moment ago; a size that did not fit is no advice.
    side = min((0.8 * free / needed) ** 0.5, 0.7) * (height * length) ** 0.5
    return (
        f"out of memory: fitting {length}x{height} pixels takes about {needed / 1e9:.1f} GB, and"
        f" {free / 1e9:.1f} GB are free; {side:.0f}x{side:.0f} pixels would fit, or a lower network.width"
    )


class _Prepared:
    """A fit made ready, and its outcome."""

    def __init__(self, context: RunContext, job: FitJob) -> None:
        config = context.config
        observation = load_observation(context, job.image)
        view = view_of(job.view, observation, config)
        channels = job.image.channels
        self.job, self._context = job, context
        self.sparsity: float | None = None
        self.blind = True
        assert not isinstance(job.name, Chain)  # noqa: S101 - a chain as a whole is no fit
        if isinstance(job.name, PriorName):
            seed = seed_of(config.seed, job.image.id, job.view, str(job.name))
            network = prior_of(job.name.network).build(
                channels,
                config.network.width,
                input_channels=config.network.input_depth(channels),
                generator=generator_of("fit weights", seed),
            )
            self.parameters = parameter_count(network)
            iterations, patience = config.iterations(job.view), config.fit.patience
        else:
            drawn = round_network(context, job.image, job.name.chain, job.name.number)
            network, seed = drawn.network, drawn.seed
            self.parameters, self.sparsity, self.blind = drawn.parameters, drawn.sparsity, drawn.blind
            iterations = patience = iterations_of(config)
        reference = load_reference(context, job.image)
        # The reference reaches an observer only, from which the fit reads nothing back.
        self.reference = None if reference is None else view.of_restored(config.task.scale).take(reference)[0]
        self.observer = None if self.reference is None else PsnrObserver(self.reference, context.device)
        self.fit = Fit(
            network,
            measurement_of(job.image, view, observation, config),
            config.task.make().operator,
            FitSettings(
                iterations=iterations,
                patience=patience,
                stopping=stopping_of(config).name,
                learning_rate=config.fit.learning_rate,
                input_noise=config.fit.input_noise,
                average=config.fit.average,
                # On a CPU every operation is, and the plain ones are faster.
                deterministic=config.fit.deterministic and context.device != "cpu",
            ),
            seed=seed,
            device=context.device,
            observers=() if self.observer is None else (self.observer,),
        )

    def leave_next(self) -> None:
        """Of a lottery: what its next round begins with."""
        if isinstance(self.job.name, Round):
            leave_next(self._context, self.job, self.job.name.chain, self.job.name.number, self.fit)

    def paused(self, seconds: float, iterations: int) -> FitRecord:
        """What was known after so many iterations; a checkpoint may have been further."""
        curve = self.fit.result().held_out_curve[:iterations]
        best = int(np.argmin(curve))
        return FitRecord(
            str(self.job.name),
            self.job.view,
            "paused",
            held_out_error=curve[best] if self.fit.blind else None,
            stop_iteration=best + 1,
            iterations=len(curve),
            parameters=self.parameters,
            seconds=round(seconds, 3),
        )

    def outcome(self, seconds: float) -> tuple[FitRecord, FitArrays]:
        """What became of the finished fit."""
        result = self.fit.result()
        evaluation = None
        # What ran on in the last block after the rule had stopped is no part of the fit.
        curve = [] if self.observer is None else self.observer.curve()[: result.iterations]
        if self.reference is not None and np.isfinite(curve).all():
            evaluation = Evaluation(
                psnr=psnr(result.output, self.reference),
                psnr_steady=psnr(result.steady_output, self.reference),
                psnr_oracle_stop=max(curve),
                psnr_last=curve[-1],
            )
        record = FitRecord(
            str(self.job.name),
            self.job.view,
            "done",
            held_out_error=result.held_out_error,
            held_out_standard_error=result.held_out_standard_error,
            stop_iteration=result.stop_iteration,
            steady_iteration=result.steady_iteration,
            iterations=result.iterations,
            residual_correlation=result.residual_correlation,
            parameters=self.parameters,
            sparsity=self.sparsity,
            blind=self.blind,
            seconds=round(seconds, 3),
            evaluation=evaluation,
        )
        curves = (np.array(values, dtype=np.float32) for values in (result.held_out_curve, curve))
        return record, FitArrays(result.output, result.steady_output, *curves)
