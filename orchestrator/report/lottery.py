"""The part of a run's page that tells of lottery tickets: how sparse a network may be, and how far its tickets carry."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from markupsafe import Markup

from orchestrator.figures.sparsity import SparsityPoint, Transfer, matching_sparsity
from orchestrator.report import chart, text
from orchestrator.report.chart import OTHER, Curve, SparsityLine
from orchestrator.report.pictures import data_uri, size_of
from orchestrator.report.table import Column, Table, table
from orchestrator.run.layout import TOGETHER, slug

_STRONGEST = 40
"""Percent of colour in the strongest cell of a matrix: text on it still stands out."""
_LEAST_SCALE = 0.5
"""Differences up to so many dB never have a matrix's strongest colour."""
_RISE = 1.0
"""Curves begin so many dB below where the lowest of them falls to after its peak."""
_FEW_LINES = 12
"""Up to so many lines a table is open from the start."""


@dataclass(frozen=True)
class RoundPicture:
    """What a round made of an image, as an 8-bit PNG, with its sparsity and PSNR as far as they are known."""

    arm: str
    blind: bool
    round: int
    sparsity: float | None
    psnr: float | None
    png: bytes


@dataclass(frozen=True)
class TicketLayers:
    """How much of each layer a ticket keeps: name, weights kept, weights there were."""

    method: str
    blind: bool
    round: int
    layers: Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class LotteryImage:
    """One image of a lottery.

    Attributes:
        image: Its relative name; any characters at all.
        curves: The dense fit and some sparse ones, over all their iterations.
        pictures: What rounds made of it, arm by arm, rising rounds.
        layers: Of tickets found on it.
    """

    image: str
    curves: Sequence[Curve]
    pictures: Sequence[RoundPicture]
    layers: Sequence[TicketLayers]


@dataclass(frozen=True)
class LotteryReport:
    """Everything the page says about lottery tickets.

    Attributes:
        points: As `orchestrator.figures.sparsity.curve` gives them.
        transfers: As `orchestrator.figures.sparsity.transfers` gives them.
        ids: The id of each image by its name.
        images: Those that are shown.
        together: Layers of the tickets that were found on all images together.
    """

    points: Sequence[SparsityPoint]
    transfers: Sequence[Transfer]
    ids: Mapping[str, str]
    images: Sequence[LotteryImage]
    together: Sequence[TicketLayers]


@dataclass(frozen=True)
class _Shade:
    """A coloured cell of a matrix."""

    text: str
    small: str = ""
    style: str = ""  # better, worse or kept: which colour
    strength: int = 0  # percent of it
    own: bool = False


@dataclass(frozen=True)
class _Matrix:
    """A table of coloured cells; a cell is None where nothing is known."""

    title: str
    heads: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[_Shade | None]]]  # (what, the kind of that, cells)


@dataclass(frozen=True)
class _Figure:
    """A chart with its legend."""

    svg: Markup
    legend: Sequence[tuple[str, str]]  # (style, label)
    others: int  # lines without a name


@dataclass(frozen=True)
class _Picture:
    caption: str
    alt: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _Image:
    ident: str
    image: str
    sparsity: _Figure | None
    robustness: _Figure | None
    measured: bool  # whether that has PSNRs
    pictures: Sequence[tuple[str, Sequence[_Picture]]]  # (arm, its rounds)
    layers: _Matrix | None


@dataclass(frozen=True)
class LotterySection:
    """The section as the template needs it."""

    measured: bool  # whether quality is PSNR
    tolerance: float
    not_blind: Sequence[str]
    several: bool  # whether some arm has more than one fit of an image
    sparsity: _Figure | None
    matching: Table | None
    points: Table
    open: bool
    transfers: Sequence[_Matrix]
    images: Sequence[_Image]
    together: _Matrix | None


_TOLERANCE = 0.1
_ARM = Column("arm", "Method", "word", str)
_ROUND = Column("round", "Round", "number", text.count, "How often the network was pruned; 0 is the dense one")
_SPARSITY = Column("sparsity", "Sparsity", "number", text.percent, "Share of the convolution weights that are gone")


def _or_none(value: object) -> str:
    return "none" if value is None else text.percent(value)


def _cautious(value: object) -> str:
    """A sparsity and how many intervals there are: of one image alone there is none, which is not to fall short of them."""
    sparsity, intervals = value if isinstance(value, tuple) else (None, 0)
    return _or_none(sparsity) if intervals else text.UNKNOWN


