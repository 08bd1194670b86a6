"""Lottery tickets: how sparse a network may be, and how well its tickets transfer."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from markupsafe import Markup

from orchestrator.figures.sparsity import SparsityPoint, matching_sparsity
from orchestrator.report import text
from orchestrator.report.columns import Column, Table, table
from orchestrator.report.contents import LotteryImage, LotteryReport, Page, RoundPicture
from orchestrator.report.matrices import Matrix, layers_matrix, transfer_matrices
from orchestrator.report.pictures import data_uri, size_of
from orchestrator.report.sections import Section
from orchestrator.report.svg.curves import Curve, held_out_chart, psnr_chart, styles_of
from orchestrator.report.svg.drawing import OTHER
from orchestrator.report.svg.sparsity import SparsityLine, sparsity_chart, sparsity_styles

_RISE = 1.0
"""Curves begin this many dB below the lowest value that any of them falls to after its peak."""


_FEW_LINES = 12
"""Tables of up to this many lines are open from the start."""


_TOLERANCE = 0.1


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
    measured: bool  # whether the pictures have PSNRs
    pictures: Sequence[tuple[str, Sequence[_Picture]]]  # (arm, its rounds)
    layers: Matrix | None


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
    transfers: Sequence[Matrix]
    images: Sequence[_Image]
    together: Matrix | None


_ARM = Column("arm", "Method", "word", str)


_ROUND = Column("round", "Round", "number", text.count, "How often the network was pruned; 0 is the dense one")


_SPARSITY = Column("sparsity", "Sparsity", "number", text.percent, "Share of the convolution weights that are gone")


def _or_none(value: object) -> str:
    return "none" if value is None else text.percent(value)


def _cautious(value: object) -> str:
    """A sparsity and how many intervals there are. With one image there is no interval: show a dash."""
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
        Column(
            "psnr_oracle_stop",
            "ideal stop",
            "number",
            text.decibels,
            "The best PSNR while pixels were hidden",
            unit,
            optional=True,
        ),
        Column("psnr_last", "at the end", "number", text.decibels, "PSNR after the last step", unit, optional=True),
        Column("difference", "mean", "number", text.gain, "Of the same image and initialisation", dense, optional=True),
        Column(
            "interval", "95 % interval", "number", text.gain_interval, interval, dense, text.lower_end, optional=True
        ),
    ]


def lottery_section(report: LotteryReport) -> LotterySection:
    """The data that the template writes.

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
        transfers=transfer_matrices(report),
        images=[_image(report, shown, f"lottery-image-{place}") for place, shown in enumerate(report.images, start=1)],
        together=layers_matrix(report.together),
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
        # The dense network alone is the level.
        if any(at.round > 0 for at in own)
    ]
    dense = _dense(points)
    svg = sparsity_chart(lines, dense, ident, "Quality over sparsity")
    if svg is None:
        return None
    styles = list(zip(sparsity_styles(len(lines)), lines, strict=True))
    named = [(style, line.label) for style, line in styles if style != OTHER]
    level = [] if dense is None else [("dense", f"dense network, {text.decibels(dense)} dB")]
    return _Figure(svg, [*named, *level], len(styles) - len(named))


def _matching(points: Sequence[SparsityPoint]) -> Table | None:
    names = {point.arm: _called(point) for point in points}
    intervals = Counter(point.arm for point in points if point.low is not None)
    rows = [
        {
            "arm": names[found.arm],
            "sparsity": found.sparsity,
            "cautious": (found.cautious, intervals[found.arm]),
        }
        for found in matching_sparsity(points, _TOLERANCE)
    ]
    return table(_MATCHING, rows, {}) if rows else None


def _risen(curves: Sequence[Curve]) -> list[Curve]:
    """The curves without the beginning of their rise, which would leave little room for the part after the peak."""
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
    drawn = psnr_chart if measured else held_out_chart
    svg = drawn(_risen(shown.curves), f"{ident}-robustness")
    legend = [(style, curve.label) for style, curve in zip(styles_of(shown.curves), shown.curves, strict=True)]
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
        layers=layers_matrix(shown.layers),
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


def _fill(page: Page) -> LotterySection | None:
    return None if page.report.lottery is None else lottery_section(page.report.lottery)


SECTION = Section("lottery", 40, _fill, styled=True)
