"""The record of a fit and its place in the store. This module imports little, for processes that compute nothing."""

import contextlib
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import NotFoundError
from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.layout import FitLayout
from orchestrator.run.names import Name
from orchestrator.settings import ViewName
from orchestrator.store import Store


@dataclass(frozen=True)
class Evaluation:
    """The figures that need a clean reference, in dB. They are kept apart because no decision may use them.

    Attributes:
        psnr: the PSNR of the output where the fit was stopped.
        psnr_steady: the PSNR where the outputs varied least.
        psnr_oracle_stop: the best PSNR of all iterations.
        psnr_last: the PSNR after the last iteration that hid pixels.
        psnr_revealed: the PSNR after the iterations with all pixels; None where there were none.
    """

    psnr: float
    psnr_steady: float
    psnr_oracle_stop: float
    psnr_last: float | None = None
    psnr_revealed: float | None = None


FitState = Literal["done", "failed", "paused"]


@dataclass(frozen=True)
class FitRecord:
    """The record of a fit that ended, or paused at a rung. `workers.fit_result.FitResult` documents the other fields.

    Attributes:
        reason: why a ``failed`` fit failed.
        held_out_error: the mean squared error on the hidden pixels at ``stop_iteration``; for a paused fit the least so
            far.
        iterations: the iterations that hid pixels.
        revealed: the iterations with all pixels that followed; None where there were none.
        parameters: how many parameters were fitted; for a pruned network those that are left.
        sparsity: the share of all convolution weights that is pruned; None for a prior.
        blind: False if the network was found on a clean reference.
        seconds: the time spent computing, over all attempts that left a checkpoint; fits side by side have each the
            time that they took together.
        multiply_adds: what the iterations cost on any machine (`workers.networks.cost`); None where it is not known.
        arrays: the name of this record's outputs and curves.
        unrecorded: why a GPU started the steps from Python and did not record them; None where it did, or was not to.
    """

    candidate: Name
    view: ViewName
    state: FitState
    reason: str | None = None
    held_out_error: float | None = None
    held_out_standard_error: float | None = None
    stop_iteration: int | None = None
    steady_iteration: int | None = None
    iterations: int | None = None
    revealed: int | None = None
    residual_correlation: float | None = None
    parameters: int | None = None
    sparsity: float | None = None
    blind: bool = True
    seconds: float = 0.0
    arrays: str | None = None
    evaluation: Evaluation | None = None
    multiply_adds: int | None = None
    unrecorded: str | None = None

    def to_json(self) -> bytes:
        """Return the record as plain JSON."""
        return FIT_RECORDS.to_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> "FitRecord":
        """Read a record back.

        Raises:
            NewerFormatError: a newer version has written it.
            ValueError: this is no record of a fit.
        """
        return FIT_RECORDS.from_json(data)


FIT_RECORDS = RecordFormat("the record of a fit", FitRecord, (same_fields,))
"""Format 0 has the same fields without a number."""


@dataclass(frozen=True)
class StepRecord:
    """The way in which all attempts at a fit compute their steps, by its name in `workers.networks.steps`."""

    step: Literal["torch", "channels-last", "contiguous", "winograd", "graph"]


STEP_RECORDS = RecordFormat("the way of a fit's steps", StepRecord, (same_fields,))


def fit_keys(context: RunContext, job: FitJob) -> FitLayout:
    """Return the keys of a fit's objects."""
    return context.layout.fit(job.image.id, job.place, job.name)


def read_record(store: Store, keys: FitLayout, until: int | None = None) -> FitRecord | None:
    """Read the record of a fit's pause after ``until`` iterations, else of its end; None if there is neither.

    So if another arm has taken a fit further, a rung still compares the fit as it was there.
    """
    for key in (None if until is None else keys.rung(until), keys.result):
        with contextlib.suppress(NotFoundError):
            if key is not None:
                return FIT_RECORDS.read(store, key)
    return None


def record_once(store: Store, key: str, record: FitRecord) -> FitRecord:
    """Write a record to the store unless there is one; return the one that counts, which is the first attempt's."""
    return FIT_RECORDS.create_or_read(store, key, record)
