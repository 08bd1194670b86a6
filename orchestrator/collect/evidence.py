"""The figures of a restored image, from its fit's record, the observation and the clean reference.

Only three places see a clean reference: this module, the observer inside a fit, and a search for masks with
``lottery.target=clean``.
"""

import math
from collections.abc import Iterable
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.floor import NO_FLOOR, Floor, floor_of
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

_NOT_OF_THE_RECORD = (
    "candidate",
    "state",
    "reason",
    "stop_iteration",
    "iterations",
    "revealed",
    "seconds",
    "blind",
    "multiply_adds",
)
"""Fields that a row and a fit's record share by name only. A row gets them elsewhere.

Most of them concern the whole arm; ``candidate`` is text in a row.
"""


def _common(record: type, *without: str) -> tuple[str, ...]:
    """Return the fields that rows and these records have in common, except some."""
    known = {field.name for field in fields(record)} - set(without)
    return tuple(field.name for field in fields(Row) if field.name in known)


_OF_THE_RECORD = _common(FitRecord, *_NOT_OF_THE_RECORD)
"""A row takes every other figure from the fit's field of the same name."""
_OF_THE_EVALUATION = _common(Evaluation, "psnr")
"""The same holds for the fit's comparison with the reference, except its PSNR: a row has that of the whole restored
image."""


def _taken(record: FitRecord | Evaluation | None, names: Iterable[str]) -> dict[str, Any]:
    """Return these fields of a record; all are None without a record."""
    return {name: getattr(record, name, None) for name in names}


def _before_reveal(record: FitRecord) -> float | None:
    """The PSNR of a fit's output that has not seen all pixels, if there is one that has."""
    return None if record.evaluation is None or record.revealed is None else record.evaluation.psnr


class Evidence:
    """The picture, observation and reference that an image's figures are made from, loaded once for all arms."""

    _floor: Floor | None = None

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self.context, self.image = context, image
        self._problem = problem = Problem(context, image)
        self._task = context.config.task.make()
        self.picture = problem.picture
        self.observation: Observation = problem.observation
        self.before = problem.unrestored
        self.reference = problem.reference
        self.black, self.peak = problem.black, problem.peak
        if self.reference is not None and self.picture.kept is not None and not context.simulate:
            kept = resized(self.picture, *self.reference.shape[1:]).kept
            self.reference = np.where(np.asarray(kept), np.float32(np.nan), self.reference)

    @cached_property
    def hidden(self) -> NDArray[np.bool_]:
        """The observed pixels (h, w) that no fit at full size has seen."""
        return self._problem.measurement(self._problem.view("full")).held_out

    def floor(self, noise: Estimate | None) -> Floor:
        """The classical filters' images. They are made once: the noise is what the first arm's pick has left over."""
        if self._floor is None:
            config, image = self.context.config, self.image
            self._floor = NO_FLOOR
            if image.is_stacked:
                self._floor = floor_of(config, image.id, self.observation, self.hidden, noise)
        return self._floor

    def show(self) -> None:
        """Write the small pictures that all arms have in common."""
        shown: dict[Preview, Array | None] = {"degraded": self.before, "reference": self.reference}
        for what, pixels in shown.items():
            if pixels is not None:
                self.context.store.put(self.context.layout.preview(self.image.id, what), preview(self.shown(pixels)))

    def shown(self, pixels: Array) -> Array:
        """Pixels on the scale where black is 0 and white is 1."""
        return pixels if (self.black, self.peak) == (0.0, 1.0) else (pixels - np.float32(self.black)) / self.peak

    def with_known(self, output: Array) -> Array:
        """Put known pixels back into a network's output, if pixels are missing and ``task.keep_known`` asks for it."""
        known, task = self.observation.known, self.context.config.task
        missing = self.image.mask is not None or (task.kind.needs_masks and self.image.is_stacked)
        if known is None or not missing or not task.keep_known:
            return output
        return np.where(known, self.observation.pixels, output)

    def encoded(self, pixels: Array) -> bytes:
        """Encode a restored image as a file like the given one."""
        like = resized(self.picture, *pixels.shape[1:])
        # In a simulation, no sample of the clean file may get into the restored one.
        return encode(pixels, replace(like, exact=None, kept=None) if self.context.simulate else like)

    def noise(self, output: Array) -> Estimate | None:
        """Estimate the variance of the noise that a fit left over; None if noise cannot be distinguished from the
        image."""
        return self._task.estimated_noise(self.observation, output)

    def estimate(self, record: FitRecord, output: Array) -> tuple[float, float] | None:
        """Return the interval of PSNR that a fit's held-out error allows; None if the error is not enough for one."""
        if record.held_out_error is None or record.held_out_standard_error is None:
            return None
        held_out = Estimate(record.held_out_error, record.held_out_standard_error)
        masked = self.image.mask is not None
        return self._task.psnr_interval(held_out, self.observation, output, masked=masked)

    def figures(self, row: Row, record: FitRecord, output: Array, pixels: Array, *, correlated: bool) -> Row:
        """Fill in the row of a fit. ``output`` is what hidden pixels judge, ``pixels`` the restored image: what has
        seen all pixels, with the known pixels put back."""
        interval = None if correlated else self.estimate(record, output)
        name = record.candidate
        chain = chain_of(name)
        row = replace(
            row,
            **_taken(record, _OF_THE_RECORD),
            candidate=str(name),
            state=RowState.RESTORED,
            stop_iteration=record.steady_iteration if correlated else record.stop_iteration,
            revealed=None if correlated else record.revealed,
            psnr_low=None if interval is None else interval[0] + 20 * math.log10(self.peak),
            psnr_high=None if interval is None else interval[1] + 20 * math.log10(self.peak),
            round=name.number if isinstance(name, Round) else None,
            initialisation=None if chain is None else chain.initialisation,
            source=None if chain is None else chain.source,
        )
        if self.reference is None:
            return row
        return replace(
            row,
            **_taken(record.evaluation, _OF_THE_EVALUATION),
            psnr_before_reveal=None if correlated else _before_reveal(record),
            psnr_degraded=psnr(self.before, self.reference, self.peak),
            psnr=psnr(pixels, self.reference, self.peak),
            psnr_y=psnr_y(self.shown(pixels), self.shown(self.reference))
            if self.context.config.task.scale > 1
            else None,
            ssim=ssim(self.shown(pixels), self.shown(self.reference)),
        )
