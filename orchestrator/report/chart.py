"""The curves of fits as inline SVG, drawn by hand: a page that fetches nothing has no plotting library either.

Everything is built with ``Markup.format``, which escapes what it is given.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from orchestrator.report import text

WIDTH, HEIGHT = 440, 264
"""The drawing's own units; the page scales it to the room there is."""

COLOURS = 6
"""The style sheet holds so many curve colours (classes c0 to c5); further curves take them again, dashed."""

FEW = 8
"""Up to so many curves each have a colour and a name; of more, only those of the picks have."""

OTHER = "other"
"""The style class of a curve without a name."""

_TOP, _RIGHT, _BOTTOM = 12, 14, 40
_LETTER = 6.9  # the widest digit at the font size of the ticks, in drawing units
_TICK_ROOM = 34  # between the ticks of a sparsity axis, in drawing units
_ERRORS = (1e-12, 1e12)  # errors outside are no measurement; a log axis can draw neither 0 nor infinity
_DECIBELS = 1e3  # nor is a PSNR beyond this, either way


@dataclass(frozen=True)
class Curve:
    """What one fit measured on its way.

    Attributes:
        label: What the legend calls it, e.g. ``158-1111101111001110001100001 (full)``.
        iterations: The iterations measured at, rising, thinned to what a screen can show.
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
class SparsityLine:
    """An arm's quality over its rounds.

    Attributes:
        label: What the legend calls it.
        points: Sparsity (share of the weights that are gone, rising), quality in dB, and its standard deviation over
            initialisations or None.
    """

    label: str
    points: Sequence[tuple[float, float, float | None]]


@dataclass(frozen=True)
class Axis:
    """A linear axis: values from low to high lie evenly from start to end (drawing units)."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        """Where the value lies, in drawing units."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


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
        told=lambda power: text.error(10.0**power),
        span=_log_span,
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
        told=lambda psnr: f"{text.decibels(psnr)} dB",
        span=decibel_span,
    )


def sparsity_chart(lines: Sequence[SparsityLine], dense: float | None, ident: str, title: str) -> Markup | None:
    """Quality in dB over sparsity, by the logarithm of what is left: 90 % and 99 % are as far apart as 0 % and 90 %.

    Args:
        lines: The arms; around each lies a band of its standard deviation, where that is known.
        dense: The dense network's quality, drawn as a horizontal line; None if unknown.
        ident: An id unlike any other on the page.
        title: What the drawing shows.

    Returns:
        The drawing, None where no line has a point.
    """
    drawn = [
        (style, line.label, points)
        for style, line in zip(sparsity_styles(len(lines)), lines, strict=True)
        if (points := _left_of(line))
    ]
    if not drawn:
        return None
    ends = [end for _, _, points in drawn for _, y, spread in points for end in (y - (spread or 0), y + (spread or 0))]
    ends += [] if dense is None else [dense]
    low, high, ticks = decibel_span(min(ends), max(ends))
    upright = Axis(low, high, HEIGHT - _BOTTOM, _TOP, ticks)
    left = 12 + _LETTER * max(len(label) for _, label in ticks)
    # One point alone still needs an axis of some length.
    most = max(0.1, *(points[-1][0] for _, _, points in drawn))
    across = Axis(0, most, left, WIDTH - _RIGHT, _sparsity_ticks(most, WIDTH - _RIGHT - left))
    told = [
        Markup("{}: {} dB at {} to {} dB at {}.").format(
            text.name(label),
            text.decibels(points[0][1]),
            text.percent(1 - 10 ** -points[0][0]),
            text.decibels(points[-1][1]),
            text.percent(1 - 10 ** -points[-1][0]),
        )
        for _, label, points in drawn
        if label
    ]
    level = Markup("")
    if dense is not None:
        told.append(Markup("The dense network: {} dB.").format(text.decibels(dense)))
        y = coordinate(upright.at(dense))
        level = Markup('<g class="dense"><line class="curve" x1="{}" x2="{}" y1="{}" y2="{}"/></g>').format(
            coordinate(across.start), coordinate(across.end), y, y
        )
    return _svg(
        ident,
        title=title,
        told=Markup(" ").join(told),
        frame=_frame(across, upright, "sparsity"),
        # The first arm lies on top.
        body=Markup("").join(
            [level, *(_with_band(style, points, across, upright) for style, _, points in drawn[::-1])]
        ),
    )


