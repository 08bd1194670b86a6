"""The steps that simulated degradations are made of, and an image of which only some pixels are known.

Images are (C, H, W) float32 in [0, 1].
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workers.tasks.task import Observation

if TYPE_CHECKING:
    import torch

    from workers.operators import Operator

NoiseLevel = float | tuple[float, float]
"""A standard deviation in 8-bit grey levels, or the interval that it is drawn from for each image."""


def observe(pixels: NDArray[np.float32], known: NDArray[np.bool_]) -> Observation:
    """An image (C, H, W) of which only ``known`` pixels (H, W) are used; the values of the
    others, even NaN, are dropped.

    Raises:
        ValueError: the mask has another size than the image, or no pixel is known.
    """
    if known.shape != pixels.shape[1:]:
        raise ValueError(f"a mask of {size(known)} pixels does not belong to an image of {size(pixels)}")
    if not known.any():
        raise ValueError("no pixel is known")
    return Observation(np.where(known, pixels, np.float32(0)), known)


def enlarge(low: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bicubic interpolation of (C, h, w) to (C, factor h, factor w), clipped to [0, 1]: it needs no restoration."""
    from torch.nn import functional as F  # noqa: PLC0415

    height, width = low.shape[1:]
    larger = (factor * height, factor * width)
    large = F.interpolate(_tensor(low), size=larger, mode="bicubic", align_corners=False)
    return clip(large[0].numpy())


def size(x: NDArray[Any]) -> str:
    """Height and width of (..., H, W) in words."""
    height, width = x.shape[-2:]
    return f"{height} x {width}"


def clip(x: NDArray[Any]) -> NDArray[np.float32]:
    """Values clipped to [0, 1], as float32."""
    clipped: NDArray[np.float32] = np.clip(x, 0, 1).astype(np.float32)
    return clipped


def add_gaussian(x: NDArray[np.float32], level: NoiseLevel, random: np.random.Generator) -> NDArray[np.float32]:
    """The image with Gaussian noise of a level, clipped to [0, 1]."""
    sigma = random.uniform(*level) if isinstance(level, tuple) else level
    return clip(x + random.standard_normal(x.shape, dtype=np.float32) * np.float32(sigma / 255))


def measure(operator: "Operator", x: NDArray[np.float32]) -> NDArray[np.float32]:
    """An operator's result for an image: (C, H, W) to (C, h, w), not clipped."""
    measured: NDArray[np.float32] = operator(_tensor(x))[0].numpy()
    return measured


def _tensor(x: NDArray[np.float32]) -> "torch.Tensor":
    """(C, H, W) as a batch of one; a copy, since torch takes no read-only or reversed arrays."""
    import torch  # noqa: PLC0415

    return torch.from_numpy(np.array(x, dtype=np.float32, order="C"))[None]
