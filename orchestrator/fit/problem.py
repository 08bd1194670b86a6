"""What a fit works on, loaded from the store where it is worked on.

Two doors: `load_observation` gives what fitting, stopping and picking may see; `load_reference` gives the clean image, and
only the evaluation calls it, and a search for masks that was asked to look at it (``lottery.target: clean``), which says so. All randomness here is a function of the run's seed and the image, so that every candidate
and arm faces the same noise and the same held-out pixels.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedError, ImageRejectedError
from orchestrator.images import Picture, decode, decode_mask
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import image_key
from orchestrator.settings import Config
from workers.objective import Measurement
from workers.seeds import seed_of
from workers.tasks import Observation, enlarge, observe
from workers.views import View, ViewName, select_view

Array = NDArray[np.float32]


def _get(context: RunContext, key: str) -> bytes:
    """An input's bytes.

    Raises:
        ImageRejectedError: they are not what was brought; that concerns this image alone.
    """
    try:
        return context.store.get(key)
    except DamagedError as error:
        raise ImageRejectedError(f"its copy in the store is damaged ({error})") from None


def load_picture(context: RunContext, image: InputImage) -> Picture:
    """The image as it was given.

    Raises:
        ImageRejectedError: the file cannot be decoded.
    """
    data = _get(context, image_key(image.file))
    return decode(data, max_pixels=context.config.ingest.max_pixels)


def load_observation(context: RunContext, image: InputImage) -> Observation:
    """What is observed of the image; in a simulation the given one is clean and degraded here."""
    pixels = load_picture(context, image).pixels
    if context.simulate and image.mask is None:
        random = np.random.default_rng(seed_of(context.config.seed, image.id, "degradation", context.config.task.name))
        return context.config.task.make().simulate(pixels, random)
    if image.mask is None:
        return Observation(pixels, None)
    # With --simulate the mask is all that happens to the clean image.
    data = _get(context, image_key(image.mask))
    known = decode_mask(data, max_pixels=context.config.ingest.max_pixels)
    return observe(pixels, known)


def load_reference(context: RunContext, image: InputImage) -> Array | None:
    """The clean image on the degraded one's scale, of the restored image's size, or None where there is none.

    For the evaluation, and for masks that are to be found on it.
    """
    if image.reference is None:
        return None
    given = load_picture(context, image)
    if context.simulate:
        # A clean image whose sides are no multiples of the scale loses the rest when it is made small.
        scale = context.config.task.scale
        return given.pixels[:, : scale * image.height, : scale * image.width]
    data = context.store.get(image_key(image.reference))
    return decode(data, max_pixels=context.config.ingest.max_pixels, like=given.encoding).pixels


def unrestored(observation: Observation, config: Config) -> Array:
    """What one has without a restoration, at the restored image's size: the observation itself, or it enlarged."""
    scale = config.task.scale
    return observation.pixels if scale == 1 else enlarge(observation.pixels, scale)


def view_of(name: ViewName, observation: Observation, config: Config) -> View:
    """The view of a fit, chosen from the degraded image alone."""
    return select_view(
        name,
        observation.pixels,
        known=observation.known,
        crop_px=config.cohort.crop_px,
        downscale_px=config.cohort.downscale_px,
        scale=config.task.scale,
    )


def measurement_of(image: InputImage, view: View, observation: Observation, config: Config) -> Measurement:
    """What a fit of a view may see, with the pixels that are hidden from it: the same for all its candidates."""
    random = np.random.default_rng(seed_of(config.seed, image.id, "held-out", view.name))
    pixels, known = view.take(observation.pixels, observation.known)
    return Measurement.hiding(pixels, known, random, share=config.fit.held_out, fewest=config.fit.held_out_pixels)
