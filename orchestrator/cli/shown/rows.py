"""The table of results for people."""

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.shown.units import clock_time, decibels
from orchestrator.figures.comparison import compare
from orchestrator.run.rows import Row, RowState
from orchestrator.text import printable

_ROOM_FOR_NAMES = 16
_FIRST_TO_GO = (
    "candidate",
    "stop",
    "estimated PSNR",
    "held-out",
    "PSNR in",
    "oracle",
    "time",
    "mean",
    "stack",
    "filter",
)
"""Columns that are left out first on a narrow terminal, in this order."""


def print_rows(rows: Sequence[Row]) -> None:
    """Print the results of each arm, then reasons. Empty columns, and those that a narrow terminal has
    no room for, are left out.
    """
    console = Console()
    rows = [row for row in rows if row.picked]
    with_psnr = any(row.psnr is not None for row in rows)
    optional = {
        "arm": len({row.arm for row in rows}) > 1,
        "state": any(row.state is not RowState.RESTORED for row in rows),
        "estimated PSNR": any(row.psnr_low is not None for row in rows),
        **dict.fromkeys(("PSNR in", "PSNR", "gain", "oracle"), with_psnr),
        "PSNR Y": any(row.psnr_y is not None for row in rows),
        "mean": any(row.psnr_mean is not None for row in rows),
        "stack": any(row.psnr_stack is not None for row in rows),
        "delivered": any(row.delivered not in (None, "pick") for row in rows),
        "filter": any(row.psnr_classical is not None for row in rows),
        "over filter": any(row.gain_over_classical is not None for row in rows),
        "sparsity": any(row.sparsity is not None for row in rows),
    }
    columns = [title for title in _COLUMNS if optional.get(title, True)]
    widths = {title: max(cell_len(text) for text in (title, *map(_COLUMNS[title], rows))) for title in columns}
    widths["image"] = min(widths["image"], _ROOM_FOR_NAMES)
    for title in _FIRST_TO_GO:
        if title in columns and sum(2 + widths[shown] for shown in columns) - 2 > console.width:
            columns.remove(title)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        left = title in _LEFT
        table.add_column(
            title,
            justify="left" if left else "right",
            no_wrap=title != "image",
            overflow="fold" if left else "ellipsis",
        )
    for row in rows:
        # Text, not markup: a file name in brackets is a name.
        table.add_row(*(Text(_COLUMNS[title](row)) for title in columns))
    console.print(table)
    # A reason of an image holds for every arm, and is printed once.
    reasons = [(row.image, row.reason) for row in rows if row.state is not RowState.RESTORED and row.reason]
    notes = [(row.image, row.note) for row in rows if row.note]
    for image, text in dict.fromkeys([*reasons, *notes]):
        console.print(Text(printable(f"{image}: {text}")))


def _gain(row: Row) -> str:
    return "–" if row.psnr is None or row.psnr_degraded is None else f"{row.psnr - row.psnr_degraded:+.2f}"


def _interval(row: Row) -> str:
    known = row.psnr_low is not None and row.psnr_high is not None
    return f"{row.psnr_low:.1f} to {row.psnr_high:.1f}" if known else "–"


_LEFT = ("image", "arm", "state", "candidate", "delivered")
_COLUMNS: dict[str, Callable[[Row], str]] = {
    "image": lambda row: printable(row.image),
    "arm": lambda row: row.arm,
    "state": lambda row: str(row.state),
    "candidate": lambda row: row.candidate or "–",
    "sparsity": lambda row: "–" if row.sparsity is None else f"{row.sparsity:.1%}",
    "stop": lambda row: "–" if row.stop_iteration is None else str(row.stop_iteration),
    "held-out": lambda row: "–" if row.held_out_error is None else f"{row.held_out_error:.5f}",
    "estimated PSNR": _interval,
    "PSNR in": lambda row: decibels(row.psnr_degraded),
    "PSNR": lambda row: decibels(row.psnr),
    "PSNR Y": lambda row: decibels(row.psnr_y),
    "gain": _gain,
    "oracle": lambda row: decibels(row.psnr_oracle_stop),
    "mean": lambda row: decibels(row.psnr_mean),
    "stack": lambda row: decibels(row.psnr_stack),
    "delivered": lambda row: row.delivered or "–",
    "filter": lambda row: decibels(row.psnr_classical),
    "over filter": lambda row: "–" if row.gain_over_classical is None else f"{row.gain_over_classical:+.2f}",
    "time": lambda row: "–" if row.seconds is None else clock_time(row.seconds),
}


def print_comparison(rows: Sequence[Row]) -> None:
    """Print how the arms differ over all images, if there are several."""
    overall = [difference for difference in compare(rows) if difference.image is None]
    if not overall:
        return
    seeing = {row.arm for row in rows if not row.blind}
    measure = "PSNR" if overall[0].measure == "psnr" else "held-out error"
    costs = [_cost(rows, difference.arm, difference.against) for difference in overall]
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", overflow="fold")
    table.add_column("against", overflow="fold")
    # Of the multiply-adds, which are the same on every machine.
    for title in (f"{measure}, dB", "s.e.", "95 %", "wins", *["cost"] * any(costs)):
        table.add_column(title, justify="right", no_wrap=True)
    for difference, cost in zip(overall, costs, strict=True):
        known = difference.low is not None and difference.high is not None
        cells = [
            *(f"{arm} (not blind)" if arm in seeing else arm for arm in (difference.arm, difference.against)),
            f"{difference.mean:+.2f}",
            decibels(difference.standard_error),
            f"{difference.low:+.2f} to {difference.high:+.2f}" if known else "–",
            f"{difference.wins} of {difference.images}",
            *[f"{cost:.2f} x" if cost else "–"] * any(costs),
        ]
        table.add_row(*map(Text, cells))
    console.print()
    console.print(table)


def _cost(rows: Sequence[Row], arm: str, against: str) -> float | None:
    """How many times the multiply-adds of another arm an arm took for the images of both; None where not known."""
    ours, theirs = (
        {row.image: row.multiply_adds for row in rows if row.picked and row.arm == of} for of in (arm, against)
    )
    spent = [(ours[image], theirs[image]) for image in ours if image in theirs]
    known = [(own, other) for own, other in spent if own and other]
    if len(known) < len(spent) or not known:
        return None
    return sum(own for own, _ in known) / sum(other for _, other in known)
