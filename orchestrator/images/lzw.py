"""A check of a TIFF's LZW data (TIFF 6.0, section 13) that imagecodecs' decoder leaves out.

After the code that clears the table, the table holds only bytes, so the next code must be a byte. If it is a string,
the decoder follows a pointer that was never set, and the result differs from process to process.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError

_CLEAR, _END = 256, 257
_MOST_CODES = 4096  # between two clear codes; the decoder's table holds no more


def _widths(first: int) -> NDArray[np.int64]:
    """Return the bits of each code after a clear code; the ``first`` codes have 9."""
    return np.repeat([9, 10, 11, 12], [first, 512, 1024, _MOST_CODES - 1536 - first])


def check_lzw(data: bytes) -> None:
    """Raise ImageRejectedError if a string follows a clear code, at the beginning of a strip or within it."""
    # Before TIFF 6.0, codes were packed from the lowest bit on and widened one code later.
    is_old = data[:1] == b"\0" and data[1:2] != b"" and data[1] & 1 == 1
    widths = _widths(255 if is_old else 254)
    offsets = np.cumsum(widths) - widths
    octets = np.frombuffer(data + bytes(2), np.uint8).astype(np.int64)
    start, end = 9, 8 * len(data)  # a strip begins with a clear code
    while start + 9 <= end:
        at = start + offsets
        count = int(np.searchsorted(at + widths, end, side="right"))
        at, width = at[:count], widths[:count]
        low, middle, high = (octets[(at >> 3) + place] for place in range(3))
        if is_old:
            codes = (low | middle << 8 | high << 16) >> (at & 7)
        else:
            codes = (low << 16 | middle << 8 | high) >> (24 - (at & 7) - width)
        codes &= (1 << width) - 1
        if codes[0] > _END:
            raise ImageRejectedError(
                "the TIFF data is damaged: an LZW code names a string that its table does not hold yet"
            )
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if stops.size == 0 or codes[stops[0]] == _END:
            return
        start = int(at[stops[0]] + width[stops[0]])
