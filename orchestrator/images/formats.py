"""The file formats and the reader of each.

Anybody may have made the bytes. So sizes that a header declares are compared with the limits, and with the data, before
memory is taken.
"""

import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from orchestrator.errors import ImageRejectedError
from orchestrator.images.checks import check_single, check_size, orientation_of
from orchestrator.images.metadata import exif_chunk, xmp_chunk
from orchestrator.images.picture import Decoded
from orchestrator.images.png import read_png
from orchestrator.images.tiff import read_tiff
from orchestrator.text import printable

FIRST_BYTES = 16
"""This many first bytes of a file show its format."""


def check_format(start: bytes) -> None:
    """Raise ImageRejectedError if a file that begins with these bytes is empty or of none of the formats."""
    if not start:
        raise ImageRejectedError("the file is empty")
    reader_of(start)


def container_suffix(start: bytes) -> str:
    """The suffix of the restored file, ".png" or ".tif", of a file that begins with these bytes; raises
    ImageRejectedError as `check_format` does."""
    check_format(start)
    return ".tif" if reader_of(start)[1] is read_tiff else ".png"


def read(data: bytes, max_pixels: int) -> Decoded:
    """Read a file of any of the formats; raise ImageRejectedError for anything that cannot be read completely."""
    check_format(data[:FIRST_BYTES])
    name, reader = reader_of(data)
    try:
        with _quiet_decoders():
            return reader(data, max_pixels)
    except ImageRejectedError:
        raise
    except MemoryError as error:
        raise ImageRejectedError("decoding it takes more memory than it may have") from error
    except Exception as error:
        # The bytes may be anything and four decoding libraries meet them: besides their own error types they raise
        # struct.error, IndexError, KeyError, ... Whatever it was, this one image cannot be read; others can.
        reason = printable(" ".join(str(error).split())[:200]) or type(error).__name__
        message = f"the {name} data is truncated, corrupt or of a kind that is not supported ({reason})"
        raise ImageRejectedError(message) from error


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Drop the decoders' warnings and log messages about a damaged file: the picture or its rejection suffices."""
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


def reader_of(data: bytes) -> tuple[str, Callable[[bytes, int], Decoded]]:
    """Return the format's name and its reader by the first bytes; raise ImageRejectedError if no reader is for it."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", read_png
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _read_jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _read_webp
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF", read_tiff
    if data.startswith(b"BM"):
        return "BMP", _read_bmp
    raise ImageRejectedError("not a PNG, JPEG, WebP, TIFF or BMP image")


def _read_jpeg(data: bytes, max_pixels: int) -> Decoded:
    """Decode the first picture: the further ones of a phone's or camera's MPO are previews, depth or gain maps."""
    return _read_pillow(JpegImageFile(BytesIO(data)), max_pixels)


def _read_bmp(data: bytes, max_pixels: int) -> Decoded:
    return _read_pillow(BmpImageFile(BytesIO(data)), max_pixels)


def _read_webp(data: bytes, max_pixels: int) -> Decoded:
    check_size(*_webp_size(data), max_pixels)  # Pillow allocates the canvas when it opens the file
    image = WebPImageFile(BytesIO(data))
    check_single(image.n_frames, "frames")
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
    check_size(*image.size, max_pixels)
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
    samples = np.moveaxis(np.atleast_3d(np.asarray(image.convert(mode))), -1, 0)
    return Decoded(
        container="png",
        samples=samples,
        colour="grey" if mode == "L" else "rgb",
        alpha="unassociated" if mode == "RGBA" else None,
        orientation=orientation_of(image.info.get("exif", b"")),
        icc_profile=image.info.get("icc_profile"),
        chunks=exif_chunk(image.info.get("exif")) + xmp_chunk(image.info.get("xmp")),
    )
