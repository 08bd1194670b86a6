"""Estimates of the noise, and of the quality of a restored image, without a clean one.

Images and residuals are (C, H, W) arrays on the scale of [0, 1]; a residual is a measurement less the output fitted to
it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.correlation import QUARTILE_OF_NORMAL, banding, diagonal_details, whole_blocks

# Variance of the squared scaled median absolute deviation of diagonal details, over its square, times the number of
# blocks. Simulated: independent details would give 5.44, but blocks that share pixels repeat each other.
_RELATIVE_VARIANCE = 8.1
_HALF_LEVELS = 2 * 65535
_TILES = 4
_SMALLEST_TILE = 16
_FLAT_SIDE = 5  # by chance, noise of 8 bits is hardly ever equal in so many neighbours
_FEWEST_DETAILS = 64  # of a tile; fewer are too few for a median


@dataclass(frozen=True)
class Estimate:
    """A value and the standard error of it."""

    value: float
    standard_error: float


def measured_weights(pixels: NDArray[Any], known: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
    """Where a measurement says something about its noise: (H, W), or None where all of it does.

    Squares of 5 x 5 pixels of exactly one colour say nothing: a black rim, letter-box bars, a saturated or filled area.
    They are no sample of the noise, and what a fit leaves over there is structure of the network alone.

    Args:
        pixels: (C, H, W).
        known: (H, W), true where a pixel was measured; None where all were.
    """
    side = _FLAT_SIDE
    _, height, width = pixels.shape
    flat = np.zeros((height, width), dtype=np.bool_)
    if min(height, width) >= side:
        same = np.ones((height - side + 1, width - side + 1), dtype=np.bool_)
        corner = pixels[:, : same.shape[0], : same.shape[1]]
        for down in range(side):
            for right in range(side):
                there = pixels[:, down : down + same.shape[0], right : right + same.shape[1]]
                same &= (there == corner).all(axis=0)
        for down in range(side):
            for right in range(side):
                flat[down : down + same.shape[0], right : right + same.shape[1]] |= same
    if not flat.any():
        return known
    return ~flat if known is None else known & ~flat


def _median_magnitude(details: NDArray[np.float64]) -> float:
    """Median of the details' absolute values, between the values where these are few.

    An image of 8 bits has details in steps of half a level, and weak noise only a few different ones: a plain median
    would jump. Each value counts as spread over its surroundings (the mid-distribution quantile of Ma, Genton and
    Parzen 2011).
    """
    # Round to half-levels of 16 bits, which include those of 8 bits: equal details stay equal whatever their rounding.
    steps = np.rint(details.ravel() * _HALF_LEVELS)
    values, counts = np.unique(np.concatenate([steps, -steps]), return_counts=True)
    return float(np.interp(0.75, (counts.cumsum() - counts / 2) / counts.sum(), values)) / _HALF_LEVELS


def noise_variance(pixels: NDArray[Any], weights: NDArray[np.bool_] | None = None) -> Estimate | None:
    """Variance per value of noise that is independent between pixels; of an image or, better, of a residual.

    Noise that is constant along rows or columns, which diagonal details do not see, is added (`workers.correlation`).
    Other noise that is correlated between pixels is not seen as a whole.

    The median absolute deviation of the diagonal Haar details (Donoho and Johnstone 1994, "Ideal spatial adaptation by
    wavelet shrinkage") is taken of each of up to 4x4 tiles of at least 16 px a side and averaged over channels; the
    value is the median of the tiles. Tiles that differ by more than chance hold texture or noise of differing strength,
    which more pixels would not average away, so that part of the spread is added to the standard error undiminished.

    Fine texture counts as noise: on photographs of 96 to 256 px the value is above the noise's variance by about 60,
    25, 7 and 2% at sigma 5, 10, 25 and 50 of 255. The residual of a fit has little of it left (20, 7, 2 and 0% with
    half the fine structure left over). Texture that is alike everywhere shows in no spread: at sigma 25 two standard
    errors cover the truth for two images in three, and for all residuals.

    Args:
        pixels: (C, H, W).
        weights: (H, W), true where a pixel counts (`measured_weights`); tiles with few of them are left out. None: all.

    Returns:
        None where a side is a single pixel, or no pixel counts.
    """
    _, height, width = pixels.shape
    if min(height, width) < 2:
        return None
    rows, columns = (min(_TILES, max(1, side // _SMALLEST_TILE)) for side in (height, width))
    counts = np.ones((height - 1, width - 1), dtype=np.bool_) if weights is None else whole_blocks(weights)
    parts = [np.array_split(of_band, columns, axis=1) for of_band in np.array_split(counts, rows)]
    numbers = [int(np.count_nonzero(part)) for of_band in parts for part in of_band]
    fewest = max(1, min(max(numbers), _FEWEST_DETAILS))
    values, top = [], 0
    for of_band in parts:
        # The details of all of a photograph would take much memory.
        band = diagonal_details(pixels[:, top : top + len(of_band[0]) + 1])
        top += len(of_band[0])
        for tile, counted in zip(np.array_split(band, columns, axis=2), of_band, strict=True):
            if np.count_nonzero(counted) >= fewest:
                sample = tile[:, counted]
                values.append(np.mean([(_median_magnitude(each) / QUARTILE_OF_NORMAL) ** 2 for each in sample]))
    if not values:
        return None
    tiles, details = np.array(values), sum(number for number in numbers if number >= fewest)
    value = float(np.median(tiles))
    # Channels are not counted as further samples: their noise may be the same.
    by_chance = value**2 * _RELATIVE_VARIANCE * tiles.size / details
    beyond_chance = max(0.0, float(tiles.var(ddof=1)) - by_chance) if tiles.size > 1 else 0.0
    # The median of many normal values varies by pi / 2 more than their mean.
    error = math.sqrt(math.pi / 2 * by_chance / tiles.size + beyond_chance)
    found = banding(pixels, weights)
    return Estimate(
        value + sum(each.variance for each in found), math.hypot(error, *(each.standard_error for each in found))
    )


def held_out_estimate(output: NDArray[Any], pixels: NDArray[Any], held_out: NDArray[np.bool_]) -> Estimate | None:
    """Mean squared difference of output and measurement (C, H, W) on the hidden pixels of ``held_out`` (H, W).

    A pixel is one sample, since its channels err together. None where no pixel is hidden; the standard error of a
    single one is infinite.
    """
    errors = np.square(output[:, held_out].astype(np.float64) - pixels[:, held_out].astype(np.float64)).mean(axis=0)
    if not errors.size:
        return None
    standard_error = float(errors.std(ddof=1)) / math.sqrt(errors.size) if errors.size > 1 else math.inf
    return Estimate(float(errors.mean()), standard_error)


def estimated_psnr(held_out: Estimate, noise: Estimate | None, widest_db: float = 1.0) -> tuple[float, float] | None:
    """Interval, in dB, that holds the PSNR of an output on hidden pixels with about 95% confidence.

    The held-out error is true error plus noise variance. The interval is its excess over the noise, with 1.96 standard
    errors of both to either side. The whole image's PSNR is somewhat higher, since a fit restores the pixels it sees
    better (0.8 to 1.9 dB in four fits of 128 px with 5% hidden). Noise that is correlated between pixels breaks the
    premise; see `workers.correlation`.

    Args:
        held_out: mean squared error on the hidden pixels.
        noise: the noise's variance; None where the measurement is taken as free of noise. If it is not, its noise
            counts as error of the output, and the true PSNR is above the interval.
        widest_db: the widest interval that is still informative.

    Returns:
        Lower and upper end; None where the interval is wider than ``widest_db`` or the error not above zero with
        confidence.
    """
    value, error = (noise.value, noise.standard_error) if noise else (0.0, 0.0)
    margin = 1.96 * math.hypot(held_out.standard_error, error)
    least, most = held_out.value - value - margin, held_out.value - value + margin
    if least <= 0 or 10 * math.log10(most / least) > widest_db:
        return None
    return -10 * math.log10(most), -10 * math.log10(least)
