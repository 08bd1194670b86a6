"""One image, restored by every classical filter of its task."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from workers.classical.deblur import sharpened
from workers.classical.denoise import denoised
from workers.classical.enlarge import enlarged
from workers.classical.inpaint import painted
from workers.classical.member import Array, Denoiser, Failure, Given, Member
from workers.classical.sensing import sensed
from workers.tasks.task import Observation

SMALLEST = 16
"""The least height and width of an observation that filters are tried on."""

FAMILIES: Mapping[str, Callable[[Given], Iterator[tuple[str, Callable[[], Member]]]]] = {
    "denoise": denoised,
    "jpeg": denoised,
    "inpaint": painted,
    "super-resolve": enlarged,
    "deblur": sharpened,
    "compressed-sensing": sensed,
}
"""The filters of each task, by its name."""


def restore_classically(given: Given, more: Mapping[str, Denoiser] | None = None) -> tuple[list[Member], list[Failure]]:
    """Restore an image by every filter of its task, and by a user's own.

    Their strengths are set without a reference: where the noise is known, by the least estimated risk (Stein 1981);
    elsewhere by the least error on the hidden pixels, which are filled in from their neighbours before. Equal arguments
    give equal images.

    Args:
        given: The observation, and what is known of its noise.
        more: A user's own filters, by name.

    Returns:
        What the filters gave, and which gave nothing. An image with a side below `SMALLEST` has neither.
    """
    members: list[Member] = []
    failures: list[Failure] = []
    observation = given.observation
    if min((observation.shape or observation.pixels.shape)[1:]) < SMALLEST:
        return members, failures
    own = ((name, partial(_own, name, denoiser, given)) for name, denoiser in (more or {}).items())
    family = FAMILIES.get(given.task.name)
    for name, work in (*(() if family is None else family(given)), *own):
        try:
            member = work()
        # A user's code may raise whatever it likes, and so may a library that is given an odd image.
        except Exception as error:
            failures.append(Failure(name, " ".join(f"{type(error).__name__}: {error}".split())[:200]))
            continue
        if np.isfinite(member.judged).all() and np.isfinite(member.delivered).all():
            members.append(member)
        else:
            failures.append(Failure(name, "its image has values that are no numbers"))
    return members, failures


def _own(name: str, denoiser: Denoiser, given: Given) -> Member:
    """A user's own filter: what it makes without the hidden pixels is judged, and what it makes of all is delivered."""
    began = time.perf_counter()
    sigma = 0.0 if given.noise is None else given.noise**0.5
    delivered = _called(denoiser, given.observation, sigma, given)
    judged = _called(denoiser, given.without_hidden, sigma, given)
    divergence = 0.0
    if given.noise:
        random = np.random.default_rng(given.seed)
        pixels = given.observation.pixels
        probe, step = random.choice(np.array([-1.0, 1.0], np.float32), pixels.shape), np.float32(0.1 * sigma)
        beside = (pixels + step * probe).astype(np.float32)
        moved = _called(denoiser, Observation(beside, given.observation.known), sigma, given)
        divergence = float(np.mean(probe * (moved - delivered), dtype=np.float64) / step)
    return Member(name, None, judged, delivered, divergence, time.perf_counter() - began)


def _called(denoiser: Denoiser, observation: Observation, sigma: float, given: Given) -> Array:
    image: Array = np.asarray(denoiser(observation, sigma), dtype=np.float32)
    channels, height, width = observation.pixels.shape
    scale = given.task.operator.scale
    expected = (channels, scale * height, scale * width)
    if image.shape != expected:
        raise ValueError(f"it returned an array of shape {image.shape}, and not of {expected}")
    return image
