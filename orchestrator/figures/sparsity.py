"""The figures of sparse networks: quality over sparsity, and how far an arm may be pruned without loss.

Differences are paired: a sparse fit less the dense fit of the same image and initialisation, on the same degraded
image. The loss of quality with sparsity is a question of arXiv 2410.24187 (lottery image priors) and arXiv 2406.05288
(Optimal Eye Surgeon). Nothing here fits or decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import takewhile
from statistics import fmean, stdev

from orchestrator.figures.comparison import Measure, measure_of, paired, quality
from orchestrator.run.rows import Row
from orchestrator.text import to_csv


@dataclass(frozen=True)
class SparsityPoint:
    """The fits of one arm and round.

    Over all images, every mean is one of the images' own means, so that each image counts alike.

    Attributes:
        arm: the arm.
        image: the image's name; None for all of them together.
        round: the pruning round; 0 is the dense network.
        measure: the measure of quality; the same for all points.
        sparsity: share of the network's convolution weights that are gone, the mean of the fits.
        parameters: how many are left to fit, likewise.
        images: how many have such a fit.
        fits: how many there are: images times initialisations, less those that failed.
        mean: quality where fits were stopped blind, dB.
        spread: standard deviation over initialisations in dB, of the images that have at least two; None where none
            has.
        psnr_oracle_stop: the best PSNR of the iterations that hid pixels, which the reference shows.
        psnr_last: PSNR after the last iteration.
        difference: quality less that of the dense fit of the same image and initialisation; None for the dense ones.
        low: lower end of that mean's 95 % confidence interval, by Student's t. It is taken over images, or for one
            image over initialisations; None where there is only one.
        high: its upper end.
        blind: whether its masks were found without the clean reference.
    """

    arm: str
    image: str | None
    round: int
    measure: Measure
    sparsity: float | None
    parameters: int | None
    images: int
    fits: int
    mean: float
    spread: float | None
    psnr_oracle_stop: float | None
    psnr_last: float | None
    difference: float | None
    low: float | None
    high: float | None
    blind: bool


@dataclass(frozen=True)
class Matching:
    """The sparsity up to which an arm is as good as the dense network.

    Attributes:
        arm: the arm.
        sparsity: that of the last round before any round's mean difference to the dense fits falls below the tolerance;
            None if it does so in the first pruned round.
        cautious: the same by the lower ends of the intervals; None also where there are none.
    """

    arm: str
    sparsity: float | None
    cautious: float | None


@dataclass(frozen=True)
class RoundFit:
    """The row of a successful fit, and how much better it is than its dense fit (None without one)."""

    row: Row
    round: int
    quality: float
    difference: float | None


def curve(rows: Sequence[Row]) -> list[SparsityPoint]:
    """For every arm and round the figures over all images, then for each image; arms in the order of the rows."""
    measure = measure_of(rows)
    fits = round_fits(rows, measure)
    # Each fit is looked at twice, whatever the number of images.
    by_image: dict[str, list[RoundFit]] = {}
    for fit in fits:
        by_image.setdefault(fit.row.image, []).append(fit)
    # The arms stand in one order for all images, also for those that lack some.
    places = {arm: place for place, arm in enumerate(dict.fromkeys(fit.row.arm for fit in fits))}
    points = [_point(group, measure, None) for group in _by_round(fits, places)]
    for image in dict.fromkeys(row.image for row in rows):
        points += [_point(group, measure, image) for group in _by_round(by_image.get(image, ()), places)]
    return points


def overall_curve(rows: Sequence[Row]) -> list[SparsityPoint]:
    """The part of the curve over all images, without a point for each of them."""
    measure = measure_of(rows)
    fits = round_fits(rows, measure)
    places = {arm: place for place, arm in enumerate(dict.fromkeys(fit.row.arm for fit in fits))}
    return [_point(group, measure, None) for group in _by_round(fits, places)]


def _by_round(fits: Iterable[RoundFit], places: Mapping[str, int]) -> list[list[RoundFit]]:
    """The fits of each arm and round; arms by their places, rounds rising."""
    by_round: dict[tuple[int, int], list[RoundFit]] = {}
    for fit in fits:
        by_round.setdefault((places[fit.row.arm], fit.round), []).append(fit)
    return [by_round[key] for key in sorted(by_round)]


def round_fits(rows: Sequence[Row], measure: Measure) -> list[RoundFit]:
    """The fits of a lottery's rounds, each once, with their difference from the dense fit
    of the same initialisation.
    """
    known: dict[tuple[str, str, int, int | None], tuple[Row, float]] = {}
    dense: dict[tuple[str, int | None], float] = {}
    for row in rows:
        value = quality(row, measure)
        if row.round is None or value is None:
            continue
        # A fit counts once, even where several arms report it.
        known.setdefault((row.arm, row.image, row.round, row.initialisation), (row, value))
        if row.round == 0:
            dense.setdefault((row.image, row.initialisation), value)
    fits = []
    for (_, image, number, initialisation), (row, value) in known.items():
        # Every arm has the same dense fits: comparing them with themselves is meaningless.
        against = dense.get((image, initialisation)) if number > 0 else None
        fits.append(RoundFit(row, number, value, None if against is None else value - against))
    return fits


def _point(fits: Sequence[RoundFit], measure: Measure, image: str | None) -> SparsityPoint:
    by_image: dict[str, list[RoundFit]] = {}
    for fit in fits:
        by_image.setdefault(fit.row.image, []).append(fit)
    groups = list(by_image.values())
    spreads = [stdev(fit.quality for fit in group) for group in groups if len(group) > 1]
    per_image = [[fit.difference for fit in group if fit.difference is not None] for group in groups]
    sample = per_image[0] if image is not None else [fmean(own) for own in per_image if own]
    difference, _, low, high = paired(sample) if sample else (None, None, None, None)
    parameters = _mean([fit.row.parameters for fit in group] for group in groups)
    return SparsityPoint(
        arm=fits[0].row.arm,
        image=image,
        round=fits[0].round,
        measure=measure,
        sparsity=_mean([fit.row.sparsity for fit in group] for group in groups),
        parameters=None if parameters is None else round(parameters),
        images=len(groups),
        fits=len(fits),
        mean=fmean(fmean(fit.quality for fit in group) for group in groups),
        spread=fmean(spreads) if spreads else None,
        psnr_oracle_stop=_mean([fit.row.psnr_oracle_stop for fit in group] for group in groups),
        psnr_last=_mean([fit.row.psnr_last for fit in group] for group in groups),
        difference=difference,
        low=low,
        high=high,
        blind=all(fit.row.blind for fit in fits),
    )


def _mean(groups: Iterable[Sequence[float | None]]) -> float | None:
    """The mean of the groups' means; unknown values are left out."""
    means = [fmean(known) for group in groups if (known := [value for value in group if value is not None])]
    return fmean(means) if means else None


