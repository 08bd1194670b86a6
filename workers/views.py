"""Views: which part of an image a network is fitted to, at which scale, and how it becomes a size networks accept.

Arrays are (C, H, W) numpy arrays. A network wants sides that are multiples of 32 and at least 64; smaller and other
sizes are extended by reflection and the result is cropped back, so that no pixel of the user's image is lost.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.networks.search import SIDE_MULTIPLE, SMALLEST_SIDE

ViewName = Literal["crop", "downscale", "full"]
_CROP_STRIDE = 8


def padded_side(side: int, scale: int = 1) -> int:
    """The smallest side that holds ``side`` pixels of a measurement and that, ``scale`` times
    as long, networks accept.
    """
    multiple = SIDE_MULTIPLE // math.gcd(SIDE_MULTIPLE, scale)
    return -(-max(side * scale, SMALLEST_SIDE) // (multiple * scale)) * multiple


def side_within(pixels: float, scale: int = 1) -> int:
    """The largest side of a square of a measurement with at most so many restored pixels, of those that need no
    padding; 0 if none is.
    """
    multiple = SIDE_MULTIPLE // math.gcd(SIDE_MULTIPLE, scale)
    side = math.isqrt(max(0, math.floor(pixels))) // (multiple * scale) * multiple
    return side if scale * side >= SMALLEST_SIDE else 0


def pad(x: NDArray[Any], scale: int = 1) -> NDArray[Any]:
    """Extend (C, H, W) below and to the right by reflection, again and again where the image is smaller than the pad.

    The sides become `padded_side`, for an output ``scale`` times as large as the measurement ``x``. A pixel of such a
    measurement covers several of the image's, which are mirrored at its edge and not at its centre.
    """
    _, height, width = x.shape
    extra = (padded_side(height, scale) - height, padded_side(width, scale) - width)
    return np.pad(x, ((0, 0), (0, extra[0]), (0, extra[1])), mode="reflect" if scale == 1 else "symmetric")


@dataclass(frozen=True)
class View:
    """A rectangle of the measurement, in its pixels, and the size it is fitted at.

    ``out_height`` and ``out_width`` equal ``height`` and ``width`` except where the image is scaled down.
    """

    name: ViewName
    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int

    def of_restored(self, scale: int) -> "View":
        """The same view of the restored image, whose sides are ``scale`` times the measurement's."""
        sides = (self.top, self.left, self.height, self.width, self.out_height, self.out_width)
        return View(self.name, *(scale * side for side in sides))

    def take(
        self, pixels: NDArray[np.float32], known: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """The view's part of the whole image's (C, H, W) pixels and (H, W) mask of known ones, not padded yet.

        Where the image is scaled down, a pixel is the mean of the known ones that it covers. It is known if at least
        half of them are, so the mask stays a mask.
        """
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        part, mask = pixels[:, rows, columns], None if known is None else known[rows, columns]
        if (self.out_height, self.out_width) == (self.height, self.width):
            return np.ascontiguousarray(part), mask
        if mask is None:
            return self._shrink(part), None
        cover = self._shrink(mask[None].astype(np.float32))
        kept = cover[0] >= min(0.5, float(cover.max()))
        return np.where(kept, self._shrink(part * mask) / np.maximum(cover, 1e-6), 0).astype(np.float32), kept

    def _shrink(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        # This averages as it shrinks. It also averages noise away and correlates the rest, which is why crops are
        # preferred.
        shape = (part.shape[0], self.out_height, self.out_width)
        # Imported here, because it costs half a second in every process that knows views, and few images are scaled.
        from skimage.transform import resize  # noqa: PLC0415

        scaled: NDArray[np.float32] = resize(part, shape, order=1, anti_aliasing=True, preserve_range=True)
        return scaled.astype(np.float32)


def crop_position(
    degraded: NDArray[np.float32], height: int, width: int, known: NDArray[np.bool_] | None = None
) -> tuple[int, int]:
    """Top and left of the ``height`` x ``width`` rectangle that holds most of the image's spectrum.

    By Parseval, the energy of a rectangle's spectrum outside the zero frequency is its variance; independent noise adds
    the same to all of them. Where the image is masked, only known pixels count. Rectangles start at multiples of 8
    pixels and at the far edges.
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

    weight = np.ones(degraded.shape[1:]) if known is None else known.astype(np.float64)
    count = window_sums(weight)
    energy = np.zeros((len(rows), len(columns)))
    for channel in degraded:
        centred = (channel.astype(np.float64) - np.average(channel, weights=weight)) * weight
        energy += window_sums(centred**2) - window_sums(centred) ** 2 / np.maximum(count, 1)
    # Where nothing varies, at least something should be known.
    row, column = np.unravel_index(int((energy + 1e-9 * count).argmax()), energy.shape)
    return int(rows[row]), int(columns[column])


def view_size(
    name: ViewName, height: int, width: int, *, crop_px: int, downscale_px: int, scale: int = 1
) -> tuple[int, int]:
    """Height and width of the part that is fitted of a measurement of this size; see `select_view`."""
    if name == "crop":
        side = max(1, crop_px // scale)
        return min(side, height), min(side, width)
    shrink = min(1.0, downscale_px / (scale * min(height, width))) if name == "downscale" else 1.0
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def select_view(
    name: ViewName,
    degraded: NDArray[np.float32],
    *,
    known: NDArray[np.bool_] | None = None,
    crop_px: int = 128,
    downscale_px: int = 64,
    scale: int = 1,
) -> View:
    """The view of this name for a measurement (C, H, W); it depends on the degraded image only.

    Args:
        name: ``crop`` is a native-resolution square of ``crop_px`` (or the whole axis where the image is smaller),
            ``downscale`` the image scaled so that its short side is ``downscale_px`` (ISNAS-DIP's ``small``; never
            enlarged), ``full`` the whole image.
        degraded: the image to restore.
        known: (H, W), true where it is observed; None where it is everywhere.
        crop_px: side of the crop in pixels of the restored image.
        downscale_px: short side of the restored image made small, in pixels.
        scale: side of the restored image over side of the measurement.
    """
    _, height, width = degraded.shape
    sides = view_size(name, height, width, crop_px=crop_px, downscale_px=downscale_px, scale=scale)
    if name == "crop":
        top, left = crop_position(degraded, *sides, known)
        return View(name, top, left, *sides, *sides)
    return View(name, 0, 0, height, width, *sides)
