"""What a classical filter is given, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.tasks.task import Observation, Task

Array = NDArray[np.float32]
Denoiser = Callable[[Observation, float], Array]
"""A user's own: from an observation and the standard deviation of its noise (0 if unknown) to the image (C, H, W)."""


@dataclass(frozen=True, eq=False)
class Given:
    """What filters may see.

    Attributes:
        observation: the degraded image.
        hidden: (h, w), true where a pixel is kept to judge by; at least one of the others is known.
        task: the degradation.
        noise: the variance of the noise, which is independent between pixels; None where that is not known.
        seed: of the filters that draw random numbers.
    """

    observation: Observation
    hidden: NDArray[np.bool_]
    task: Task
    noise: float | None
    seed: int

    @property
    def without_hidden(self) -> Observation:
        """The observation with its hidden pixels filled in from their neighbours, or unknown where pixels are
        missing."""
        observation = self.observation
        if self.task.needs_masks:
            known = ~self.hidden if observation.known is None else observation.known & ~self.hidden
            return Observation(np.where(known, observation.pixels, np.float32(0)), known)
        return Observation(_filled(observation.pixels, self.hidden), observation.known)


@dataclass(frozen=True, eq=False)
class Member:
    """An image that a filter has restored.

    Attributes:
        name: the filter's; empty for all of them.
        strength: the strength that was set for it without a reference; None where it has none.
        judged: the output (C, H, W) that is compared with the hidden pixels, and has not seen them.
        delivered: the output of all pixels.
        divergence: the mean derivative of a pixel of ``delivered`` by the pixel itself; 0 where nothing is known of the
            noise. For noise of variance v its squared error is too small by 2 v times this, on average (Stein 1981).
        seconds: what it took, with the search for its strength.
    """

    name: str
    strength: float | None
    judged: Array
    delivered: Array
    divergence: float
    seconds: float

    def as_delivered(self, noise: float | None) -> tuple[Array, float]:
        """What is delivered, and half of what its squared error on pixels with noise of this variance is too small by.

        Without noise it is what has not seen the hidden pixels: nothing else can be judged by them then.
        """
        return (self.delivered, noise * self.divergence) if noise else (self.judged, 0.0)


@dataclass(frozen=True)
class Failure:
    """A filter that gave no image.

    Attributes:
        name: the filter's; empty for all of them.
        reason: one line.
    """

    name: str
    reason: str


def _filled(pixels: Array, hidden: NDArray[np.bool_]) -> Array:
    """Pixels with those hidden replaced by the weighted mean of their eight neighbours that are not."""
    from scipy.ndimage import convolve, distance_transform_edt  # noqa: PLC0415 - few processes filter

    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], dtype=np.float64)
    share = convolve((~hidden).astype(np.float64), weights, mode="mirror")
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = pixels.copy()
    for channel, values in enumerate(pixels):
        sums = convolve(np.where(hidden, 0.0, values), weights, mode="mirror")
        means = np.where(share > 0, sums / np.maximum(share, 1e-12), values[tuple(nearest)])
        filled[channel, hidden] = means[hidden]
    return filled
