"""The figures of lottery tickets for people: quality over sparsity, and the results of moved tickets."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.shown.units import decibels
from orchestrator.figures.sparsity import matching_sparsity, overall_curve
from orchestrator.figures.transfer import Transfer, transfers
from orchestrator.run.rows import Row
from orchestrator.text import printable


def print_lottery(rows: Sequence[Row], ids: Mapping[str, str]) -> None:
    """Print quality over sparsity, and the results of moved tickets, where rows have rounds."""
    points = overall_curve(rows)
    if not points:
        return
    cells = transfers(rows, ids)
    matching = {each.arm: each for each in matching_sparsity(points)}
    console = Console()
    quality = "PSNR" if points[0].measure == "psnr" else "held-out, dB"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", overflow="fold")
    for title in ("round", "sparsity", quality, "to dense", "95 %", "oracle", "last"):
        table.add_column(title, justify="right", no_wrap=True)
    for point in points:
        known = point.low is not None and point.high is not None
        cells_of_point = [
            point.arm if point.blind else f"{point.arm} (not blind)",
            str(point.round),
            "–" if point.sparsity is None else f"{point.sparsity:.1%}",
            f"{point.mean:.2f}",
            "–" if point.difference is None else f"{point.difference:+.2f}",
            f"{point.low:+.2f} to {point.high:+.2f}" if known else "–",
            decibels(point.psnr_oracle_stop),
            decibels(point.psnr_last),
        ]
        table.add_row(*map(Text, cells_of_point))
    console.print()
    console.print(table)
    for each in matching.values():
        if each.sparsity is not None:
            console.print(
                Text(f"{each.arm}: not below the dense network by 0.1 dB up to a sparsity of {each.sparsity:.1%}")
            )
    _print_transfers(console, [cell for cell in cells if cell.source is not None])


def _print_transfers(console: Console, cells: Sequence[Transfer]) -> None:
    """A matrix for every method and round: rows where tickets were found, columns where they were trained."""
    for method, number in dict.fromkeys((cell.method, cell.round) for cell in cells):
        chosen = [cell for cell in cells if (cell.method, cell.round) == (method, number)]
        images = list(dict.fromkeys(cell.image for cell in chosen))
        table = Table(box=None, pad_edge=False, header_style="bold")
        blind = "" if all(cell.blind for cell in chosen) else " (not blind)"
        table.add_column(f"{method}{blind}, round {number}: dB to dense; found on")
        for image in images:
            table.add_column(Text(printable(image)), justify="right", overflow="fold")
        for source in dict.fromkeys(cell.source for cell in chosen):
            means = {
                cell.image: f"{cell.mean:+.2f}{' *' if cell.own else ''}" for cell in chosen if cell.source == source
            }
            table.add_row(Text(str(source)), *(Text(means.get(image, "–")) for image in images))
        console.print()
        console.print(table)
