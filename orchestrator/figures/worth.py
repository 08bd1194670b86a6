"""What a search was worth: what it gained over classical filters and over the degraded images, and what it cost."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.run.rows import Row, RowState


@dataclass(frozen=True)
class Worth:
    """What an arm was worth.

    Attributes:
        arm: its name.
        classical: the mean gain over the best classical filter, in dB; None where it is known of no image.
        degraded: the mean gain over the degraded image, in dB; None likewise.
        measured: of how many images the first gain is known, or where that is none, the second.
        referenced: whether the gains are measured by references; else they are estimates.
        not_better: on how many of these images the arm gained nothing over the filter.
        seconds: the mean cost of an image; None where it is unknown.
    """

    arm: str
    classical: float | None
    degraded: float | None
    measured: int
    referenced: bool
    not_better: int
    seconds: float | None


def worth_of(rows: Sequence[Row]) -> list[Worth]:
    """What each arm was worth, over its restored images; an arm of which nothing is known is left out."""
    by_arm: dict[str, list[Row]] = {}
    for row in rows:
        if row.picked and row.state is RowState.RESTORED:
            by_arm.setdefault(row.arm, []).append(row)
    return [worth for arm, own in by_arm.items() if (worth := _worth(arm, own)) is not None]


def _worth(arm: str, rows: Sequence[Row]) -> Worth | None:
    referenced = any(row.psnr_delivered is not None for row in rows)
    # Measured and estimated gains are no sample of one value.
    rows = [row for row in rows if (row.psnr_delivered is not None) == referenced]
    classical = [gain for row in rows if (gain := row.gain_over_classical) is not None and math.isfinite(gain)]
    degraded = [gain for row in rows if (gain := row.gain_over_degraded) is not None and math.isfinite(gain)]
    if not classical and not degraded:
        return None
    spent = [row.seconds for row in rows if row.seconds is not None]
    return Worth(
        arm,
        fmean(classical) if classical else None,
        fmean(degraded) if degraded else None,
        len(classical or degraded),
        referenced,
        sum(gain <= 0 for gain in classical),
        fmean(spent) if spent else None,
    )


def sentence(worth: Worth, duration: Callable[[float], str]) -> str:
    """The worth of an arm in words.

    Args:
        worth: the figures.
        duration: says how long seconds are.
    """
    gains = [
        f"{gain:+.2f} dB over {what}"
        for gain, what in ((worth.classical, "classical filters"), (worth.degraded, "the degraded images"))
        if gain is not None
    ]
    how = "by their references" if worth.referenced else "estimated"
    images = "1 image" if worth.measured == 1 else f"the mean of {worth.measured} images"
    cost = "" if worth.seconds is None else f", for {duration(worth.seconds)} of fits an image"
    said = f"{worth.arm} gained {' and '.join(gains)} ({images}, {how}){cost}"
    if worth.classical is None or not worth.not_better:
        return said
    on = "it" if worth.measured == 1 else f"{worth.not_better} of them"
    return f"{said}; on {on} the search gained nothing over the filters"