_MATCHING = (
    _ARM,
    Column("sparsity", "Matching sparsity", "number", _or_none, "By the mean difference"),
    Column("cautious", "Cautiously", "number", _cautious, "By the lower ends of the intervals", measure=text.lower_end),
)


def _columns(*, measured: bool) -> list[Column]:
    unit = "PSNR, dB" if measured else "Quality, dB"
    dense = "Less the dense one, dB"
    interval = "Where that would lie over very many such images, by Student's t, dB"
    return [
        _ARM,
        _ROUND,
        _SPARSITY,
        Column("parameters", "Parameters left", "number", text.count, "Numbers that the fit adjusts", optional=True),
        Column("fits", "Fits", "number", text.count, "Images times initialisations"),
        Column("mean", "blind", "number", text.decibels, "Where the fits were stopped without a reference", unit),
        Column("spread", "spread", "number", text.decibels, "Over initialisations", unit, optional=True),
        Column("psnr_oracle_stop", "ideal stop", "number", text.decibels, "The best PSNR", unit, optional=True),
        Column("psnr_last", "at the end", "number", text.decibels, "PSNR after the last step", unit, optional=True),
        Column("difference", "mean", "number", text.gain, "Of the same image and initialisation", dense, optional=True),
        Column(
            "interval", "95 % interval", "number", text.gain_interval, interval, dense, text.lower_end, optional=True
        ),
    ]


def lottery_section(report: LotteryReport) -> LotterySection:
    """What the template writes.

    Raises:
        ValueError: A picture is not a PNG.
    """
    overall = [point for point in report.points if point.image is None]
    measured = any(point.measure == "psnr" for point in report.points)
    lines = [{**asdict(point), "arm": _called(point), "interval": (point.low, point.high)} for point in overall]
    return LotterySection(
        measured=measured,
        tolerance=_TOLERANCE,
        not_blind=list(dict.fromkeys(point.arm for point in overall if not point.blind)),
        several=any(point.fits > point.images for point in overall),
        sparsity=_sparsity(overall, "lottery-sparsity"),
        matching=_matching(overall),
        points=table(_columns(measured=measured), lines, {}),
        open=len(lines) <= _FEW_LINES,
        transfers=_matrices(report),
        images=[_image(report, shown, f"lottery-image-{place}") for place, shown in enumerate(report.images, start=1)],
        together=_layers(report.together),
    )


def _called(point: SparsityPoint) -> str:
    return text.method(point.arm, blind=point.blind)


def _dense(points: Iterable[SparsityPoint]) -> float | None:
    """The dense network's quality, which is every arm's round 0."""
    return next((point.mean for point in points if point.round == 0), None)


def _sparsity(points: Sequence[SparsityPoint], ident: str) -> _Figure | None:
    by_arm: dict[str, list[SparsityPoint]] = {}
    for point in points:
        by_arm.setdefault(_called(point), []).append(point)
    lines = [
        SparsityLine(arm, [(at.sparsity, at.mean, at.spread) for at in own if at.sparsity is not None])
        for arm, own in by_arm.items()
        # Of the dense network alone there is the level.
        if any(at.round > 0 for at in own)
    ]
    dense = _dense(points)
    svg = chart.sparsity_chart(lines, dense, ident, "Quality over sparsity")
    if svg is None:
        return None
    styles = list(zip(chart.sparsity_styles(len(lines)), lines, strict=True))
    named = [(style, line.label) for style, line in styles if style != OTHER]
    level = [] if dense is None else [("dense", f"dense network, {text.decibels(dense)} dB")]
    return _Figure(svg, [*named, *level], len(styles) - len(named))


def _matching(points: Sequence[SparsityPoint]) -> Table | None:
    told = {point.arm: _called(point) for point in points}
    intervals = Counter(point.arm for point in points if point.low is not None)
    rows = [
        {
            "arm": told[found.arm],
            "sparsity": found.sparsity,
            "cautious": (found.cautious, intervals[found.arm]),
        }
        for found in matching_sparsity(points, _TOLERANCE)
    ]
    return table(_MATCHING, rows, {}) if rows else None


def _matrices(report: LotteryReport) -> list[_Matrix]:
    """One for each method and round of moved tickets, the sparsest first."""
    kinds = {(cell.method, cell.round): None for cell in report.transfers if cell.source is not None}
    return [_matrix(report, *kind) for kind in sorted(kinds, key=lambda kind: (kind[0], -kind[1]))]


