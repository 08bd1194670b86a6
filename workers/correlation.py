"""Whether noise is independent from pixel to pixel, seen in what a fit leaves over.

Three signs of dependence are looked for, each where the image's own structure, which a fit leaves over too, says least:

- between neighbours and up to 8 pixels apart, in the signs of diagonal details;
- along rows and columns (banding of a sensor, scan lines), in the signs of third differences across them, between parts
  of a row that lie at least a quarter of the image apart. Edges of an image seldom go on so far in one row;
- in blotches, by the strength of diagonal details of 4 and of 8 pixels, in the tiles where they are weakest. Structure
  is somewhere, noise is everywhere.

``python -m benchmarks.noise`` measures false alarms and detections (docs/tasks.md).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CORRELATED = 0.15
"""A `residual_correlation` above this means that noise is not independent from pixel to pixel.

It lies between the values of independent noise and those of correlated noise. On four photographs at 96 to 256 px,
independent Gaussian noise of sigma 5 to 50 with a third of the image's fine structure left over stayed below 0.1.
Gaussian noise blurred by 0.7 px (from 0.46), noise enlarged bilinearly by 1.5 (from 0.55) and the artefacts of JPEG at
quality 10, 30 and 50 (from 0.32, 0.26 and 0.22) lay above. Noise halved in size with smoothing, whose neighbours
correlate by 0.12, is not detected. docs/tasks.md has the rates of false alarms and of detection.
"""

_FEWEST_PAIRS = 1000
# Autocorrelation of the diagonal details of independent noise, by lag (down, right); 0 at all others.
_INDEPENDENT = {(0, 1): -0.5, (1, 0): -0.5, (1, 1): 0.25, (1, -1): 0.25, (0, 2): 0.0, (2, 0): 0.0}
_FARTHEST = 8
# Among a hundred lags, one is beyond three standard errors by chance. What counts is what is beyond this many.
_BY_CHANCE = 3.5
# Details share pixels with others, so that their products of signs are fewer than they seem: by this factor of the
# standard error (simulated).
_SHARED = 1.3
_PARTS = 4
_APART = ((0, 2), (1, 3), (0, 3))  # parts of a row that are no neighbours
_NARROWEST_PART = 8
_FEWEST_ROWS = 16
_TRIM = 0.2
_GAIN = 20  # 1 + 9 + 9 + 1: what third differences make of a variance
_RELATIVE_VARIANCE = 4.6  # of the mean square of third differences, times their number
_BLOCKS = (4, 8)
_BLOCKS_OF_A_TILE = 8
_MOST_TILES = 4
# Variance of large details over that of small ones: 1 for independent noise. Photographs with noise of sigma 5 and a
# third of their fine structure stay below 2.1, residuals of fits with independent noise below 1.8.
_OF_STRUCTURE = 1.8
_WEAKEST = 0.1
# Mean square of large details over the same by the median: 1 for normal values, more where a few are structure.
_NORMAL = 1.3
QUARTILE_OF_NORMAL = 0.674490


@dataclass(frozen=True)
class Banding:
    """Noise that is constant along rows, or along columns.

    Attributes:
        share: of the noise's variance; 0 where it may be chance. It is rather low: 3.5 standard errors are taken off.
        variance: its variance per value; 0 where the share is.
        standard_error: of that variance.
    """

    share: float
    variance: float
    standard_error: float


_NO_BANDING = Banding(0.0, 0.0, 0.0)


def whole_blocks(weights: NDArray[np.bool_], apart: int = 1) -> NDArray[np.bool_]:
    """Which details count: those whose four values all do. (H, W) to (H - apart, W - apart)."""
    d = apart
    blocks: NDArray[np.bool_] = weights[:-d, :-d] & weights[:-d, d:] & weights[d:, :-d] & weights[d:, d:]
    return blocks


def diagonal_details(x: NDArray[Any], apart: int = 1) -> NDArray[np.float64]:
    """Haar details (a - b - c + d) / 2 of values that lie ``apart``: (C, H, W) to (C, H - apart, W - apart).

    They remove flat areas and horizontal and vertical edges, and keep the variance of independent noise.
    """
    x, d = x.astype(np.float64), apart
    details: NDArray[np.float64] = (x[:, :-d, :-d] - x[:, :-d, d:] - x[:, d:, :-d] + x[:, d:, d:]) / 2
    return details


def residual_correlation(
    residual: NDArray[Any], weights: NDArray[np.bool_] | None = None, *, neighbours_only: bool = False
) -> float | None:
    """How far a residual is from noise that is independent between pixels: near 0 if it is, to
    compare with `CORRELATED`.

    It is the largest of:

    - the departures, over the lags (0,1), (1,0), (1,1), (1,-1), (0,2) and (2,0), of the autocorrelation of the
      residual's diagonal details from that of independent noise (-1/2 for neighbours, 1/4 diagonally, 0 two away). The
      details hide the image's own structure that a fit left over. Correlations are those of signs, sin(pi/2 mean(sign
      sign)) for normal values, so that the few large errors at edges do not count for more than the noise;
    - the same at all other lags up to 8 pixels, less 3.5 standard errors;
    - the share of noise that is constant along rows, and along columns (`banding`), less 3.5 standard errors;
    - 1 - 1.8 / r, where r is the variance of details of 4 (and 8) pixels over that of details of one: blotches
      raise it.

    Channels are pooled. A residual with hardly any noise is image structure that the fit has not learnt, and is
    correlated too. Banding is looked for from 32 pixels a side on, blotches from 64 on.

    Args:
        residual: (C, H, W).
        weights: (H, W), true where a pixel counts; only details whose pixels all do are used. None: all.
        neighbours_only: take the first of these alone, as earlier versions did.

    Returns:
        None where no neighbour has 1,000 pairs of details in the image: small images, or few pixels known.
    """
    _, height, width = residual.shape
    if min(height, width) < 2:
        return None
    signs = np.sign(diagonal_details(residual))
    if weights is not None:
        signs *= whole_blocks(weights)
    near = [
        abs(correlation - independent)
        for (down, right), independent in _INDEPENDENT.items()
        for correlation, _ in _at_lag(signs, down, right)
    ]
    if not near or neighbours_only:
        return max(near, default=None)
    far = [abs(correlation) - _BY_CHANCE * error for lag in _far_lags() for correlation, error in _at_lag(signs, *lag)]
    rows, columns = banding(residual, weights)
    return max(*near, *far, rows.share, columns.share, _blotches(residual, weights))


def _far_lags() -> Iterator[tuple[int, int]]:
    """Lags (down, right) up to `_FARTHEST`, one of each pair of opposites, without those of `_INDEPENDENT`."""
    for down in range(_FARTHEST + 1):
        for right in range(-_FARTHEST if down else 1, _FARTHEST + 1):
            if (down, right) not in _INDEPENDENT:
                yield down, right


def _at_lag(signs: NDArray[np.float64], down: int, right: int) -> Iterator[tuple[float, float]]:
    """The correlation of details at a lag and its standard error; nothing where too few pairs are known."""
    channels, height, width = signs.shape
    if down >= height or abs(right) >= width:
        return
    here = signs[:, : height - down, max(0, -right) : width - max(0, right)]
    there = signs[:, down:, max(0, right) : width - max(0, -right)]
    products = here * there
    count = np.count_nonzero(products)
    if count >= _FEWEST_PAIRS * channels:
        # Channels are no further samples: their noise may be the same.
        error = _SHARED * math.pi / 2 * math.sqrt(channels / count)
        yield math.sin(math.pi / 2 * products.sum() / count), error


def banding(residual: NDArray[Any], weights: NDArray[np.bool_] | None = None) -> tuple[Banding, Banding]:
    """Noise that is constant along rows, and noise that is constant along columns.

    Args:
        residual: (C, H, W), or an image; third differences hide most of it.
        weights: (H, W), true where a pixel counts. None: all.
    """
    counted = np.ones(residual.shape[1:], dtype=np.bool_) if weights is None else weights
    return _constant_along_rows(residual, counted), _constant_along_rows(residual.transpose(0, 2, 1), counted.T)


def _constant_along_rows(x: NDArray[Any], counted: NDArray[np.bool_]) -> Banding:
    if x.shape[1] < _FEWEST_ROWS or x.shape[2] < _PARTS * _NARROWEST_PART:
        return _NO_BANDING
    known = np.array_split(counted[:-3] & counted[1:-2] & counted[2:-1] & counted[3:], _PARTS, axis=1)
    counts = np.array([part.sum(axis=1) for part in known])
    usable = counts.min(axis=0) >= _NARROWEST_PART
    counts = counts[:, usable]
    if counts.shape[1] < _FEWEST_ROWS:
        return _NO_BANDING

    def parts() -> Iterator[NDArray[np.float64]]:
        """The third differences of one part of the rows after the other: those of a photograph take much memory."""
        for part, there in zip(np.array_split(x, _PARTS, axis=2), known, strict=True):
            y = part.astype(np.float64)
            differences = y[:, :-3] - 3 * y[:, 1:-2] + 3 * y[:, 2:-1] - y[:, 3:]
            yield np.where(there, differences, np.nan)[:, usable]

    means = [np.nanmean(np.sign(part), axis=2) for part in parts()]
    agreement = np.sort(np.mean([means[one] * means[other] for one, other in _APART], axis=(0, 1)))
    # A few rows with an edge along them do not count.
    cut = int(_TRIM * agreement.size)
    # By chance a product of two means of n signs varies by 1 / n. Neighbouring rows share pixels: half of them count.
    by_chance = math.sqrt(np.mean(1 / (counts[0] * counts[2])) / len(_APART) / (agreement.size / 2))
    beyond = float(agreement[cut : agreement.size - cut].mean()) - _BY_CHANCE * by_chance
    if beyond <= 0:
        return _NO_BANDING
    levels = [np.nanmedian(part, axis=2) for part in parts()]
    variance = float(np.mean([levels[one] * levels[other] for one, other in _APART])) / _GAIN
    error = max(0.0, variance) * math.sqrt(_RELATIVE_VARIANCE / agreement.size)
    return Banding(math.sin(math.pi / 2 * min(1.0, beyond)), max(0.0, variance), error)


def _blotches(residual: NDArray[Any], weights: NDArray[np.bool_] | None) -> float:
    """How far the details of larger blocks exceed those of independent noise and of structure; 0 where they do not.

    Where a few of these details are far larger than the rest, they are structure: noise is normal.
    """
    x = residual.astype(np.float64)
    counted = np.ones(x.shape[1:], dtype=np.bool_) if weights is None else weights
    found = [0.0]
    for side in _BLOCKS:
        tiles = min(_MOST_TILES, min(counted.shape) // (_BLOCKS_OF_A_TILE * side))
        if tiles < 2:
            continue
        pairs = zip(_tiles(x, counted, side, tiles), _tiles(x, counted, 1, tiles), strict=True)
        usable = [(large, fine) for large, fine in pairs if large.shape[1] >= _BLOCKS_OF_A_TILE * side**2]
        if 2 * len(usable) < tiles**2 or not all(map(_median_square, (fine for _, fine in usable))):
            continue
        of_all = np.concatenate([large.ravel() for large, _ in usable])
        if float(np.square(of_all).mean()) > _NORMAL * _median_square(of_all):
            continue
        weakest = float(np.quantile([_median_square(large) / _median_square(fine) for large, fine in usable], _WEAKEST))
        found.append(1 - _OF_STRUCTURE / max(weakest, _OF_STRUCTURE))
    return max(found)


def _tiles(x: NDArray[np.float64], counted: NDArray[np.bool_], side: int, tiles: int) -> Iterator[NDArray[np.float64]]:
    """The diagonal details of blocks of ``side`` pixels, (C, n) for each of ``tiles`` x ``tiles`` parts."""
    details = diagonal_details(_sums(x, side) / side, side)
    whole = whole_blocks(_sums(counted[None].astype(np.float64), side)[0] > side**2 - 0.5, side)
    for band, of_band in zip(np.array_split(details, tiles, axis=1), np.array_split(whole, tiles), strict=True):
        for part, of_part in zip(
            np.array_split(band, tiles, axis=2), np.array_split(of_band, tiles, axis=1), strict=True
        ):
            yield part[:, of_part]


def _sums(x: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The sums of all blocks of ``side`` pixels: (C, H, W) to (C, H - side + 1, W - side + 1)."""
    integral = np.pad(x.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    sums: NDArray[np.float64] = (
        integral[:, side:, side:]
        - integral[:, :-side, side:]
        - integral[:, side:, :-side]
        + integral[:, :-side, :-side]
    )
    return sums


def _median_square(details: NDArray[np.float64]) -> float:
    """The variance of normal values by the median of their magnitudes, which a few large ones do not change."""
    return float(np.median(np.abs(details)) / QUARTILE_OF_NORMAL) ** 2
