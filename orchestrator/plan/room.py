"""The room that a run takes in the store."""

import contextlib

from orchestrator.arms.arm import Arm
from orchestrator.arms.candidates import candidates_of
from orchestrator.arms.lottery import rounds_in
from orchestrator.fit.cost import fitted_sides
from orchestrator.plan.plan import Plan
from orchestrator.run.inputs import InputImage
from orchestrator.score.bank import bank_of, missing_parts
from orchestrator.store import Store
from workers.fingerprints import fingerprint_dtype

_DEPTH_BYTES = 2
"""A restored file has the bit depth of the given one, 16 bits at most, and noise hardly gets smaller in it."""
_PREVIEWS_BYTES = 400_000
_RECORDS_BYTES = 60_000
_SCORE_BYTES = 60
_CURVE_BYTES = 8
_HEADER_BYTES = 640


def store_bytes(plan: Plan, store: Store) -> int:
    """The most bytes that a run adds to the store and leaves there; images that the store has already count, too.

    While it goes on there are also the cohorts of the images under way and checkpoints.
    """
    total = 0
    for upload in plan.uploads:
        for path in (upload.path, upload.reference_path, upload.mask_path):
            # A file may vanish between the look at it and this one; the run says so.
            with contextlib.suppress(OSError):
                total += 0 if path is None else path.stat().st_size
    banks = {spec for image in plan.images if (spec := bank_of(plan.config, image)) is not None}
    for spec in banks:
        each = fingerprint_dtype(spec).itemsize
        missing = missing_parts(store, plan.config, spec, candidates_of(plan.config))
        total += sum(_HEADER_BYTES + each * len(part.candidates) for part in missing)
    per_image = [_of_image(plan, image) for image in plan.images]
    shown = min(plan.config.keep.report_images, len(per_image))
    # Files that have not been looked at are taken to be like those that have.
    coming = max(0, plan.count - len(per_image)) * (sum(per_image) // max(1, len(per_image)))
    return total + sum(per_image) + coming + shown * _PREVIEWS_BYTES


def _of_image(plan: Plan, image: InputImage) -> int:
    config = plan.config
    values = config.task.scale**2 * image.height * image.width * image.channels
    curves = 2 * _CURVE_BYTES * config.fit.iterations
    total = _RECORDS_BYTES + _SCORE_BYTES * plan.candidates
    for arm in plan.arms:
        # What is delivered, the pick, and with others their mean, their stack and where they differ.
        files = 2 if arm.full_fits == 1 else 5
        total += files * _DEPTH_BYTES * values
        outputs = 2 + (image.is_stacked and config.fit.reveal > 0)
        if config.keep.fits != "none":
            total += _at_full_size(plan, arm) * (4 * outputs * values + curves)
        if config.keep.fits == "all" and arm.refits:
            height, width = fitted_sides(config, image, arm.view)
            total += arm.size * (4 * 2 * height * width * image.channels + curves)
    return total + (_DEPTH_BYTES * values if config.classical.use else 0)


def _at_full_size(plan: Plan, arm: Arm) -> int:
    if arm.is_lottery:
        return arm.size * len(rounds_in(plan.config, plan.arms))
    return arm.full_fits
