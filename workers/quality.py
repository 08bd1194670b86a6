"""How close a restored image is to a clean reference. Nothing that fits, stops or picks may use this."""

import math
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_RESOLUTION = 2.0**-48
_LARGE = 2**24
"""An image of so many values is compared by rows, so that it need not be there in float64 as a whole."""
_ROWS = 256


def psnr(restored: NDArray[Any], reference: NDArray[Any], peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mse / peak^2), of images of equal shape; no clipping, as in papers.

    ``peak`` is the range from black to white. Where the reference is NaN, nothing is compared.

    Differences below float32's resolution of 2^-24 (root mean square) count as that, so equal images give 144.5 dB and
    not infinity.
    """
    return -10 * math.log10(max(_mean_square(restored, reference) / peak**2, _RESOLUTION))


def _mean_square(restored: NDArray[Any], reference: NDArray[Any]) -> float:
    """The mean squared difference where the reference is no NaN."""
    if restored.size < _LARGE:
        squares = np.square(restored.astype(np.float64) - reference.astype(np.float64))
        mean = float(squares.mean())
        return float(np.nanmean(squares)) if math.isnan(mean) else mean
    total, count = 0.0, 0
    for top in range(0, restored.shape[-2], _ROWS):
        rows = (..., slice(top, top + _ROWS), slice(None))
        squares = np.square(restored[rows].astype(np.float64) - reference[rows].astype(np.float64))
        compared = ~np.isnan(squares)
        total += float(squares.sum(where=compared))
        count += int(np.count_nonzero(compared))
    return total / count if count else math.nan


def luma(x: NDArray[Any]) -> NDArray[Any]:
    """Y of YCbCr (ITU-R BT.601, as MATLAB's ``rgb2ycbcr``): RGB (3, H, W) in [0, 1] to (H, W) in [16/255, 235/255]."""
    red, green, blue = x
    luminance: NDArray[Any] = (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255
    return luminance


def psnr_y(restored: NDArray[Any], reference: NDArray[Any]) -> float | None:
    """`psnr` of the `luma` of RGB images (3, H, W), which papers on super-resolution
    report; None for other channels.
    """
    return psnr(luma(restored), luma(reference)) if len(reference) == 3 else None


def ssim(restored: NDArray[np.float32], reference: NDArray[np.float32]) -> float | None:
    """Structural similarity (Wang et al. 2004: Gaussian window of sigma 1.5, data range 1) of (C, H, W) images.

    Its window is 11 pixels wide; a smaller image has no SSIM, and the answer is None.
    """
    if min(restored.shape[1:]) < 11:
        return None
    from skimage.metrics import structural_similarity  # noqa: PLC0415 - only images with references need it

    reference = np.where(np.isnan(reference), restored, reference)
    return float(
        structural_similarity(
            restored,
            reference,
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


class Observer(Protocol):
    """Looks at a fit from outside, as `PsnrObserver` does."""

    def __call__(self, average: Tensor) -> Tensor:
        """A figure (a scalar) of the averaged output (1, C, H, W) after an iteration. It is a part of the step, so it
        must neither ask the device nor remember anything.
        """

    def keep(self, figures: Tensor) -> None:
        """Take in the figures of the next iterations."""

    def state_dict(self) -> dict[str, Tensor]:
        """The observer's part of a checkpoint."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""


class PsnrObserver:
    """Watches a fit from outside and keeps the PSNR of its averaged output at every iteration.

    It serves the oracle figures only: a fit calls its observers and decides nothing by them.
    """

    def __init__(self, reference: NDArray[np.float32], device: torch.device | str, peak: float = 1.0) -> None:
        self._peak = peak
        self._mean = torch.nanmean if np.isnan(reference).any() else torch.mean
        self._reference = torch.from_numpy(reference).to(device)
        self._mse = torch.zeros(0, device=device)

    @torch.no_grad()
    def __call__(self, average: Tensor) -> Tensor:
        """The mean squared error (a scalar) of the averaged output (1, C, H, W) after an iteration, padding included;
        the reference's size is compared.
        """
        _, height, width = self._reference.shape
        return self._mean((average[0, :, :height, :width] - self._reference).square())

    def keep(self, errors: Tensor) -> None:
        """Take in the errors of the next iterations, as `__call__` gave them."""
        self._mse = torch.cat([self._mse, errors])

    def curve(self) -> list[float]:
        """PSNR in dB after each iteration."""
        mse = (self._mse / self._peak**2).clamp_min(_RESOLUTION)
        values: list[float] = (-10 * torch.log10(mse)).tolist()
        return values

    def state_dict(self) -> dict[str, Tensor]:
        """The curve so far, for a checkpoint."""
        return {"mse": self._mse}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        self._mse = state["mse"].to(self._reference.device)
