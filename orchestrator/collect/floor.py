"""The classical floor of an image: what filters of seconds make of it, for a run to be better than."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.settings import Config
from workers.classical import Failure, Given, Member, restore_classically
from workers.correlation import CORRELATED, residual_correlation
from workers.noise import Estimate, measured_weights, noise_variance
from workers.seeds import seed_of
from workers.tasks import Observation, measure

NAME = "classical"
"""The name under which the images of the best filters lie, beside those of the arms."""


@dataclass(frozen=True, eq=False)
class Floor:
    """The images that the filters of a task have made of an image.

    Attributes:
        members: one for each filter.
        failures: filters that gave none.
        best: the member with the least error on the hidden pixels; None without a member.
        noise: the variance of the noise that was taken for independent; None where it is unknown or correlated.
    """

    members: list[Member]
    failures: list[Failure]
    best: Member | None
    noise: float | None = None


NO_FLOOR = Floor([], [], None)


def floor_of(
    config: Config, image: str, observation: Observation, hidden: NDArray[np.bool_], noise: Estimate | None
) -> Floor:
    """Filter an image; equal arguments give equal images.

    A fit that has learnt too little leaves structure over, which is correlated as noise may be. What a filter leaves
    over tells the two apart: only there is nothing of the image. So where a fit seems to show that noise is correlated,
    it is first taken for independent, and what the best filter leaves over decides (docs/tasks.md has the rates).

    Args:
        config: The run's settings.
        image: The id of the image, for the filters that draw random numbers.
        observation: The degraded image.
        hidden: The pixels (h, w) that judge; with none of them there is no floor.
        noise: The variance of its noise; None where it is unknown, or a fit has shown that it is correlated.
    """
    if not config.classical.use or not hidden.any():
        return NO_FLOOR
    size = math.prod((observation.shape or observation.pixels.shape)[1:])
    if size * config.task.scale**2 > config.classical.max_pixels:
        return Floor([], [Failure("", "it has more pixels than classical.max_pixels, so it was not filtered")], None)
    if noise is not None:
        return _filtered(config, image, observation, hidden, noise.value)
    if config.task.kind.residual_tells and config.pick.noise == "auto":
        weights = measured_weights(observation.pixels, observation.known)
        raw = noise_variance(observation.pixels, weights)
        floor = _filtered(config, image, observation, hidden, None if raw is None else raw.value)
        if floor.best is not None and floor.noise is not None:
            left = residual_correlation(observation.pixels - floor.best.delivered, weights)
            if left is not None and left <= CORRELATED:
                return floor
    return _filtered(config, image, observation, hidden, None)


def _filtered(
    config: Config, image: str, observation: Observation, hidden: NDArray[np.bool_], noise: float | None
) -> Floor:
    task = config.task.make()
    given = Given(observation, hidden, task, noise, seed_of(config.seed, image, NAME))
    members, failures = restore_classically(given, config.classical.denoisers())

    def error(member: Member) -> float:
        image, optimism = member.as_delivered(noise)
        seen = measure(task.operator_of(observation), image)[:, hidden]
        return float(np.square(seen - observation.pixels[:, hidden], dtype=np.float64).mean()) + 2 * optimism

    return Floor(members, failures, min(members, key=error, default=None), noise)
