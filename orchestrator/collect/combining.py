"""The images that the fits of an arm combine to, and which of them is delivered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Fits, Fitted
from orchestrator.run.rows import Delivered
from workers.noise import Estimate
from workers.seeds import seed_of
from workers.stacking import Combination, HeldOut, Weighting, best_of, mean_of, stacked

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stack:
    """The stack of an arm's fits, and how it compares.

    Attributes:
        output: the combined output (C, H, W).
        weights: of the networks that are in it, by name; the heaviest first.
        errors: cross-validated errors on the held-out pixels of everything that could be delivered; None where unknown.
    """

    output: Array
    weights: dict[str, float]
    errors: dict[Delivered, Estimate | None]

    @property
    def delivered(self) -> Delivered:
        """What has the least error; of equal ones the simplest."""
        ways: tuple[Delivered, ...] = ("pick", "mean", "stack")
        return min(ways, key=lambda way: np.inf if (error := self.errors[way]) is None else error.value)

    def value_of(self, way: Delivered) -> float | None:
        """An error without its standard error."""
        error = self.errors[way]
        return None if error is None else error.value


def stack_of(evidence: Evidence, fits: Fits, members: Sequence[Fitted], averaged: int, noise: float) -> Stack | None:
    """Stack the fits of an arm at full size.

    Args:
        evidence: The observation of the image, and the pixels of it that no fit has seen.
        fits: Read the outputs, one by one: a cohort at full size may have hundreds.
        members: The fits.
        averaged: How many of them, from the first, are in the arm's mean.
        noise: The noise's variance, for the weights of the mean.

    Returns:
        None with fewer than two members, or where no pixel is hidden or no member is finite.
    """
    hidden = evidence.hidden
    if len(members) < 2 or not hidden.any():
        return None
    restored = np.stack([_on(hidden, fits.output(fit, steady=False)) for fit in members])
    if not np.isfinite(restored).all(axis=(1, 2)).any():
        return None
    measured = evidence.observation.pixels[:, hidden]

    def combined(weighting: Weighting, count: int) -> Combination:
        # The same seed makes the same folds, so that errors compare.
        random = np.random.default_rng(seed_of(evidence.context.config.seed, evidence.image.id, "stack"))
        return HeldOut(restored[:count], measured, random).combined(weighting)

    stack = combined(stacked, len(members))
    errors: dict[Delivered, Estimate | None] = {
        "pick": combined(best_of, averaged).error,
        "mean": combined(mean_of(noise), averaged).error,
        "stack": stack.error,
    }
    output = np.zeros(fits.output(members[0], steady=False).shape)
    weights = {}
    for place, weight in _heaviest_first(stack):
        output += weight * fits.output(members[place], steady=False)
        weights[str(members[place].record.candidate)] = weight
    return Stack(output.astype(np.float32), weights, errors)


def _on(hidden: NDArray[np.bool_], output: Array) -> Array:
    """An output on the hidden pixels (C, n); NaN if it is not finite everywhere, so that it gets no weight."""
    pixels: Array = output[:, hidden]
    return pixels if np.isfinite(output).all() else np.full_like(pixels, np.nan)


def _heaviest_first(stack: Combination) -> Iterator[tuple[int, float]]:
    for place in np.argsort(-stack.weights, kind="stable"):
        if stack.weights[place] > 0:
            yield int(place), float(stack.weights[place])
