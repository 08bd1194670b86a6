"""One fit as work on the store: load the image, fit, leave the result.

Whoever runs it next looks in the store first: a finished fit is not repeated, an unfinished one goes on from its
checkpoint. Nothing here knows Ray.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.context import RunContext
from orchestrator.errors import NotFoundError
from orchestrator.jobs import Evaluation, FitJob, FitRecord
from orchestrator.layout import FitLayout
from orchestrator.problem import held_out_of, load_degraded, load_reference, operator_of, view_of
from orchestrator.store import Store
from workers.fitting import Fit, FitDivergedError, FitSettings, Measurement
from workers.networks import build
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of, seed_of
from workers.space import Candidate


@dataclass(frozen=True)
class FitArrays:
    """Output (C, H, W) of a fit at its view's size, and its curves; ``psnr`` is empty without a reference."""

    output: NDArray[np.float32]
    held_out: NDArray[np.float32]
    psnr: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """A compressed npz file."""
        file = io.BytesIO()
        np.savez_compressed(file, output=self.output, held_out=self.held_out, psnr=self.psnr)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitArrays":
        """The arrays back; nothing but arrays is accepted."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(arrays["output"], arrays["held_out"], arrays["psnr"])


def fit_keys(context: RunContext, job: FitJob) -> FitLayout:
    """Where a fit's objects are."""
    return context.layout.fit(job.image.id, job.arm, job.view, job.candidate)


def read_record(store: Store, keys: FitLayout) -> FitRecord | None:
    """The record of a fit, if it is finished."""
    try:
        return FitRecord.from_json(store.get(keys.result))
    except NotFoundError:
        return None


def run_fit(
    context: RunContext,
    job: FitJob,
    *,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
    clock: Callable[[], float] = time.monotonic,
) -> FitRecord:
    """Fit, or take from the store what an earlier attempt has left; returns the record, which is in the store then.

    ``on_progress(iteration, least held-out error)`` is called after every block.
    """
    store, settings = context.store, context.config.fit
    keys = fit_keys(context, job)
    finished = read_record(store, keys)
    if finished is not None:
        return finished
    prepared = _Prepared(context, job)
    fit = prepared.fit
    seconds = _restore_checkpoint(store, keys, fit)
    started = saved = clock()
    try:
        while not fit.finished:
            error = fit.advance(settings.block)
            on_progress(fit.iteration, error)
            now = clock()
            if now - saved >= settings.checkpoint_s and not fit.finished:
                _save_checkpoint(store, keys, fit, seconds + now - started)
                saved = now
        record, arrays = prepared.outcome(seconds + clock() - started)
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
        degraded = load_degraded(context, job.image)
        view = view_of(job.view, degraded, config)
        channels = job.image.channels
        depth = config.network.input_depth(channels)
        seed = seed_of(config.seed, job.image.id, job.arm, job.view, job.candidate)
        network = build(
            Candidate.parse(job.candidate),
            depth,
            channels,
            config.network.width,
            generator=generator_of("fit weights", seed),
        )
        self.job = job
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        reference = load_reference(context, job.image)
        self.reference = None if reference is None else view.take(reference)
        # The reference reaches an observer only, from which the fit reads nothing back.
        self.observer = None if self.reference is None else PsnrObserver(self.reference, context.device)
        self.fit = Fit(
            network,
            Measurement(view.take(degraded), held_out_of(job.image, view, config)),
            operator_of(config),
            FitSettings(
                iterations=config.iterations(job.view),
                patience=config.fit.patience,
                learning_rate=config.fit.learning_rate,
                input_noise=config.fit.input_noise,
                average=config.fit.average,
            ),
            input_channels=depth,
            seed=seed,
            device=context.device,
            observers=() if self.observer is None else (self.observer,),
        )

    def outcome(self, seconds: float) -> tuple[FitRecord, FitArrays]:
        result = self.fit.result()
        evaluation = None
        # What ran on in the last block after the rule had stopped is no part of the fit.
        curve = [] if self.observer is None else self.observer.curve()[: result.iterations]
        if self.reference is not None and np.isfinite(curve).all():
            evaluation = Evaluation(psnr(result.output, self.reference), max(curve))
        record = FitRecord(
            self.job.candidate,
            self.job.view,
            "done",
            held_out_error=result.held_out_error,
            stop_iteration=result.stop_iteration,
            iterations=result.iterations,
            parameters=self.parameters,
            seconds=round(seconds, 3),
            evaluation=evaluation,
        )
        return record, FitArrays(
            result.output, np.array(result.held_out_curve, dtype=np.float32), np.array(curve, dtype=np.float32)
        )


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
