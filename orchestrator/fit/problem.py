"""The problem that an image poses, loaded from the store by the process that works on it.

All randomness here is a function of the run's seed and the image, so every candidate and arm faces the same noise and
the same held-out pixels.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedError, ImageRejectedError
from orchestrator.images import Picture, decode, decode_mask
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage, read_input
from workers.objective import Measurement
from workers.seeds import seed_of
from workers.tasks import Observation, enlarge, observe
from workers.tiles import Tile, Tiling
from workers.views import View, ViewName, select_view

Array = NDArray[np.float32]

_SHAPED = 3
"""The first rules whose hidden pixels have the shape of the holes in the user's mask."""


class Problem:
    """An image's inputs. Each is read and decoded once, when it is first used.

    The inputs have two sides. Fitting, stopping and picking may see ``observation`` and what derives from it.
    ``reference`` is the clean image. Only evaluation uses it, and a search for masks with ``lottery.target: clean``,
    whose results say so.

    Every job makes its own problem. The pixels (C, H, W) are in [0, 1] and belong to the problem: do not change them.

    Args:
        context: The run.
        image: The image.
    """

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self._context, self.image = context, image

    @cached_property
    def picture(self) -> Picture:
        """The image as it was given; in a simulation this is the clean one.

        Raises:
            ImageRejectedError: the file is damaged, or cannot be decoded.
        """
        config, simulate = self._context.config, self._context.simulate
        data = self._read(self.image.file)
        # A clean image is known everywhere, and nothing goes beyond it.
        room = 0.0 if simulate or self.image.rules == 0 else config.task.kind.room
        known = None if simulate or self.image.rules == 0 else self._mask
        return decode(data, max_pixels=config.ingest.max_pixels, rules=self.image.rules, known=known, room=room)

    @cached_property
    def _mask(self) -> NDArray[np.bool_] | None:
        """The user's mask (H, W), true where the image is known; None without one."""
        if self.image.mask is None:
            return None
        return decode_mask(self._read(self.image.mask), max_pixels=self._context.config.ingest.max_pixels)

    @cached_property
    def observation(self) -> Observation:
        """The degraded image; in a simulation it is made here from the clean one.

        Raises:
            ImageRejectedError: a file is damaged, or cannot be decoded.
        """
        config, picture = self._context.config, self.picture
        pixels, valid = picture.pixels, picture.known
        if self._context.simulate and self._mask is None:
            random = np.random.default_rng(seed_of(config.seed, self.image.id, "degradation", config.task.name))
            simulated = config.task.make().simulate(pixels, random)
            if valid is None:
                return simulated
            valid = _covered(valid, *simulated.pixels.shape[1:])
            known = valid if simulated.known is None else valid & simulated.known
            return Observation(simulated.pixels, known)
        if self._mask is None:
            return Observation(pixels, valid)
        # In a simulation with a user's mask, the mask is the only degradation.
        mask = self._mask if valid is None else np.logical_and(self._mask, valid)
        if not mask.any():
            raise ImageRejectedError("none of its pixels is known")
        return observe(pixels, mask)

    @cached_property
    def reference(self) -> Array | None:
        """The clean image on the degraded one's scale, in the restored image's size; None if there is none.

        It is NaN where it says nothing.

        Raises:
            ImageRejectedError: a file cannot be decoded.
        """
        if self.image.reference is None:
            return None
        if self._context.simulate:
            # If the sides of a clean image are no multiples of the scale, downscaling drops the remainder.
            scale = self._context.config.task.scale
            pixels = self.picture.pixels
            if self.picture.known is not None:
                pixels = np.where(self.picture.known, pixels, np.float32(np.nan))
            return pixels[:, : scale * self.image.height, : scale * self.image.width]
        return None if self._clean is None else self._clean.pixels

    @property
    def peak(self) -> float:
        """The range from black to white, which is the peak of PSNR: the reference's, or without one the image's own."""
        if self.image.rules == 0:
            return 1.0
        return (self.picture if self._clean is None else self._clean).encoding.peak

    @property
    def black(self) -> float:
        """The pixel that is black, where the range begins."""
        if self.image.rules == 0:
            return 0.0
        return (self.picture if self._clean is None else self._clean).encoding.low

    @cached_property
    def _clean(self) -> Picture | None:
        """The reference's file, on the degraded image's scale; None in a simulation."""
        if self.image.reference is None or self._context.simulate:
            return None
        data = self._read(self.image.reference)
        like = self.picture.encoding
        return decode(data, max_pixels=self._context.config.ingest.max_pixels, like=like, rules=self.image.rules)

    @property
    def unrestored(self) -> Array:
        """The image without a restoration, at the restored image's size: the observation, enlarged if it is smaller."""
        scale = self._context.config.task.scale
        return self.degraded if scale == 1 else enlarge(self.degraded, scale)

    @cached_property
    def degraded(self) -> Array:
        """The observation as an image (C, h, w), which is scored, and of which parts are fitted."""
        return self._context.config.task.make().picture(self.observation)

    def view(self, name: ViewName) -> View:
        """Select the view of a fit, from the degraded image alone."""
        config = self._context.config
        return select_view(
            name,
            self.degraded,
            known=self.observation.known,
            crop_px=config.cohort.crop_px,
            downscale_px=config.cohort.downscale_px,
            scale=config.task.scale,
        )

    def tile_view(self, tile: Tile) -> View:
        """The view of a tile of the whole image."""
        return View("full", tile.top, tile.left, tile.height, tile.width, tile.height, tile.width)

    def tile_measurement(self, tile: Tile) -> Measurement:
        """Return a tile of what a fit of the whole image may see, and of the pixels that are held out from it.

        So a pixel that is hidden from a tile is hidden from its neighbours. Where the operator reaches over an edge of
        the tile within the image, nothing counts as known.
        """
        whole, rows_and_columns = self.measurement(self.view("full")), tile.slices
        reach = self._context.config.task.make().operator.reach
        judged = Tiling(self.image.height, self.image.width, (tile,), reach).judged(tile)
        known = judged if whole.known is None else judged & whole.known[rows_and_columns]
        hidden = whole.held_out[rows_and_columns] & known
        pixels = np.ascontiguousarray(whole.pixels[:, *rows_and_columns])
        return Measurement(pixels, hidden, None if known.all() else known)

    def measurement(self, view: View) -> Measurement:
        """Return the pixels of a view that a fit may see and those that are held out: the same for all candidates."""
        config = self._context.config
        random = np.random.default_rng(seed_of(config.seed, self.image.id, "held-out", view.name))
        # Measurements of the whole image have no part that a view could take. They are few, so no more are hidden.
        whole = config.task.kind.sees_whole
        seen = (self.observation.pixels, self.observation.known)
        pixels, known = seen if whole else view.take(*seen)
        return Measurement.hiding(
            pixels,
            known,
            random,
            share=config.fit.held_out,
            fewest=1 if whole else config.fit.held_out_pixels,
            shaped=self.image.mask is not None and self.image.rules >= _SHAPED,
        )

    def _read(self, file: str) -> bytes:
        try:
            return read_input(self._context.store, file)
        except DamagedError as error:
            # A damaged file concerns this image alone.
            raise ImageRejectedError(f"its copy in the store is damaged ({error})") from None


def _covered(valid: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """A mask of a smaller image: true where all pixels that one of its pixels covers are."""
    scale = valid.shape[0] // height
    blocks = valid[: scale * height, : scale * width].reshape(height, scale, width, scale)
    covered = np.empty((height, width), dtype=np.bool_)
    return blocks.all(axis=(1, 3), out=covered)
