"""TIFF files, read and written with tifffile."""

import math
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.images.checks import ORIENTATION_TAG, check_single, check_size
from orchestrator.images.lzw import check_lzw
from orchestrator.images.metadata import TIFF_TAGS, Tag, ome_of, tag_of
from orchestrator.images.picture import CHANNELS, Alpha, Colour, Decoded, Encoding, Resolution
from orchestrator.text import counted

_TIFF_ALPHAS: tuple[Alpha, ...] = ("unspecified", "associated", "unassociated")  # by ExtraSamples value
_TIFF_COLOURS: dict[int, Colour] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb"}  # by Photometric
_TIFF_WHITE_IS_ZERO = 0
_TIFF_PALETTE = 3
_TIFF_YCBCR = 6
_TIFF_LZW = 5
_GDAL_NO_DATA = 42113
_RESOLUTION_TAGS = (282, 283)
_RESOLUTION_UNIT = 296
_OF_STACKS = {"images", "channels", "slices", "frames", "hyperstack", "mode", "loop"}
_MOST_TEXT = 10_000
_TIFF_JPEG_COMPRESSIONS = {6, 7, 33007, 34892}  # tifffile turns YCbCr into RGB for these and for no other
# None, CCITT, LZW, deflate, PackBits, LZMA, Zstandard: they unpack into no more than is declared.
_TIFF_BYTE_COMPRESSIONS = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000}
_MIN_TILE_LIMIT = 1 << 24  # pixels; a tile may be larger than its image, but not absurdly so


def read_tiff(data: bytes, max_pixels: int) -> Decoded:
    """Decode with tifffile, after checking everything that the file declares.

    Raises:
        ImageRejectedError: the file is damaged, too large, or of a kind that is not supported.
    """
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = _only_page(tiff, len(data))
        colour, extra = _tiff_layout(page)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_stored(page, data, max_pixels)
        stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (separate samples, H, W, interleaved samples)
        samples = np.moveaxis(stored, -1, 1).reshape(page.samplesperpixel, page.imagelength, page.imagewidth)
        if page.photometric == _TIFF_PALETTE:
            samples = _apply_palette(samples[0], page.colormap)
        elif page.bitspersample < 8:
            samples = _widen(samples, page.bitspersample)
        return Decoded(
            container="tiff",
            samples=samples.astype(samples.dtype.newbyteorder("="), copy=False),
            colour=colour,
            alpha=_TIFF_ALPHAS[(*page.extrasamples, 0)[0]] if extra else None,
            orientation=page.tags.valueof(ORIENTATION_TAG, 1),
            icc_profile=page.iccprofile,
            white_is_zero=page.photometric == _TIFF_WHITE_IS_ZERO,
            no_data=_no_data(page.tags.valueof(_GDAL_NO_DATA)),
            resolution=_resolution(page),
            description=_calibration(page.description) if tiff.is_imagej else ome_of(page.description),
            tags=tuple(tag for code in TIFF_TAGS if (tag := _tag(page, code)) is not None),
        )


def _resolution(page: Any) -> Resolution | None:
    """Return the pixels per unit across and down, as fractions, and the unit; None if the tags are not all valid."""
    across, down = (page.tags.valueof(tag) for tag in _RESOLUTION_TAGS)
    unit = page.tags.valueof(_RESOLUTION_UNIT, 2)
    for value in (across, down):
        if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value)):
            return None
    says_nothing = unit == 1 and across == down == (1, 1)  # as writers fill the tags in
    return (across, down, int(unit)) if unit in (1, 2, 3) and not says_nothing else None


def _tag(page: Any, code: int) -> Tag | None:
    tag = page.tags.get(code)
    return None if tag is None else tag_of(tag)


def _calibration(text: object) -> str | None:
    """Return ImageJ's description without what it says of stacks: the restored file is a single image."""
    if not isinstance(text, str) or not text.isascii() or len(text) > _MOST_TEXT:
        return None
    return "\n".join(line for line in text.splitlines() if line.partition("=")[0] not in _OF_STACKS) + "\n"


def _no_data(text: object) -> float | None:
    """The value that a GDAL_NODATA tag declares; None if it is no number."""
    try:
        return float(str(text)) if isinstance(text, str | bytes) else None
    except ValueError:
        return None


def _only_page(tiff: tifffile.TiffFile, file_size: int) -> Any:
    """Return the one full picture, apart from previews and masks; raise if there are several or none."""
    pages: list[Any] = []
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:  # a few damaged bytes are enough for an endless chain
            raise ImageRejectedError("the TIFF data is damaged: its pages form a circle")
        seen.add(page.offset)
        if not (page.is_reduced or page.is_mask):
            pages.append(page)
    check_single(len(pages), "pages")
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
        check_single(planes, "pages")
    return page


