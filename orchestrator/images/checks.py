"""Checks for every format: sizes, single pictures, orientation."""

from PIL import Image

from orchestrator.errors import ImageRejectedError

ORIENTATION_TAG = 274
_MAX_SIDE = 1_000_000  # libpng takes no more, in either direction


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Compare a declared size with the limits.

    Raises:
        ImageRejectedError: the image is empty or too large.
    """
    if width < 1 or height < 1:
        raise ImageRejectedError(f"its header declares an empty image of {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageRejectedError(
            f"{width} x {height} is {width * height:,} pixels, more than the limit of {max_pixels:,}"
        )
    if max(width, height) > _MAX_SIDE:
        raise ImageRejectedError(f"{width} x {height} pixels: a side is longer than the limit of {_MAX_SIDE:,}")


def check_single(count: int, what: str) -> None:
    """Check that a file holds only one picture; ``what`` names the things counted, for the message.

    Raises:
        ImageRejectedError: the file holds several.
    """
    if count > 1:
        raise ImageRejectedError(f"has {count} {what}; split it into single images")


def orientation_of(exif: bytes) -> object:
    """Return the orientation from an EXIF block; 1 if there is none or the block is damaged, which is no reason to
    reject."""
    tags = Image.Exif()
    try:
        tags.load(exif)
    except Exception:
        # Errors of many kinds arrive here, because anybody may have made the bytes.
        return 1
    return tags.get(ORIENTATION_TAG, 1)
