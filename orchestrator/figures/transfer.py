"""How well tickets transfer: sparse networks on other images than the ones that their masks were found on.

This is a question of arXiv 2410.24187 (lottery image priors). Differences are paired as in
`orchestrator.figures.sparsity`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from orchestrator.figures.comparison import Measure, measure_of, paired
from orchestrator.figures.sparsity import RoundFit, round_fits
from orchestrator.run.layout import slug
from orchestrator.run.rows import Row
from orchestrator.text import to_csv
from workers.names import chain_of, parse_name


@dataclass(frozen=True)
class Transfer:
    """The result of one source's tickets of a round on one image, less the dense fits of the same initialisations.

    Attributes:
        source: where the tickets were found; None on the image itself, or, for a method that looks at none, nowhere.
        image: the name of the image they were fitted to.
        method: how they were found.
        round: the pruning round.
        own: whether the image is the source.
        measure: the measure of quality.
        fits: how many initialisations.
        mean: of the differences in dB; above 0 the ticket does better than the dense network.
        low: lower end of the mean's 95 % confidence interval over initialisations, by Student's t; None for a single
            one.
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


def transfers(rows: Sequence[Row], ids: Mapping[str, str]) -> list[Transfer]:
    """The results of moved tickets, for each source, image, method and round.

    After the sources of a method and round come the lines to compare with, which have no source: on each image, its own
    tickets, and other methods' of equal round.

    Args:
        rows: The rows of a run.
        ids: The id of each image by its name. Sources appear in their order; those that are no image of the run come
            last.
    """
    measure = measure_of(rows)
    by_cell: dict[tuple[int, str | None, str, str], dict[int | None, RoundFit]] = {}
    for fit in round_fits(rows, measure):
        chain = chain_of(parse_name(fit.row.candidate or ""))
        if chain is not None and fit.difference is not None:
            cell = (fit.round, fit.row.source, fit.row.image, str(chain.method))
            # Two arms may have the same fit.
            by_cell.setdefault(cell, {}).setdefault(fit.row.initialisation, fit)
    moved = {number for number, source, _, _ in by_cell if source is not None}
    images = {name: place for place, name in enumerate(ids)}
    slugs = {name: slug(ident) for name, ident in ids.items()}
    places = {ident: place for place, ident in enumerate(slugs.values())}

    def order(key: tuple[int, str | None, str, str]) -> tuple[object, ...]:
        number, source, image, method = key
        place = len(places) if source is None else places.get(slug(source), len(places))
        return source is None, method, number, place, source or "", images.get(image, len(images))

    cells = []
    for number, source, image, method in sorted((key for key in by_cell if key[0] in moved), key=order):
        fits = list(by_cell[number, source, image, method].values())
        mean, _, low, high = paired([fit.difference for fit in fits if fit.difference is not None])
        own = source is not None and slugs.get(image) == slug(source)
        blind = all(fit.row.blind for fit in fits)
        cells.append(Transfer(source, image, method, number, own, measure, len(fits), mean, low, high, blind))
    return cells


def transfers_to_csv(cells: Sequence[Transfer]) -> str:
    """Comma-separated values with a header; lines to compare with have no source."""
    return to_csv([field.name for field in fields(Transfer)], map(asdict, cells))
