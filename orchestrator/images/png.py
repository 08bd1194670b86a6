"""PNG files, read and written with libpng."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.images.checks import check_single, check_size, orientation_of
from orchestrator.images.metadata import exif_chunk, is_xmp
from orchestrator.images.picture import Decoded, Encoding

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type, palettes expanded
_MAX_PROFILE_BYTES = 1 << 24  # a compressed ICC profile may unpack to anything


_KEPT_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs")
"""Chunks of a few bytes that say which colours the samples are, and how large they are printed."""
_MOST_CHUNK_BYTES = 64


def read_png(data: bytes, max_pixels: int) -> Decoded:
    """Decode with libpng, which sees only the chunks that make the picture; the others are read or skipped here."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ImageRejectedError("the PNG data is truncated or damaged: it has no complete header")
    width, height, depth, kind_of_colour = struct.unpack_from(">IIBB", data, 16)
    check_size(width, height, max_pixels)
    channels = _PNG_CHANNELS[kind_of_colour]
    orientation: object = 1
    essential, profile = [data[:8]], None
    kept: dict[bytes, bytes] = {}
    more: tuple[tuple[bytes, bytes], ...] = ()
    for kind, start, end in _png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind[:1].isupper() or (kind == b"tRNS" and channels % 2):
            if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageRejectedError("the PNG data is damaged: a checksum does not match")
            essential.append(data[start:end])
            channels += kind == b"tRNS"
        elif kind == b"acTL":
            check_single(int.from_bytes(body[:4], "big"), "frames")
        elif kind in _KEPT_CHUNKS and len(body) <= _MOST_CHUNK_BYTES:
            kept.setdefault(kind, body)
        elif kind == b"iCCP":
            profile = _inflate_profile(body)
        elif kind == b"eXIf":
            orientation, more = orientation_of(body), more + exif_chunk(body)
        elif kind == b"iTXt" and is_xmp(body):
            more += ((kind, body),)
    # On damaged data libpng jumps out of imagecodecs and skips its reference counting. With our own array it leaks a
    # reference to the array. Without, it drops a reference to None, and some thousand damaged files would end the
    # process.
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
        chunks=(*kept.items(), *more),
    )


def check_chunks(data: bytes) -> None:
    """Compare every chunk of a PNG with its checksum, without decoding it; raise ImageRejectedError if one differs."""
    for _, start, end in _png_chunks(data):
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageRejectedError("the PNG data is damaged: a checksum does not match")


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
    """Return the profile in an iCCP chunk; None if it is damaged, which does not affect the picture itself."""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(body.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def write_png(samples: NDArray[Any], encoding: Encoding) -> bytes:
    """Encode samples (H, W) or (H, W, channels) as PNG."""
    encoded = bytes(imagecodecs.png_encode(samples))
    bodies = [kind + body for kind, body in encoding.chunks]
    if encoding.icc_profile is not None:
        bodies.append(b"iCCP" + b"ICC profile\0\0" + zlib.compress(encoding.icc_profile))
    chunk = b"".join(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in bodies)
    header_end = 33  # the signature and IHDR, after which libpng's other chunks follow
    return encoded[:header_end] + chunk + encoded[header_end:]
