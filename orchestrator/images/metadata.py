"""What a file says beside its pixels and still holds of the restored picture: where on the Earth it is, who took it.

Anybody may have made it. What is too large, or no valid value of its kind, is left out, and rejects no picture.
"""

from collections.abc import Callable
from typing import Any

from PIL import Image

from orchestrator.images.checks import ORIENTATION_TAG

Tag = tuple[int, int, int, Any]
"""A tag of a TIFF: its code, type, count and value."""

_MOST_BYTES = 1 << 20
_XMP = 700
_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION = 33550, 33922, 34264
_BYTES, _SHORT, _DOUBLE = (1, 2, 7), (3,), (12,)
_KINDS: dict[int, tuple[int, ...]] = {
    _XMP: _BYTES,
    # GeoTIFF: where the pixels lie, and the keys, their numbers and their texts.
    **dict.fromkeys((_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION, 34736), _DOUBLE),
    34735: _SHORT,
    34737: _BYTES,
    # GDAL: metadata, and the value that means no data.
    42112: _BYTES,
    42113: _BYTES,
}
TIFF_TAGS = tuple(_KINDS)
"""XMP, and the tags of GeoTIFF and GDAL."""
_OF_SIZE = {_XMP}
SIZED_CHUNKS = {b"pHYs", b"eXIf", b"iTXt"}
"""Chunks of a PNG that may speak of the number of pixels."""
_XMP_TEXT = b"XML:com.adobe.xmp\0"
_NO_EXIF = b"Exif\0\0"


def tag_of(tag: Any) -> Tag | None:
    """A tag that tifffile has found, as it is written again; None if its value is none of its kind."""
    kinds = _KINDS[tag.code]
    if tag.dtype not in kinds or not 0 < tag.count <= _MOST_BYTES:
        return None
    try:
        value = tag.value
    except Exception:
        # Values of some size are read only now, from any place in the file.
        return None
    if kinds == _BYTES:
        data = value.encode() if isinstance(value, str) else value
        return (tag.code, int(tag.dtype), len(data), data) if isinstance(data, bytes) and data else None
    values = value if isinstance(value, tuple) else (value,)
    is_valid = all(isinstance(each, int | float) for each in values)
    return (tag.code, int(tag.dtype), len(values), values) if is_valid else None


def scaled(tags: tuple[Tag, ...], across: float, down: float) -> tuple[Tag, ...]:
    """The tags of a picture of so many times as many pixels across and down, which shows the same."""

    def pixel_scale(values: tuple[float, ...]) -> list[float]:
        return [values[0] / across, values[1] / down, *values[2:]]

    def tiepoints(values: tuple[float, ...]) -> list[float]:
        return [value * (across, down)[place % 6] if place % 6 < 2 else value for place, value in enumerate(values)]

    def transformation(values: tuple[float, ...]) -> list[float]:
        return [value / (across, down)[place % 4] if place % 4 < 2 else value for place, value in enumerate(values)]

    changes: dict[int, tuple[int, Callable[[tuple[float, ...]], list[float]]]] = {
        _PIXEL_SCALE: (3, pixel_scale),
        _TIEPOINTS: (6, tiepoints),
        _TRANSFORMATION: (16, transformation),
    }
    result: list[Tag] = []
    for code, kind, count, value in tags:
        if code in changes:
            multiple, change = changes[code]
            if count % multiple == 0:
                result.append((code, kind, count, tuple(change(value))))
        elif code not in _OF_SIZE:
            result.append((code, kind, count, value))
    return tuple(result)


def ome_of(text: object) -> bytes | None:
    """An OME-XML description, if it speaks of this one file and plane alone."""
    if not isinstance(text, str) or "<OME" not in text[:2000] or len(text) > _MOST_BYTES:
        return None
    alone = all(f'{size}="1"' in text for size in ("SizeZ", "SizeT")) and "FileName=" not in text
    return text.encode() if alone and text.count("<Image ") == 1 else None


def exif_chunk(exif: object) -> tuple[tuple[bytes, bytes], ...]:
    """The chunk of a PNG with an EXIF block without an orientation, since the picture is upright by now, and without a
    thumbnail, which is not restored."""
    if not isinstance(exif, bytes) or not exif or len(exif) > _MOST_BYTES:
        return ()
    tags = Image.Exif()
    try:
        tags.load(exif)
        if ORIENTATION_TAG in tags:
            del tags[ORIENTATION_TAG]
        body = tags.tobytes().removeprefix(_NO_EXIF) if len(tags) else b""
    except Exception:
        # Errors of many kinds arrive here, because anybody may have made the bytes.
        return ()
    return ((b"eXIf", body),) if body else ()


def xmp_chunk(xmp: object) -> tuple[tuple[bytes, bytes], ...]:
    """The chunk of a PNG with an XMP packet."""
    if not isinstance(xmp, bytes) or not 0 < len(xmp) <= _MOST_BYTES:
        return ()
    return ((b"iTXt", _XMP_TEXT + bytes(4) + xmp),)


def is_xmp(body: bytes) -> bool:
    """Whether the text in a PNG is an XMP packet."""
    return body.startswith(_XMP_TEXT) and len(body) <= _MOST_BYTES