def matching_sparsity(points: Sequence[SparsityPoint], tolerance: float = 0.1) -> list[Matching]:
    """For every arm with pruned rounds, how far it may be pruned without loss over all images.

    A round counts as a loss if some of its fits failed whose counterparts finished.

    Args:
        points: As `curve` gives them.
        tolerance: How many dB below the dense fits still count as no loss.
    """
    overall = [point for point in points if point.image is None]
    most = max((point.fits for point in overall), default=0)
    rounds = sorted({point.round for point in overall if point.round > 0})
    by_arm: dict[str, dict[int, SparsityPoint]] = {}
    for point in overall:
        if point.round > 0:
            by_arm.setdefault(point.arm, {})[point.round] = point
    # Stop before a round that is missing or incomplete.
    whole = {
        arm: list(takewhile(lambda point: point is not None and point.fits == most, map(own.get, rounds)))
        for arm, own in by_arm.items()
    }
    return [
        Matching(
            arm,
            _last_of([(point.sparsity, point.difference) for point in own if point is not None], tolerance),
            _last_of([(point.sparsity, point.low) for point in own if point is not None], tolerance),
        )
        for arm, own in whole.items()
    ]


def _last_of(rounds: Sequence[tuple[float | None, float | None]], tolerance: float) -> float | None:
    last = None
    for sparsity, difference in rounds:
        if difference is None or difference < -tolerance:
            break
        last = sparsity
    return last


def sparsity_to_csv(points: Sequence[SparsityPoint]) -> str:
    """Comma-separated values with a header; the lines over all images have no image."""
    return to_csv([field.name for field in fields(SparsityPoint)], map(asdict, points))
