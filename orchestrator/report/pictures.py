"""Pictures as a page holds them: PNGs within the file itself."""

import base64
import struct

from orchestrator.report import text

_PNG = b"\x89PNG\r\n\x1a\n"


def size_of(png: bytes, image: str) -> tuple[int, int]:
    """Width and height in pixels, from the header every PNG starts with.

    Raises:
        ValueError: It is no PNG, or has no pixels; the message names the image.
    """
    if len(png) < 24 or not png.startswith(_PNG):
        raise ValueError(f"a picture of {text.name(image)!r} is not a PNG: give the report 8-bit PNG bytes")
    width, height = struct.unpack(">II", png[16:24])
    if not width or not height:
        raise ValueError(f"a picture of {text.name(image)!r} has no pixels")
    return int(width), int(height)


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
