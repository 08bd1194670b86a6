"""Known pixels in the shape of what is missing, to be hidden: mirrored and shifted copies of a mask's holes."""

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 0.2
"""There are holes where the neighbours of missing pixels are missing more often than by chance, by this share."""
_TRIES = 16
_WHOLE = 0.75
"""The share of a copy that must lie on known pixels; one that falls on a hole would make a larger hole."""


def has_holes(known: NDArray[np.bool_]) -> bool:
    """Whether missing pixels lie together, in any direction; not where single ones are missing here and there.

    Args:
        known: (H, W), true where a pixel is known.
    """
    missing = ~known
    share = float(missing.mean())
    if not 0 < share < 1:
        return False
    pairs = (
        (missing[:, 1:], missing[:, :-1]),
        (missing[1:], missing[:-1]),
        (missing[1:, 1:], missing[:-1, :-1]),
        (missing[1:, :-1], missing[:-1, 1:]),
    )
    together = max((float(there[here].mean()) for here, there in pairs if here.any()), default=0.0)
    return (together - share) / (1 - share) > _TOGETHER


def copies_of_holes(known: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """At most ``count`` known pixels in the shape of the holes; (H, W), true where hidden.

    Whole holes are copied, in random order, to places where most of the copy is known. Where a hole has more pixels
    than may still be hidden, a part of it is, round one of its pixels. There are fewer than ``count`` only where copies
    find no place.

    Args:
        known: (H, W), true where a pixel is known; some are not.
        count: fewer than are known.
        random: decides how the holes are mirrored and shifted, and which of them are copied.
    """
    # Imported here, because few images have masks.
    from scipy.ndimage import label  # noqa: PLC0415

    hidden = np.zeros_like(known)
    for attempt in range(_TRIES):
        down, right = random.choice([1, -1], 2)
        copy = np.roll(~known[::down, ::right], random.integers(known.shape), axis=(0, 1))
        holes, found = label(copy, structure=np.ones((3, 3)))
        free = holes * (known & ~hidden)
        sizes, of_whole = (np.bincount(each.ravel(), minlength=found + 1)[1:] for each in (free, holes))
        # Where most of the image is missing, every copy falls on holes, and a part of it must do.
        least = _WHOLE if attempt < _TRIES // 2 else 0.0
        order = random.permutation(np.flatnonzero((sizes > 0) & (sizes >= least * of_whole)))
        left = count - int(hidden.sum())
        taken = int(np.searchsorted(np.cumsum(sizes[order]), left, side="right"))
        hidden |= np.isin(free, 1 + order[:taken])
        left -= int(sizes[order[:taken]].sum())
        if taken < order.size and left:
            rows, columns = np.nonzero(free == 1 + order[taken])
            centre = random.integers(rows.size)
            nearest = np.argsort((rows - rows[centre]) ** 2 + (columns - columns[centre]) ** 2, kind="stable")[:left]
            hidden[rows[nearest], columns[nearest]] = True
            left = 0
        if not left:
            break
    return hidden
