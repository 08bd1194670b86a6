"""The classical floor of an image: what filters of seconds make of it, for a run to be better than."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.settings import Config
from workers.classical import Failure, Given, Member, restore_classically
from workers.noise import Estimate
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
    """

    members: list[Member]
    failures: list[Failure]
    best: Member | None


NO_FLOOR = Floor([], [], None)


def floor_of(
    config: Config, image: str, observation: Observation, hidden: NDArray[np.bool_], noise: Estimate | None
) -> Floor:
    """Filter an image; equal arguments give equal images.

    Args:
        config: The run's settings.
        image: The id of the image, for the filters that draw random numbers.
        observation: The degraded image.
        hidden: The pixels (h, w) that judge; with none of them there is no floor.
        noise: The variance of its noise; None where it is unknown or correlated.
    """
    if not config.classical.use or not hidden.any():
        return NO_FLOOR
    task = config.task.make()
    variance = None if noise is None else noise.value
    given = Given(observation, hidden, task, variance, seed_of(config.seed, image, NAME))
    members, failures = restore_classically(given, config.classical.denoisers())

    def error(member: Member) -> float:
        seen = measure(task.operator, member.judged)[:, hidden]
        squared = float(np.square(seen - observation.pixels[:, hidden], dtype=np.float64).mean())
        return squared + 2 * (variance or 0.0) * member.divergence

    return Floor(members, failures, min(members, key=error, default=None))
