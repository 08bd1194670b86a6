"""Filters for a blur by a known kernel: Richardson-Lucy, and a Wiener filter that finds its own strength."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from workers.classical.member import Array, Given, Member
from workers.operators import Blur
from workers.tasks.degrading import measure

Doubles = NDArray[np.float64]
_ROUNDS: Sequence[int] = (5, 10, 20, 40)
_DARKEST = 1e-6  # Richardson-Lucy divides by the image


def sharpened(given: Given) -> Iterator[tuple[str, Callable[[], Member]]]:
    """Each filter, to be called, by its name."""
    operator = given.task.operator
    if not isinstance(operator, Blur):
        return
    yield "Richardson-Lucy", partial(_member, "Richardson-Lucy", given, operator, _richardson_lucy, _ROUNDS)
    yield "Wiener", partial(_member, "Wiener", given, operator, partial(_wiener, given.seed), (None,))


def _member(
    name: str,
    given: Given,
    operator: Blur,
    apply: Callable[[Doubles, Doubles, int | None], Doubles],
    strengths: Sequence[int | None],
) -> Member:
    began = time.perf_counter()
    blurred, filled, hidden = given.observation.pixels, given.without_hidden.pixels, given.hidden

    def restored(pixels: Array, strength: int | None) -> Array:
        """Each channel on its own, with a border that repeats the edge and is cut off again."""
        margin = 2 * max(operator.kernel.shape)
        kernel = operator.kernel.astype(np.float64)
        wide = np.pad(pixels.astype(np.float64), ((0, 0), (margin, margin), (margin, margin)), mode="edge")
        sharp = np.stack([apply(channel, kernel, strength) for channel in wide])
        inside: Array = np.clip(sharp[:, margin:-margin, margin:-margin], 0, 1).astype(np.float32)
        return inside

    def error(judged: Array) -> float:
        """On the hidden pixels, as they would be measured."""
        return float(np.square(measure(operator, judged) - blurred)[:, hidden].mean()) if hidden.any() else 0.0

    tried = [(restored(filled, strength), strength) for strength in strengths]
    judged, strength = min(tried, key=lambda each: error(each[0]))
    return Member(
        name,
        None if strength is None else float(strength),
        judged,
        restored(blurred, strength),
        0.0,
        time.perf_counter() - began,
    )


def _richardson_lucy(image: Doubles, kernel: Doubles, rounds: int | None) -> Doubles:
    """Richardson 1972, Lucy 1974."""
    from skimage.restoration import richardson_lucy  # noqa: PLC0415 - few processes filter

    sharp: Doubles = richardson_lucy(
        np.maximum(image, _DARKEST), kernel, num_iter=rounds or _ROUNDS[0], clip=False, filter_epsilon=_DARKEST
    )
    return sharp


def _wiener(seed: int, image: Doubles, kernel: Doubles, _: int | None) -> Doubles:
    """Orieux, Giovannelli and Rodet 2010."""
    from skimage.restoration import unsupervised_wiener  # noqa: PLC0415

    sharp, _ = unsupervised_wiener(image, kernel, clip=False, rng=seed)
    found: Doubles = sharp
    return found
