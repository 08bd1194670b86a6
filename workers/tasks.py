"""Restoration tasks: the forward model, how an observation is simulated from a clean image, and what of it to trust.

Images are (C, H, W) float32 in [0, 1]; all randomness comes from the generator handed in.
"""

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch.nn import functional as F

from workers.operators import Blur, Downsample, DownsampleKernel, Identity, Operator

NoiseLevel = float | tuple[float, float]
"""A standard deviation in 8-bit grey levels, or the interval that it is drawn from for each image."""

_JPEG_LARGEST_SIDE = 65500


@dataclass(frozen=True, eq=False)
class Observation:
    """What is observed of an image.

    Attributes:
        pixels: (C, h, w) in [0, 1], 0 where unknown.
        known: (h, w), true where observed; None where everything is.
    """

    pixels: NDArray[np.float32]
    known: NDArray[np.bool_] | None = None


class Task(Protocol):
    """What was done to an image."""

    @property
    def name(self) -> str:
        """As in the settings."""

    @property
    def operator(self) -> Operator:
        """The forward model; of its result only known pixels are compared with the observation."""

    @property
    def correlated_noise(self) -> bool:
        """Whether the noise is known to be correlated between pixels, so that held-out pixels mislead."""

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """Observe a clean image (C, H, W) in [0, 1]; equal generators give equal observations."""


@dataclass(frozen=True)
class Denoise:
    """Noise that is independent from pixel to pixel, clipped to [0, 1] as in the papers.

    Args:
        sigma: standard deviation of Gaussian noise in 8-bit grey levels (25 means 25/255). A pair (least, most) is a
            level that nobody knows: drawn uniformly between the two for each image.
        noise: ``gaussian`` adds noise of level ``sigma``; ``poisson`` counts photons, and ignores ``sigma``.
        peak: the mean number of photons at white, greater than 0, for ``poisson``.
    """

    sigma: NoiseLevel = 25.0
    noise: Literal["gaussian", "poisson"] = "gaussian"
    peak: float = 30.0
    name: ClassVar[str] = "denoise"
    operator: ClassVar[Operator] = Identity()
    correlated_noise: ClassVar[bool] = False

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The noisy image."""
        if self.noise == "poisson":
            return Observation(_clip(random.poisson(clean * np.float64(self.peak)) / self.peak))
        return Observation(_add_gaussian(clean, self.sigma, random))


@dataclass(frozen=True)
class Inpaint:
    """Pixels are missing, all channels of a pixel together.

    Args:
        missing: the probability of a simulated pixel to be missing, in [0, 1]; one pixel at least stays known.
    """

    missing: float = 0.5
    name: ClassVar[str] = "inpaint"
    operator: ClassVar[Operator] = Identity()
    correlated_noise: ClassVar[bool] = False

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The image where a Bernoulli mask has it known."""
        known = random.random(clean.shape[1:]) >= self.missing
        if not known.any():
            known.flat[random.integers(known.size)] = True
        return observe(clean, known)


def observe(pixels: NDArray[np.float32], known: NDArray[np.bool_]) -> Observation:
    """An image (C, H, W) of which only ``known`` pixels (H, W) are to be used; what the others hold, even NaN, is gone.

    Raises:
        ValueError: the mask has another size than the image, or no pixel is known.
    """
    if known.shape != pixels.shape[1:]:
        raise ValueError(f"a mask of {_size(known)} pixels does not belong to an image of {_size(pixels)}")
    if not known.any():
        raise ValueError("no pixel is known")
    return Observation(np.where(known, pixels, np.float32(0)), known)


