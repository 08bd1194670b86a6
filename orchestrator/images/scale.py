"""Where the data of an image lie: the scale of its samples, and the samples that must not decide it.

A scale that a single hot pixel or a "no data" value decides leaves the data a small part of [0, 1], where a fit hardly
sees them. So two kinds of samples are left out, if they lie farther from all others than these spread:

- defects: lone pixels, pairs or lines one pixel wide that stand out at least ten times as far as their surroundings
  vary. Optics spreads every real point over its neighbours. They are restored like missing pixels.
- no data: a value that fills areas and recurs exactly, or that the file declares (GDAL_NODATA). It is written back.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.text import counted

_OUTER_PERCENT = 5  # the data's bulk lies between this percentile and its mirror image
_FENCE = 3.0  # widths of the bulk; what lies farther outside may be left out
_STANDS_OUT = 10.0
_MOST_DEFECTS = 0.05
_MOST_VALUES = 4  # of no data
_FEWEST_DATA = 16
_FOR_PERCENTILES = 1_000_000
_BITS = (10, 12, 14, 16)

Mask = NDArray[np.bool_]


class Scale(NamedTuple):
    """How samples map to [0, 1]: sample = offset + scale * pixel.

    ``low`` and ``high`` are the pixels that show as black and white; their difference is the peak of PSNR.
    """

    offset: float
    scale: float
    bit_depth: int
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What of an image is no measurement.

    Attributes:
        known: (H, W), true where the samples are data; None where all are.
        kept: (H, W), true where the samples are no data and are written back; None where nothing is.
        note: what was left out, for the user.
    """

    known: Mask | None = None
    kept: Mask | None = None
    note: str | None = None


def first_scale(samples: NDArray[Any]) -> Scale:
    """The scale by the rules of the first version: extremes decide, whatever they are."""
    _check_finite(samples, None)
    return _spanning(samples.dtype, float(samples.min()), float(samples.max()), 0.0)


def scale_of(samples: NDArray[Any], known: Mask | None, room: float) -> Scale:
    """The scale of samples (C, H, W), by those that are known (H, W).

    Args:
        samples: as in the file.
        known: as `LeftOut` has it.
        room: how far a restored image may go beyond the data, in ranges of these. It widens no full scale of 8 bits,
            and not that of floats in [0, 1]. Data without negative values get none below zero.

    Raises:
        ImageRejectedError: the values spread too far.
    """
    data = samples if known is None else samples[:, known]
    return _spanning(samples.dtype, float(data.min()), float(data.max()), room)


def _spanning(dtype: np.dtype[Any], low: float, high: float, room: float) -> Scale:
    if dtype == np.uint8:
        return Scale(0.0, 255.0, 8)
    if dtype == np.uint16:
        bits = _bits(high)
        wider = _bits(min(high * (1 + room), 65535.0))
        return Scale(0.0, 2.0**wider - 1, wider, 0.0, (2.0**bits - 1) / (2.0**wider - 1))
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return Scale(0.0, 1.0, dtype.itemsize * 8)
    if not math.isfinite((high - low) * (1 + 2 * room)):
        raise ImageRejectedError(f"its values spread too far, from {low:g} to {high:g}")
    span = high - low or 1.0
    above = room * span
    below = above if low < 0 else min(above, low)
    scale = span + above + below
    return Scale(low - below, scale, dtype.itemsize * 8, below / scale, (below + span) / scale)


def _bits(high: float) -> int:
    return next(bits for bits in _BITS if high < 2**bits)


def _check_finite(samples: NDArray[Any], where: Mask | None) -> None:
    data = samples if where is None else samples[:, where]
    if samples.dtype.kind == "f" and (bad := data.size - np.count_nonzero(np.isfinite(data))):
        known = "" if where is None else " known"
        raise ImageRejectedError(f"{bad:,} of its {data.size:,}{known} values are NaN or infinite")


def left_out(samples: NDArray[Any], given: Mask | None, declared: float | None) -> LeftOut:
    """Find what is no measurement; see the head of this module.

    Args:
        samples: (C, H, W), as in the file.
        given: (H, W), true where a pixel is known; None where all are. Of the others nothing counts.
        declared: the value that the file declares as no data.

    Raises:
        ImageRejectedError: known samples are not finite, or all of them are no data.
    """
    whole = np.ones(samples.shape[1:], dtype=np.bool_) if given is None else given
    kept = np.zeros_like(whole)
    if declared is not None:
        same = np.isnan(samples) if math.isnan(declared) else samples == declared
        kept = same.any(axis=0) & whole
    data = whole & ~kept
    if not data.any():
        raise ImageRejectedError("all of its pixels hold the value that means no data")
    _check_finite(samples, None if data.all() else data)
    values = [] if declared is None or not kept.any() else [declared]
    defects = np.zeros_like(whole)
    for channel in samples:
        if not _may_have_strays(channel[data]):
            continue
        empty, found, of_channel = _strays(channel.astype(np.float64), data)
        kept, defects = kept | empty, defects | found
        values += [value for value in of_channel if value not in values]
    known = whole & ~(kept | defects)
    if known.all() or not known.any():
        return LeftOut()
    notes = []
    if kept.any():
        shown = ", ".join(f"{value:g}" for value in values)
        notes.append(f"{counted(int(np.count_nonzero(kept)), 'pixel')} without data ({shown}), left as given")
    if (count := int(np.count_nonzero(defects & ~kept))) > 0:
        notes.append(f"{counted(count, 'defective pixel')} far beyond all others restored like missing ones")
    return LeftOut(known, kept if kept.any() else None, "; ".join(notes) or None)


