"""Reads the pictures to restore and writes the restored ones back in kind.

The format is decided from the content: PNG, JPEG, WebP, TIFF or BMP. A picture in memory is float32 in [0, 1] with
shape (channels, height, width), upright (an EXIF or TIFF orientation is applied), with its alpha kept apart and
untouched. `Encoding` says how such pixels become samples of a file again.

A picture whose red, green and blue are equal everywhere has one channel, and is written back with three equal ones.

These things change between the file read and the file written:

- JPEG, WebP and BMP become PNG; PNG stays PNG; TIFF stays TIFF (deflate-compressed, interleaved, little-endian).
- Palettes become 8-bit RGB, samples of fewer than 8 bits become 8-bit, a PNG's transparent colour becomes alpha, and
  9- to 15-bit TIFF samples are stored in 16 bits.
- A CMYK JPEG becomes RGB (without colour management); a CMYK TIFF keeps its four inks. YCbCr inside TIFF becomes RGB.
- The orientation tag and text are dropped. An ICC profile is kept where it fits the colours written, and so are EXIF,
  XMP, a PNG's gamma, primaries and resolution, a TIFF's resolution, calibration and place on the Earth
  (`orchestrator.images.metadata`).

Samples map to [0, 1] as follows:

- uint8: 255 is 1. uint16: the full scale of 10, 12, 14 or 16 bits is 1, whichever is the smallest that holds the
  image's maximum, because microscopes and cameras store 12 bits in 16.
- floats that all lie in [0, 1]: unchanged. All other floats and integers: the image's own minimum is 0, its maximum 1.
- defective pixels and values that mean no data do not decide, and some tasks need room beyond the data
  (`orchestrator.images.scale`).
- "Minimum is white" TIFFs are turned over, so 1 is always the lightest grey. CMYK values are amounts of ink.
"""

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.images.formats import FIRST_BYTES, check_format, container_suffix, read
from orchestrator.images.masks import decode_mask, encode_mask
from orchestrator.images.metadata import SIZED_CHUNKS, scaled
from orchestrator.images.picture import CHANNELS, Encoding, Picture, finite_in, to_picture, to_samples
from orchestrator.images.png import write_png
from orchestrator.images.tiff import write_tiff
from orchestrator.run.inputs import RULES

__all__ = [
    "FIRST_BYTES",
    "Encoding",
    "Picture",
    "check_format",
    "container_suffix",
    "decode",
    "decode_mask",
    "encode",
    "encode_map",
    "encode_mask",
    "preview",
    "resized",
]


_STRIP = 256
"""So many rows of a photograph are changed at once."""


def decode(
    data: bytes,
    *,
    max_pixels: int = 100_000_000,
    like: Encoding | None = None,
    rules: int = RULES,
    known: NDArray[np.bool_] | None = None,
    room: float = 0.0,
    finite: bool = True,
) -> Picture:
    """Decode one image file.

    max_pixels limits height times width; it is compared with the file's header before anything is decoded.
    `like` decodes a clean reference on the scale of the degraded image, so that both can be compared; its samples must
    be in the same units. Where both have a full scale of their own (an 8-bit image, a 16-bit reference), each keeps it.
    `rules` are those of `orchestrator.run.inputs.RULES`. `known` (H, W) is true where a mask knows the image: what it
    holds elsewhere, even NaN, does not count. `room` is how far the restored image may go beyond the data, in ranges of
    these (`orchestrator.images.scale`). Without `finite`, values that are not finite count as unknown: a mask that is
    not at hand yet may say so.

    Raises ImageRejectedError, with the reason on one line, for anything that cannot be decoded completely.
    """
    decoded = read(data, max_pixels)
    if not finite and known is None:
        known = finite_in(decoded)
    return to_picture(decoded, like, rules, known=known, room=room)


