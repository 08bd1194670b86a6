"""The parts of every drawing: the frame with its two axes, lines and dots.

Everything is built with ``Markup.format``, which escapes its arguments.
"""

from collections.abc import Sequence

from markupsafe import Markup

from orchestrator.report.svg.axis import Axis

WIDTH, HEIGHT = 440, 264
"""The usual size of a drawing in its own units; the page scales it to the available room."""
TOP, RIGHT, BOTTOM = 12, 14, 40
"""The margins around the axes of such a drawing."""
LETTER = 6.9
"""The width of the widest digit at the font size of the ticks, in drawing units."""

COLOURS = 6
"""The number of curve colours in the style sheet (classes c0 to c5); further curves reuse them, dashed."""
OTHER = "other"
"""The style class of a curve without a name."""

ON_THE_TICKS = 17
"""The distance of a name under its axis on the line of the ticks, where there are few."""


def coordinate(value: float) -> str:
    """A place in a drawing, to a tenth of its unit."""
    return f"{value:.1f}"


def svg(
    ident: str, parts: Sequence[Markup], *, title: str, description: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Markup:
    """A drawing with its name and its description, for readers who cannot see it.

    Args:
        ident: An id unlike any other on the page.
        parts: The parts of the drawing; later ones lie on top.
        title: The name.
        description: The description.
        size: Width and height in drawing units.
    """
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        '<title id="{ident}-t">{title}</title><desc id="{ident}-d">{description}</desc>{parts}</svg>'
    ).format(
        width=size[0], height=size[1], ident=ident, title=title, description=description, parts=Markup("").join(parts)
    )


def frame(across: Axis, upright: Axis, name: str, *, below: float = 35) -> Markup:
    """Grid lines, both axes with their ticks, and the name of the axis across.

    Args:
        across: The horizontal axis.
        upright: The vertical axis; it starts where the horizontal one lies.
        name: The name of the horizontal axis.
        below: The distance of the name under it.
    """
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
    named = Markup('<text class="tick x name" x="{}" y="{}">{}</text>').format(
        coordinate((left + right) / 2), coordinate(floor + below), name
    )
    return Markup("").join([*rows, *columns, base, named])


def polyline(points: Sequence[tuple[float, float]]) -> Markup:
    """A line through points."""
    steps = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    return Markup('<polyline class="curve" points="{}"/>').format(steps)


def dots(places: Sequence[tuple[float, float]], style: str) -> Markup:
    """Points as one path: lines of no length, which the style sheet gives round ends."""
    path = "".join(f"M{coordinate(x)} {coordinate(y)}h0" for x, y in places)
    return Markup('<path class="{}" d="{}"/>').format(style, path)
