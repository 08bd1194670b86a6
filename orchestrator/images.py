"""Reads the pictures to restore and writes the restored ones back in kind.

The format is decided from the content: PNG, JPEG, WebP, TIFF or BMP. A picture in memory is float32 in [0, 1] with
shape (channels, height, width), upright (an EXIF or TIFF orientation is applied), with its alpha kept apart and
untouched. `Encoding` says how such pixels become samples of a file again.

What changes between the file read and the file written:

- JPEG, WebP and BMP become PNG; PNG stays PNG; TIFF stays TIFF (deflate-compressed, interleaved, little-endian).
- Palettes become 8-bit RGB, samples of fewer than 8 bits become 8-bit, a PNG's transparent colour becomes alpha, and
  9- to 15-bit TIFF samples are stored in 16 bits.
- A CMYK JPEG becomes RGB (without colour management); a CMYK TIFF keeps its four inks. YCbCr inside TIFF becomes RGB.
- The orientation tag, EXIF, text and resolution are dropped. An ICC profile is kept where it fits the colours written.

How samples map to [0, 1]:

- uint8: 255 is 1. uint16: the full scale of 10, 12, 14 or 16 bits is 1, whichever is the smallest that holds the
  image's maximum, because microscopes and cameras store 12 bits in 16.
- floats that all lie in [0, 1]: unchanged. All other floats and integers: the image's own minimum is 0, its maximum 1.
- "Minimum is white" TIFFs are turned over, so 1 is always the lightest grey. CMYK values are amounts of ink.
"""

import logging
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from orchestrator.errors import ImageRejectedError

Colour = Literal["grey", "rgb", "cmyk"]
Alpha = Literal["unspecified", "associated", "unassociated"]

_CHANNELS: dict[Colour, int] = {"grey": 1, "rgb": 3, "cmyk": 4}
_ICC_SPACES: dict[Colour, bytes] = {"grey": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type, palettes expanded
_TIFF_ALPHAS: tuple[Alpha, ...] = ("unspecified", "associated", "unassociated")  # by ExtraSamples value
_TIFF_COLOURS: dict[int, Colour] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb"}  # by Photometric
_TIFF_WHITE_IS_ZERO, _TIFF_PALETTE, _TIFF_YCBCR = 0, 3, 6
_TIFF_JPEG_COMPRESSIONS = {6, 7, 33007, 34892}  # tifffile turns YCbCr into RGB for these and for no other
_ORIENTATION_TAG = 274
_MAX_SIDE = 1_000_000  # libpng takes no more, in either direction
_MAX_PROFILE_BYTES = 1 << 24  # a compressed ICC profile may unpack to anything
_MIN_TILE_LIMIT = 1 << 24  # pixels; a tile may be larger than its image, but not absurdly so


@dataclass(frozen=True)
class Encoding:
    """How pixels in [0, 1] are written to a file: sample = offset + scale * pixel (1 - pixel if white_is_zero)."""

    container: Literal["png", "tiff"]
    dtype: str  # numpy's name of the sample type, such as "uint16"
    bit_depth: int  # significant bits of a sample; below the type's own only for uint16
    offset: float  # in sample units
    scale: float  # in sample units, never 0
    colour: Colour
    white_is_zero: bool = False
    alpha: Alpha | None = None
    icc_profile: bytes | None = None

    @property
    def suffix(self) -> str:
        """The file name's suffix: ".png" or ".tif"."""
        return ".png" if self.container == "png" else ".tif"

    @property
    def channels(self) -> int:
        """The number of colour channels, alpha not counted: 1, 3 or 4."""
        return _CHANNELS[self.colour]

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
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[Any] | None
    encoding: Encoding
    exact: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class _Decoded:
    """What a reader found: samples (C, H, W) as stored, alpha last if there is one, not yet upright."""

    container: Literal["png", "tiff"]
    samples: NDArray[Any]
    colour: Colour
    alpha: Alpha | None = None
    orientation: object = 1
    icc_profile: object = None
    white_is_zero: bool = False


def decode(data: bytes, *, max_pixels: int = 100_000_000, like: Encoding | None = None) -> Picture:
    """Decode one image file.

    max_pixels limits height times width; it is compared with the file's header before anything is decoded.
    `like` decodes a clean reference on the scale of the degraded image, so that both can be compared; its samples must
    be in the same units. Where both have a full scale of their own (an 8-bit image, a 16-bit reference), each keeps it.

    Raises ImageRejectedError, with the reason on one line, for anything that cannot be decoded completely.
    """
    if not data:
        raise ImageRejectedError("the file is empty")
    name, read = _reader(data)
    try:
        with _quiet_decoders():
            decoded = read(data, max_pixels)
    except ImageRejectedError:
        raise
    except Exception as error:
        # The bytes may be anything and four decoding libraries meet them: besides their own error types they raise
        # struct.error, IndexError, MemoryError, ... Whatever it was, this one image cannot be read; others can.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        message = f"the {name} data is truncated, corrupt or of a kind that is not supported ({reason})"
        raise ImageRejectedError(message) from error
    return _picture(decoded, like)


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
    samples = _to_samples(pixels, encoding)
    if isinstance(target, Picture):
        alpha = target.alpha if alpha is None else alpha
        if target.exact is not None and target.exact.shape == samples.shape:
            np.copyto(samples, target.exact, where=pixels == target.pixels)
    if (alpha is None) != (encoding.alpha is None):
        raise ValueError(f"the encoding's alpha is {encoding.alpha}, the alpha given is {type(alpha).__name__}")
    if alpha is not None:
        if alpha.shape != samples.shape[1:] or alpha.dtype != samples.dtype:
            raise ValueError(f"alpha {alpha.dtype}{alpha.shape} does not fit {samples.dtype}{samples.shape[1:]}")
        samples = np.concatenate([samples, alpha[np.newaxis]])
    interleaved = samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1).copy()
    return (_write_png if encoding.container == "png" else _write_tiff)(interleaved, encoding)


