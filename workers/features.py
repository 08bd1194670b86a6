"""What a candidate is like, as numbers: what the metric ``learnt`` knows of it."""

import re

from workers.names import without_draw
from workers.space import LEVELS, SKIP_BITS, Candidate, InvalidCandidateError, upsamplers


def _kinds() -> tuple[str, ...]:
    cells = upsamplers()
    found = [
        *(("upsampling", cell.primitive) for cell in cells),
        *(("convolution", cell.convolution) for cell in cells),
        *(("kernel", str(cell.kernel)) for cell in cells),
        *(("activation", cell.activation) for cell in cells),
        *(("order", cell.order) for cell in cells),
    ]
    return tuple(dict.fromkeys(f"{what} {kind}" for what, kind in found))


FEATURES = (*_kinds(), "skips", *(f"skips of level {level}" for level in range(1, LEVELS + 1)), "own input")
"""The features' names: 0 or 1 for what a cell is, shares in [0, 1] for the skips that there are; ``own input`` is 1 for
a network of NAS-DIP, whose noise input has 32 channels."""


def features_of(prior: str) -> dict[str, float] | None:
    """The features of a prior that are not 0, by name; None for a prior that is no network of the search space."""
    match = re.fullmatch(r"(nas-dip-|)(.+)", without_draw(prior))
    try:
        candidate = Candidate.parse(match[2]) if match else None
    except InvalidCandidateError:
        return None
    if match is None or candidate is None:
        return None
    cell = candidate.cell
    found = {
        f"upsampling {cell.primitive}": 1.0,
        f"convolution {cell.convolution}": 1.0,
        f"kernel {cell.kernel}": 1.0,
        f"activation {cell.activation}": 1.0,
        f"order {cell.order}": 1.0,
        "skips": candidate.skips.count("1") / SKIP_BITS,
        "own input": float(bool(match[1])),
    }
    for level in range(LEVELS):
        row = candidate.skips[level * LEVELS : (level + 1) * LEVELS]
        found[f"skips of level {level + 1}"] = row.count("1") / LEVELS
    return {name: value for name, value in found.items() if value}
