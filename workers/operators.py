"""Forward models: the operator A that turns an image x into its measurement, y = A(x) + noise.

A restoration fits a network's output to y through A. All operators are linear. Those of this module keep constants and
treat an image's channels separately; `workers.sensing` has those that measure the image as a whole. Tensors are
(N, C, H, W).
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

DownsampleKernel = Literal["lanczos2", "box", "bicubic"]


class Operator(Protocol):
    """A forward model."""

    @property
    def name(self) -> str:
        """Identifies everything that the operator's result depends on: equal names are equal operators."""

    @property
    def scale(self) -> int:
        """Side of the image over side of the measurement."""

    @property
    def symmetric(self) -> bool:
        """Whether the measurement of a mirrored image (upside down or left to right) is the mirrored measurement."""

    @property
    def reach(self) -> int:
        """How far, in pixels of the measurement, a border changes what is measured near it."""

    @property
    def whole(self) -> tuple[int, int, int] | None:
        """The shape (C, H, W) of the image, where every measured value depends on all of it; else None."""

    def __call__(self, image: Tensor) -> Tensor:
        """A(x), differentiable: (N, C, H, W) to (N, C, H / scale, W / scale), of the same floating type and device; or
        to whatever is measured of the image as a whole."""


@dataclass(frozen=True)
class Identity:
    """Every pixel is measured as it is."""

    name: ClassVar[str] = "identity"
    scale: ClassVar[int] = 1
    symmetric: ClassVar[bool] = True
    reach: ClassVar[int] = 0
    whole: ClassVar[None] = None

    def __call__(self, image: Tensor) -> Tensor:
        """The image itself."""
        return image


