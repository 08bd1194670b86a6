"""The restored files of an image: the pick, and with several fits also their mean and a map of where they disagree."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.evidence import Evidence
from orchestrator.fit.record import FitRecord
from orchestrator.images import encode_map, preview
from orchestrator.run.layout import Preview
from orchestrator.run.rows import Row
from workers.quality import psnr

Array = NDArray[np.float32]


def mean_weights(held_out_errors: Sequence[float | None], noise: float) -> NDArray[np.float64]:
    """Weight fits in their mean by one over their estimated true error, which is held-out error minus noise variance.

    These weights average independent errors best. The noise is limited to nine tenths of the least error, because a
    larger estimate would leave almost no error. Without held-out errors all weights are equal.
    """
    errors = np.array([np.nan if error is None else error for error in held_out_errors])
    if not np.isfinite(errors).all():
        return np.full(len(errors), 1 / len(errors))
    weights = 1 / np.maximum(errors - min(noise, 0.9 * errors.min()), 1e-12)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def restore(
    evidence: Evidence,
    row: Row,
    records: Sequence[FitRecord],
    outputs: Sequence[Array],
    *,
    correlated: bool,
    previews: bool,
) -> Row:
    """Write an arm's restored files and return its row with their figures.

    Args:
        evidence: The picture, observation and reference of the image.
        row: The arm's row as far as it is known.
        records: The records of the fits to restore with, the pick first.
        outputs: Their outputs (C, H, W).
        correlated: Whether held-out errors mislead, so that all fits have equal weights in the mean.
        previews: Whether to write small pictures for the report too.
    """
    image, store, layout = evidence.image, evidence.context.store, evidence.context.layout
    pick, record = outputs[0], records[0]
    mean: Array | None = None
    spread: Array | None = None
    if len(outputs) > 1:
        errors = [None if correlated else other.held_out_error for other in records]
        noise = evidence.noise(pick)
        weights = mean_weights(errors, 0.0 if noise is None else noise.value)
        mean = np.average(outputs, axis=0, weights=weights).astype(np.float32)
        spread = np.std(outputs, axis=0, dtype=np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    pick = evidence.with_known(pick)
    store.put(layout.restored(row.arm, "pick", image.restored), evidence.encoded(pick))
    if mean is not None and spread is not None:
        mean = evidence.with_known(mean)
        store.put(layout.restored(row.arm, "mean", image.restored), evidence.encoded(mean))
        store.put(layout.restored(row.arm, "spread", image.spread), encode_map(spread))
    if previews:
        brightest = None if spread is None else spread / max(float(spread.max()), 1e-12)
        shown: dict[Preview, Array | None] = {"restored": pick, "mean": mean, "spread": brightest}
        for what, pixels in shown.items():
            if pixels is not None:
                store.put(
                    layout.preview(image.id, what, row.arm),
                    preview(pixels if what == "spread" else evidence.shown(pixels)),
                )
    row = evidence.figures(row, record, outputs[0], pick, correlated=correlated)
    if evidence.reference is None or mean is None:
        return row
    return replace(row, psnr_mean=psnr(mean, evidence.reference, evidence.peak))
