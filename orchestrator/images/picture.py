"""A picture in memory, and the conversion between its pixels and a file's samples."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.images.metadata import Tag
from orchestrator.images.scale import LeftOut, first_scale, left_out, scale_of

Colour = Literal["grey", "rgb", "cmyk"]
Alpha = Literal["unspecified", "associated", "unassociated"]
Resolution = tuple[tuple[int, int], tuple[int, int], int]
CHANNELS: dict[Colour, int] = {"grey": 1, "rgb": 3, "cmyk": 4}
_GREY_STAYS_GREY = 3
"""The first rules by which a picture whose red, green and blue are equal everywhere has one channel."""
_METADATA_STAYS = 3
"""The first rules that keep EXIF, XMP, OME-XML and a place on the Earth."""
_ICC_SPACES: dict[Colour, bytes] = {"grey": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK"}


@dataclass(frozen=True)
class Encoding:
    """The encoding of pixels in [0, 1] in a file: sample = offset + scale * pixel (1 - pixel if white_is_zero)."""

    container: Literal["png", "tiff"]
    dtype: str  # numpy's name of the sample type, such as "uint16"
    bit_depth: int  # significant bits of a sample; below the type's own only for uint16
    offset: float  # in sample units
    scale: float  # in sample units, never 0
    colour: Colour
    white_is_zero: bool = False
    alpha: Alpha | None = None
    icc_profile: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # of a PNG, by kind: colours and resolution
    resolution: Resolution | None = None  # of a TIFF: pixels per unit across and down as fractions, the unit's number
    description: str | bytes | None = None  # of a TIFF: ImageJ's calibration, or OME-XML
    tags: tuple[Tag, ...] = ()  # of a TIFF: where it is on the Earth, and more (`orchestrator.images.metadata`)
    low: float = 0.0  # the pixel that shows as black
    high: float = 1.0  # and as white
    is_grey: bool = False  # one channel in memory, which is red, green and blue of the file

    @property
    def peak(self) -> float:
        """The range of pixels from black to white, which is the peak of PSNR."""
        return self.high - self.low

    @property
    def shown(self) -> "Encoding":
        """The same samples on the scale where black is 0 and white is 1."""
        offset = self.offset + self.scale * self.low
        return replace(self, offset=offset, scale=self.scale * self.peak, low=0.0, high=1.0)

    @property
    def suffix(self) -> str:
        """The file name's suffix: ".png" or ".tif"."""
        return ".png" if self.container == "png" else ".tif"

    @property
    def channels(self) -> int:
        """The number of channels in memory, alpha not counted: 1, 3 or 4."""
        return 1 if self.is_grey else CHANNELS[self.colour]

    @property
    def is_full_scale(self) -> bool:
        """Whether the scale follows from the sample type, rather than from the smallest and largest sample."""
        is_unit_float = self.dtype.startswith("float") and (self.offset, self.scale) == (0.0, 1.0)
        return self.dtype in ("uint8", "uint16") or is_unit_float


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    pixels: (C, H, W) colour channels in [0, 1] (beyond it only if decoded `like` another picture).
    alpha: (H, W) samples as they were in the file, or None.
    exact: (C, H, W) the file's own samples where float32 pixels cannot carry them exactly (wide integers, floats
        outside [0, 1]), else None. `encode` writes these back for every pixel that is unchanged.
    known: (H, W), true where the file holds data; None where it does everywhere. Elsewhere a pixel is the median of the
        known ones, in a picture decoded `like` another NaN.
    kept: (H, W), true where the file's own samples are written back whatever the pixels are; None where nowhere.
    note: what is unknown beyond the mask that was given, for the user.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[Any] | None
    encoding: Encoding
    exact: NDArray[Any] | None = None
    known: NDArray[np.bool_] | None = None
    kept: NDArray[np.bool_] | None = None
    note: str | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """The result of a reader: samples (C, H, W) as stored, alpha last if there is one, not yet upright."""

    container: Literal["png", "tiff"]
    samples: NDArray[Any]
    colour: Colour
    alpha: Alpha | None = None
    orientation: object = 1
    icc_profile: object = None
    white_is_zero: bool = False
    no_data: float | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    resolution: Resolution | None = None
    description: str | bytes | None = None
    tags: tuple[Tag, ...] = ()


