"""The figures of lottery tickets: quality over sparsity, matching sparsity, and tickets that were moved.

Differences are paired: a sparse fit less the dense fit of the same image and initialisation, on the same degraded image. How
quality falls with sparsity, and how far tickets carry, are the questions of arXiv 2410.24187 (lottery image priors) and
arXiv 2406.05288 (Optimal Eye Surgeon). Nothing here fits or decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import takewhile
from statistics import fmean, stdev

from orchestrator.figures.comparison import Measure, measure_of, paired, quality
from orchestrator.run.layout import RunLayout, slug
from orchestrator.run.rows import Row
from orchestrator.store import Store
from orchestrator.text import to_csv
from workers.names import chain_of, parse_name


@dataclass(frozen=True)
class SparsityPoint:
    """The fits of one arm and round.

    Over all images, every mean is one of the images' own means, so that each image counts alike.

    Attributes:
        arm: the arm.
        image: the image's name; None for all of them together.
        round: the pruning round; 0 is the dense network.
        measure: what quality is told in; the same for all points.
        sparsity: share of the network's convolution weights that are gone, the mean of the fits.
        parameters: how many are left to fit, likewise.
        images: how many have such a fit.
        fits: how many there are: images times initialisations, less those that failed.
        mean: quality where fits were stopped blind, dB.
        spread: standard deviation over initialisations in dB, of the images that have two at least; None where none has.
        psnr_oracle_stop: PSNR had each fit been stopped by looking at the reference.
        psnr_last: PSNR after the last iteration.
        difference: quality less that of the dense fit of the same image and initialisation; None for the dense ones.
        low: lower end of that mean's 95 % confidence interval, by Student's t: over images, of one image over
            initialisations; None where there is one alone.
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
    """Up to which sparsity an arm is as good as the dense network.

    Attributes:
        arm: the arm.
        sparsity: of the last round up to which no round's mean difference to the dense fits is below the tolerance; None
            if the first pruned one is.
        cautious: the same by the lower ends of the intervals; None also where there are none.
    """

    arm: str
    sparsity: float | None
    cautious: float | None


@dataclass(frozen=True)
class Transfer:
    """How one source's tickets of a round do on one image, less the dense fits of the same initialisations.

    Attributes:
        source: where the tickets were found; None on the image itself, or, for a method that looks at none, nowhere.
        image: the name of the image they were fitted to.
        method: how they were found.
        round: the pruning round.
        own: whether the image is the source.
        measure: what quality is told in.
        fits: how many initialisations.
        mean: of the differences in dB; above 0 the ticket does better than the dense network.
        low: lower end of the mean's 95 % confidence interval over initialisations, by Student's t; None for one alone.
        high: its upper end.
        blind: whether the masks were found without a clean reference.
    """

    source: str | None
    image: str
    method: str
    round: int
    own: bool
    measure: Measure
    fits: int
    mean: float
    low: float | None
    high: float | None
    blind: bool


@dataclass(frozen=True)
class _Fit:
    """A row that came to something, and how much better it is than its dense fit (None without one)."""

    row: Row
    round: int
    quality: float
    difference: float | None


def curve(rows: Sequence[Row]) -> list[SparsityPoint]:
    """For every arm and round the figures over all images, then for each image; arms in the order of the rows."""
    measure = measure_of(rows)
    by_round: dict[tuple[str, int], list[_Fit]] = {}
    for fit in _fits(rows, measure):
        by_round.setdefault((fit.row.arm, fit.round), []).append(fit)
    arms = list(dict.fromkeys(arm for arm, _ in by_round))
    rounds = sorted(by_round, key=lambda key: (arms.index(key[0]), key[1]))
    images = list(dict.fromkeys(row.image for row in rows))
    overall = [_point(by_round[key], measure, None) for key in rounds]
    return overall + [
        _point(own, measure, image)
        for image in images
        for key in rounds
        if (own := [fit for fit in by_round[key] if fit.row.image == image])
    ]


def _fits(rows: Sequence[Row], measure: Measure) -> list[_Fit]:
    known: dict[tuple[str, str, int, int | None], tuple[Row, float]] = {}
    dense: dict[tuple[str, int | None], float] = {}
    for row in rows:
        value = quality(row, measure)
        if row.round is None or value is None:
            continue
        # A fit counts once, whatever else is told of it.
        known.setdefault((row.arm, row.image, row.round, row.initialisation), (row, value))
        if row.round == 0:
            dense.setdefault((row.image, row.initialisation), value)
    fits = []
    for (_, image, number, initialisation), (row, value) in known.items():
        # Every arm has the same dense fits: compared with themselves they tell nothing.
        against = dense.get((image, initialisation)) if number > 0 else None
        fits.append(_Fit(row, number, value, None if against is None else value - against))
    return fits


