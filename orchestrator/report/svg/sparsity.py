"""Quality over sparsity: a line with a band for each arm, and the level of the dense network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.report import text
from orchestrator.report.svg.axis import Axis, decibel_span
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

_TICK_ROOM = 34  # between the ticks of a sparsity axis, in drawing units


@dataclass(frozen=True)
class SparsityLine:
    """An arm's quality over its rounds.

    Attributes:
        label: Its name in the legend.
        points: Sparsity (share of the weights that are gone, rising), quality in dB, and its standard deviation over
            initialisations or None.
    """

    label: str
    points: Sequence[tuple[float, float, float | None]]


def sparsity_chart(lines: Sequence[SparsityLine], dense: float | None, ident: str, title: str) -> Markup | None:
    """Quality in dB over sparsity, by the logarithm of the share that is left: 90 % and 99 % are as
    far apart as 0 % and 90 %.

    Args:
        lines: The arms; around each lies a band of its standard deviation, where that is known.
        dense: The dense network's quality, drawn as a horizontal line; None if unknown.
        ident: An id unlike any other on the page.
        title: The title of the drawing.

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
    upright = Axis(low, high, HEIGHT - BOTTOM, TOP, ticks)
    left = 12 + LETTER * max(len(label) for _, label in ticks)
    # One point alone still needs an axis of some length.
    most = max(0.1, *(points[-1][0] for _, _, points in drawn))
    across = Axis(0, most, left, WIDTH - RIGHT, _sparsity_ticks(most, WIDTH - RIGHT - left))
    sentences = [
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
        sentences.append(Markup("The dense network: {} dB.").format(text.decibels(dense)))
        y = coordinate(upright.at(dense))
        level = Markup('<g class="dense"><line class="curve" x1="{}" x2="{}" y1="{}" y2="{}"/></g>').format(
            coordinate(across.start), coordinate(across.end), y, y
        )
    # The first arm lies on top.
    bands = [_with_band(style, points, across, upright) for style, _, points in drawn[::-1]]
    return svg(
        ident, [frame(across, upright, "sparsity"), level, *bands], title=title, description=Markup(" ").join(sentences)
    )


def sparsity_styles(count: int) -> list[str]:
    """The style classes of ``count`` lines: a colour, a dash in the second round, `OTHER` beyond."""
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
    line = polyline(places) if len(places) > 1 else Markup("")
    parts = Markup("").join([*([band] if len(known) > 1 else []), line, *dots])
    return Markup('<g class="{}">{}</g>').format(style, parts)
