"""The restored files of an image: what is delivered, the pick, and with several fits also their mean, their stack and a
map of where they disagree."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.combining import Stack, stack_of, strips
from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Fits, Fitted
from orchestrator.collect.floor import NAME as CLASSICAL
from orchestrator.collect.floor import Floor
from orchestrator.images import encode_map, preview
from orchestrator.run.layout import Preview
from orchestrator.run.rows import Delivered, Row
from workers.quality import psnr
from workers.stacking import inverse_error_weights

Array = NDArray[np.float32]


def restore(
    evidence: Evidence,
    row: Row,
    fits: Fits,
    best: Sequence[Fitted],
    members: Sequence[Fitted],
    *,
    correlated: bool,
    previews: bool,
) -> Row:
    """Write an arm's restored files and return its row with their figures.

    Args:
        evidence: The picture, observation and reference of the image.
        row: The arm's row as far as it is known.
        fits: Read the outputs.
        best: The fits of the mean, the pick first.
        members: The fits to stack, those of ``best`` first; none where held-out pixels say too little for that.
        correlated: Whether held-out errors mislead, so that a fit's result is where its outputs varied least, and all
            fits have equal weights in the mean.
        previews: Whether to write small pictures for the report too.
    """
    # Errors and noise are those of the outputs at the stops; what is delivered has seen all pixels.
    judged = fits.output(best[0], steady=correlated)
    estimated = evidence.noise(judged)
    noise = 0.0 if estimated is None else estimated.value
    floor = evidence.floor(None if correlated else estimated)
    if correlated:
        # Held-out pixels compare only if what a filter leaves over shows independent noise after all.
        members = [] if floor.noise is None else members
    stack = stack_of(
        evidence,
        fits,
        members,
        len(best),
        noise=floor.noise or 0.0 if correlated else noise,
        floor=floor,
        steady=correlated,
    )
    outputs = [fits.delivered(fit, steady=correlated) for fit in best]
    made: dict[Delivered, Array] = {"pick": outputs[0]}
    spread: Array | None = None
    if len(outputs) > 1:
        errors = [None if correlated else fit.record.held_out_error for fit in best]
        weights = inverse_error_weights(np.array(errors, dtype=np.float64), noise)
        made["mean"], spread = mean_and_spread(outputs, weights)
        del outputs[1:]
    if stack is not None:
        made["stack"] = stack.output
    if floor.best is not None:
        made["classical"] = floor.best.delivered
    made = {way: evidence.with_known(output) for way, output in made.items()}
    row = evidence.figures(row, best[0].record, judged, made["pick"], correlated=correlated)
    if evidence.image.is_stacked:
        row = replace(row, delivered="pick" if stack is None else stack.delivered)
    if floor.best is not None:
        row = replace(row, classical=floor.best.name)
    row = replace(row, note="; ".join(_notes(row, floor, seen=correlated and stack is not None)) or None)
    _write(evidence, row, made, spread, previews=previews)
    return _with_figures(row, evidence, made, stack)


def mean_and_spread(outputs: Sequence[Array], weights: NDArray[np.float64]) -> tuple[Array, Array]:
    """The weighted mean (C, H, W) of outputs, and where they disagree (1, H, W)."""
    mean = np.empty_like(outputs[0])
    spread = np.empty((1, *mean.shape[1:]), np.float32)
    for rows in strips(mean.shape[1]):
        strip = [output[:, rows] for output in outputs]
        mean[:, rows] = np.average(strip, axis=0, weights=weights)
        spread[:, rows] = np.std(strip, axis=0, dtype=np.float64).mean(axis=0, keepdims=True)
    return mean, spread


def _notes(row: Row, floor: Floor, *, seen: bool) -> Iterator[str]:
    """The row's note, and what is to be said of the filters; ``seen``: whether they have shown independent noise."""
    if row.note is not None:
        yield row.note
    if seen:
        yield "what a filter leaves over is not correlated, so the hidden pixels chose what is delivered"
    for failure in floor.failures:
        yield f"the filter {failure.name} gave nothing ({failure.reason})" if failure.name else failure.reason


def _write(evidence: Evidence, row: Row, made: dict[Delivered, Array], spread: Array | None, *, previews: bool) -> None:
    image, store, layout = evidence.image, evidence.context.store, evidence.context.layout
    for way, pixels in made.items():
        encoded = evidence.encoded(pixels)
        if way == "classical":
            store.put(layout.restored(CLASSICAL, "best", image.restored), encoded)
        else:
            store.put(layout.restored(row.arm, way, image.restored), encoded)
        if way == row.delivered:
            store.put(layout.restored(row.arm, "best", image.restored), encoded)
    if spread is not None:
        store.put(layout.restored(row.arm, "spread", image.spread), encode_map(spread))
    if not previews:
        return
    names: dict[Delivered, Preview] = {
        "pick": "restored",
        "mean": "mean",
        "stack": "stack",
        "classical": "classical",
    }
    for way, pixels in made.items():
        arm = None if way == "classical" else row.arm
        store.put(layout.preview(image.id, names[way], arm), preview(evidence.shown(pixels)))
    if spread is not None:
        store.put(layout.preview(image.id, "spread", row.arm), preview(spread / max(float(spread.max()), 1e-12)))


def _with_figures(row: Row, evidence: Evidence, made: dict[Delivered, Array], stack: Stack | None) -> Row:
    """The row with the figures of the mean, the stack and what is delivered."""
    if stack is not None:
        error = stack.errors["stack"]
        row = replace(
            row,
            held_out_pick=stack.value_of("pick"),
            held_out_mean=stack.value_of("mean"),
            held_out_stack=stack.value_of("stack"),
            held_out_stack_standard_error=None if error is None else error.standard_error,
            held_out_classical=stack.value_of("classical"),
            gain_over_classical=stack.gain_over(stack.value_of("classical")),
            # The error of a noisy pixel is the noise, and what is delivered has this and the noise as its error here.
            gain_over_degraded=stack.gain_over(2 * stack.noise) if stack.noise else None,
            stack_weights=" ".join(f"{name}={weight:.4f}" for name, weight in stack.weights.items()),
        )
    if evidence.reference is None:
        return row
    reference, peak = evidence.reference, evidence.peak
    values = {way: psnr(pixels, reference, peak) for way, pixels in made.items()}
    delivered = None if row.delivered is None else values[row.delivered]
    classical = values.get("classical")
    return replace(
        row,
        psnr_classical=classical,
        gain_over_degraded=_less(delivered, row.psnr_degraded),
        gain_over_classical=_less(delivered, classical),
        psnr_mean=values.get("mean"),
        psnr_stack=values.get("stack"),
        psnr_delivered=delivered,
    )


def _less(value: float | None, other: float | None) -> float | None:
    """Their difference; None where it is not known, or both are infinite."""
    if value is None or other is None or math.isnan(difference := value - other):
        return None
    return difference