def sparsity_styles(count: int) -> list[str]:
    """The style classes of so many lines: a colour, a dash in the second round, `OTHER` beyond."""
    return [
        f"c{place % COLOURS}{' dashed' if place >= COLOURS else ''}" if place < 2 * COLOURS else OTHER
        for place in range(count)
    ]


def _left_of(line: SparsityLine) -> list[tuple[float, float, float | None]]:
    """The points by -log10 of the share that is left; where nothing is left there is no logarithm."""
    return [(-math.log10(1 - sparsity), y, spread) for sparsity, y, spread in line.points if 0 <= sparsity < 1]


def _sparsity_ticks(most: float, room: float) -> list[tuple[float, str]]:
    """0 %, 50 %, 80 %, 90 %, 95 %, 98 %, 99 %, ... as far as they go and have room."""
    left = [mark * 10.0**-power for power in range(1, math.ceil(most) + 2) for mark in (5, 2, 1)]
    ticks: list[tuple[float, str]] = []
    for share in (1.0, 0.8, *left):
        at = -math.log10(share)
        if at <= most + 1e-9 and (not ticks or (at - ticks[-1][0]) / most * room >= _TICK_ROOM):
            ticks.append((at, text.percent(1 - share, places=max(0, math.ceil(at - 2 - 1e-9)))))
    return ticks


def _with_band(style: str, points: Sequence[tuple[float, float, float | None]], across: Axis, upright: Axis) -> Markup:
    places = [(across.at(x), upright.at(y)) for x, y, _ in points]
    known = [(x, y, spread) for x, y, spread in points if spread is not None]
    edge = [(x, y + spread) for x, y, spread in known] + [(x, y - spread) for x, y, spread in known[::-1]]
    band = Markup('<polygon class="band" points="{}"/>').format(
        " ".join(f"{coordinate(across.at(x))},{coordinate(upright.at(y))}" for x, y in edge)
    )
    dots = [Markup('<circle class="lone" cx="{}" cy="{}" r="2"/>').format(*map(coordinate, place)) for place in places]
    line = _run(places) if len(places) > 1 else Markup("")
    parts = Markup("").join([*([band] if len(known) > 1 else []), line, *dots])
    return Markup('<g class="{}">{}</g>').format(style, parts)


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
    told: Callable[[float], str],
    span: Callable[[float, float], tuple[float, float, list[tuple[float, str]]]],
) -> Markup | None:
    points = [point for line in lines for run in line.runs for point in run]
    if not points:
        return None
    low, high, ticks = span(min(y for _, y in points), max(y for _, y in points))
    left = 12 + _LETTER * max(len(label) for _, label in ticks)
    upright = Axis(low, high, HEIGHT - _BOTTOM, _TOP, ticks)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    # From zero, as iterations are counted; one point alone still needs an axis of some length.
    first, last = min(first, 0.0), max(last, first + 1, 1.0)
    across = Axis(
        first, last, left, WIDTH - _RIGHT, ticks_of(first, last, lambda value, _: text.count(value), most=5, least=1)
    )
    return _svg(
        ident,
        title=title,
        told=_all_told(lines, told),
        frame=_frame(across, upright, "iterations"),
        # The first curve is the one the picture comes from, so it is painted last, over the others.
        body=Markup("").join(_painted(line, across, upright) for line in reversed(lines)),
    )


def _svg(ident: str, *, title: str, told: Markup, frame: Markup, body: Markup) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        '<title id="{ident}-t">{title}</title><desc id="{ident}-d">{told}</desc>{frame}{body}</svg>'
    ).format(width=WIDTH, height=HEIGHT, ident=ident, title=title, told=told, frame=frame, body=body)