@dataclass(frozen=True)
class SuperResolve:
    """Fewer pixels than wanted, without noise.

    Args:
        factor: side of the image over side of the observation.
        kernel: the filter before sampling; see `workers.operators.Downsample`.
    """

    factor: int = 4
    kernel: DownsampleKernel = "lanczos2"
    name: ClassVar[str] = "super-resolve"
    correlated_noise: ClassVar[bool] = False

    @property
    def operator(self) -> Operator:
        """Down-sampling."""
        return Downsample(self.factor, self.kernel)

    def whole(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest part, from the top left, that has whole pixels after down-sampling.

        A simulation uses this part of a clean image, so a reference must be cropped to it too.

        Raises:
            ValueError: a side is smaller than the factor.
        """
        if min(height, width) < self.factor:
            raise ValueError(f"an image of {height} x {width} pixels is too small to be scaled down by {self.factor}")
        return height - height % self.factor, width - width % self.factor

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The down-sampled image, clipped to [0, 1]: kernels with negative weights overshoot at edges."""
        height, width = self.whole(*clean.shape[1:])
        return Observation(_clip(_apply(self.operator, clean[:, :height, :width])))


def enlarge(low: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bicubic interpolation of (C, h, w) to (C, factor h, factor w), clipped to [0, 1]: what needs no restoration."""
    height, width = low.shape[1:]
    size = (factor * height, factor * width)
    large = F.interpolate(_tensor(low), size=size, mode="bicubic", align_corners=False)
    return _clip(large[0].numpy())


@dataclass(frozen=True)
class Deblur:
    """A blur by a known kernel, and perhaps Gaussian noise.

    Args:
        kernel: see `workers.operators.Blur`.
        sigma: standard deviation of the noise in 8-bit grey levels, or the interval it is drawn from.

    Raises:
        ValueError: the kernel cannot be used.
    """

    kernel: NDArray[Any] = field(repr=False, compare=False)
    sigma: NoiseLevel = 0.0
    operator: Blur = field(init=False)
    name: ClassVar[str] = "deblur"
    correlated_noise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", Blur(self.kernel))

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The blurred and noisy image, clipped to [0, 1]."""
        return Observation(_add_gaussian(_apply(self.operator, clean), self.sigma, random))


@dataclass(frozen=True)
class Jpeg:
    """Lossy compression. Its errors are correlated between pixels: within blocks of 8 x 8, 16 x 16 for colour.

    Three channels are compressed as RGB with 4:2:0 subsampling of colour; of any other number, each as a grey image.

    Args:
        quality: of libjpeg, from 1 (worst) to 95.
    """

    quality: int = 10
    name: ClassVar[str] = "jpeg"
    operator: ClassVar[Operator] = Identity()
    correlated_noise: ClassVar[bool] = True

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The image at 8 bits per sample, encoded and decoded.

        Raises:
            ValueError: a side is longer than JPEG can hold.
        """
        if max(clean.shape[1:]) > _JPEG_LARGEST_SIDE:
            raise ValueError(f"{_size(clean)} pixels: a JPEG file has at most {_JPEG_LARGEST_SIDE} a side")
        levels = np.rint(_clip(clean) * 255).astype(np.uint8)
        if len(levels) == 3:
            decoded = self._recompress(levels.transpose(1, 2, 0)).transpose(2, 0, 1)
        else:
            decoded = np.stack([self._recompress(channel) for channel in levels])
        return Observation(np.ascontiguousarray(decoded, dtype=np.float32) / np.float32(255))

    def _recompress(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) after one encoding and decoding."""
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(levels)).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        file.seek(0)
        return np.asarray(JpegImageFile(file))


def _size(x: NDArray[Any]) -> str:
    height, width = x.shape[-2:]
    return f"{height} x {width}"


def _clip(x: NDArray[Any]) -> NDArray[np.float32]:
    clipped: NDArray[np.float32] = np.clip(x, 0, 1).astype(np.float32)
    return clipped


def _add_gaussian(x: NDArray[np.float32], level: NoiseLevel, random: np.random.Generator) -> NDArray[np.float32]:
    sigma = random.uniform(*level) if isinstance(level, tuple) else level
    return _clip(x + random.standard_normal(x.shape, dtype=np.float32) * np.float32(sigma / 255))


def _tensor(x: NDArray[np.float32]) -> torch.Tensor:
    """(C, H, W) as a batch of one; a copy, since torch takes no read-only or reversed arrays."""
    return torch.from_numpy(np.array(x, dtype=np.float32, order="C"))[None]


def _apply(operator: Operator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    measured: NDArray[np.float32] = operator(_tensor(x))[0].numpy()
    return measured
