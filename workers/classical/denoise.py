"""Filters for noise: non-local means, wavelets and total variation."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.classical.member import Array, Given, Member
from workers.noise import noise_variance

Doubles = NDArray[np.float64]
Filter = Callable[[Doubles, float, float, int | None], Doubles]
"""From an image (H, W, C) or (H, W), the noise's standard deviation, a strength, and the axis of the channels to the
image without noise."""

_LEAST_SIGMA = 1e-3
_PROBE = 0.05  # in standard deviations of the noise
_SEARCHED = 256


@dataclass(frozen=True)
class _Kind:
    """A filter, and the strengths that are tried."""

    filter: Filter
    strengths: Sequence[float]

    def apply(self, image: Doubles, sigma: float, strength: float) -> Doubles:
        """Filter an image (H, W, C); scikit-image takes one of a single channel without the axis."""
        if image.shape[2] > 1:
            return self.filter(image, sigma, strength, 2)
        return self.filter(image[..., 0], sigma, strength, None)[..., None]


def _non_local_means(image: Doubles, sigma: float, strength: float, axis: int | None) -> Doubles:
    """Buades, Coll and Morel 2005; patches of 5 x 5 within 6 pixels."""
    from skimage.restoration import denoise_nl_means  # noqa: PLC0415 - few processes filter

    restored: Doubles = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True, channel_axis=axis
    )
    return restored


def _total_variation(image: Doubles, sigma: float, strength: float, axis: int | None) -> Doubles:
    """Chambolle 2004."""
    from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415

    restored: Doubles = denoise_tv_chambolle(image, weight=strength * sigma, eps=1e-5, channel_axis=axis)
    return restored


def _wavelets(image: Doubles, sigma: float, strength: float, axis: int | None) -> Doubles:
    """BayesShrink (Chang, Yu and Vetterli 2000), the mean over 16 shifts (Coifman and Donoho 1995)."""
    from skimage.restoration import cycle_spin, denoise_wavelet  # noqa: PLC0415

    told = {"sigma": strength * sigma, "method": "BayesShrink", "wavelet": "db2", "channel_axis": axis}
    restored: Doubles = cycle_spin(
        image,
        func=denoise_wavelet,
        max_shifts=3,
        func_kw={**told, "rescale_sigma": False},
        workers=1,
        channel_axis=axis,
    )
    return restored


FILTERS: Mapping[str, _Kind] = {
    "non-local means": _Kind(_non_local_means, (0.4, 0.5, 0.6, 0.7, 0.85, 1.0)),
    "wavelets": _Kind(_wavelets, (0.8, 1.0, 1.3)),
    "total variation": _Kind(_total_variation, (0.4, 0.6, 0.8, 1.0, 1.4)),
}
"""Strengths are in standard deviations of the noise."""


def denoised(given: Given) -> Iterator[tuple[str, Callable[[], Member]]]:
    """Each filter, to be called, by its name."""
    for name, kind in FILTERS.items():
        yield name, partial(_member, name, kind, given)


def _member(name: str, kind: _Kind, given: Given) -> Member:
    began = time.perf_counter()
    pixels = _channels_last(given)
    unseen = _by_hidden_pixels(kind, given, pixels)
    if given.noise is None:
        delivered = _channels_first(kind.apply(pixels, unseen.sigma, unseen.strength))
        return Member(name, unseen.strength, unseen.judged, delivered, 0.0, time.perf_counter() - began)
    sigma = max(_LEAST_SIGMA, given.noise**0.5)
    random = np.random.default_rng(given.seed)
    known = given.observation.known
    part = _part(pixels)
    risks = []
    for strength in kind.strengths:
        output, divergence = _with_divergence(kind, part, sigma, strength, random)
        error = np.square(output - part)
        if known is not None:
            error = error[_part(known)]
        risks.append((float(error.mean()) if error.size else 0.0) + 2 * sigma**2 * divergence)
    strength = kind.strengths[int(np.argmin(risks))]
    output, divergence = _with_divergence(kind, pixels, sigma, strength, random)
    return Member(name, strength, unseen.judged, _channels_first(output), divergence, time.perf_counter() - began)


def _with_divergence(
    kind: _Kind, image: Doubles, sigma: float, strength: float, random: np.random.Generator
) -> tuple[Doubles, float]:
    """An output, and the mean derivative of its values by the image's own: a Monte-Carlo estimate (Ramani, Blu and
    Unser 2008)."""
    probe = random.choice(np.array([-1.0, 1.0]), image.shape)
    step = _PROBE * sigma
    output = kind.apply(image, sigma, strength)
    moved = kind.apply(image + step * probe, sigma, strength)
    return output, float(np.mean(probe * (moved - output)) / step)


@dataclass(frozen=True, eq=False)
class _Unseen:
    """What a filter makes without the hidden pixels, and the strength and noise that it was told."""

    judged: Array
    strength: float
    sigma: float


def _by_hidden_pixels(kind: _Kind, given: Given, pixels: Doubles) -> _Unseen:
    """By the least error on hidden pixels that were filled in before (Batson and Royer 2019)."""
    noise = noise_variance(given.observation.pixels)
    sigma = max(_LEAST_SIGMA, 0.0 if noise is None else noise.value**0.5)
    filled = given.without_hidden.pixels.transpose(1, 2, 0).astype(np.float64)
    part, hidden, truth = _part(filled), _part(given.hidden), _part(pixels)
    errors = [
        float(np.square(kind.apply(part, sigma, strength) - truth)[hidden].mean()) if hidden.any() else 0.0
        for strength in kind.strengths
    ]
    strength = kind.strengths[int(np.argmin(errors))]
    return _Unseen(_channels_first(kind.apply(filled, sigma, strength)), strength, sigma)


def _channels_last(given: Given) -> Doubles:
    """The observation (H, W, C); what is unknown is taken from the nearest known pixel, so that no zeros bleed in."""
    pixels, known = given.observation.pixels, given.observation.known
    if known is not None:
        from scipy.ndimage import distance_transform_edt  # noqa: PLC0415

        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        pixels = pixels[:, nearest[0], nearest[1]]
    return pixels.transpose(1, 2, 0).astype(np.float64)


def _channels_first(image: Doubles) -> Array:
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def _part(image: NDArray[Any]) -> NDArray[Any]:
    """The middle of an image: a strength needs no more, and a large image would take long."""
    height, width = (max(0, (side - _SEARCHED) // 2) for side in image.shape[:2])
    return image[height : height + _SEARCHED, width : width + _SEARCHED]
