"""The results of a run as lines: all on the run's page where they are few, else on pages of their own beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from orchestrator.report.columns import Column, Row, Table, table, with_values
from orchestrator.report.contents import RunReport, identified
from orchestrator.report.quality import ARM, BEFORE, NETWORK, QUALITY, STATE, TIME, by_arm, derived
from orchestrator.run.layout import REPORT

MOST_LINES = 1000
"""The most lines in a table of one page: a browser lays out this many at once, and sorts them without delay."""
_COLUMNS = (Column("image", "Image", "name", str), ARM, STATE, BEFORE, *QUALITY, TIME, NETWORK)


@dataclass(frozen=True)
class ResultsPage:
    """A page of results: the name of its file, and its lines."""

    file: str
    lines: Sequence[Row]

    @property
    def first(self) -> str:
        """The image of its first line."""
        return str(self.lines[0].get("image"))

    @property
    def last(self) -> str:
        """The image of its last line."""
        return str(self.lines[-1].get("image"))


class Results:
    """The lines of a run's results, in the order of its rows.

    Attributes:
        several: Whether there are several methods.
        lines: A row for each line.
        pages: The lines by pages; empty where one table has room for all.
        unrestored: The lines that stand for no restored image.
    """

    def __init__(self, report: RunReport) -> None:
        self.several = len(by_arm(report.rows)) > 1
        self.lines = _lines(report.rows)
        self.pages = _pages(self.lines) if len(self.lines) > MOST_LINES else []
        self.unrestored = [line for line in self.lines if line.get("state") != "restored"]
        columns = [column for column in _COLUMNS if self.several or column is not ARM]
        # All pages have the same columns, whichever figures their own lines lack.
        self._columns = [replace(column, optional=False) for column in with_values(columns, self.lines)]
        self._anchors = {shown.image: ident for ident, shown in identified(report)}

    @property
    def shown(self) -> Sequence[Row]:
        """The lines on the run's page: all, or the first of those that were not restored."""
        return self.unrestored[:MOST_LINES] if self.pages else self.lines

    def table(self, lines: Sequence[Row], *, beside: bool = False) -> Table:
        """A table of some lines. Names lead to the pictures on the run's page, also from a page ``beside`` it."""
        place = REPORT if beside else ""
        return table(self._columns, lines, {name: f"{place}#{ident}" for name, ident in self._anchors.items()})


def _lines(rows: Sequence[Row]) -> list[Row]:
    lines: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row.get("image")):
        own = list(group)
        same = len(own) > 1 and all({**row, "arm": ""} == {**own[0], "arm": ""} for row in own)
        # An image that could not be used ended alike for all methods: mention it once.
        lines += [{**own[0], "arm": "every method"}] if same and own[0].get("state") != "restored" else own
    return [derived(line) for line in lines]


def _pages(lines: Sequence[Row]) -> list[ResultsPage]:
    starts = range(0, len(lines), MOST_LINES)
    return [
        ResultsPage(f"results-{number:04}.html", lines[start : start + MOST_LINES])
        for number, start in enumerate(starts, start=1)
    ]
