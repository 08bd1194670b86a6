"""The images that the fits of an arm combine to, and which of them is delivered."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Fits, Fitted
from orchestrator.collect.floor import Floor
from orchestrator.run.rows import Delivered
from workers.noise import Estimate
from workers.seeds import seed_of
from workers.stacking import Combination, HeldOut, Weighting, best_of, equal, mean_of, stacked

Array = NDArray[np.float32]

_STRIP = 256
"""Rows of an image that are summed in float64 at a time: a photograph would take twice its memory."""


@dataclass(frozen=True, eq=False)
class Stack:
    """The stack of an arm's fits and of the classical filters, and how it compares.

    Attributes:
        output: the combined output (C, H, W).
        weights: of the networks and filters that are in it, by name; the heaviest first.
        errors: cross-validated errors on the held-out pixels of everything that could be delivered; None where unknown.
        delivered: what is (`delivered_of`).
        noise: the noise's variance, which is part of every error.
    """

    output: Array
    weights: dict[str, float]
    errors: dict[Delivered, Estimate | None]
    delivered: Delivered
    noise: float = 0.0

    def value_of(self, way: Delivered) -> float | None:
        """An error without its standard error."""
        error = self.errors.get(way)
        return None if error is None else error.value

    def gain_over(self, other: float | None) -> float | None:
        """How much better, in dB, what is delivered is than something with another error, both less the noise.

        None where an error is unknown, or is hardly above the noise.
        """
        own = self.value_of(self.delivered)
        if own is None or other is None or min(own, other) <= self.noise:
            return None
        return 10 * math.log10((other - self.noise) / (own - self.noise))


def delivered_of(ways: Mapping[Delivered, Combination]) -> Delivered:
    """Which of the combinations is delivered: the stack, unless the pick, the mean or a filter is better.

    A stack could be any of the others. It is not for a reason that cross-validation found, so pick or mean must be
    clearly better to be delivered. Of equal ones the simplest is. Whatever a filter's image gains is enough, for no run
    delivers what seems worse than a filter.
    """
    if ways["stack"].error is None:
        return "pick"
    simpler: list[Delivered] = ["pick", "mean"]
    least = min(simpler, key=lambda way: ways[way].squared.mean())
    stack, other = ways["stack"], ways[least]
    takes = other.is_clearly_better(stack) or other.squared.mean() == stack.squared.mean()
    chosen: Delivered = least if takes else "stack"
    floor = ways.get("classical")
    return "classical" if floor is not None and floor.squared.mean() < ways[chosen].squared.mean() else chosen


def stack_of(
    evidence: Evidence,
    fits: Fits,
    members: Sequence[Fitted],
    averaged: int,
    *,
    noise: float,
    floor: Floor,
    steady: bool,
) -> Stack | None:
    """Stack the fits of an arm at full size, and the images of the classical filters.

    Fits that end with all pixels are judged before, at their stops, and filters by an image that was made without the
    hidden pixels. So neither has seen them, and what is combined in the end has seen them all. That compares like with
    like: to have seen them helps both (docs/classical.md has figures). Fits that hide pixels to the end are compared
    with what filters deliver, whose optimism is known (`workers.stacking.HeldOut`).

    Args:
        evidence: The observation of the image, and the pixels of it that are hidden.
        fits: Read the outputs, one by one: a cohort at full size may have hundreds.
        members: The fits.
        averaged: How many of them, from the first, are in the arm's mean.
        noise: The noise's variance.
        floor: The filters' images.
        steady: Whether a fit's image is where its outputs varied least; their mean has equal weights then.

    Returns:
        None with fewer than two images to combine, or where no fit or no pixel can be judged.
    """
    hidden, filters = evidence.hidden, floor.members
    if not members or len(members) + len(filters) < 2 or not hidden.any():
        return None
    to_the_end = steady or not any(fit.record.revealed for fit in members)
    judged = [each.as_delivered(noise if to_the_end else None) for each in filters]
    restored = np.stack(
        [
            *(_on(hidden, fits.output(fit, steady=steady)) for fit in members),
            *(_on(hidden, image) for image, _ in judged),
        ]
    )
    if not np.isfinite(restored[: len(members)]).all(axis=(1, 2)).any():
        return None
    measured = evidence.observation.pixels[:, hidden]
    optimism = np.array([0.0] * len(members) + [each for _, each in judged])

    def combined(weighting: Weighting, some: slice) -> Combination:
        # The same seed makes the same folds, so that errors compare.
        random = np.random.default_rng(seed_of(evidence.context.config.seed, evidence.image.id, "stack"))
        return HeldOut(restored[some], measured, random, optimism[some]).combined(weighting)

    stack = combined(stacked, slice(None))
    ways: dict[Delivered, Combination] = {
        "pick": combined(best_of, slice(averaged)),
        "mean": combined(equal if steady else mean_of(noise), slice(averaged)),
        "stack": stack,
    }
    if filters:
        ways["classical"] = combined(best_of, slice(len(members), None))
    output: NDArray[np.float64] | None = None
    weights = {}
    for place, weight in _heaviest_first(stack):
        if place < len(members):
            name = str(members[place].record.candidate)
            pixels = fits.delivered(members[place], steady=steady)
        else:
            name, pixels = filters[place - len(members)].name, filters[place - len(members)].delivered
        output = np.zeros(pixels.shape) if output is None else output
        for rows in strips(pixels.shape[1]):
            output[:, rows] += weight * pixels[:, rows].astype(np.float64)
        weights[name.replace(" ", "-")] = weight
    errors = {way: each.error for way, each in ways.items()}
    return Stack(np.asarray(output, dtype=np.float32), weights, errors, delivered_of(ways), noise)


def strips(height: int) -> Iterator[slice]:
    """The rows of an image in strips: a photograph in float64 takes much memory, and several of it more."""
    return (slice(top, top + _STRIP) for top in range(0, height, _STRIP))


def _on(hidden: NDArray[np.bool_], output: Array) -> Array:
    """An output on the hidden pixels (C, n); NaN if it is not finite everywhere, so that it gets no weight."""
    pixels: Array = output[:, hidden]
    return pixels if np.isfinite(output).all() else np.full_like(pixels, np.nan)


def _heaviest_first(stack: Combination) -> Iterator[tuple[int, float]]:
    for place in np.argsort(-stack.weights, kind="stable"):
        if stack.weights[place] > 0:
            yield int(place), float(stack.weights[place])
