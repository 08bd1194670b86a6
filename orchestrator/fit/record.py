"""The record of a fit, and its place in the store. Light, for processes that compute nothing."""

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
    """What only a clean reference can tell, in dB; kept apart from everything that is chosen by.

    ``psnr`` is that of the output where the fit was stopped, ``psnr_steady`` where its outputs varied least, and
    ``psnr_oracle_stop`` the best of all iterations, ``psnr_last`` that after the last one.
    """

    psnr: float
    psnr_steady: float
    psnr_oracle_stop: float
    psnr_last: float | None = None


@dataclass(frozen=True)
class FitRecord:
    """What is known of a fit that ended, or paused at a rung.

    A ``failed`` one says why in ``reason``. ``held_out_error`` is the mean squared error on the hidden pixels at
    ``stop_iteration`` (of a paused one: the least so far), ``seconds`` the time spent computing, over all attempts that
    left a checkpoint, ``arrays`` tells which outputs and curves are this record's. ``parameters`` are those that are
    fitted; of a pruned network (of all its convolution weights the share ``sparsity`` is gone) those that are left. It
    is not ``blind`` if what was fitted was found on a clean reference. For the rest see
    `workers.fitting.FitResult`.
    """

    candidate: Name
    view: ViewName
    state: Literal["done", "failed", "paused"]
    reason: str | None = None
    held_out_error: float | None = None
    held_out_standard_error: float | None = None
    stop_iteration: int | None = None
    steady_iteration: int | None = None
    iterations: int | None = None
    residual_correlation: float | None = None
    parameters: int | None = None
    sparsity: float | None = None
    blind: bool = True
    seconds: float = 0.0
    arrays: str | None = None
    evaluation: Evaluation | None = None

    def to_json(self) -> bytes:
        """Plain JSON."""
        return FIT_RECORDS.to_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> "FitRecord":
        """The record back.

        Raises:
            NewerFormatError: a newer version has written it.
            ValueError: this is no record of a fit.
        """
        return FIT_RECORDS.from_json(data)


FIT_RECORDS = RecordFormat("the record of a fit", FitRecord, (same_fields,))
"""Format 0: the same fields without a number."""


def fit_keys(context: RunContext, job: FitJob) -> FitLayout:
    """Where a fit's objects are."""
    return context.layout.fit(job.image.id, job.view, job.name)


def read_record(store: Store, keys: FitLayout, until: int | None = None) -> FitRecord | None:
    """The record of a fit's pause after ``until`` iterations, or else of its end; None if there is neither.

    A fit that another arm has taken further is thus compared at a rung as it was there.
    """
    for key in (None if until is None else keys.rung(until), keys.result):
        with contextlib.suppress(NotFoundError):
            if key is not None:
                return FIT_RECORDS.read(store, key)
    return None


def record_once(store: Store, key: str, record: FitRecord) -> FitRecord:
    """Leave a record in the store; returns the one that counts, which is the first attempt's."""
    return FIT_RECORDS.create_or_read(store, key, record)
