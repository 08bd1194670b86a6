import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.report.svg.drawing import COLOURS, OTHER, WIDTH
from orchestrator.report.svg.sparsity import SparsityLine, sparsity_chart, sparsity_styles
from tests.orchestrator.report.drawings import numbers
from tests.orchestrator.report.examples import (
    HOSTILE,
)


def drawn(*lines: SparsityLine, dense: float | None = 30.0) -> str:
    svg = sparsity_chart(lines, dense, "x", "Quality over sparsity")
    assert svg is not None
    return svg


def ticks(svg: str) -> dict[str, float]:
    return {label: float(x) for x, label in re.findall(r'class="tick x" x="([0-9.]+)" y="[0-9.]+">([^<]+)<', svg)}


def test_the_axis_of_sparsity_gives_every_tenth_of_what_is_left_the_same_room() -> None:
    places = ticks(drawn(SparsityLine("imp", [(0.0, 30.0, None), (0.999, 20.0, None)])))
    zero, ninety, ninety_nine = (places[f"{share}\u00a0%"] for share in ("0", "90", "99"))
    assert ninety_nine - ninety == pytest.approx(ninety - zero, abs=0.2)


@pytest.mark.parametrize("most", [1e-6, 0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.972, 0.99, 0.9999, 1 - 1e-12])
def test_ticks_of_sparsity_are_distinct_in_order_and_apart(most: float) -> None:
    places = ticks(drawn(SparsityLine("imp", [(0.0, 30.0, None), (most, 29.0, None)])))
    values = [float(label.removesuffix("\u00a0%")) for label in places]
    assert values == sorted(set(values))
    assert values[0] == 0
    # An axis is a fifth long at least.
    assert values[-1] <= max(20, 100 * most)
    assert all(after - before > 30 for before, after in pairwise(places.values()))


@settings(deadline=None)
@example([[(math.nextafter(1, 0), 30.0, None)]], None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(-50, 150), st.none() | st.floats(0, 20)), max_size=6),
        max_size=14,
    ),
    st.none() | st.floats(-50, 150),
)
def test_a_drawing_has_only_finite_coordinates_inside_its_frame(
    lines: list[list[tuple[float, float, float | None]]], dense: float | None
) -> None:
    arms = [
        SparsityLine(f"arm {place}", sorted(points, key=lambda point: point[0])) for place, points in enumerate(lines)
    ]
    svg = sparsity_chart(arms, dense, "x", "Quality over sparsity")
    if svg is None:
        assert all(sparsity == 1 for line in lines for sparsity, _, _ in line)
        return
    found = numbers(svg)
    assert all(math.isfinite(value) and 0 <= value <= WIDTH for value in found)


def test_a_band_is_drawn_where_the_spread_is_known_and_a_level_for_the_dense_network() -> None:
    line = SparsityLine("imp", [(0.2, 30.0, 0.5), (0.5, 29.0, 0.5)])
    svg = drawn(line)
    (band,) = re.findall(r'<polygon class="band" points="([^"]+)"', svg)
    heights = [float(point.split(",")[1]) for point in band.split()]
    # Up along the upper edge, back along the lower one, all as far apart as two standard deviations.
    assert heights[3] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert heights[0] < heights[3]
    assert svg.count('class="dense"') == 1
    bare = drawn(replace(line, points=[(0.2, 30.0, None), (0.5, 29.0, None)]), dense=None)
    assert "band" not in bare
    assert "dense" not in bare


def test_a_drawing_tells_its_ends_and_escapes_its_labels() -> None:
    svg = drawn(SparsityLine(HOSTILE, [(0.2, 30.0, None), (0.995, 28.5, None)]))
    assert "30.00 dB at 20.0\u00a0% to 28.50 dB at 99.50\u00a0%" in svg
    assert "<img" not in svg


def test_more_arms_than_colours_are_dashed_and_more_than_that_grey() -> None:
    styles = sparsity_styles(2 * COLOURS + 1)
    assert len(set(styles[: 2 * COLOURS])) == 2 * COLOURS
    assert styles[-1] == OTHER