def _matrix(report: LotteryReport, method: str, number: int) -> _Matrix:
    names = {slug(ident): name for name, ident in report.ids.items()}
    cells = [cell for cell in report.transfers if cell.round == number]
    moved = [cell for cell in cells if cell.source is not None and cell.method == method]
    heads = [name for name in report.ids if any(cell.image == name for cell in moved)]
    heads += list(dict.fromkeys(cell.image for cell in moved if cell.image not in heads))
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
    return _Matrix(
        title=text.method(f"{method}, round {number}", blind=all(cell.blind for cell in moved)),
        heads=heads,
        lines=[
            (what, kind, [_difference(own.get(image), scale) for image in heads]) for (what, kind), own in lines.items()
        ],
    )


def _difference(cell: Transfer | None, scale: float) -> _Shade | None:
    if cell is None:
        return None
    return _Shade(
        text=text.gain(cell.mean),
        small="" if cell.low is None else text.gain_interval((cell.low, cell.high)),
        style="better" if cell.mean >= 0 else "worse",
        strength=round(_STRONGEST * abs(cell.mean) / scale),
        own=cell.own,
    )


def _layers(tickets: Sequence[TicketLayers]) -> _Matrix | None:
    if not tickets:
        return None
    totals = {name: total for ticket in tickets for name, _, total in ticket.layers}
    kept = [{name: left for name, left, _ in ticket.layers} for ticket in tickets]
    heads = [text.method(f"{ticket.method}, round {ticket.round}", blind=ticket.blind) for ticket in tickets]
    return _Matrix(
        title="Layers",
        heads=["Weights", *heads],
        lines=[
            (name, "code", [_Shade(text.count(total)), *(_kept(own.get(name), total) for own in kept)])
            for name, total in totals.items()
        ],
    )


def _kept(left: int | None, total: int) -> _Shade | None:
    if left is None:
        return None
    share = left / total if total else 0.0
    return _Shade(text.percent(share), style="kept", strength=round(_STRONGEST * share))


def _risen(curves: Sequence[Curve]) -> list[Curve]:
    """The curves without the beginning of their rise, which would leave little room for what comes after the peak."""
    falls = [min(known[known.index(max(known)) :]) for curve in curves if (known := _finite(curve.psnr))]
    if not falls:
        return list(curves)
    risen = []
    for curve in curves:
        psnr = curve.psnr or []
        first = next((place for place, value in enumerate(psnr) if value >= min(falls) - _RISE), 0)
        parts = (curve.iterations[first:], curve.held_out[first:], curve.psnr and curve.psnr[first:])
        risen.append(replace(curve, iterations=parts[0], held_out=parts[1], psnr=parts[2]))
    return risen


def _finite(values: Sequence[float] | None) -> list[float]:
    return [value for value in values or () if math.isfinite(value)]


def _image(report: LotteryReport, shown: LotteryImage, ident: str) -> _Image:
    measured = any(curve.psnr is not None for curve in shown.curves)
    drawn = chart.psnr_chart if measured else chart.held_out_chart
    svg = drawn(_risen(shown.curves), f"{ident}-robustness")
    legend = [(style, curve.label) for style, curve in zip(chart.styles_of(shown.curves), shown.curves, strict=True)]
    pictures: dict[str, list[_Picture]] = {}
    for picture in shown.pictures:
        arm = text.method(picture.arm, blind=picture.blind)
        pictures.setdefault(arm, []).append(_picture(picture, arm, shown.image))
    return _Image(
        ident=ident,
        image=shown.image,
        sparsity=_sparsity([point for point in report.points if point.image == shown.image], f"{ident}-sparsity"),
        robustness=None if svg is None else _Figure(svg, legend, 0),
        measured=measured,
        pictures=list(pictures.items()),
        layers=_layers(shown.layers),
    )


def _picture(picture: RoundPicture, arm: str, image: str) -> _Picture:
    width, height = size_of(picture.png, image)
    facts = [
        f"round {picture.round}" if picture.round else "dense",
        *([text.percent(picture.sparsity)] if picture.round and picture.sparsity is not None else []),
        *([] if picture.psnr is None else [f"{text.decibels(picture.psnr)}\u00a0dB"]),
    ]
    return _Picture(
        caption=" · ".join(facts),
        alt=f"{arm}, {facts[0]}: {text.name(image)}",
        uri=data_uri(picture.png),
        width=width,
        height=height,
    )
