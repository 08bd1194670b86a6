"""What a fit works on, loaded from the store where it is worked on.

Two doors: `load_degraded` gives what fitting, stopping and picking may see; `load_reference` gives the clean image, and
only the evaluation calls it. All randomness here is a function of the run's seed and the image, so that every candidate
and arm faces the same noise and the same held-out pixels.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.config import Config
from orchestrator.context import RunContext
from orchestrator.images import Picture, decode
from orchestrator.ingest import InputImage
from workers.operators import Denoise, Operator
from workers.seeds import seed_of
from workers.stopping import held_out_mask
from workers.views import View, ViewName, select_view

Array = NDArray[np.float32]


def operator_of(config: Config) -> Operator:
    """The degradation of the run's task."""
    return Denoise(config.task.sigma)


def load_picture(context: RunContext, image: InputImage) -> Picture:
    """The image as it was given.

    Raises:
        ImageRejectedError: the file cannot be decoded.
    """
    data = context.store.get(context.layout.input(image.file))
    return decode(data, max_pixels=context.config.ingest.max_pixels)


def load_degraded(context: RunContext, image: InputImage) -> Array:
    """The image to restore, (C, H, W) in [0, 1]; in a simulation the given one is clean and degraded here."""
    pixels = load_picture(context, image).pixels
    if not context.simulate:
        return pixels
    config = context.config
    random = np.random.default_rng(seed_of(config.seed, image.id, "degradation", config.task.name))
    return operator_of(config).simulate(pixels, random)


def load_reference(context: RunContext, image: InputImage) -> Array | None:
    """The clean image on the degraded one's scale, or None where there is none. For the evaluation only."""
    if image.reference is None:
        return None
    given = load_picture(context, image)
    if context.simulate:
        return given.pixels
    data = context.store.get(context.layout.reference(image.reference))
    return decode(data, max_pixels=context.config.ingest.max_pixels, like=given.encoding).pixels


def view_of(name: ViewName, degraded: Array, config: Config) -> View:
    """The view of a fit, chosen from the degraded image alone."""
    return select_view(name, degraded, crop_px=config.cohort.crop_px, downscale_px=config.cohort.downscale_px)


def held_out_of(image: InputImage, view: View, config: Config) -> NDArray[np.bool_]:
    """The hidden pixels of a view, the same for all its candidates: (out_height, out_width)."""
    random = np.random.default_rng(seed_of(config.seed, image.id, "held-out", view.name))
    return held_out_mask(view.out_height, view.out_width, config.fit.held_out, random)