def preview(pixels: NDArray[np.floating[Any]], max_side: int = 512) -> bytes:
    """Return pixels (C, H, W) in [0, 1] as an 8-bit PNG for a web page, at most max_side pixels high and wide.

    One channel is shown as grey, three as RGB, four as CMYK converted to RGB; of any other number the first three
    (the first, if there are two). Small pictures are not enlarged. Values outside [0, 1] are clipped, NaN is 0.
    """
    channels, height, width = pixels.shape
    mode, shown = {1: ("L", 1), 2: ("L", 1), 4: ("CMYK", 4)}.get(channels, ("RGB", 3))
    bounded = np.clip(np.nan_to_num(pixels[:shown], nan=0.0), 0.0, 1.0)
    samples = np.moveaxis(np.rint(bounded * 255).astype(np.uint8), 0, -1)
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


def _reader(data: bytes) -> tuple[str, Callable[[bytes, int], _Decoded]]:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", _read_png
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _read_jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _read_webp
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF", _read_tiff
    if data.startswith(b"BM"):
        return "BMP", _read_bmp
    raise ImageRejectedError("not a PNG, JPEG, WebP, TIFF or BMP image")


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Drop what the decoders warn and log about a damaged file: the picture or its rejection says it all."""
    logger = logging.getLogger("tifffile")

    def silence(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(silence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(silence)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageRejectedError(f"its header declares an empty image of {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageRejectedError(
            f"{width} x {height} is {width * height:,} pixels, more than the limit of {max_pixels:,}"
        )
    if max(width, height) > _MAX_SIDE:
        raise ImageRejectedError(f"{width} x {height} pixels: a side is longer than the limit of {_MAX_SIDE:,}")


def _check_single(count: int, what: str) -> None:
    if count > 1:
        raise ImageRejectedError(f"has {count} {what}; split it into single images")


def _picture(decoded: _Decoded, like: Encoding | None) -> Picture:
    """Scale what a reader found to [0, 1] and turn it upright."""
    upright = _upright(decoded.samples, decoded.orientation)
    channels = _CHANNELS[decoded.colour]
    samples = np.ascontiguousarray(upright[:channels])
    alpha = np.ascontiguousarray(upright[channels]) if decoded.alpha is not None else None
    offset, scale, bit_depth = _own_scale(samples)
    encoding = Encoding(
        container=decoded.container,
        dtype=samples.dtype.name,
        bit_depth=bit_depth,
        offset=offset,
        scale=scale,
        colour=decoded.colour,
        white_is_zero=decoded.white_is_zero,
        alpha=decoded.alpha,
        icc_profile=_fitting_profile(decoded.icc_profile, decoded.colour),
    )
    is_shared = like is not None and (
        like.dtype == encoding.dtype or not (like.is_full_scale and encoding.is_full_scale)
    )
    if like is not None and is_shared:
        encoding = replace(encoding, offset=like.offset, scale=like.scale)
    pixels = _to_pixels(samples, encoding)
    if not np.isfinite(pixels).all():
        raise ImageRejectedError("its values lie too far outside the scale of the image it is compared with")
    survives = not is_shared and _survives_float32(encoding)
    return Picture(pixels, alpha, encoding, None if survives else samples)


def _fitting_profile(profile: object, colour: Colour) -> bytes | None:
    """Return the profile if it is one, for these colours; a file may hold anything in its place."""
    return profile if isinstance(profile, bytes) and profile[16:20] == _ICC_SPACES[colour] else None


def _upright(samples: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Turn samples (C, H, W) by an EXIF orientation, 1 to 8; whatever else a file holds in its place means 1."""
    if not isinstance(orientation, int):
        return samples
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(1, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[:, ::-1]
    return samples


def _own_scale(samples: NDArray[Any]) -> tuple[float, float, int]:
    """Return offset, scale and bit depth for colour samples; raise ImageRejectedError if some are not finite."""
    is_float = samples.dtype.kind == "f"
    if is_float and (bad := samples.size - np.count_nonzero(np.isfinite(samples))):
        raise ImageRejectedError(f"{bad:,} of its {samples.size:,} values are NaN or infinite")
    low, high = float(samples.min()), float(samples.max())
    if samples.dtype == np.uint8:
        return 0.0, 255.0, 8
    if samples.dtype == np.uint16:
        bits = next(bits for bits in (10, 12, 14, 16) if high < 2**bits)
        return 0.0, 2.0**bits - 1, bits
    if is_float and low >= 0 and high <= 1:
        return 0.0, 1.0, samples.dtype.itemsize * 8
    if not math.isfinite(high - low):
        raise ImageRejectedError(f"its values spread too far, from {low:g} to {high:g}")
    return low, high - low or 1.0, samples.dtype.itemsize * 8


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


def _to_samples(pixels: NDArray[np.floating[Any]], encoding: Encoding) -> NDArray[Any]:
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


def _orientation(exif: bytes) -> int:
    """Return the orientation an EXIF block names; 1 if it names none or is damaged, which is no reason to reject."""
    body = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", body, 4)
        (count,) = struct.unpack_from(f"{order}H", body, directory)
        for index in range(count):
            entry = struct.unpack_from(f"{order}HHIH", body, directory + 2 + 12 * index)
            if entry[0] == _ORIENTATION_TAG:
                return int(entry[3])
    except struct.error:
        pass
    return 1


def _read_png(data: bytes, max_pixels: int) -> _Decoded:
    """Decode with libpng, which sees only the chunks that make the picture; the others are read or skipped here."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ImageRejectedError("the PNG data is truncated or damaged: it has no complete header")
    width, height, depth, kind_of_colour = struct.unpack_from(">IIBB", data, 16)
    _check_size(width, height, max_pixels)
    channels = _PNG_CHANNELS[kind_of_colour]
    essential, orientation, profile = [data[:8]], 1, None
    for kind, start, end in _png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind[:1].isupper() or (kind == b"tRNS" and channels % 2):
            if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageRejectedError("the PNG data is damaged: a checksum does not match")
            essential.append(data[start:end])
            channels += kind == b"tRNS"
        elif kind == b"acTL":
            _check_single(int.from_bytes(body[:4], "big"), "frames")
        elif kind == b"iCCP":
            profile = _inflate_profile(body)
        elif kind == b"eXIf":
            orientation = _orientation(body)
    # On damage libpng leaps out of imagecodecs over its reference counting. With an array of ours it leaks a reference
    # to that; without, it drops one to None, and some thousand damaged files would end the process.
    shape = (height, width) if channels == 1 else (height, width, channels)
    stored = np.empty(shape, np.uint16 if depth == 16 else np.uint8)
    imagecodecs.png_decode(b"".join(essential), out=stored)
    return _Decoded(
        container="png",
        samples=np.moveaxis(np.atleast_3d(stored), -1, 0),
        colour="grey" if channels < 3 else "rgb",
        alpha="unassociated" if channels % 2 == 0 else None,
        orientation=orientation,
        icc_profile=profile,
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, start and end of every chunk up to IEND; raise ImageRejectedError if the data ends before."""
    start = 8
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
    raise ImageRejectedError("the PNG data is truncated or damaged: it ends before its last chunk")


def _inflate_profile(body: bytes) -> bytes | None:
    """Return the profile in an iCCP chunk; None if it is damaged, which leaves the picture itself whole."""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(body.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def _read_jpeg(data: bytes, max_pixels: int) -> _Decoded:
    """Decode the first picture: the further ones of a phone's or camera's MPO are previews, depth or gain maps."""
    return _read_pillow(JpegImageFile(BytesIO(data)), max_pixels)


def _read_bmp(data: bytes, max_pixels: int) -> _Decoded:
    return _read_pillow(BmpImageFile(BytesIO(data)), max_pixels)


def _read_webp(data: bytes, max_pixels: int) -> _Decoded:
    _check_size(*_webp_size(data), max_pixels)  # Pillow allocates the canvas when it opens the file
    image = WebPImageFile(BytesIO(data))
    _check_single(image.n_frames, "frames")
    return _read_pillow(image, max_pixels)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk, which is lossy, lossless or extended."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_pillow(image: ImageFile, max_pixels: int) -> _Decoded:
    """Decode an image opened by its own class: Image.open would apply Pillow's global pixel limit on top of ours."""
    _check_size(*image.size, max_pixels)
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
    samples = np.moveaxis(np.atleast_3d(np.asarray(image.convert(mode))), -1, 0)
    return _Decoded(
        container="png",
        samples=samples,
        colour="grey" if mode == "L" else "rgb",
        alpha="unassociated" if mode == "RGBA" else None,
        orientation=_orientation(image.info.get("exif", b"")),
        icc_profile=image.info.get("icc_profile"),
    )


def _read_tiff(data: bytes, max_pixels: int) -> _Decoded:
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = _only_page(tiff, len(data))
        colour, extra = _tiff_layout(page)
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_stored(page, len(data), max_pixels)
        stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (separate samples, H, W, interleaved samples)
        samples = np.moveaxis(stored, -1, 1).reshape(page.samplesperpixel, page.imagelength, page.imagewidth)
        if page.photometric == _TIFF_PALETTE:
            samples = _apply_palette(samples[0], page.colormap)
        elif page.bitspersample < 8:
            samples = _widen(samples, page.bitspersample)
        return _Decoded(
            container="tiff",
            samples=samples.astype(samples.dtype.newbyteorder("="), copy=False),
            colour=colour,
            alpha=_TIFF_ALPHAS[(*page.extrasamples, 0)[0]] if extra else None,
            orientation=page.tags.valueof(_ORIENTATION_TAG, 1),
            icc_profile=page.iccprofile,
            white_is_zero=page.photometric == _TIFF_WHITE_IS_ZERO,
        )


def _only_page(tiff: tifffile.TiffFile, file_size: int) -> Any:
    """Return the one full picture, beside which previews and masks may stand; raise if there are more or none."""
    pages: list[Any] = []
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:  # a few damaged bytes are enough for an endless chain
            raise ImageRejectedError("the TIFF data is damaged: its pages form a circle")
        seen.add(page.offset)
        if not (page.is_reduced or page.is_mask):
            pages.append(page)
    _check_single(len(pages), "pages")
    if not pages:
        raise ImageRejectedError("the TIFF holds no full-size picture (is it a camera's raw file?)")
    page = pages[0]
    planes = page.imagedepth
    if tiff.is_imagej:
        planes = int((tiff.imagej_metadata or {}).get("images", 1))
    elif page.is_stk:
        planes = page.tags["UIC2tag"].count
    # ImageJ and MetaMorph may store a stack behind one page. The count alone is no proof: exported planes inherit it.
    if page.imagedepth > 1 or (page.is_contiguous and page.dataoffsets[0] + planes * page.nbytes <= file_size):
        _check_single(planes, "pages")
    return page


def _tiff_layout(page: Any) -> tuple[Colour, int]:
    """Return the page's colours and its number of extra samples, 0 or 1; raise if it is of another kind."""
    photometric = page.photometric
    is_raw_ycbcr = photometric == _TIFF_YCBCR and page.compression not in _TIFF_JPEG_COMPRESSIONS
    if photometric not in _TIFF_COLOURS or is_raw_ycbcr:
        name = getattr(photometric, "name", photometric)
        raise ImageRejectedError(f"its colours ({name}) are not supported; convert it to grey, RGB or CMYK")
    if isinstance(page.bitspersample, tuple) or page.dtype is None or page.dtype.kind not in "buif":
        bits = page.bitspersample
        raise ImageRejectedError(f"its samples ({bits} bits, SampleFormat {int(page.sampleformat)}) are not supported")
    colour = _TIFF_COLOURS[photometric]
    extra = page.samplesperpixel - (1 if photometric == _TIFF_PALETTE else _CHANNELS[colour])
    if extra not in (0, 1) or (extra and photometric == _TIFF_PALETTE):
        raise ImageRejectedError(
            f"it has {page.samplesperpixel} channels; only grey, RGB and CMYK, with or without alpha"
        )
    return colour, extra


def _check_stored(page: Any, file_size: int, max_pixels: int) -> None:
    """Raise if a strip or tile is missing or cut off: tifffile fills the gap with zeros, or decodes what there is."""
    if page.is_tiled and page.tilewidth * page.tilelength * page.tiledepth > max(max_pixels, _MIN_TILE_LIMIT):
        raise ImageRejectedError(f"its tiles of {page.tilewidth} x {page.tilelength} pixels are larger than the limit")
    if page.is_contiguous:
        stored = [(page.dataoffsets[0], page.nbytes)]  # writers are careless with the byte counts of plain samples
    else:
        stored = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(stored) < math.prod(page.chunked):
            raise ImageRejectedError("the TIFF data is damaged: its list of strips or tiles is incomplete")
    if any(offset < 1 or count < 1 or offset + count > file_size for offset, count in stored):
        raise ImageRejectedError("the TIFF data is truncated or damaged: strips or tiles lie outside the file")


def _apply_palette(indices: NDArray[Any], palette: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return 8-bit RGB (3, H, W); some writers leave 8-bit values in the 16-bit palette."""
    colours = palette if palette.max() < 256 else palette >> 8
    rgb: NDArray[np.uint8] = colours.astype(np.uint8)[:, indices]
    return rgb


def _widen(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return samples of fewer than 8 bits stretched to 8."""
    full = 2**bits - 1
    widened: NDArray[np.uint8] = ((samples.astype(np.uint16) * 255 + full // 2) // full).astype(np.uint8)
    return widened


def _write_png(samples: NDArray[Any], encoding: Encoding) -> bytes:
    encoded = bytes(imagecodecs.png_encode(samples))
    if encoding.icc_profile is None:
        return encoded
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(encoding.icc_profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    header_end = 33  # the signature and IHDR, after which libpng's other chunks follow
    return encoded[:header_end] + chunk + encoded[header_end:]


def _write_tiff(samples: NDArray[Any], encoding: Encoding) -> bytes:
    grey = "miniswhite" if encoding.white_is_zero else "minisblack"
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        samples,
        photometric={"grey": grey, "rgb": "rgb", "cmyk": "separated"}[encoding.colour],
        planarconfig="contig" if samples.ndim == 3 else None,
        extrasamples=(_TIFF_ALPHAS.index(encoding.alpha),) if encoding.alpha is not None else None,
        compression="zlib",
        predictor=samples.dtype.kind == "f" or samples.dtype.itemsize <= 4,  # TIFF has none for 64-bit integers
        iccprofile=encoding.icc_profile,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()