def to_picture(
    decoded: Decoded,
    like: Encoding | None,
    rules: int,
    *,
    known: NDArray[np.bool_] | None = None,
    room: float = 0.0,
) -> Picture:
    """Scale a reader's samples to [0, 1] and turn them upright."""
    upright = turned_upright(decoded)
    channels = CHANNELS[decoded.colour]
    is_grey = rules >= _GREY_STAYS_GREY and _is_grey(decoded, like)
    samples = np.ascontiguousarray(upright[: 1 if is_grey else channels])
    if rules > 0 and decoded.alpha == "unspecified" and np.ptp(upright[channels]) > 0:
        raise ImageRejectedError(
            f"it has {len(upright)} channels, and the file does not say whether the last is alpha or an image"
            " (ExtraSamples 0): split it into single images, or declare the alpha"
        )
    alpha = np.ascontiguousarray(upright[channels]) if decoded.alpha is not None else None
    left = _left_out(decoded, samples, like, rules, known)
    own = first_scale(samples) if rules == 0 else scale_of(samples, left.known, room)
    encoding = Encoding(
        container=decoded.container,
        dtype=samples.dtype.name,
        bit_depth=own.bit_depth,
        offset=own.offset,
        scale=own.scale,
        colour=decoded.colour,
        white_is_zero=decoded.white_is_zero,
        alpha=decoded.alpha,
        icc_profile=_fitting_profile(decoded.icc_profile, decoded.colour),
        chunks=() if rules == 0 else _fitting_chunks(decoded, rules),
        resolution=None if rules == 0 or decoded.orientation in (5, 6, 7, 8) else decoded.resolution,
        description=_fitting_description(decoded, rules),
        tags=() if rules < _METADATA_STAYS or _is_turned(decoded) else decoded.tags,
        low=own.low,
        high=own.high,
        is_grey=is_grey,
    )
    is_shared = like is not None and (
        like.dtype == encoding.dtype or not (like.is_full_scale and encoding.is_full_scale)
    )
    if like is not None:
        encoding = _on_scale_of(like, encoding, is_shared=is_shared)
    pixels = _to_pixels(samples, encoding)
    if left.known is not None:
        for channel in pixels:
            channel[~left.known] = np.nan if like is not None else np.median(channel[left.known])
    if not np.isfinite(pixels if left.known is None else pixels[:, left.known]).all():
        raise ImageRejectedError("its values lie too far outside the scale of the image it is compared with")
    survives = not is_shared and _survives_float32(encoding) and left.kept is None
    return Picture(pixels, alpha, encoding, None if survives else samples, left.known, left.kept, left.note)


def _is_grey(decoded: Decoded, like: Encoding | None) -> bool:
    """Whether the colours of a file are equal everywhere, also where a mask does not know them.

    Three channels fitted apart would come back with a tint. What is compared with a picture has its channels.
    """
    if decoded.colour != "rgb" or (like is not None and like.channels != 1):
        return False
    red, *others = decoded.samples[: CHANNELS["rgb"]]
    is_float = red.dtype.kind == "f"
    return all(np.array_equal(red, other, equal_nan=is_float) for other in others)


def finite_in(decoded: Decoded) -> NDArray[np.bool_] | None:
    """Where all colours are finite (H, W), upright; None where they are everywhere."""
    finite = np.isfinite(turned_upright(decoded)[: CHANNELS[decoded.colour]]).all(axis=0)
    if not finite.any():
        raise ImageRejectedError("none of its values is a finite number")
    return None if finite.all() else finite


def _left_out(
    decoded: Decoded, samples: NDArray[Any], like: Encoding | None, rules: int, known: NDArray[np.bool_] | None
) -> LeftOut:
    if rules == 0:
        return LeftOut(known)
    if like is not None and samples.dtype.kind == "f":
        # What a reference does not say is not compared.
        finite = finite_in(decoded)
        known = finite if known is None else known if finite is None else known & finite
    found = left_out(samples, known, decoded.no_data)
    return found if found.known is not None else LeftOut(known)


