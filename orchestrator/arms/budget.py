"""What an arm's fits of an image come to in iterations, and how large a cohort a budget pays for."""

from collections.abc import Callable

from orchestrator.arms.arm import Arm
from orchestrator.settings import Config


def cohort_iterations(arm: Arm, iterations: int, keep_share: float) -> int:
    """The most iterations of an arm's whole cohort, with the worse members ended at every rung."""
    total, before, size = 0, 0, arm.size
    for rung in (*arm.rungs, iterations):
        total += size * (rung - before)
        size, before = arm.going_on(size, keep_share), rung
    return total


def full_iterations(config: Config, arm: Arm) -> float:
    """The most iterations of an arm's fits at full size that are no part of its cohort's own: those that are begun
    anew, and those with all pixels that end every fit at full size."""
    ended = arm.refits or (arm.full_fits if arm.rungs else arm.size)
    return (arm.refits + config.fit.reveal * ended) * config.fit.iterations


def iterations_of_arm(config: Config, arm: Arm) -> float:
    """The most iterations that an arm fits to an image: what ``cohort.budget`` counts.

    An iteration counts as one on every view and with every network, so that what a budget pays for is known before any
    image is, and equal for all of them.
    """
    cohort = cohort_iterations(arm, config.iterations(arm.view), config.cohort.keep_share)
    return cohort + full_iterations(config, arm)


def largest_within(budget: int, most: int, of_size: Callable[[int], Arm], config: Config) -> Arm:
    """The arm with the largest cohort that a budget pays for; with the smallest where it pays for none.

    Args:
        budget: iterations for an image.
        most: the largest cohort that there could be, at least 1.
        of_size: the arm with a cohort of so many. A larger one never has fewer iterations.
        config: the settings.
    """
    enough, too_many = 1, most + 1
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        paid = iterations_of_arm(config, of_size(middle)) <= budget
        enough, too_many = (middle, too_many) if paid else (enough, middle)
    return of_size(enough)
