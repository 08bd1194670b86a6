"""The file formats: what a file holds, checked before it is decoded, and how samples are written.

The bytes are anybody's. What is declared is compared with the limits, and with what is there, before memory is taken.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from orchestrator.errors import ImageRejectedError
from orchestrator.images.lzw import check_lzw
from orchestrator.images.picture import CHANNELS, Alpha, Colour, Decoded, Encoding

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type, palettes expanded
_TIFF_ALPHAS: tuple[Alpha, ...] = ("unspecified", "associated", "unassociated")  # by ExtraSamples value
_TIFF_COLOURS: dict[int, Colour] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb"}  # by Photometric
_TIFF_WHITE_IS_ZERO, _TIFF_PALETTE, _TIFF_YCBCR = 0, 3, 6
_TIFF_LZW = 5
_TIFF_JPEG_COMPRESSIONS = {6, 7, 33007, 34892}  # tifffile turns YCbCr into RGB for these and for no other
# None, CCITT, LZW, deflate, PackBits, LZMA, Zstandard: they unpack into what is declared and into no more.
_TIFF_BYTE_COMPRESSIONS = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000}
_ORIENTATION_TAG = 274
_MAX_SIDE = 1_000_000  # libpng takes no more, in either direction
_MAX_PROFILE_BYTES = 1 << 24  # a compressed ICC profile may unpack to anything
_MIN_TILE_LIMIT = 1 << 24  # pixels; a tile may be larger than its image, but not absurdly so


def reader_of(data: bytes) -> tuple[str, Callable[[bytes, int], Decoded]]:
    """The format's name and its reader, by the first bytes; raise ImageRejectedError if it is none of ours."""
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


def _read_png(data: bytes, max_pixels: int) -> Decoded:
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
    if not any(chunk[4:8] == b"IDAT" for chunk in essential):
        raise ImageRejectedError("the PNG data is damaged: it holds no pixels")
    shape = (height, width) if channels == 1 else (height, width, channels)
    stored = np.empty(shape, np.uint16 if depth == 16 else np.uint8)
    imagecodecs.png_decode(b"".join(essential), out=stored)
    return Decoded(
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


def _read_jpeg(data: bytes, max_pixels: int) -> Decoded:
    """Decode the first picture: the further ones of a phone's or camera's MPO are previews, depth or gain maps."""
    return _read_pillow(JpegImageFile(BytesIO(data)), max_pixels)


def _read_bmp(data: bytes, max_pixels: int) -> Decoded:
    return _read_pillow(BmpImageFile(BytesIO(data)), max_pixels)


def _read_webp(data: bytes, max_pixels: int) -> Decoded:
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


def _read_pillow(image: ImageFile, max_pixels: int) -> Decoded:
    """Decode an image opened by its own class: Image.open would apply Pillow's global pixel limit on top of ours."""
    _check_size(*image.size, max_pixels)
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
    samples = np.moveaxis(np.atleast_3d(np.asarray(image.convert(mode))), -1, 0)
    return Decoded(
        container="png",
        samples=samples,
        colour="grey" if mode == "L" else "rgb",
        alpha="unassociated" if mode == "RGBA" else None,
        orientation=_orientation(image.info.get("exif", b"")),
        icc_profile=image.info.get("icc_profile"),
    )


def _read_tiff(data: bytes, max_pixels: int) -> Decoded:
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = _only_page(tiff, len(data))
        colour, extra = _tiff_layout(page)
        _check_size(page.imagewidth, page.imagelength, max_pixels)
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
        name = getattr(photometric, "name", repr(photometric))
        raise ImageRejectedError(f"its colours ({name}) are not supported; convert it to grey, RGB or CMYK")
    if isinstance(page.bitspersample, tuple) or page.dtype is None or page.dtype.kind not in "buif":
        bits = page.bitspersample
        raise ImageRejectedError(f"its samples ({bits} bits, SampleFormat {int(page.sampleformat)}) are not supported")
    colour = _TIFF_COLOURS[photometric]
    extra = page.samplesperpixel - (1 if photometric == _TIFF_PALETTE else CHANNELS[colour])
    if extra not in (0, 1) or (extra and photometric == _TIFF_PALETTE):
        raise ImageRejectedError(
            f"it has {page.samplesperpixel} channels; only grey, RGB and CMYK, with or without alpha"
        )
    return colour, extra


def _check_stored(page: Any, data: bytes, max_pixels: int) -> None:
    """Raise if a strip or tile is missing, cut off, or something else than it is said to be.

    tifffile fills gaps with zeros, decodes what there is, and takes the samples of a wider picture for those of the next
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
                f"the TIFF data is damaged: in the place of {most[0]} x {most[1]} pixels of {samples} samples is a picture of"
                f" {width} x {height} of {channels}"
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
"""By Compression, what reads the shape of the picture that a TIFF keeps as a strip or tile."""


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


def write_png(samples: NDArray[Any], encoding: Encoding) -> bytes:
    """Encode samples (H, W) or (H, W, channels) as PNG."""
    encoded = bytes(imagecodecs.png_encode(samples))
    if encoding.icc_profile is None:
        return encoded
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(encoding.icc_profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    header_end = 33  # the signature and IHDR, after which libpng's other chunks follow
    return encoded[:header_end] + chunk + encoded[header_end:]


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
        metadata=None,
        software=False,
    )
    return buffer.getvalue()