@dataclass(frozen=True)
class Downsample:
    """The image low-pass filtered and sampled at every ``factor``-th pixel: super-resolution's forward model.

    The filter is separable, with weights k(t) normalised to sum 1, t being the distance from the filter's centre in
    pixels of the measurement. Pixel i of the measurement is centred at (i + 1/2) factor - 1/2 of the image: between two
    pixels for an even factor, on a pixel for an odd one, and t takes those values within the kernel's support. Pixels
    beyond the border are the border's.

    Args:
        factor: side of the image over side of the measurement, 1 or more; the image's sides must be multiples of it.
        kernel: ``lanczos2`` is sinc(t) sinc(t/2) for -2 < t < 2, the deep image prior's (arXiv 1711.10925), with
            4 factor taps for an even factor and 4 factor - 1 for an odd one; ``bicubic`` is Keys' kernel with a = -1/2
            (IEEE Trans. ASSP 29(6), 1981), which inside the borders is what MATLAB's imresize does; ``box`` is the mean
            of factor x factor pixels.

    Raises:
        ValueError: the factor is less than 1; or, when called, a side is no multiple of it.
    """

    factor: int
    kernel: DownsampleKernel = "lanczos2"
    symmetric: ClassVar[bool] = True
    whole: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"a down-sampling factor must be at least 1, not {self.factor}")

    @property
    def name(self) -> str:
        """Such as ``lanczos2 x4``."""
        return f"{self.kernel} x{self.factor}"

    @property
    def scale(self) -> int:
        """The factor."""
        return self.factor

    @property
    def reach(self) -> int:
        """The measured pixels near a border whose filter reaches over it."""
        beyond = (_taps(self) - self.factor) // 2
        return -(-beyond // self.factor)

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H / factor, W / factor)."""
        batch, channels, height, width = image.shape
        if height % self.factor or width % self.factor:
            raise ValueError(f"the sides of {height} x {width} pixels are not both multiples of {self.factor}")
        maps = batch * channels
        weights = _downsample_weights(self, image.dtype, image.device).expand(maps, 1, -1)
        padding = (weights.shape[-1] - self.factor) // 2
        x = F.pad(image.reshape(1, maps, height, width), (0, 0, padding, padding), mode="replicate")
        x = F.conv2d(x, weights[..., None], stride=(self.factor, 1), groups=maps)
        x = F.pad(x, (padding, padding, 0, 0), mode="replicate")
        x = F.conv2d(x, weights[..., None, :], stride=(1, self.factor), groups=maps)
        return x.reshape(batch, channels, height // self.factor, width // self.factor)


@dataclass(frozen=True)
class Blur:
    """Convolution with a kernel: a pixel of the image becomes the kernel, centred there, in the measurement.

    Pixels beyond the border repeat the border's. The kernel is normalised to sum 1 and kept in float32. Blurs of equal
    kernels are equal. It is symmetric if the kernel equals both its mirror images exactly.

    Args:
        kernel: (rows, columns), both odd; finite, with a sum greater than 0; single weights may be negative.

    Raises:
        ValueError: the kernel breaks these rules.
    """

    kernel: NDArray[Any] = field(repr=False, compare=False)
    name: str = field(init=False)
    scale: ClassVar[int] = 1
    whole: ClassVar[None] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", _normalised(self.kernel))
        rows, columns = self.kernel.shape
        digest = hashlib.sha256(f"{rows}x{columns} ".encode() + self.kernel.astype("<f4").tobytes())
        object.__setattr__(self, "name", f"blur {rows}x{columns} {digest.hexdigest()[:8]}")

    @property
    def symmetric(self) -> bool:
        """Whether the kernel is its own mirror image upside down and left to right."""
        return all(np.array_equal(self.kernel, np.flip(self.kernel, axis)) for axis in (0, 1))

    @property
    def reach(self) -> int:
        """Half of the kernel's longer side."""
        rows, columns = self.kernel.shape
        return int(max(rows, columns)) // 2

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; float32 or float64."""
        height, width = image.shape[2:]
        rows, columns = self.kernel.shape
        x = F.pad(image, (columns // 2, columns // 2, rows // 2, rows // 2), mode="replicate")
        # Use the Fourier transform: wrapped values lie before the part that is kept, and its time does not grow with
        # the kernel (torch's convolution of one channel takes ten times as long at 15 x 15 on a CPU).
        from scipy.fft import next_fast_len  # noqa: PLC0415 - half a second, and few tasks are convolutions

        size = [next_fast_len(side, real=True) for side in x.shape[2:]]
        kernel = torch.fft.rfft2(_blur_weights(self, image.dtype, image.device), s=size)
        blurred = torch.fft.irfft2(torch.fft.rfft2(x, s=size) * kernel, s=size)
        kept: Tensor = blurred[..., rows - 1 : rows - 1 + height, columns - 1 : columns - 1 + width]
        return kept


def gaussian_kernel(sigma: float) -> NDArray[np.float64]:
    """A Gaussian of standard deviation ``sigma`` > 0 in pixels, sampled up to 3 sigma: odd sides 2
    ceil(3 sigma) + 1, sum 1.
    """
    radius = math.ceil(3 * sigma)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel: NDArray[np.float64] = np.outer(line, line) / line.sum() ** 2
    return kernel


def motion_kernel(length: int, angle_degrees: float) -> NDArray[np.float64]:
    """A straight, even motion: the weight of a pixel is the length of the centred segment within it; sum 1.

    Args:
        length: of the segment in pixels, at least 1; the sides are 2 floor(length / 2) + 1.
        angle_degrees: counterclockwise from the horizontal as one looks at the image.
    """
    radius = length // 2
    offsets = np.arange(-radius, radius + 1)
    angle = math.radians(angle_degrees)
    starts, ends = [], []
    # Positions along the segment where it enters and leaves a column, and a row, of pixels. Rows count downwards.
    for direction, centres in ((math.cos(angle), offsets[None, :]), (-math.sin(angle), offsets[:, None])):
        with np.errstate(divide="ignore", over="ignore"):
            crossings = np.stack([centres - 0.5, centres + 0.5]) / direction
        starts.append(crossings.min(axis=0))
        ends.append(crossings.max(axis=0))
    inside = np.minimum(np.minimum(*ends), length / 2) - np.maximum(np.maximum(*starts), -length / 2)
    lengths = np.maximum(inside, 0)
    kernel: NDArray[np.float64] = lengths / lengths.sum()
    return kernel


def _normalised(kernel: NDArray[Any]) -> NDArray[np.float32]:
    values = np.array(kernel, dtype=np.float64)
    if values.ndim != 2 or not all(side % 2 for side in values.shape):
        raise ValueError(f"a blur kernel has two odd sides, not the shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a blur kernel's weights must be finite")
    largest = np.abs(values).max()
    # Divide first, so that no sum overflows.
    total = (values / largest).sum() if largest else 0.0
    if total <= 0:
        raise ValueError("a blur kernel's weights must sum to more than 0")
    with np.errstate(over="ignore"):
        normalised: NDArray[np.float32] = (values / largest / total).astype(np.float32)
    if not np.isfinite(normalised).all():
        raise ValueError("a blur kernel's weights nearly cancel out: it cannot be brought to sum 1")
    normalised.setflags(write=False)
    return normalised


def _taps(operator: Downsample) -> int:
    """How many pixels the filter of one axis covers."""
    factor = operator.factor
    return factor if operator.kernel == "box" else 4 * factor - factor % 2


@lru_cache(maxsize=32)
def _downsample_weights(operator: Downsample, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filter of one axis: one tap for each position in its support, an odd number for an odd factor."""
    factor, taps = operator.factor, _taps(operator)
    t = np.abs(np.arange(taps) - (taps - 1) / 2) / factor
    match operator.kernel:
        case "lanczos2":
            weights = np.sinc(t) * np.sinc(t / 2)
        case "bicubic":
            weights = np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
        case "box":
            weights = np.ones(taps)
    return _constant(weights / weights.sum(), dtype, device)


@lru_cache(maxsize=32)
def _blur_weights(operator: Blur, dtype: torch.dtype, device: torch.device) -> Tensor:
    kernel = operator.kernel.astype(np.float64)
    return _constant(kernel / kernel.sum(), dtype, device)


def _constant(values: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    # A tensor made in inference mode could never be part of a fit, and these are cached.
    with torch.inference_mode(False):
        return torch.from_numpy(values).to(dtype=dtype, device=device)
