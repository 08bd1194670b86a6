"""Tiles: an image that is too large for one fit is cut into overlapping rectangles, and their fits are blended.

Sizes and places are in pixels of the measurement; `Tile.of_restored` has those of the restored image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Tile:
    """A rectangle of an image."""

    top: int
    left: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.top}-{self.left}-{self.height}x{self.width}"

    def of_restored(self, scale: int) -> "Tile":
        """The same part of the restored image, whose sides are ``scale`` times the measurement's."""
        return Tile(scale * self.top, scale * self.left, scale * self.height, scale * self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of the tile."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Tiling:
    """An image as its tiles, in rows from the top.

    Attributes:
        height, width: of the image.
        tiles: they cover it, and neighbours overlap.
        reach: how many pixels near a tile's edge within the image a fit of the tile cannot judge, because what it
            measured there comes from beyond the edge (`workers.operators.Operator.reach`).
    """

    height: int
    width: int
    tiles: tuple[Tile, ...]
    reach: int = 0

    def judged(self, tile: Tile) -> NDArray[np.bool_]:
        """The pixels of a tile (h, w) whose measurement comes from the tile alone."""
        rows, columns = (_inside(*span, self.reach) for span in self._spans(tile))
        return rows[:, None] & columns[None, :]

    def blend(self, parts: Iterable[tuple[Tile, Array]], channels: int, scale: int = 1) -> Array:
        """Blend tiles to an image by smooth weights that sum to one at every pixel.

        Args:
            parts: Every tile with its restored pixels (C, scale h, scale w), one after the other.
            channels: C.
            scale: The restored image's side over the measurement's.

        Returns:
            The image (C, scale H, scale W). Equal parts in equal order give equal bytes.
        """
        whole = np.zeros((channels, scale * self.height, scale * self.width), np.float32)
        rows, columns = (self._weights(axis, scale) for axis in (0, 1))
        for tile, pixels in parts:
            weight = rows[tile.top, tile.height][:, None] * columns[tile.left, tile.width][None, :]
            top_to_bottom, left_to_right = tile.of_restored(scale).slices
            whole[:, top_to_bottom, left_to_right] += weight.astype(np.float32) * pixels
        return whole

    def _spans(self, tile: Tile) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Start, length and length of the image, of a tile's rows and of its columns."""
        return (tile.top, tile.height, self.height), (tile.left, tile.width, self.width)

    def _weights(self, axis: int, scale: int) -> dict[tuple[int, int], NDArray[np.float64]]:
        """The weights along an axis of the restored image, by start and length of a tile there; they sum to one."""
        spans = sorted({self._spans(tile)[axis][:2] for tile in self.tiles})
        length = (self.height, self.width)[axis]
        raw = {}
        total = np.zeros(scale * length)
        for place, (start, size) in enumerate(spans):
            before = spans[place - 1][0] + spans[place - 1][1] - start if place else 0
            after = start + size - spans[place + 1][0] if place + 1 < len(spans) else 0
            weights = _ramp(size, before, self.reach, scale) * _ramp(size, after, self.reach, scale)[::-1]
            raw[start, size] = weights
            total[scale * start : scale * (start + size)] += weights
        return {
            (start, size): weights / total[scale * start : scale * (start + size)]
            for (start, size), weights in raw.items()
        }


def _inside(start: int, size: int, length: int, reach: int) -> NDArray[np.bool_]:
    """The pixels of a tile along an axis that are far enough from its edges within the image."""
    at = np.arange(size)
    return ((at >= reach) | (start == 0)) & ((at < size - reach) | (start + size == length))


def _ramp(size: int, overlap: int, reach: int, scale: int) -> NDArray[np.float64]:
    """Weights from a tile's first edge on: 0 where the tile cannot judge, then a quarter of a sine squared over the
    rest of the overlap, then 1. At the image's own edge, where nothing overlaps, all are 1."""
    if not overlap:
        return np.ones(scale * size)
    run = scale * (overlap - 2 * reach)
    along = (np.arange(scale * size) + 0.5 - scale * reach) / run
    weights: NDArray[np.float64] = np.sin(np.pi / 2 * np.clip(along, 0, 1)) ** 2
    return weights


def tiling_of(height: int, width: int, side: int, overlap: int, reach: int = 0) -> Tiling:
    """Cut an image into tiles of at most ``side`` pixels a side, whose neighbours overlap by ``overlap`` or more.

    Tiles are spread evenly, and the last is flush with the edge.

    Args:
        height, width: of the image.
        side: of a tile.
        overlap: between 1 and half of the side.
        reach: see `Tiling`; twice of it is less than the overlap.

    Raises:
        ValueError: the overlap is too large, or too small for the reach.
    """
    if not 2 * reach < overlap <= side / 2:
        raise ValueError(f"tiles of {side} pixels cannot overlap by {overlap} (the operator reaches {reach})")
    rows, columns = (_starts(length, side, overlap) for length in (height, width))
    tall, wide = min(side, height), min(side, width)
    return Tiling(height, width, tuple(Tile(top, left, tall, wide) for top in rows for left in columns), reach)


def _starts(length: int, side: int, overlap: int) -> Sequence[int]:
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [round(at * (length - side) / (count - 1)) for at in range(count)]
