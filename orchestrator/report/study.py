"""The page of a study: what foretells the best PSNR, and what shortlists of growing size come to.

As with the report of a run everything is in the one file; the drawings are SVG, built with ``Markup.format``, which escapes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import rankdata

from orchestrator.figures.study import HELD_OUT, CohortSize, Study, Table, Tau
from orchestrator.report import text
from orchestrator.report.chart import (
    COLOURS,
    HEIGHT,
    OTHER,
    WIDTH,
    Axis,
    coordinate,
    decibel_span,
    short,
    ticks_of,
    widened,
)
from orchestrator.report.page import environment, grouped
from orchestrator.report.table import tone_of
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.store import Store
from orchestrator.version import __version__
from workers.metrics import TASK_LOSS

POINTS = 300_000
"""So many points the page draws at most, some 15 bytes each: a browser must still open it."""
MOST_IMAGES = 30
"""So many images have a column and drawings; the figures of the others are in the files beside the page."""

_FIRST = ("psd db strip mse", "psd strip hist emd", "psd 99_per_bw", TASK_LOSS)
"""The metrics that are drawn first: the papers' two, one that looks at no image, and the plain loss."""
_FEW = 100
"""Up to so many points are drawn larger."""
_LONG = 20
"""Longer lists of the settings are told by their length."""
_PANEL_WIDTH, _PANEL_HEIGHT = 210, 150
_STRIP_WIDTH, _STRIP_HEIGHT = 240, 26
_MEAN_AT, _IMAGES_AT = 9, 20  # heights in the strip
_MARGIN = 10
_MARKS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True)
class _Predictor:
    """A line of the table; ``own`` has an entry for each image with a column."""

    name: str
    by_default: bool
    mean: Tau | None
    images: int  # how many have a tau
    plot: Markup
    own: Sequence[Tau | None]

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return (self.mean.low, self.mean.high) if self.mean else (None, None)

    @property
    def ordered(self) -> str:
        """The share of pairs in the right order, where there are no ties."""
        return f"{text.decimals(50 * (1 - self.mean.tau), 0)}\u00a0%" if self.mean else text.UNKNOWN


@dataclass(frozen=True)
class _Panel:
    """One scatter plot."""

    name: str
    tau: float
    plot: Markup


@dataclass(frozen=True)
class _Image:
    """An image's scatter plots: those that everybody wants to see, and the others."""

    name: str
    candidates: int
    known: int
    first: Sequence[_Panel]
    others: Sequence[_Panel]


@dataclass(frozen=True)
class _Curve:
    """What a way of choosing K candidates comes to, for growing K."""

    name: str
    said: str
    style: str
    points: Sequence[tuple[int, float]]

    @property
    def values(self) -> dict[int, float]:
        return dict(self.points)


def write_study_page(store: Store, record: RunRecord, table: Table, study: Study) -> None:
    """Write the page into the store, beside the study's files.

    Args:
        store: Where the run is.
        record: The run's record.
        table: The study's table, which may be empty.
        study: Its figures.
    """
    store.put(RunLayout(record.run).study("index.html"), render_study(record, table, study).encode())


def render_study(record: RunRecord, table: Table, study: Study) -> str:
    """The page as one HTML document that asks nothing of any network."""
    metric = str(record.config["score"]["metric"])
    shown = table.images[:MOST_IMAGES]
    predictors = _predictors(table, study, shown, metric)
    curves = _curves(study.cohort_sizes, metric)
    measured = predictors[1:] if predictors and predictors[0].name == HELD_OUT else predictors
    return (
        environment()
        .get_template("study.html.j2")
        .render(
            record=record,
            version=__version__,
            text=text,
            tone=tone_of(record.state),
            study=study,
            rows=len(table.image),
            known=int(np.isfinite(table.psnr_oracle_stop).sum()),
            shown=shown,
            axis=_strip_axis(),
            predictors=predictors,
            held_out=next((line for line in predictors if line.name == HELD_OUT and line.mean), None),
            best=next((line for line in measured if line.mean), None),
            shortlist=_shortlist(curves, metric, int(record.config["cohort"]["size"])),
            curves=curves,
            others=[curve for curve in curves if curve.style == OTHER],
            sizes=sorted({point.size for point in study.cohort_sizes}),
            figure=_cohort_chart(curves),
            images=list(_images(table, study, shown, metric, int(record.config["cohort"]["size"]))),
            settings=grouped(_brief(record.config)),
        )
    )