def _tiff_layout(page: Any) -> tuple[Colour, int]:
    """Return the page's colours and its number of extra samples, 0 or 1; raise if it is of another kind."""
    photometric = page.photometric
    is_raw_ycbcr = photometric == _TIFF_YCBCR and page.compression not in _TIFF_JPEG_COMPRESSIONS
    if photometric not in _TIFF_COLOURS or is_raw_ycbcr:
        name = getattr(photometric, "name", repr(photometric))
        raise ImageRejectedError(f"its colours ({name}) are not supported; convert it to grey, RGB or CMYK")
    if isinstance(page.bitspersample, tuple) or page.dtype is None or page.dtype.kind not in "buif":
        bits = page.bitspersample
        raise ImageRejectedError(f"its samples ({bits} bits, SampleFormat {int(page.sampleformat)}) are not supported")
    colour = _TIFF_COLOURS[photometric]
    extra = page.samplesperpixel - (1 if photometric == _TIFF_PALETTE else CHANNELS[colour])
    if extra not in (0, 1) or (extra and photometric == _TIFF_PALETTE):
        raise ImageRejectedError(
            f"it has {counted(page.samplesperpixel, 'channel')}; only grey, RGB and CMYK, with or without alpha"
        )
    return colour, extra


def _check_stored(page: Any, data: bytes, max_pixels: int) -> None:
    """Raise if a strip or tile is missing, cut off, or differs from its declaration.

    tifffile would fill gaps with zeros, decode incomplete data, and take the samples of a wider picture for the next
    rows.
    """
    if page.is_tiled and page.tilewidth * page.tilelength * page.tiledepth > max(max_pixels, _MIN_TILE_LIMIT):
        raise ImageRejectedError(f"its tiles of {page.tilewidth} x {page.tilelength} pixels are larger than the limit")
    if page.is_contiguous:
        stored = [(page.dataoffsets[0], page.nbytes)]  # writers are careless with the byte counts of plain samples
    else:
        stored = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(stored) < math.prod(page.chunked):
            raise ImageRejectedError("the TIFF data is damaged: its list of strips or tiles is incomplete")
    if any(offset < 1 or count < 1 or offset + count > len(data) for offset, count in stored):
        raise ImageRejectedError("the TIFF data is truncated or damaged: strips or tiles lie outside the file")
    if page.compression == _TIFF_LZW:
        for offset, count in stored:
            check_lzw(data[offset : offset + count])
    if page.compression in _TIFF_BYTE_COMPRESSIONS:
        return
    if page.compression not in _TIFF_PICTURES:
        name = getattr(page.compression, "name", repr(page.compression))
        raise ImageRejectedError(f"its compression ({name}) is not supported; save it with LZW or deflate, say")
    most = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.imagelength)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    for offset, count in stored:
        width, height, channels = _TIFF_PICTURES[page.compression](data[offset : offset + count])
        is_wide_enough = width == most[0] or (page.is_tiled and width < most[0])
        if not is_wide_enough or height > most[1] or channels != samples:
            raise ImageRejectedError(
                f"the TIFF data is damaged: in the place of {most[0]} x {most[1]} pixels of {samples} samples"
                f" is a picture of {width} x {height} of {channels}"
            )


def _jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """Return width, height and channels from the header of the first frame; raise struct.error if there is none."""
    start = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, start)
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width, channels = struct.unpack_from(">HHB", data, start + 5)
            return width, height, channels
        start += 2 + length


def _jpeg2000_shape(data: bytes) -> tuple[int, int, int]:
    """Return width, height and channels from the header of the codestream; raise struct.error if there is none."""
    header = data[data.find(b"\xff\x4f\xff\x51") :]
    right, bottom, left, top, channels = struct.unpack_from(">8x4I16xH", header)
    return right - left, bottom - top, channels


_TIFF_PICTURES: dict[int, Callable[[bytes], tuple[int, int, int]]] = {
    **dict.fromkeys(_TIFF_JPEG_COMPRESSIONS, _jpeg_shape),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000_shape),
}
"""By Compression, the function that reads the shape of a picture that a TIFF keeps as a strip or tile."""


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


def write_tiff(samples: NDArray[Any], encoding: Encoding) -> bytes:
    """Encode samples (H, W) or (H, W, channels) as deflate-compressed TIFF."""
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
        resolution=None if encoding.resolution is None else encoding.resolution[:2],
        resolutionunit=None if encoding.resolution is None else encoding.resolution[2],
        description=encoding.description,
        extratags=[(*tag, True) for tag in encoding.tags],
        metadata=None,
        software=False,
    )
    return buffer.getvalue()
