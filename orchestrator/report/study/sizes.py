"""The curves over K: the result of fitting K candidates, by metric."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.figures.study import CohortSize
from orchestrator.report import text
from orchestrator.report.study.predictors import named_metrics
from orchestrator.report.svg.axis import Axis, decibel_span
from orchestrator.report.svg.drawing import (
    BOTTOM,
    HEIGHT,
    OTHER,
    TOP,
    WIDTH,
    coordinate,
    frame,
    polyline,
    svg,
)


@dataclass(frozen=True)
class SizeCurve:
    """The results of one way to choose K candidates, for growing K."""

    name: str
    said: str
    style: str
    points: Sequence[tuple[int, float]]

    @property
    def values(self) -> dict[int, float]:
        """The result of each K, dB."""
        return dict(self.points)


def curves_of(points: Sequence[CohortSize], default: str) -> list[SizeCurve]:
    """At random first, then the metrics with a colour, the default's blind pick after it, then the others."""
    metrics = list(dict.fromkeys(point.by for point in points if point.by is not None))
    named = named_metrics(metrics, default)
    at_random = [(point.size, point.best) for point in points if point.by is None]
    curves = [SizeCurve("at random", "best of the K, as expected", "random", at_random)] if at_random else []
    for metric in [*named, *(metric for metric in metrics if metric not in named)]:
        own = [point for point in points if point.by == metric]
        style = f"c{named.index(metric)}" if metric in named else OTHER
        lead = " lead" if metric == default else ""
        curves.append(SizeCurve(metric, "best of the K", style + lead, [(point.size, point.best) for point in own]))
        if metric == default:
            blind = [(point.size, math.nan if point.blind is None else point.blind) for point in own]
            curves.append(SizeCurve(metric, "picked blind from the K", f"{style} dashed", blind))
    return curves


def shortlist_of(curves: Sequence[SizeCurve], metric: str, size: int) -> dict[str, float] | None:
    """The result of a metric's first ``size`` and that of as many at random; None where every
    candidate would be listed.

    A size that is not on the curve is replaced by the next smaller one.
    """
    at_random = next((curve.values for curve in curves if curve.style == "random"), {})
    own = [curve.values for curve in curves if curve.name == metric]
    at = max((known for known in at_random if known <= size), default=0)
    if not own or not at or at == max(at_random):
        return None
    best, blind = own
    return {"size": at, "random": at_random[at], "best": best[at], "blind": blind[at]}


def sizes_chart(curves: Sequence[SizeCurve]) -> Markup | None:
    """Mean PSNR over K on a logarithmic axis; None where there is nothing to draw."""
    points = [point for curve in curves for point in curve.points if math.isfinite(point[1])]
    if not points:
        return None
    low, high, ticks = decibel_span(min(y for _, y in points), max(y for _, y in points))
    most = max(size for size, _ in points)
    across = Axis(0, max(math.log10(most), 0.1), 44, WIDTH - 16, _sizes(most))
    upright = Axis(low, high, HEIGHT - BOTTOM, TOP, ticks)
    sentences = [
        f"{text.name(curve.name)}, {curve.said}: {text.decibels(curve.points[0][1])} dB at K = {curve.points[0][0]},"
        f" {text.decibels(curve.points[-1][1])} dB at K = {curve.points[-1][0]}."
        for curve in curves
        if curve.style != OTHER and curve.points
    ]
    # The most important one is painted last, over the rest.
    lines = [
        _polyline(curve, across, upright)
        for curve in sorted(curves, key=lambda curve: (curve.style != OTHER, "lead" in curve.style))
    ]
    return svg(
        "cohort-sizes",
        [frame(across, upright, "K, candidates fitted"), *lines],
        title="Mean best PSNR over the number of candidates that are fitted",
        description=" ".join(sentences),
    )


def _sizes(most: int) -> list[tuple[float, str]]:
    """1, 2, 5, 10, ... as far as the axis goes."""
    marks = [mark * 10**power for power in range(len(str(most))) for mark in (1, 2, 5)]
    return [(math.log10(mark), text.count(mark)) for mark in marks if mark <= most]


def _polyline(curve: SizeCurve, across: Axis, upright: Axis) -> Markup:
    places = [(across.at(math.log10(size)), upright.at(y)) for size, y in curve.points if math.isfinite(y)]
    # A line of one point draws nothing.
    lone = (
        Markup('<circle class="lone" cx="{}" cy="{}" r="3"/>').format(*map(coordinate, places[0]))
        if len(places) == 1
        else ""
    )
    return Markup('<g class="{}">{}{}</g>').format(curve.style, polyline(places), lone)