def _brief(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings with long lists, such as that of the candidates, by their length."""
    return {
        key: _brief(value)
        if isinstance(value, Mapping)
        else f"a list of {len(value)}"
        if isinstance(value, list) and len(value) > _LONG
        else value
        for key, value in settings.items()
    }


def _named(metrics: Sequence[str], default: str) -> list[str]:
    """The metrics that have a colour of their own: the default first, then those of interest, or all where they are few."""
    wanted = [default, *_FIRST, *(metrics if len(metrics) <= COLOURS else ())]
    return [metric for metric in dict.fromkeys(wanted) if metric in metrics]


# The table of predictors


def _predictors(table: Table, study: Study, shown: Sequence[str], default: str) -> list[_Predictor]:
    """The held-out error, then the metrics, the one that foretells best first."""
    taus = {(tau.predictor, tau.image): tau for tau in study.taus}
    lines = []
    for name in table.predictors:
        of_images = [tau for tau in study.taus if tau.predictor == name and tau.image is not None]
        known = [tau.tau for tau in of_images if math.isfinite(tau.tau)]
        mean = taus.get((name, None))
        lines.append(
            _Predictor(
                name=name,
                by_default=name == default,
                mean=mean,
                images=len(known),
                plot=_strip(name, mean, known),
                own=[taus.get((name, image)) for image in shown],
            )
        )
    return sorted(lines, key=lambda line: (line.name != HELD_OUT, line.mean.tau if line.mean else math.inf))


_STRIP = Axis(-1, 1, _MARGIN, _STRIP_WIDTH - _MARGIN, [(mark, text.gain(mark)) for mark in _MARKS])


def _strip_axis() -> Markup:
    """The axis over the column of intervals."""
    labels = [
        Markup('<text class="x" x="{}" y="14">{}</text>').format(coordinate(_STRIP.at(mark)), text.decimals(mark, 0))
        for mark in (-1, 0, 1)
    ]
    return Markup('<svg class="chart strip" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        _STRIP_WIDTH, 18, Markup("").join(labels)
    )


def _strip(name: str, mean: Tau | None, of_images: Sequence[float]) -> Markup:
    """The mean as a dot with its interval as a bar, and under it the faint dots of the images."""
    parts = [
        Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>').format(
            "axis" if mark == 0 else "grid", coordinate(_STRIP.at(mark)), coordinate(_STRIP.at(mark)), _STRIP_HEIGHT
        )
        for mark in _MARKS
    ]
    if len(of_images) > 1:
        parts.append(
            Markup('<path class="points" d="{}"/>').format(_dots([(_STRIP.at(tau), _IMAGES_AT) for tau in of_images]))
        )
    said = "unknown"
    if mean is not None:
        said = text.gain(mean.tau)
        if mean.low is not None and mean.high is not None:
            said += f", 95 % interval {text.gain_interval((mean.low, mean.high))}"
            parts.append(
                Markup('<line class="bar95" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    coordinate(_STRIP.at(mean.low)), coordinate(_STRIP.at(mean.high)), _MEAN_AT, _MEAN_AT
                )
            )
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="4.5"/>').format(coordinate(_STRIP.at(mean.tau)), _MEAN_AT)
        )
    return Markup('<svg class="chart strip c0" viewBox="0 0 {} {}" role="img"><title>{}: {}</title>{}</svg>').format(
        _STRIP_WIDTH, _STRIP_HEIGHT, text.name(name), said, Markup("").join(parts)
    )


# The curve over K


def _curves(points: Sequence[CohortSize], default: str) -> list[_Curve]:
    """At random first, then the metrics with a colour, the default's blind pick after it, then the others."""
    metrics = list(dict.fromkeys(point.by for point in points if point.by is not None))
    named = _named(metrics, default)
    at_random = [(point.size, point.best) for point in points if point.by is None]
    curves = [_Curve("at random", "best of the K, as expected", "random", at_random)] if at_random else []
    for metric in [*named, *(metric for metric in metrics if metric not in named)]:
        own = [point for point in points if point.by == metric]
        style = f"c{named.index(metric)}" if metric in named else OTHER
        lead = " lead" if metric == default else ""
        curves.append(_Curve(metric, "best of the K", style + lead, [(point.size, point.best) for point in own]))
        if metric == default:
            blind = [(point.size, math.nan if point.blind is None else point.blind) for point in own]
            curves.append(_Curve(metric, "picked blind from the K", f"{style} dashed", blind))
    return curves


def _shortlist(curves: Sequence[_Curve], metric: str, size: int) -> dict[str, float] | None:
    """What a metric's first ``size`` come to against as many at random; None where all there are would be listed.

    A size that is not on the curve gives way to the next smaller one.
    """
    at_random = next((curve.values for curve in curves if curve.style == "random"), {})
    own = [curve.values for curve in curves if curve.name == metric]
    at = max((known for known in at_random if known <= size), default=0)
    if not own or not at or at == max(at_random):
        return None
    best, blind = own
    return {"size": at, "random": at_random[at], "best": best[at], "blind": blind[at]}


def _cohort_chart(curves: Sequence[_Curve]) -> Markup | None:
    """Mean PSNR over K on a logarithmic axis; None where there is nothing to draw."""
    points = [point for curve in curves for point in curve.points if math.isfinite(point[1])]
    if not points:
        return None
    low, high, ticks = decibel_span(min(y for _, y in points), max(y for _, y in points))
    most = max(size for size, _ in points)
    across = Axis(0, max(math.log10(most), 0.1), 44, WIDTH - 16, _sizes(most))
    upright = Axis(low, high, HEIGHT - 40, 12, ticks)
    said = [
        f"{text.name(curve.name)}, {curve.said}: {text.decibels(curve.points[0][1])} dB at K = {curve.points[0][0]},"
        f" {text.decibels(curve.points[-1][1])} dB at K = {curve.points[-1][0]}."
        for curve in curves
        if curve.style != OTHER and curve.points
    ]
    # What matters most is painted last, over the rest.
    lines = [
        _polyline(curve, across, upright)
        for curve in sorted(curves, key=lambda curve: (curve.style != OTHER, "lead" in curve.style))
    ]
    return _svg(
        "cohort-sizes",
        (WIDTH, HEIGHT),
        title="Mean best PSNR over the number of candidates that are fitted",
        told=" ".join(said),
        parts=[*_frame(across, upright, "K, candidates fitted"), *lines],
    )


def _sizes(most: int) -> list[tuple[float, str]]:
    """1, 2, 5, 10, ... as far as the axis goes."""
    marks = [mark * 10**power for power in range(len(str(most))) for mark in (1, 2, 5)]
    return [(math.log10(mark), text.count(mark)) for mark in marks if mark <= most]


def _polyline(curve: _Curve, across: Axis, upright: Axis) -> Markup:
    places = [(across.at(math.log10(size)), upright.at(y)) for size, y in curve.points if math.isfinite(y)]
    steps = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in places)
    # A line of one point draws nothing.
    lone = (
        Markup('<circle class="lone" cx="{}" cy="{}" r="3"/>').format(*map(coordinate, places[0]))
        if len(places) == 1
        else ""
    )
    return Markup('<g class="{}"><polyline class="curve" points="{}"/>{}</g>').format(curve.style, steps, lone)


