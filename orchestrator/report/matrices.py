"""Tables of coloured cells: the results of tickets on other images, and how much of each layer they keep."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.figures.transfer import Transfer
from orchestrator.report import text
from orchestrator.report.contents import LotteryReport, TicketLayers
from orchestrator.run.layout import TOGETHER, slug

_STRONGEST = 40
"""Percent of colour in the strongest cell of a matrix: text on it still stands out."""


_LEAST_SCALE = 0.5
"""Differences smaller than this many dB never have a matrix's strongest colour."""


@dataclass(frozen=True)
class Shade:
    """A coloured cell of a matrix."""

    text: str
    small: str = ""
    style: str = ""  # better, worse or kept: which colour
    strength: int = 0  # percent of it
    own: bool = False


@dataclass(frozen=True)
class Matrix:
    """A table of coloured cells; a cell is None where nothing is known."""

    title: str
    heads: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[Shade | None]]]  # (label, kind of the label, cells)


def transfer_matrices(report: LotteryReport) -> list[Matrix]:
    """One for each method and round of moved tickets, the sparsest first."""
    kinds = {(cell.method, cell.round): None for cell in report.transfers if cell.source is not None}
    return [_matrix(report, *kind) for kind in sorted(kinds, key=lambda kind: (kind[0], -kind[1]))]


def _matrix(report: LotteryReport, method: str, number: int) -> Matrix:
    names = {slug(ident): name for name, ident in report.ids.items()}
    cells = [cell for cell in report.transfers if cell.round == number]
    moved = [cell for cell in cells if cell.source is not None and cell.method == method]
    on = dict.fromkeys(cell.image for cell in moved)
    heads = [*(name for name in report.ids if name in on), *(image for image in on if image not in report.ids)]
    lines: dict[tuple[str, str], dict[str, Transfer]] = {}
    for cell in moved:
        source = cell.source or ""
        found_on = "all images together" if source == TOGETHER else names.get(slug(source), source)
        lines.setdefault((found_on, "name"), {})[cell.image] = cell
    for cell in cells:
        if cell.source is None:
            called = "its own ticket" if cell.method == method else f"{cell.method}, of equal round"
            called = text.method(called, blind=cell.blind)
            lines.setdefault((called, "word"), {})[cell.image] = cell
    scale = max([abs(cell.mean) for own in lines.values() for cell in own.values()] + [_LEAST_SCALE])
    return Matrix(
        title=text.method(f"{method}, round {number}", blind=all(cell.blind for cell in moved)),
        heads=heads,
        lines=[
            (what, kind, [_difference(own.get(image), scale) for image in heads]) for (what, kind), own in lines.items()
        ],
    )


def _difference(cell: Transfer | None, scale: float) -> Shade | None:
    if cell is None:
        return None
    return Shade(
        text=text.gain(cell.mean),
        small="" if cell.low is None else text.gain_interval((cell.low, cell.high)),
        style="better" if cell.mean >= 0 else "worse",
        strength=round(_STRONGEST * abs(cell.mean) / scale),
        own=cell.own,
    )


def layers_matrix(tickets: Sequence[TicketLayers]) -> Matrix | None:
    """How much of each layer (line) each ticket (column) keeps; None without tickets."""
    if not tickets:
        return None
    totals = {name: total for ticket in tickets for name, _, total in ticket.layers}
    kept = [{name: left for name, left, _ in ticket.layers} for ticket in tickets]
    heads = [text.method(f"{ticket.method}, round {ticket.round}", blind=ticket.blind) for ticket in tickets]
    return Matrix(
        title="Layers",
        heads=["Weights", *heads],
        lines=[
            (name, "code", [Shade(text.count(total)), *(_kept(own.get(name), total) for own in kept)])
            for name, total in totals.items()
        ],
    )


def _kept(left: int | None, total: int) -> Shade | None:
    if left is None:
        return None
    share = left / total if total else 0.0
    return Shade(text.percent(share), style="kept", strength=round(_STRONGEST * share))
