"""Denoising: noise that is independent from pixel to pixel."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from workers.noise import Estimate, estimated_psnr, measured_weights, noise_variance
from workers.tasks.degrading import NoiseLevel, add_gaussian, clip
from workers.tasks.task import Observation, Task


@dataclass(frozen=True)
class Denoise(Task):
    """Noise that is independent from pixel to pixel, clipped to [0, 1] as in the papers.

    Args:
        sigma: standard deviation of Gaussian noise in 8-bit grey levels (25 means 25/255). A pair (least, most) is an
            unknown level: drawn uniformly between the two for each image.
        noise: ``gaussian`` adds noise of level ``sigma``; ``poisson`` counts photons, and ignores ``sigma``.
        peak: the mean number of photons at white, greater than 0, for ``poisson``.
    """

    sigma: NoiseLevel = 25.0
    noise: Literal["gaussian", "poisson"] = "gaussian"
    peak: float = 30.0
    name: ClassVar[str] = "denoise"
    residual_tells: ClassVar[bool] = True
    stacks: ClassVar[bool] = True

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The noisy image."""
        if self.noise == "poisson":
            return Observation(clip(random.poisson(clean * np.float64(self.peak)) / self.peak))
        return Observation(add_gaussian(clean, self.sigma, random))

    def estimated_noise(self, observation: Observation, output: NDArray[np.float32]) -> Estimate | None:
        """Estimated from the residual of the fit: in the image itself, fine texture would count as noise.

        It is the mean over all observed pixels: those of areas of exactly one colour have none.
        """
        weights = measured_weights(observation.pixels, observation.known)
        noise = noise_variance(observation.pixels - output, weights)
        if noise is None or weights is None:
            return noise
        # The held-out error is a mean over flat areas too, where there is no noise.
        share = float(weights.mean() if observation.known is None else weights.sum() / observation.known.sum())
        return Estimate(share * noise.value, share * noise.standard_error)

    def psnr_interval(
        self, held_out: Estimate, observation: Observation, output: NDArray[np.float32], *, masked: bool
    ) -> tuple[float, float] | None:
        """The held-out error less the noise's variance is the true error."""
        noise = self.estimated_noise(observation, output)
        return None if noise is None else estimated_psnr(held_out, noise)
