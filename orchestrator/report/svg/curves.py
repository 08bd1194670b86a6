"""The curves of fits over their iterations: the held-out error and the PSNR."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from orchestrator.report import text
from orchestrator.report.svg.axis import Axis, Span, decibel_span, log_span, ticks_of
from orchestrator.report.svg.drawing import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LETTER,
    OTHER,
    RIGHT,
    TOP,
    WIDTH,
    coordinate,
    frame,
    polyline,
    svg,
)
from orchestrator.text import counted

FEW = 8
"""Up to this many curves each have a colour and a name; if there are more, only those of the picks have."""
_ERRORS = (1e-12, 1e12)  # errors outside are no measurement; a log axis can draw neither 0 nor infinity
_DECIBELS = 1e3  # nor is a PSNR beyond this, either way


@dataclass(frozen=True)
class Curve:
    """The measurements of one fit.

    Attributes:
        label: Its name in the legend, e.g. ``158-1111101111001110001100001 (full)``.
        iterations: The iterations measured at, rising, thinned to the resolution of a screen.
        held_out: Mean squared error of the averaged output on the held-out pixels, on the [0, 1] scale.
        psnr: PSNR of the averaged output against the reference in dB, or None without a reference.
        stop_iteration: The iteration whose output is the fit's result.
        picked_by: The arms that picked this fit's network.
    """

    label: str
    iterations: Sequence[int]
    held_out: Sequence[float]
    psnr: Sequence[float] | None
    stop_iteration: int
    picked_by: Sequence[str] = ()


@dataclass(frozen=True)
class _Line:
    """One curve ready to draw: runs of neighbouring points, each (iteration, height), and where the fit stopped."""

    style: str
    label: str
    runs: Sequence[Sequence[tuple[float, float]]]
    stop: tuple[float, float] | None


def held_out_chart(curves: Sequence[Curve], ident: str) -> Markup | None:
    """The held-out error over the iterations, on a log10 axis; None where there is nothing to draw.

    Args:
        curves: The fits; the first is drawn strongest, on top of the others.
        ident: An id unlike any other on the page.
    """
    styled = zip(curves, styles_of(curves), strict=True)
    lines = [_line(curve, style, curve.held_out, _log_of_error) for curve, style in styled]
    return _drawing(
        lines,
        ident,
        title="Held-out error over the iterations",
        written=lambda power: text.error(10.0**power),
        span=log_span,
    )


def psnr_chart(curves: Sequence[Curve], ident: str) -> Markup | None:
    """The PSNR in dB over the iterations; None where no curve has one.

    Args:
        curves: The fits; the first is drawn strongest, on top of the others.
        ident: An id unlike any other on the page.
    """
    lines = [
        _line(curve, style, curve.psnr, _usable_decibels)
        for curve, style in zip(curves, styles_of(curves), strict=True)
        if curve.psnr is not None
    ]
    return _drawing(
        lines,
        ident,
        title="PSNR over the iterations",
        written=lambda psnr: f"{text.decibels(psnr)} dB",
        span=decibel_span,
    )


def styles_of(curves: Sequence[Curve]) -> list[str]:
    """The style classes of each curve: a colour, a dash from the second round on, `OTHER` for those without a name."""
    places = count()
    return [_coloured(next(places)) if len(curves) <= FEW or curve.picked_by else OTHER for curve in curves]


def _coloured(place: int) -> str:
    return f"c{place % COLOURS}{' lead' if place == 0 else ''}{' dashed' if place >= COLOURS else ''}"


def _log_of_error(value: object) -> float | None:
    found = text.number(value)
    return math.log10(found) if found is not None and _ERRORS[0] <= found <= _ERRORS[1] else None


def _usable_decibels(value: object) -> float | None:
    found = text.number(value)
    return found if found is not None and abs(found) <= _DECIBELS else None


def _line(curve: Curve, style: str, values: Sequence[float], usable: Callable[[object], float | None]) -> _Line:
    # A fit that was cut short may have recorded one list further than the other: the shorter one counts.
    measured = [(float(x), usable(y)) for x, y in zip(curve.iterations, values, strict=False)]
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in measured:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    kept = [run for run in runs if run]
    return _Line(style, curve.label, kept, _stop([point for run in kept for point in run], curve))


def _stop(points: Sequence[tuple[float, float]], curve: Curve) -> tuple[float, float] | None:
    """Where the fit stopped, on the line: thinning may have dropped that very iteration."""
    stop = float(curve.stop_iteration)
    if not points or not points[0][0] <= stop <= points[-1][0]:
        return None
    after = bisect_left(points, stop, key=lambda point: point[0])
    if points[after][0] == stop:
        return points[after]
    (x0, y0), (x1, y1) = points[after - 1], points[after]
    return stop, y0 + (stop - x0) / (x1 - x0) * (y1 - y0)


def _drawing(
    lines: Sequence[_Line],
    ident: str,
    *,
    title: str,
    written: Callable[[float], str],
    span: Callable[[float, float], Span],
) -> Markup | None:
    points = [point for line in lines for run in line.runs for point in run]
    if not points:
        return None
    low, high, ticks = span(min(y for _, y in points), max(y for _, y in points))
    left = 12 + LETTER * max(len(label) for _, label in ticks)
    upright = Axis(low, high, HEIGHT - BOTTOM, TOP, ticks)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    # From zero, as iterations are counted; one point alone still needs an axis of some length.
    first, last = min(first, 0.0), max(last, first + 1, 1.0)
    across = Axis(
        first, last, left, WIDTH - RIGHT, ticks_of(first, last, lambda value, _: text.count(value), most=5, least=1)
    )
    # The first curve is the one the picture comes from, so it is painted last, over the others.
    painted = [_painted(line, across, upright) for line in reversed(lines)]
    return svg(
        ident, [frame(across, upright, "iterations"), *painted], title=title, description=_description(lines, written)
    )


def _description(lines: Sequence[_Line], written: Callable[[float], str]) -> Markup:
    named = [_described(line, written) for line in lines if line.runs and line.style != OTHER]
    others = sum(line.style == OTHER for line in lines)
    return Markup(" ").join([*named, *([f"{counted(others, 'other fit')}."] if others else [])])


def _described(line: _Line, written: Callable[[float], str]) -> Markup:
    where = "" if line.stop is None else f": stopped at iteration {text.count(line.stop[0])}, {written(line.stop[1])}"
    return Markup("{}{}.").format(text.name(line.label), where)


def _painted(line: _Line, across: Axis, upright: Axis) -> Markup:
    parts = [_run([(across.at(x), upright.at(y)) for x, y in run]) for run in line.runs]
    if line.stop is not None and line.style != OTHER:
        x, y = coordinate(across.at(line.stop[0])), coordinate(upright.at(line.stop[1]))
        radius = 4.5 if "lead" in line.style else 3.25
        parts.append(
            Markup('<line class="stop" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x, x, coordinate(upright.start), y)
            + Markup('<circle class="dot" cx="{}" cy="{}" r="{}"/>').format(x, y, radius)
        )
    return Markup('<g class="{}">{}</g>').format(line.style, Markup("").join(parts))


def _run(points: Sequence[tuple[float, float]]) -> Markup:
    # A path of one point draws nothing, so it becomes a dot.
    if len(points) == 1:
        return Markup('<circle class="lone" cx="{}" cy="{}" r="2"/>').format(
            coordinate(points[0][0]), coordinate(points[0][1])
        )
    return polyline(points)