# The scatter plots


def _images(table: Table, study: Study, shown: Sequence[str], default: str, cohort: int) -> Iterator[_Image]:
    names = [HELD_OUT, *_named(list(table.scores), default)]
    taus = {(tau.predictor, tau.image): tau for tau in study.taus}
    most = POINTS // max(1, len(shown) * len(table.predictors))
    for place, image in enumerate(shown, start=1):
        rows = table.of(image)
        known = len(rows.image)
        panels = {
            name: _Panel(
                name,
                taus[name, image].tau,
                _scatter(f"scatter-{place}-{at}", rows, taus[name, image], cohort=cohort, most=most),
            )
            for at, name in enumerate(table.predictors)
            if (name, image) in taus
        }
        yield _Image(
            name=image,
            candidates=int((table.image == image).sum()),
            known=known,
            first=[panels[name] for name in names if name in panels],
            others=[panel for name, panel in panels.items() if name not in names],
        )


def _scatter(ident: str, rows: Table, tau: Tau, *, cohort: int, most: int) -> Markup:
    """The best PSNR over the rank by one predictor, the ``cohort`` first in colour; of very many only some are drawn."""
    values, best = rows.predictors[tau.predictor], rows.psnr_oracle_stop
    low, high = widened(float(best.min()), float(best.max()), at_least=1.0)
    known = np.isfinite(values)
    ranks = np.asarray(rankdata(values[known]), dtype=np.float64)
    count = len(ranks)
    upright = Axis(low, high, _PANEL_HEIGHT - 28, 8, ticks_of(low, high, short, most=4))
    ends = {1: "1", max(count, 1): text.count(count)} if count else {}
    across = Axis(0.5, max(count, 1) + 0.5, 38, _PANEL_WIDTH - 8, [(float(at), label) for at, label in ends.items()])
    # As a shortlist is made: of equal ones the first.
    listed = np.isin(np.arange(count), np.argsort(values[known], kind="stable")[:cohort])
    drawn = _drawn(best[known], listed, most)
    places = [(across.at(x), upright.at(y)) for x, y in zip(ranks[drawn], best[known][drawn], strict=True)]
    # Where everyone is on the shortlist, colour tells nothing.
    coloured = listed[drawn] if count > cohort else np.zeros(len(drawn), dtype=np.bool_)
    few = " few" if count <= _FEW else ""
    parts = [
        Markup('<path class="{}" d="{}"/>').format(
            style, _dots([place for place, on in zip(places, coloured, strict=True) if on == wanted])
        )
        for style, wanted in ((f"points{few}", False), (f"points{few} listed c0", True))
    ]
    interval = text.gain_interval((tau.low, tau.high))
    told = (
        f"{text.count(count)} candidates, best PSNR {text.decibels(best.min())} to {text.decibels(best.max())} dB; "
        + (f"Kendall's tau {text.gain(tau.tau)} ({interval}).")
    )
    return _svg(
        ident,
        (_PANEL_WIDTH, _PANEL_HEIGHT),
        title=f"Best PSNR over the rank by {text.name(tau.predictor)}, {text.name(tau.image or '')}",
        told=told,
        parts=[*_frame(across, upright, "rank"), *parts],
    )


