"""Baselines of compressed sensing: images of little total variation, or of few cosines, that agree with what was
measured.

Both minimise |M x - y|^2 / 2 + w R(x) by accelerated proximal steps (FISTA: Beck and Teboulle 2009). The proximal map
of total variation is scikit-image's; that of the cosines' absolute values, which is the Lasso in the basis of the
discrete cosine transform, shrinks what scipy transforms. So M is only ever applied, never stored.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from workers.classical.member import Array, Given, Member
from workers.sensing import Sensing
from workers.tasks.degrading import measure

Proximal = Callable[[NDArray[np.float32], float], NDArray[np.float32]]

WEIGHTS: Sequence[float] = (0.1, 0.03, 0.01, 0.003, 0.001)
_STEPS = 30
_POWERS = 12


def sensed(given: Given) -> Iterator[tuple[str, Callable[[], Member]]]:
    """Each baseline, to be called, by its name."""
    yield "total variation", partial(_member, "total variation", given, _smoothed)
    yield "sparse cosines", partial(_member, "sparse cosines", given, _shrunk)


def _member(name: str, given: Given, proximal: Proximal) -> Member:
    began = time.perf_counter()
    operator = given.task.operator_of(given.observation)
    assert isinstance(operator, Sensing)  # noqa: S101 - no other task comes here
    measured, hidden = given.observation.pixels, given.hidden
    step = 1 / _squared_norm(operator)

    def error(image: Array) -> float:
        return float(np.square(measure(operator, image) - measured)[:, hidden].mean()) if hidden.any() else 0.0

    def path(kept: NDArray[np.bool_]) -> Iterator[tuple[Array, float]]:
        """The minimum for each weight, from the one before: large weights converge in few steps."""
        image = np.full(operator.shape, 0.5, dtype=np.float32)
        for weight in WEIGHTS:
            ahead, momentum = image, 1.0
            for _ in range(_STEPS):
                residual = np.where(kept, measure(operator, ahead) - measured, np.float32(0))
                moved = proximal(ahead - np.float32(step) * _adjoint(operator, residual), weight * step)
                following = (1 + sqrt(1 + 4 * momentum**2)) / 2
                ahead = moved + np.float32((momentum - 1) / following) * (moved - image)
                image, momentum = moved, following
            yield np.clip(image, 0, 1), weight

    judged, best = min(path(~hidden), key=lambda each: error(each[0]))
    delivered = next(image for image, weight in path(np.ones_like(hidden)) if weight == best)
    return Member(name, best, judged, delivered, 0.0, time.perf_counter() - began)


def _adjoint(operator: Sensing, residual: Array) -> Array:
    back: Array = operator.adjoint(torch.from_numpy(np.ascontiguousarray(residual))[None])[0].numpy()
    return back


def _squared_norm(operator: Sensing) -> float:
    """The largest eigenvalue of M'M, by the power method; a little more, so that steps are never too long."""
    image = np.random.default_rng(0).standard_normal(operator.shape, dtype=np.float32)
    norm = 1.0
    for _ in range(_POWERS):
        image = _adjoint(operator, measure(operator, image / np.linalg.norm(image)))
        norm = float(np.linalg.norm(image))
    return 1.2 * norm


def _smoothed(image: Array, weight: float) -> Array:
    from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415 - few processes filter

    smooth: Array = denoise_tv_chambolle(image, weight=weight, max_num_iter=20, channel_axis=0).astype(np.float32)
    return smooth


def _shrunk(image: Array, weight: float) -> Array:
    from scipy.fft import dctn, idctn  # noqa: PLC0415 - half a second

    spectrum = dctn(image, axes=(1, 2), norm="ortho")
    # The mean of each channel costs nothing.
    means = spectrum[:, 0, 0].copy()
    spectrum = np.sign(spectrum) * np.maximum(np.abs(spectrum) - weight, 0)
    spectrum[:, 0, 0] = means
    shrunk: Array = idctn(spectrum, axes=(1, 2), norm="ortho").astype(np.float32)
    return shrunk
