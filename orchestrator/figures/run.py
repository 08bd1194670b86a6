"""The figures of a run: made once from its rows, written as tables, and shown by the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.figures.comparison import Difference, compare, comparison_to_csv
from orchestrator.figures.sparsity import SparsityPoint, curve, sparsity_to_csv
from orchestrator.figures.transfer import Transfer, transfers, transfers_to_csv
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import Row
from orchestrator.store import Store


@dataclass(frozen=True)
class RunFigures:
    """The figures of a run; a list is empty where there is nothing of its kind.

    Attributes:
        comparison: how each pair of arms differs, over all images and on each.
        sparsity: the quality of each arm and round of a lottery, likewise.
        transfers: the results of moved tickets.
        ids: the id of each image by its name.
    """

    comparison: Sequence[Difference]
    sparsity: Sequence[SparsityPoint]
    transfers: Sequence[Transfer]
    ids: Mapping[str, str]


def figures_of(rows: Sequence[Row], ids: Mapping[str, str]) -> RunFigures:
    """The figures of rows; ``ids`` are the ids of the run's images by their names. It takes time linear in the rows."""
    points = curve(rows)
    return RunFigures(compare(rows), points, transfers(rows, ids) if points else [], ids)


def write_figures(store: Store, layout: RunLayout, figures: RunFigures) -> None:
    """Write the tables to the store, as far as there is something to write."""
    tables = {
        layout.comparison: figures.comparison and comparison_to_csv(figures.comparison),
        layout.lottery("sparsity.csv"): figures.sparsity and sparsity_to_csv(figures.sparsity),
        layout.lottery("transfer.csv"): figures.transfers and transfers_to_csv(figures.transfers),
    }
    for key, text in tables.items():
        if isinstance(text, str):
            store.put(key, text.encode())
