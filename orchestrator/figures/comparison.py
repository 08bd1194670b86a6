"""How the arms of a run differ: paired differences, image by image and over all of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import combinations
from statistics import fmean, stdev
from typing import Literal

from orchestrator.run.rows import Row
from orchestrator.text import to_csv

Measure = Literal["psnr", "held-out"]
"""The measure of quality: PSNR, or the held-out error in decibels, noise included."""


@dataclass(frozen=True)
class Difference:
    """One arm's quality less another's in dB, on the same degraded images.

    Attributes:
        arm: the arm that is better where the difference is positive.
        against: the other.
        measure: ``psnr`` where there are references, else ``held-out``: that of the held-out error, noise included.
        image: the image's name; None for all of them together.
        images: how many both have restored.
        mean: of the differences.
        standard_error: of that mean; None for a single image.
        low: lower end of the mean's 95 % confidence interval, by Student's t; None likewise.
        high: its upper end.
        wins: on how many images ``arm`` is the better one.
    """

    arm: str
    against: str
    measure: Measure
    image: str | None
    images: int
    mean: float
    standard_error: float | None
    low: float | None
    high: float | None
    wins: int


def paired(differences: Sequence[float]) -> tuple[float, float | None, float | None, float | None]:
    """Mean, its standard error, and the ends of its 95 % confidence interval; the last three are None for one value."""
    mean = fmean(differences)
    if len(differences) < 2:
        return mean, None, None, None
    error = stdev(differences) / math.sqrt(len(differences))
    reach = _reach(len(differences) - 1) * error
    return mean, error, mean - reach, mean + reach


@cache
def _reach(degrees_of_freedom: int) -> float:
    """The half-width of a mean's 95 % confidence interval, in standard errors."""
    # Imported here, because the commands that list and show need no scipy and answer sooner without it.
    from scipy.stats import t  # noqa: PLC0415

    return float(t.ppf(0.975, degrees_of_freedom))


def measure_of(rows: Iterable[Row]) -> Measure:
    """PSNR where any row has one. All rows use the same measure."""
    return "psnr" if any(row.psnr is not None for row in rows) else "held-out"


def quality(row: Row, measure: Measure) -> float | None:
    """A row's PSNR, or -10 log10 of its held-out error (dB); None where that is not known."""
    if measure == "psnr":
        return row.psnr
    return None if not row.held_out_error else -10 * math.log10(row.held_out_error)


def compare(rows: Sequence[Row]) -> list[Difference]:
    """Every pair of arms, overall and by image; an arm that comes first in the rows is compared with those after it.

    An arm's image is the one that it delivers: a pick, a mean or a stack. For a lottery only its picks count. The
    classical filters count as one more arm, the last, where there are references. Without them the held-out errors of
    the picks are compared.
    """
    picked = [row for row in rows if row.picked]
    measure = measure_of(picked)
    by_arm: dict[str, dict[str, float]] = {}
    for row in picked:
        delivered = row.psnr_delivered if measure == "psnr" else None
        value = quality(row, measure) if delivered is None else delivered
        by_image = by_arm.setdefault(row.arm, {})
        if value is not None:
            by_image[row.image] = value
    filters = {row.image: row.psnr_classical for row in picked if row.psnr_classical is not None}
    if measure == "psnr" and filters:
        by_arm["classical"] = filters
    differences = []
    for (arm, ours), (against, theirs) in combinations(by_arm.items(), 2):
        both = [image for image in ours if image in theirs]
        per_image = [ours[image] - theirs[image] for image in both]
        if per_image:
            wins = sum(difference > 0 for difference in per_image)
            differences.append(Difference(arm, against, measure, None, len(both), *paired(per_image), wins))
            differences += [
                Difference(arm, against, measure, image, 1, *paired([difference]), int(difference > 0))
                for image, difference in zip(both, per_image, strict=True)
            ]
    return differences


def comparison_to_csv(differences: Sequence[Difference]) -> str:
    """Comma-separated values with a header; the overall lines have no image."""
    return to_csv([field.name for field in fields(Difference)], map(asdict, differences))
