"""The table of results for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.common import clock_time, decibels
from orchestrator.results import Row, RowState
from orchestrator.text import printable

_WIDE_ENOUGH = 110


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows; columns that no row fills, or a narrow terminal has no room for, are left out; reasons follow."""
    console = Console()
    with_psnr = any(row.psnr is not None for row in rows)
    with_mean = any(row.psnr_mean is not None for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    all_restored = all(row.state is RowState.RESTORED for row in rows)
    table.add_column("image", overflow="fold")
    if not all_restored:
        table.add_column("state")
    with_candidate = console.width >= _WIDE_ENOUGH
    if with_candidate:
        table.add_column("candidate", no_wrap=True)
    table.add_column("stop", justify="right", no_wrap=True)
    table.add_column("held-out", justify="right", no_wrap=True)
    if with_psnr:
        for title in ("PSNR in", "PSNR", "gain", "oracle"):
            table.add_column(title, justify="right", no_wrap=True)
    if with_mean:
        table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for row in rows:
        cells = [
            printable(row.image),
            *([] if all_restored else [str(row.state)]),
            *([row.candidate or "–"] if with_candidate else []),
            "–" if row.stop_iteration is None else str(row.stop_iteration),
            "–" if row.held_out_error is None else f"{row.held_out_error:.5f}",
        ]
        if with_psnr:
            known = row.psnr is not None and row.psnr_degraded is not None
            gain = f"{(row.psnr or 0) - (row.psnr_degraded or 0):+.2f}" if known else "–"
            cells += [decibels(row.psnr_degraded), decibels(row.psnr), gain, decibels(row.psnr_oracle_stop)]
        if with_mean:
            cells.append(decibels(row.psnr_mean))
        cells.append("–" if row.seconds is None else clock_time(row.seconds))
        # Text, not markup: a file name in brackets is a name.
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for row in rows:
        if row.state is not RowState.RESTORED and row.reason:
            console.print(Text(printable(f"{row.image}: {row.reason}")))