def _all_told(lines: Sequence[_Line], told: Callable[[float], str]) -> Markup:
    named = [_told(line, told) for line in lines if line.runs and line.style != OTHER]
    others = sum(line.style == OTHER for line in lines)
    return Markup(" ").join([*named, *([f"{text.count(others)} other fits."] if others else [])])


def _told(line: _Line, told: Callable[[float], str]) -> Markup:
    where = "" if line.stop is None else f": stopped at iteration {text.count(line.stop[0])}, {told(line.stop[1])}"
    return Markup("{}{}.").format(text.name(line.label), where)


def _frame(across: Axis, upright: Axis, name: str) -> Markup:
    floor, left, right = upright.start, across.start, across.end
    rows = [
        Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="tick y" x="{}" y="{}">{}</text>'
        ).format(
            coordinate(left), coordinate(right), y, y, coordinate(left - 7), coordinate(upright.at(value) + 4), label
        )
        for value, label in upright.ticks
        for y in [coordinate(upright.at(value))]
    ]
    columns = [
        Markup(
            '<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="tick x" x="{}" y="{}">{}</text>'
        ).format(x, x, coordinate(floor), coordinate(floor + 4), x, coordinate(floor + 17), label)
        for value, label in across.ticks
        for x in [coordinate(across.at(value))]
    ]
    base = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        coordinate(left), coordinate(right), coordinate(floor), coordinate(floor)
    )
    below = Markup('<text class="tick x name" x="{}" y="{}">{}</text>').format(
        coordinate((left + right) / 2), coordinate(HEIGHT - 5), name
    )
    return Markup("").join([*rows, *columns, base, below])


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
    steps = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    return Markup('<polyline class="curve" points="{}"/>').format(steps)


def coordinate(value: float) -> str:
    """A place in a drawing, to a tenth of its unit."""
    return f"{value:.1f}"


def _log_span(low: float, high: float) -> tuple[float, float, list[tuple[float, str]]]:
    """The axis of errors between 10**low and 10**high, a little wider, with the ticks' places as log10."""
    low, high = widened(low, high, at_least=0.08)
    if high - low >= 2.5:
        step = math.ceil((high - low) / 5)
        return low, high, [(float(p), _decade(p)) for p in range(math.ceil(low), math.floor(high) + 1, step)]
    if high - low >= 0.9:
        marks = [m * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        return low, high, _within(((math.log10(mark), short(mark)) for mark in marks), low, high)
    ticks = [(math.log10(value), label) for value, label in ticks_of(10.0**low, 10.0**high, short)]
    return low, high, _within(ticks, low, high)


def decibel_span(low: float, high: float) -> tuple[float, float, list[tuple[float, str]]]:
    """The axis of PSNRs between low and high dB, a little wider."""
    low, high = widened(low, high, at_least=1.0)
    return low, high, ticks_of(low, high, short)


def widened(low: float, high: float, at_least: float) -> tuple[float, float]:
    """A little air above and below; a constant curve gets an axis of this length around it."""
    missing = max(0.0, at_least - (high - low)) / 2
    air = 0.05 * (high - low) + missing
    return low - air, high + air


def _within(ticks: Iterable[tuple[float, str]], low: float, high: float) -> list[tuple[float, str]]:
    return [(value, label) for value, label in ticks if low <= value <= high]


def ticks_of(
    low: float, high: float, label: Callable[[float, float], str], most: int = 7, least: float = 0.0
) -> list[tuple[float, str]]:
    """Round values from low to high, about so many at most: 1, 2 or 5 times a power of ten apart, and at least so far."""
    raw = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    whole = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(place * step, label(place * step, step)) for place in whole]


def _decade(power: int) -> str:
    return short(10.0**power)


def short(value: float, step: float | None = None) -> str:
    """A tick's label: as many decimals as tell it from its neighbour, a power of ten where those would be many."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        places = 0 if step is None else max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        return text.powers_of_ten(value, places)
    unit = abs(value) if step is None else step
    places = max(0, -math.floor(math.log10(unit) + 1e-9)) if unit else 0
    return text.decimals(value, places)
