"""The figures of a restored image: from its fit's record, and from what was observed and the clean reference.

This is the only place, beside the observer inside a fit and a search for masks that was asked to, that sees a clean reference.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.fit.problem import Problem
from orchestrator.fit.record import Evaluation, FitRecord
from orchestrator.images import encode, preview, resized
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import Preview
from orchestrator.run.rows import Row, RowState
from workers.names import Round, chain_of
from workers.noise import Estimate
from workers.quality import psnr, psnr_y, ssim
from workers.tasks import Observation

Array = NDArray[np.float32]

_NOT_OF_THE_RECORD = ("state", "reason", "stop_iteration", "iterations", "seconds", "blind")
"""Fields of a row that stand in its fit's record under the same name and are found otherwise: most of them concern the arm."""


def _common(record: type, *apart: str) -> tuple[str, ...]:
    """The fields that rows and these records have in common, but for some."""
    known = {field.name for field in fields(record)} - set(apart)
    return tuple(field.name for field in fields(Row) if field.name in known)


_OF_THE_RECORD = _common(FitRecord, *_NOT_OF_THE_RECORD)
"""Every other figure of a fit is its row's by its name alone."""
_OF_THE_EVALUATION = _common(Evaluation, "psnr")
"""So is what the reference told during the fit; the PSNR itself is that of the whole restored image."""


def _taken(record: FitRecord | Evaluation | None, names: Iterable[str]) -> dict[str, Any]:
    """These fields of a record; each is None where there is no record."""
    return {name: getattr(record, name, None) for name in names}


class Evidence:
    """What the figures of an image are made from, loaded once for all arms."""

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self.context, self.image = context, image
        self._task = context.config.task.make()
        problem = Problem(context, image)
        self.picture = problem.picture
        self.observation: Observation = problem.observation
        self.before = problem.unrestored
        self.reference = problem.reference

    def show(self) -> None:
        """Small pictures of what all arms have in common."""
        shown: dict[Preview, Array | None] = {"degraded": self.before, "reference": self.reference}
        for what, pixels in shown.items():
            if pixels is not None:
                self.context.store.put(self.context.layout.preview(self.image.id, what), preview(pixels))

    def with_known(self, output: Array) -> Array:
        """A network's output with the pixels that the user's mask knows as they were, if that is wished."""
        known = self.observation.known
        if known is None or self.image.mask is None or not self.context.config.task.keep_known:
            return output
        return np.where(known, self.observation.pixels, output)

    def encoded(self, pixels: Array) -> bytes:
        """A restored image as a file like the one that was given."""
        like = resized(self.picture, *pixels.shape[1:])
        # Of a clean file that was degraded for the occasion no sample may find its way into the restored one.
        return encode(pixels, replace(like, exact=None) if self.context.simulate else like)

    def noise(self, output: Array) -> Estimate | None:
        """The variance of the noise that a fit left over; None where no noise can be told from the image."""
        return self._task.estimated_noise(self.observation, output)

    def estimate(self, record: FitRecord, output: Array) -> tuple[float, float] | None:
        """The interval of PSNR that a fit's held-out error allows; None where it says too little."""
        if record.held_out_error is None or record.held_out_standard_error is None:
            return None
        held_out = Estimate(record.held_out_error, record.held_out_standard_error)
        masked = self.image.mask is not None
        return self._task.psnr_interval(held_out, self.observation, output, masked=masked)

    def figures(self, row: Row, record: FitRecord, output: Array, pixels: Array, *, correlated: bool) -> Row:
        """The row of a fit that has restored the image as ``pixels``, which are its ``output`` and what was known."""
        interval = None if correlated else self.estimate(record, output)
        name = record.candidate
        chain = chain_of(name)
        row = replace(
            row,
            **_taken(record, _OF_THE_RECORD),
            state=RowState.RESTORED,
            stop_iteration=record.steady_iteration if correlated else record.stop_iteration,
            psnr_low=None if interval is None else interval[0],
            psnr_high=None if interval is None else interval[1],
            round=name.number if isinstance(name, Round) else None,
            initialisation=None if chain is None else chain.initialisation,
            source=None if chain is None else chain.source,
        )
        if self.reference is None:
            return row
        return replace(
            row,
            **_taken(record.evaluation, _OF_THE_EVALUATION),
            psnr_degraded=psnr(self.before, self.reference),
            psnr=psnr(pixels, self.reference),
            psnr_y=psnr_y(pixels, self.reference) if self.context.config.task.scale > 1 else None,
            ssim=ssim(pixels, self.reference),
        )
