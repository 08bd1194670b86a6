"""Filters for fewer pixels than wanted: interpolation, and interpolation that agrees with what was measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from workers.classical.member import Array, Given, Member
from workers.operators import Operator
from workers.tasks.degrading import measure

_ROUNDS = 10
_WEIGHTS: Sequence[float] = (0.0, 0.01, 0.03)
"""Of the total variation in every round of back-projection."""


def enlarged(given: Given) -> Iterator[tuple[str, Callable[[], Member]]]:
    """Each filter, to be called, by its name."""
    yield "bicubic", partial(_member, "bicubic", given, (None,))
    yield "back-projection", partial(_member, "back-projection", given, _WEIGHTS)


def _member(name: str, given: Given, weights: Sequence[float | None]) -> Member:
    began = time.perf_counter()
    operator, hidden = given.task.operator, given.hidden
    low, filled = given.observation.pixels, given.without_hidden.pixels

    def error(judged: Array) -> float:
        """On the hidden pixels, as they would be measured."""
        return float(np.square(measure(operator, judged) - low)[:, hidden].mean()) if hidden.any() else 0.0

    tried = [(_restored(filled, operator, weight), weight) for weight in weights]
    judged, weight = min(tried, key=lambda each: error(each[0]))
    return Member(name, weight, judged, _restored(low, operator, weight), 0.0, time.perf_counter() - began)


def _restored(low: Array, operator: Operator, weight: float | None) -> Array:
    """Bicubic interpolation; with a weight, its measurement is made to agree with the given one (Irani and Peleg 1991),
    and every round is drawn towards less total variation."""
    from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415 - few processes filter

    high = _bicubic(low, operator.scale)
    for _ in range(0 if weight is None else _ROUNDS):
        high = high + _bicubic(low - measure(operator, high), operator.scale)
        if weight:
            high = denoise_tv_chambolle(high, weight=weight, channel_axis=0).astype(np.float32)
    restored: Array = np.clip(high, 0, 1)
    return restored


def _bicubic(low: NDArray[np.float32], factor: int) -> Array:
    from skimage.transform import resize  # noqa: PLC0415

    size = (len(low), *(factor * side for side in low.shape[1:]))
    high: Array = resize(low, size, order=3, mode="edge", anti_aliasing=False, clip=False).astype(np.float32)
    return high
