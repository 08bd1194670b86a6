"""Compressed sensing: fewer measurements than pixels, each of the whole image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.noise import Estimate, estimated_psnr
from workers.tasks.degrading import NoiseLevel, clip
from workers.tasks.task import Observation, Task

if TYPE_CHECKING:
    from workers.sensing import MatrixName, Sensing


@dataclass(frozen=True)
class CompressedSensing(Task):
    """y = M x + noise, with a random matrix M of fewer rows than the image has values.

    Untrained networks as priors for it are CS-DIP (Van Veen et al. 2018, arXiv 1806.06438).

    Args:
        measurements: m, the rows of M.
        matrix: the kind of M; see `workers.sensing`.
        matrix_seed: equal seeds give equal matrices, for all images of a shape.
        sigma: standard deviation of the Gaussian noise of a measurement, in 8-bit grey levels; a pair draws it for each
            image. Rows have the norm 1, so a level means what it means for pixels.
    """

    measurements: int
    matrix: "MatrixName" = "gaussian"
    matrix_seed: int = 0
    sigma: NoiseLevel = 0.0
    name: ClassVar[str] = "compressed-sensing"
    sees_whole: ClassVar[bool] = True
    why_not_small: ClassVar[str | None] = "every measurement is of the whole image"

    def sensing(self, shape: tuple[int, int, int]) -> "Sensing":
        """M for an image of the shape (C, H, W).

        Raises:
            ValueError: there are not that many measurements of such an image.
        """
        from workers.sensing import Sensing  # noqa: PLC0415 - torch

        return Sensing(self.matrix, self.measurements, shape, self.matrix_seed)

    def operator_of(self, observation: Observation) -> "Sensing":
        """M for the observation's image."""
        assert observation.shape is not None  # noqa: S101 - `simulate` gives one
        return self.sensing(observation.shape)

    def why_not(self, shape: tuple[int, int, int]) -> str | None:
        """It has fewer values, or frequencies, than there are to be measurements."""
        try:
            self.sensing(shape)
        except ValueError as error:
            return str(error)
        return None

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The noisy measurements (P, 1, m).

        Raises:
            ValueError: as `sensing`.
        """
        import torch  # noqa: PLC0415

        channels, height, width = clean.shape
        shape = (channels, height, width)
        measured = self.sensing(shape)(torch.from_numpy(np.array(clean, dtype=np.float32))[None])[0].numpy()
        sigma = random.uniform(*self.sigma) if isinstance(self.sigma, tuple) else self.sigma
        noise = random.standard_normal(measured.shape, dtype=np.float32) * np.float32(sigma / 255)
        return Observation(measured + noise, shape=shape)

    def picture(self, observation: Observation) -> NDArray[np.float32]:
        """M' y, scaled so that a constant image keeps its mean square, clipped to [0, 1]."""
        import torch  # noqa: PLC0415

        operator = self.operator_of(observation)
        back = operator.adjoint(torch.from_numpy(np.ascontiguousarray(observation.pixels))[None])[0].numpy()
        # M' M keeps m of n parts of an image.
        gain = 1.0 if self.matrix == "fourier" else back.size / self.measurements
        return clip(gain * back)

    def psnr_interval(
        self, held_out: Estimate, observation: Observation, output: NDArray[np.float32], *, masked: bool
    ) -> tuple[float, float] | None:
        """The error of a hidden measurement is that of the image, noise included; None for ``fourier``, whose
        measurements are mostly of low frequencies."""
        return None if self.matrix == "fourier" else estimated_psnr(held_out, None)