def encode(pixels: NDArray[np.floating[Any]], target: Picture | Encoding, alpha: NDArray[Any] | None = None) -> bytes:
    """Encode pixels (C, H, W) losslessly as a PNG or TIFF file.

    Integers are rounded to the nearest and clipped to the bit depth; floats are clipped to the finite range only.
    Given the Picture the pixels came from, its alpha is the default and unchanged pixels get their very samples back.

    Raises ValueError if the pixels or the alpha do not fit the encoding, or the pixels are not finite.
    """
    encoding = target if isinstance(target, Encoding) else target.encoding
    if pixels.ndim != 3 or pixels.shape[0] != encoding.channels or 0 in pixels.shape:
        raise ValueError(f"pixels of shape {pixels.shape} do not fit {encoding.channels} channels of {encoding.colour}")
    if not np.isfinite(pixels).all():
        raise ValueError("pixels hold NaN or infinite values")
    samples = to_samples(pixels, encoding)
    if isinstance(target, Picture):
        alpha = target.alpha if alpha is None else alpha
        if target.exact is not None and target.exact.shape == samples.shape:
            np.copyto(samples, target.exact, where=pixels == target.pixels)
            if target.kept is not None:
                np.copyto(samples, target.exact, where=target.kept)
    if encoding.is_grey:
        samples = np.repeat(samples, CHANNELS[encoding.colour], axis=0)
    if (alpha is None) != (encoding.alpha is None):
        raise ValueError(f"the encoding's alpha is {encoding.alpha}, the alpha given is {type(alpha).__name__}")
    if alpha is not None:
        if alpha.shape != samples.shape[1:] or alpha.dtype != samples.dtype:
            raise ValueError(f"alpha {alpha.dtype}{alpha.shape} does not fit {samples.dtype}{samples.shape[1:]}")
        samples = np.concatenate([samples, alpha[np.newaxis]])
    interleaved = samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1).copy()
    return (write_png if encoding.container == "png" else write_tiff)(interleaved, encoding)


def resized(picture: Picture, height: int, width: int) -> Picture:
    """Make a model for encoding a restored image of another size: the picture's encoding, with an alpha of that size.

    A smaller alpha is the top left part of the picture's; in a larger one every sample is repeated. A picture that
    already has that size is returned unchanged.
    """
    if picture.pixels.shape[1:] == (height, width):
        return picture
    rows, columns = (
        (np.arange(side) * min(1.0, own / side)).astype(int)
        for side, own in zip((height, width), picture.pixels.shape[1:], strict=True)
    )

    def enlarged(x: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(x[..., rows[:, None], columns])

    alpha = None if picture.alpha is None else enlarged(picture.alpha)
    # Of another number of pixels, the resolution is another.
    chunks = tuple((kind, body) for kind, body in picture.encoding.chunks if kind not in SIZED_CHUNKS)
    own_height, own_width = picture.pixels.shape[1:]
    # A smaller one is cut off at the right and below: no pixel has another size, or another place.
    tags = scaled(picture.encoding.tags, max(1.0, width / own_width), max(1.0, height / own_height))
    encoding = replace(picture.encoding, chunks=chunks, resolution=None, description=None, tags=tags)
    picture = replace(picture, encoding=encoding)
    if picture.kept is None or picture.exact is None:
        return Picture(np.empty((len(picture.pixels), 0, 0), np.float32), alpha, picture.encoding)
    nowhere_equal = np.full((len(picture.pixels), height, width), np.nan, np.float32)
    return Picture(nowhere_equal, alpha, picture.encoding, enlarged(picture.exact), kept=enlarged(picture.kept))


def encode_map(values: NDArray[np.float32]) -> bytes:
    """Encode a map (1, H, W) of figures as a float32 TIFF, in their own unit."""
    return write_tiff(values[0], Encoding("tiff", "float32", 32, 0.0, 1.0, "grey"))


def preview(pixels: NDArray[np.floating[Any]], max_side: int = 512) -> bytes:
    """Return pixels (C, H, W) in [0, 1] as an 8-bit PNG for a web page, at most max_side pixels high and wide.

    One channel is shown as grey, three as RGB, four as CMYK converted to RGB. Of two channels only the first is shown,
    of any other number the first three. Small pictures are not enlarged. Values outside [0, 1] are clipped, NaN is 0.
    """
    channels, height, width = pixels.shape
    mode, shown = {1: ("L", 1), 2: ("L", 1), 4: ("CMYK", 4)}.get(channels, ("RGB", 3))
    samples = np.empty((height, width, shown), np.uint8)
    for top in range(0, height, _STRIP):
        strip = np.clip(np.nan_to_num(pixels[:shown, top : top + _STRIP], nan=0.0), 0.0, 1.0)
        samples[top : top + _STRIP] = np.moveaxis(np.rint(strip * 255), 0, -1)
    image = Image.frombytes(mode, (width, height), samples.tobytes())
    if mode == "CMYK":
        image = image.convert("RGB")
    shrink = max_side / max(height, width)
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