def _drawn(best: NDArray[np.float64], listed: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """At most ``most`` rows, evenly over the order of PSNR, with the best and the worst; those listed come beside them."""
    if len(best) <= most:
        return np.arange(len(best))
    even = np.linspace(0, len(best) - 1, max(most, 2)).round().astype(np.intp)
    return np.union1d(np.argsort(best, kind="stable")[even], np.flatnonzero(listed)[:most])


# What all drawings are made of


def _dots(places: Sequence[tuple[float, float]]) -> str:
    """Points as one path: lines of no length, which the style sheet gives round ends."""
    return "".join(f"M{coordinate(x)} {coordinate(y)}h0" for x, y in places)


def _svg(ident: str, size: tuple[int, int], *, title: str, told: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        '<title id="{ident}-t">{title}</title><desc id="{ident}-d">{told}</desc>{parts}</svg>'
    ).format(width=size[0], height=size[1], ident=ident, title=title, told=told, parts=Markup("").join(parts))


def _frame(across: Axis, upright: Axis, name: str) -> list[Markup]:
    """Grid lines, ticks, and what the axis across is."""
    floor = upright.start
    rows = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="y" x="{}" y="{}">{}</text>').format(
            coordinate(across.start),
            coordinate(across.end),
            y,
            y,
            coordinate(across.start - 6),
            coordinate(upright.at(value) + 4),
            label,
        )
        for value, label in upright.ticks
        for y in [coordinate(upright.at(value))]
    ]
    columns = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="x" x="{}" y="{}">{}</text>').format(
            x, x, coordinate(floor), coordinate(floor + 4), x, coordinate(floor + 16), label
        )
        for value, label in across.ticks
        for x in [coordinate(across.at(value))]
    ]
    base = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        coordinate(across.start), coordinate(across.end), coordinate(floor), coordinate(floor)
    )
    # Between two ticks there is room on their line; among many the name goes under them.
    below = 16 if len(across.ticks) <= 2 else 34
    label = Markup('<text class="x" x="{}" y="{}">{}</text>').format(
        coordinate((across.start + across.end) / 2), coordinate(floor + below), name
    )
    return [*rows, *columns, base, label]
