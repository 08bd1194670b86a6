"""What degraded the image: the operator A that turns a clean image x into the measurement y = A(x) + noise.

A restoration fits a network's output to y through A. Images are (C, H, W) in [0, 1].
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Operator(Protocol):
    """A degradation: applied to a network's output while fitting, and simulated on clean images for evaluation."""

    @property
    def name(self) -> str:
        """The task's name, as in the settings."""

    def __call__(self, image: Tensor) -> Tensor:
        """A(x), differentiable, on any device: (..., C, H, W) to the measurement's shape."""

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """A measurement of the clean image (C, H, W) in [0, 1], noise included, from an explicit generator."""


@dataclass(frozen=True)
class Denoise:
    """Additive white Gaussian noise: A is the identity.

    ``sigma`` is the standard deviation in 8-bit grey levels (25 means 25/255); it is used to simulate only, a fit never
    needs to know it. As in the papers the noisy image is clipped to [0, 1].
    """

    sigma: float = 25.0

    @property
    def name(self) -> str:
        """The task's name."""
        return "denoise"

    def __call__(self, image: Tensor) -> Tensor:
        """The identity."""
        return image

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """Clean plus N(0, sigma/255), clipped to [0, 1]."""
        noise = random.standard_normal(clean.shape, dtype=np.float32) * np.float32(self.sigma / 255)
        return np.clip(clean + noise, 0, 1).astype(np.float32)
