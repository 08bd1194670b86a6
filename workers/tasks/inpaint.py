"""Inpainting: pixels are missing."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.noise import Estimate, estimated_psnr
from workers.tasks.degrading import observe
from workers.tasks.task import Observation, Task


@dataclass(frozen=True)
class Inpaint(Task):
    """Pixels are missing, all channels of a pixel together.

    Args:
        missing: the probability that a simulated pixel is missing, in [0, 1]; at least one pixel stays known.
    """

    missing: float = 0.5
    name: ClassVar[str] = "inpaint"
    room: ClassVar[float] = 0.5
    prior: ClassVar[str] = "dip-inpaint"
    stacks: ClassVar[bool] = True
    first_rung: ClassVar[float] = 0.25
    needs_masks: ClassVar[bool] = True

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The image, known where a Bernoulli mask keeps it."""
        known = random.random(clean.shape[1:]) >= self.missing
        if not known.any():
            known.flat[random.integers(known.size)] = True
        return observe(clean, known)

    def psnr_interval(
        self, held_out: Estimate, observation: Observation, output: NDArray[np.float32], *, masked: bool
    ) -> tuple[float, float] | None:
        """The interval for the whole image; None for a user's mask, since held-out pixels say
        nothing about a hole's inside.
        """
        return None if masked else estimated_psnr(_over_all(held_out, observation, output), None)


def _over_all(held_out: Estimate, observation: Observation, output: NDArray[np.float32]) -> Estimate:
    """The error of the image as a whole: measured where it is known, and that of held-out pixels elsewhere."""
    known = observation.known
    if known is None:
        return held_out
    measured = float(np.square(output[:, known] - observation.pixels[:, known], dtype=np.float64).mean())
    share = float(known.mean())
    return Estimate(share * measured + (1 - share) * held_out.value, (1 - share) * held_out.standard_error)
