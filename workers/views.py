"""Views: which part of an image a network is fitted to, at which scale, and how it becomes a size networks accept.

Arrays are (C, H, W) numpy arrays. A network wants sides that are multiples of 32 and at least 64; smaller and other sizes
are extended by reflection and the result is cropped back, so that no pixel of the user's image is lost.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from workers.networks.search import SIDE_MULTIPLE, SMALLEST_SIDE

ViewName = Literal["crop", "downscale", "full"]
_CROP_STRIDE = 8


def padded_side(side: int) -> int:
    """The smallest side a network accepts that holds ``side`` pixels."""
    multiples = -(-side // SIDE_MULTIPLE)
    return max(SMALLEST_SIDE, multiples * SIDE_MULTIPLE)


def pad(x: NDArray[Any]) -> NDArray[Any]:
    """Extend (C, H, W) below and to the right by reflection, again and again where the image is smaller than the pad."""
    _, height, width = x.shape
    return np.pad(x, ((0, 0), (0, padded_side(height) - height), (0, padded_side(width) - width)), mode="reflect")


@dataclass(frozen=True)
class View:
    """A rectangle of the image, in its pixels, and the size it is fitted at.

    ``out_height`` and ``out_width`` equal ``height`` and ``width`` except where the image is scaled down.
    """

    name: ViewName
    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int

    def take(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(C, H, W) of the whole image to the view's (C, out_height, out_width), not padded yet."""
        part = x[:, self.top : self.top + self.height, self.left : self.left + self.width]
        if (self.out_height, self.out_width) == (self.height, self.width):
            return np.ascontiguousarray(part)
        # Averages as it shrinks. It also averages noise away and correlates what is left, which is why crops are preferred.
        shape = (x.shape[0], self.out_height, self.out_width)
        scaled: NDArray[np.float32] = resize(part, shape, order=1, anti_aliasing=True, preserve_range=True)
        return scaled.astype(np.float32)


def crop_position(degraded: NDArray[np.float32], height: int, width: int) -> tuple[int, int]:
    """Top and left of the ``height`` x ``width`` rectangle that holds most of the image's spectrum.

    By Parseval, the energy of a rectangle's spectrum outside the zero frequency is its variance; independent noise adds
    the same to all of them. Rectangles start at multiples of 8 pixels and at the far edges.
    """
    rows, columns = (
        np.array(sorted({*range(0, size - side + 1, _CROP_STRIDE), size - side}))
        for size, side in zip(degraded.shape[1:], (height, width), strict=True)
    )

    def window_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        integral = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        bottom, top = integral[rows + height], integral[rows]
        sums: NDArray[np.float64] = (bottom - top)[:, columns + width] - (bottom - top)[:, columns]
        return sums

    variance = np.zeros((len(rows), len(columns)))
    for channel in degraded:
        centred = channel.astype(np.float64) - channel.mean(dtype=np.float64)
        variance += window_sums(centred**2) - window_sums(centred) ** 2 / (height * width)
    row, column = np.unravel_index(int(variance.argmax()), variance.shape)
    return int(rows[row]), int(columns[column])


def view_size(name: ViewName, height: int, width: int, *, crop_px: int, downscale_px: int) -> tuple[int, int]:
    """Height and width that an image of this size is fitted at; see `select_view`."""
    if name == "crop":
        return min(crop_px, height), min(crop_px, width)
    scale = min(1.0, downscale_px / min(height, width)) if name == "downscale" else 1.0
    return max(1, round(height * scale)), max(1, round(width * scale))


def select_view(name: ViewName, degraded: NDArray[np.float32], *, crop_px: int = 128, downscale_px: int = 64) -> View:
    """The view of this name for an image (C, H, W); it depends on the degraded image only.

    Args:
        name: ``crop`` is a native-resolution square of ``crop_px`` (or the whole axis where the image is smaller),
            ``downscale`` the image scaled so that its short side is ``downscale_px`` (ISNAS-DIP's ``small``; never
            enlarged), ``full`` the whole image.
        degraded: the image to restore.
        crop_px: side of the crop in pixels.
        downscale_px: short side of the scaled image in pixels.
    """
    _, height, width = degraded.shape
    out_height, out_width = view_size(name, height, width, crop_px=crop_px, downscale_px=downscale_px)
    if name == "crop":
        top, left = crop_position(degraded, out_height, out_width)
        return View(name, top, left, out_height, out_width, out_height, out_width)
    return View(name, 0, 0, height, width, out_height, out_width)