def _on_scale_of(like: Encoding, own: Encoding, *, is_shared: bool) -> Encoding:
    """The encoding of a reference on the scale of its image. Where it shows black and white stays the reference's."""
    if is_shared:
        black, white = (own.offset + own.scale * end for end in (own.low, own.high))
        low, high = ((end - like.offset) / like.scale for end in (black, white))
        return replace(own, offset=like.offset, scale=like.scale, low=low, high=high)
    # Both have a full scale: white is white.
    return replace(own, scale=own.scale * own.high / like.high, low=like.low, high=like.high)


def _is_turned(decoded: Decoded) -> bool:
    return decoded.orientation in range(2, 9)


def _fitting_description(decoded: Decoded, rules: int) -> str | bytes | None:
    """Return the description if it is true of the picture: OME-XML says which sides it has."""
    is_new = isinstance(decoded.description, bytes)
    is_left_out = rules == 0 or (is_new and (rules < _METADATA_STAYS or _is_turned(decoded)))
    return None if is_left_out else decoded.description


def _fitting_chunks(decoded: Decoded, rules: int) -> tuple[tuple[bytes, bytes], ...]:
    """Return the chunks that are true of the picture: one that is turned has another resolution across and down."""
    left_out = {b"pHYs"} if decoded.orientation in (5, 6, 7, 8) else set[bytes]()
    if rules < _METADATA_STAYS:
        left_out |= {b"eXIf", b"iTXt"}
    return tuple((kind, body) for kind, body in decoded.chunks if kind not in left_out)


def _fitting_profile(profile: object, colour: Colour) -> bytes | None:
    """Return the profile if it is valid for these colours; a file may hold anything in its place."""
    return profile if isinstance(profile, bytes) and profile[16:20] == _ICC_SPACES[colour] else None


def turned_upright(decoded: Decoded) -> NDArray[Any]:
    """Turn samples (C, H, W) by an EXIF orientation, 1 to 8; any other value that a file holds counts as 1."""
    samples, orientation = decoded.samples, decoded.orientation
    if not isinstance(orientation, int):
        return samples
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(1, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[:, ::-1]
    return samples


def _survives_float32(encoding: Encoding) -> bool:
    """Whether samples on their own scale come back exactly from float32 pixels."""
    if encoding.dtype.startswith("float"):
        narrow = encoding.dtype != "float64"
        return narrow and encoding.is_full_scale and not encoding.white_is_zero
    return np.dtype(encoding.dtype).itemsize <= 2


def _to_pixels(samples: NDArray[Any], encoding: Encoding) -> NDArray[np.float32]:
    pixels = np.empty(samples.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for values that left float32's range
        for source, target in zip(samples, pixels, strict=True):  # channel by channel: float64 takes twice the memory
            values = (source.astype(np.float64) - encoding.offset) / encoding.scale
            target[...] = 1 - values if encoding.white_is_zero else values
    return pixels


def to_samples(pixels: NDArray[np.floating[Any]], encoding: Encoding) -> NDArray[Any]:
    """Map pixels (C, H, W) to samples of the encoding, rounded and clipped to their range."""
    dtype = np.dtype(encoding.dtype)
    low, high = _sample_range(dtype, encoding.bit_depth)
    samples = np.empty(pixels.shape, dtype)
    with np.errstate(over="ignore"):  # overflow to infinity is clipped like any other value out of range
        for source, target in zip(pixels, samples, strict=True):
            values = source.astype(np.float64)
            values = (1 - values if encoding.white_is_zero else values) * encoding.scale + encoding.offset
            if dtype.kind != "f":
                np.rint(values, out=values)
            target[...] = np.clip(values, low, high)
    return samples


def _sample_range(dtype: np.dtype[Any], bit_depth: int) -> tuple[float, float]:
    """Return the smallest and largest sample as floats that convert to the type without overflow."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return float(limits.min), float(limits.max)
    largest = 2**bit_depth - 1 if dtype.kind == "u" else int(np.iinfo(dtype).max)
    high = float(largest)
    return float(np.iinfo(dtype).min), high if int(high) <= largest else math.nextafter(high, 0.0)
