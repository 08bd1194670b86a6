"""Tables as the templates write them: their columns, the text of their cells, and the order of sorting."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.report import text

Row = Mapping[str, object]


_TONES = {
    "good": ("restored", "finished", "complete", "completed", "done", "succeeded"),
    "doubt": ("rejected", "skipped", "cancelled", "canceled", "interrupted", "stopped", "partial"),
    "bad": ("failed", "error", "lost"),
}


@dataclass(frozen=True)
class Column:
    """A column of a table: how its cells are read from a row, and written."""

    key: str
    title: str
    kind: str  # name, state, code, text, word, names or number: how the template renders a cell
    show: Callable[[object], str]
    hint: str = ""
    group: str = ""
    measure: Callable[[object], float | None] = text.number  # the value that a column of numbers is sorted by
    optional: bool = False  # whether it is left out where all its cells would be empty


@dataclass(frozen=True)
class Cell:
    """The text of one cell."""

    kind: str
    text: str
    sort: str  # the script's sort value; empty for unknown, which always comes last
    href: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table."""

    cells: Sequence[Cell]
    picked: str  # the arms that picked it; empty if none
    reason: str


@dataclass(frozen=True)
class Table:
    """A table as the template needs it."""

    columns: Sequence[Column]
    groups: Sequence[tuple[str, int]]  # (title, number of columns); empty when no column is in a group
    rows: Sequence[Line]


def names_in(value: object) -> list[str]:
    """The names in a cell; none where it holds anything else."""
    return [str(name) for name in value] if isinstance(value, Sequence) else []


def tone_of(state: object) -> str:
    """The colour of a state: good, doubt, bad or plain."""
    wanted = str(state).lower()
    return next((tone for tone, states in _TONES.items() if wanted in states), "plain")


def with_values(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns without the optional ones that have no value in any row."""
    return [
        column
        for column in columns
        if not column.optional or any(column.measure(row.get(column.key)) is not None for row in rows)
    ]


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    anchors: Mapping[str, str],
    picked: Callable[[Row], str] = lambda row: "",
) -> Table:
    """A table of rows; optional columns are left out where no row has a value.

    Args:
        columns: All columns there could be.
        rows: The rows, in this order.
        anchors: The addresses to link the names of images to.
        picked: The text for a row that was picked, which marks it; empty for the others.
    """
    kept = with_values(columns, rows)
    groups = [(title, len(list(members))) for title, members in groupby(kept, key=lambda column: column.group)]
    return Table(
        columns=kept,
        groups=groups if any(title for title, _ in groups) else (),
        rows=[
            Line(
                cells=[_cell(column, row, anchors) for column in kept],
                picked=picked(row),
                reason=str(row.get("reason") or ""),
            )
            for row in rows
        ],
    )


def _cell(column: Column, row: Row, anchors: Mapping[str, str]) -> Cell:
    value = row.get(column.key)
    if column.kind == "number":
        return Cell("number", column.show(value), _sort_key(column.measure(value)))
    shown = text.UNKNOWN if value is None else column.show(value)
    return Cell(
        column.kind,
        shown,
        "" if value is None else text.name(shown),
        href=anchors.get(shown, "") if column.kind == "name" else "",
        tone=tone_of(value) if column.kind == "state" else "",
    )


def _sort_key(value: float | None) -> str:
    """The number in a form that JavaScript's Number() reads."""
    if value is None:
        return ""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)