def _may_have_strays(data: NDArray[Any]) -> bool:
    """Whether the samples of a channel decide the scale at all, so that some may mislead."""
    if data.dtype == np.uint8:
        return False
    low, high = float(data.min()), float(data.max())
    if data.dtype == np.uint16:
        return bool(high >= 2 ** _BITS[0])
    return math.isfinite(10 * (high - low)) and not (data.dtype.kind == "f" and low >= 0 and high <= 1)


def _fences(data: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of what certainly are data; infinite where the bulk is a constant, which tells nothing."""
    some = data[:: max(1, data.size // _FOR_PERCENTILES)]
    low, high = (float(end) for end in np.percentile(some, [_OUTER_PERCENT, 100 - _OUTER_PERCENT]))
    width = high - low
    return (low - _FENCE * width, high + _FENCE * width) if width > 0 else (-math.inf, math.inf)


def _strays(channel: NDArray[np.float64], data: Mask) -> tuple[Mask, Mask, list[float]]:
    """Return a channel's pixels of no data, its defects, and the values that mean no data."""
    rest, values = data.copy(), list[float]()
    while len(values) < _MOST_VALUES and (value := _value_of_no_data(channel, rest)) is not None:
        values.append(value)
        rest &= channel != value
    candidates = _defects(channel, rest)
    rest &= ~candidates
    low, high = float(channel[rest].min()), float(channel[rest].max())
    with np.errstate(over="ignore"):
        least, most = low - (high - low), high + (high - low)
    # In a camera's samples only the largest decide the scale.
    values = [value for value in values if value > most or value < least]
    far = (channel > most) | (channel < least)
    empty = data & np.isin(channel, values)
    return empty, candidates & far, values


def _value_of_no_data(channel: NDArray[np.float64], data: Mask) -> float | None:
    """The least or the largest value if it fills an area, recurs exactly, and lies beyond the fences of the others."""
    for value in (float(channel[data].min()), float(channel[data].max())):
        same = data & (channel == value)
        others = channel[data & ~same]
        if others.size < _FEWEST_DATA or not _has_area(same):
            continue
        low, high = _fences(others)
        if value < low or value > high:
            return value
    return None


def _has_area(mask: Mask) -> bool:
    """Whether a mask has a square of 2 x 2 pixels."""
    return bool((mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]).any())


def _defects(channel: NDArray[np.float64], data: Mask) -> Mask:
    """The pixels beyond the fences that are lone, or thin lines, and stand out from their surroundings."""
    low, high = _fences(channel[data])
    candidates: Mask = data & ((channel < low) | (channel > high))
    nothing = np.zeros_like(candidates)
    if not candidates.any() or np.count_nonzero(candidates) > _MOST_DEFECTS * np.count_nonzero(data):
        return nothing
    from scipy import ndimage  # noqa: PLC0415 - it takes long to import, and few images have defects

    labels, count = ndimage.label(candidates, np.ones((3, 3)))
    around = data & ~candidates
    highest = ndimage.maximum_filter(np.where(around, channel, -np.inf), 3)
    lowest = ndimage.minimum_filter(np.where(around, channel, np.inf), 3)
    every = np.arange(1, count + 1)
    top = np.asarray(ndimage.maximum(highest, labels, every))
    bottom = np.asarray(ndimage.minimum(lowest, labels, every))
    least = np.asarray(ndimage.minimum(channel, labels, every))
    most = np.asarray(ndimage.maximum(channel, labels, every))
    thick = np.zeros(count, dtype=np.bool_)
    square = candidates[:-1, :-1] & candidates[1:, :-1] & candidates[:-1, 1:] & candidates[1:, 1:]
    thick[np.unique(labels[:-1, :-1][square]) - 1] = True
    with np.errstate(invalid="ignore", over="ignore"):
        stands_out = np.maximum(least - top, bottom - most) > _STANDS_OUT * (top - bottom)
    defects: Mask = np.concatenate([[False], stands_out & ~thick & np.isfinite(top - bottom)])[labels]
    return defects