def _point(fits: Sequence[_Fit], measure: Measure, image: str | None) -> SparsityPoint:
    by_image: dict[str, list[_Fit]] = {}
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
    """The mean of the groups' means; what is not known is left out."""
    means = [fmean(known) for group in groups if (known := [value for value in group if value is not None])]
    return fmean(means) if means else None


def matching_sparsity(points: Sequence[SparsityPoint], tolerance: float = 0.1) -> list[Matching]:
    """For every arm with pruned rounds, how far it may be pruned without loss over all images.

    A round of which fits have failed that others have come to their end is a loss.

    Args:
        points: As `curve` gives them.
        tolerance: So many dB below the dense fits still count as no loss.
    """
    overall = [point for point in points if point.image is None]
    most = max((point.fits for point in overall), default=0)
    rounds = sorted({point.round for point in overall if point.round > 0})
    by_arm: dict[str, dict[int, SparsityPoint]] = {}
    for point in overall:
        if point.round > 0:
            by_arm.setdefault(point.arm, {})[point.round] = point
    # Before a round that is not there, or not whole, the way ends.
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


def transfers(rows: Sequence[Row], ids: Mapping[str, str]) -> list[Transfer]:
    """What tickets come to away from where they were found, for each source, image, method and round.

    After the sources of a method and round come the lines to compare with, which have none: on each image, its own tickets,
    and other methods' of equal round.

    Args:
        rows: The rows of a run.
        ids: The id of each image by its name. Sources stand in their order; those that are no image of the run come last.
    """
    measure = measure_of(rows)
    by_cell: dict[tuple[int, str | None, str, str], dict[int | None, _Fit]] = {}
    for fit in _fits(rows, measure):
        chain = chain_of(parse_name(fit.row.candidate or ""))
        if chain is not None and fit.difference is not None:
            cell = (fit.round, fit.row.source, fit.row.image, str(chain.method))
            # Two arms may have the same fit.
            by_cell.setdefault(cell, {}).setdefault(fit.row.initialisation, fit)
    moved = {number for number, source, _, _ in by_cell if source is not None}
    names = list(ids)
    slugs = {name: slug(ident) for name, ident in ids.items()}
    places = {ident: place for place, ident in enumerate(slugs.values())}

    def order(key: tuple[int, str | None, str, str]) -> tuple[object, ...]:
        number, source, image, method = key
        place = len(places) if source is None else places.get(slug(source), len(places))
        return source is None, method, number, place, source or "", names.index(image) if image in ids else len(names)

    cells = []
    for number, source, image, method in sorted((key for key in by_cell if key[0] in moved), key=order):
        fits = list(by_cell[number, source, image, method].values())
        mean, _, low, high = paired([fit.difference for fit in fits if fit.difference is not None])
        own = source is not None and slugs.get(image) == slug(source)
        blind = all(fit.row.blind for fit in fits)
        cells.append(Transfer(source, image, method, number, own, measure, len(fits), mean, low, high, blind))
    return cells


def lottery_to_csv(points: Sequence[SparsityPoint]) -> str:
    """Comma-separated values with a header; the lines over all images have no image."""
    return to_csv([field.name for field in fields(SparsityPoint)], map(asdict, points))


def transfers_to_csv(cells: Sequence[Transfer]) -> str:
    """Comma-separated values with a header; lines to compare with have no source."""
    return to_csv([field.name for field in fields(Transfer)], map(asdict, cells))


def ids_of(store: Store, layout: RunLayout) -> dict[str, str]:
    """The id of each image of a run by its name, in the order of the run; none before the list of inputs is there."""
    # Imported here: what it needs takes long to import, and most who show results have no tickets.
    from orchestrator.run.inputs import read_inputs  # noqa: PLC0415

    inputs = read_inputs(store, layout)
    return {} if inputs is None else {image.name: image.id for image in inputs.images}


def write_lottery(store: Store, layout: RunLayout, rows: Sequence[Row]) -> None:
    """Leave the figures in the store, where rows have rounds, and those of moved tickets where there are such."""
    points = curve(rows)
    if points:
        store.put(layout.lottery("sparsity.csv"), lottery_to_csv(points).encode())
        cells = transfers(rows, ids_of(store, layout))
        if cells:
            store.put(layout.lottery("transfer.csv"), transfers_to_csv(cells).encode())
