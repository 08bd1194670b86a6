"""Masks: images whose black and white say which pixels are known."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.errors import ImageRejectedError
from orchestrator.images.formats import read
from orchestrator.images.picture import CHANNELS, turned_upright

_BETWEEN = (0.25, 0.75)


def decode_mask(data: bytes, *, max_pixels: int = 100_000_000, white_is_known: bool = True) -> NDArray[np.bool_]:
    """Decode a mask: (H, W), true where a pixel is known. Pixels lighter than half of the lightest one are white.

    So masks of 0 and 1 are read like masks of 0 and 255. Greys are the soft edges between black and white; where there
    are more of them than of either, it is no mask. Transparency says nothing, so a mask must not vary in it.

    Raises:
        ImageRejectedError: as `decode` does, and where the file does not say by black and white alone what is known.
    """
    decoded = read(data, max_pixels)
    samples = turned_upright(decoded).astype(np.float64)
    colours = CHANNELS[decoded.colour]
    if decoded.alpha is not None and np.ptp(samples[colours]) > 0:
        raise ImageRejectedError(
            "a mask says by black and white what is known, and the transparency of this one varies:"
            " save the transparency itself as a black and white image"
        )
    grey = samples[:colours].mean(axis=0)
    if not np.isfinite(grey).all() or grey.min() < 0:
        raise ImageRejectedError("a mask is black and white, and this one has negative values or values that are none")
    if decoded.white_is_zero:
        whitest = 255.0 if decoded.samples.dtype == np.uint8 else grey.max()
        grey = whitest - grey
    lightest = float(grey.max())
    low, high = (share * lightest for share in _BETWEEN)
    between = np.count_nonzero((grey > low) & (grey < high))
    if between > min(np.count_nonzero(grey <= low), np.count_nonzero(grey >= high)):
        raise ImageRejectedError(
            f"a mask is black and white, and {between:,} of the {grey.size:,} pixels of this one are grey or coloured:"
            " which of them are known is not clear"
        )
    white: NDArray[np.bool_] = grey > lightest / 2
    return white if white_is_known else ~white


def encode_mask(known: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as a PNG of one bit: white where known."""
    buffer = BytesIO()
    Image.fromarray(known).save(buffer, "PNG")
    return buffer.getvalue()
