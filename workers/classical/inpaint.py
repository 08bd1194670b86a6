"""A filter for missing pixels."""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from workers.classical.member import Array, Given, Member
from workers.tasks.task import Observation

_TILE, _MARGIN = 192, 16


def painted(given: Given) -> Iterator[tuple[str, Callable[[], Member]]]:
    """The filter, to be called, by its name."""
    yield "biharmonic", partial(_member, given)


def _member(given: Given) -> Member:
    began = time.perf_counter()
    judged, delivered = (_biharmonic(observation) for observation in (given.without_hidden, given.observation))
    return Member("biharmonic", None, judged, delivered, 0.0, time.perf_counter() - began)


def _biharmonic(observation: Observation) -> Array:
    """The smoothest surface through the known pixels (Damelin and Hoang 2018), tile by tile: it solves a system of as
    many equations as pixels are missing.

    A tile's surface has a margin around it, so that neighbouring ones differ little.
    """
    from skimage.restoration import inpaint_biharmonic  # noqa: PLC0415 - few processes filter

    pixels, known = observation.pixels, observation.known
    restored = pixels.copy()
    if known is None:
        return restored
    height, width = known.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            up, along = max(0, top - _MARGIN), max(0, left - _MARGIN)
            around = np.s_[up : top + _TILE + _MARGIN, along : left + _TILE + _MARGIN]
            if known[around].all():
                continue
            if not known[around].any():
                raise ValueError("a part of the image has no known pixel")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a system that is hard to solve: what is not finite is no member
                tile = inpaint_biharmonic(
                    pixels[:, *around].transpose(1, 2, 0).astype(np.float64), ~known[around], channel_axis=2
                )
            own = np.s_[top - up : top - up + _TILE, left - along : left - along + _TILE]
            restored[:, top : top + _TILE, left : left + _TILE] = tile[own].transpose(2, 0, 1)
    return restored
