"""One fit as work on the store: load the image, fit, leave the result.

Whoever runs it next looks in the store first: a finished fit is not repeated, an unfinished one goes on from its
checkpoint. Nothing here knows Ray.
"""

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.config import Config
from orchestrator.context import RunContext
from orchestrator.errors import NotFoundError
from orchestrator.jobs import Evaluation, FitJob, FitRecord
from orchestrator.layout import FitLayout
from orchestrator.problem import load_observation, load_reference, measurement_of, operator_of, task_of, view_of
from orchestrator.store import Store
from workers.fitting import Fit, FitDivergedError, FitSettings, StoppingRule
from workers.networks.priors import prior_of
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of, seed_of


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
    return context.layout.fit(job.image.id, job.view, job.candidate)


def stopping_of(config: Config) -> StoppingRule:
    """The rule that stops a run's fits: held-out pixels, but where they are known to mislead."""
    if config.fit.stopping == "auto":
        return "es-emv" if task_of(config).correlated_noise else "held-out"
    return config.fit.stopping


def read_record(store: Store, keys: FitLayout, until: int | None = None) -> FitRecord | None:
    """The record of a fit's pause after ``until`` iterations if there is one, or else of its end.

    So a fit that another arm has taken further is compared at a rung as it was there.
    """
    for key in (None if until is None else keys.rung(until), keys.result):
        with contextlib.suppress(NotFoundError):
            if key is not None:
                return FitRecord.from_json(store.get(key))
    return None


def run_fit(
    context: RunContext,
    job: FitJob,
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    clock: Callable[[], float] = time.monotonic,
) -> FitRecord:
    """Fit, or take from the store what an earlier attempt has left; returns the record, which is in the store then.

    ``on_progress(iteration, held-out error so far)`` is called after every block.
    """
    store, settings = context.store, context.config.fit
    keys = fit_keys(context, job)
    finished = read_record(store, keys, job.until)
    if finished is not None:
        return finished
    prepared = _Prepared(context, job)
    fit = prepared.fit
    seconds = _restore_checkpoint(store, keys, fit)
    started = saved = clock()
    last = context.config.iterations(job.view) if job.until is None else job.until
    try:
        while not fit.finished and fit.iteration < last:
            error = fit.advance(min(settings.block, last - fit.iteration))
            on_progress(fit.iteration, error)
            now = clock()
            if now - saved >= settings.checkpoint_s and not fit.finished:
                _save_checkpoint(store, keys, fit, seconds + now - started)
                saved = now
        spent = seconds + clock() - started
        if not fit.finished:
            # The checkpoint first: who finds the record may rely on it.
            _save_checkpoint(store, keys, fit, spent)
            record = prepared.paused(spent, last)
            store.put(keys.rung(last), record.to_json())
            return record
        record, arrays = prepared.outcome(spent)
        store.put(keys.arrays, arrays.to_bytes())
    except FitDivergedError as error:
        spent = seconds + clock() - started
        record = FitRecord(
            job.candidate, job.view, "failed", reason=f"the fit diverged: {error}", seconds=round(spent, 3)
        )
    store.put(keys.result, record.to_json())
    store.delete(keys.checkpoint)
    return record


class _Prepared:
    """A fit made ready, and its outcome."""

    def __init__(self, context: RunContext, job: FitJob) -> None:
        config = context.config
        observation = load_observation(context, job.image)
        view = view_of(job.view, observation, config)
        channels = job.image.channels
        seed = seed_of(config.seed, job.image.id, job.view, job.candidate)
        network = prior_of(job.candidate).build(
            channels,
            config.network.width,
            input_channels=config.network.input_depth(channels),
            generator=generator_of("fit weights", seed),
        )
        self.job = job
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        reference = load_reference(context, job.image)
        # The reference reaches an observer only, from which the fit reads nothing back.
        self.reference = None if reference is None else view.of_restored(config.task.scale).take(reference)[0]
        self.observer = None if self.reference is None else PsnrObserver(self.reference, context.device)
        self.fit = Fit(
            network,
            measurement_of(job.image, view, observation, config),
            operator_of(config),
            FitSettings(
                iterations=config.iterations(job.view),
                patience=config.fit.patience,
                stopping=stopping_of(config),
                learning_rate=config.fit.learning_rate,
                input_noise=config.fit.input_noise,
                average=config.fit.average,
            ),
            seed=seed,
            device=context.device,
            observers=() if self.observer is None else (self.observer,),
        )

    def paused(self, seconds: float, iterations: int) -> FitRecord:
        """What was known after so many iterations; a checkpoint may have been further."""
        curve = self.fit.result().held_out_curve[:iterations]
        best = int(np.argmin(curve))
        return FitRecord(
            self.job.candidate,
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
            )
        record = FitRecord(
            self.job.candidate,
            self.job.view,
            "done",
            held_out_error=result.held_out_error,
            held_out_standard_error=result.held_out_standard_error,
            stop_iteration=result.stop_iteration,
            steady_iteration=result.steady_iteration,
            iterations=result.iterations,
            residual_correlation=result.residual_correlation,
            parameters=self.parameters,
            seconds=round(seconds, 3),
            evaluation=evaluation,
        )
        curves = (np.array(values, dtype=np.float32) for values in (result.held_out_curve, curve))
        return record, FitArrays(result.output, result.steady_output, *curves)


def _save_checkpoint(store: Store, keys: FitLayout, fit: Fit, seconds: float) -> None:
    file = io.BytesIO()
    torch.save({"seconds": seconds, "fit": fit.state_dict()}, file)
    store.put(keys.checkpoint, file.getvalue())


def _restore_checkpoint(store: Store, keys: FitLayout, fit: Fit) -> float:
    """Take up an earlier attempt's state, if there is one; the seconds it had spent."""
    try:
        data = store.get(keys.checkpoint)
    except NotFoundError:
        return 0.0
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    fit.load_state_dict(state["fit"])
    return float(state["seconds"])
