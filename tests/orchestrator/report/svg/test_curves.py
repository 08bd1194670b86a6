import math
import re
from dataclasses import replace

import pytest

from orchestrator.report.svg import curves
from orchestrator.report.svg.curves import held_out_chart, psnr_chart, styles_of
from orchestrator.report.svg.drawing import WIDTH
from tests.orchestrator.report.drawings import numbers
from tests.orchestrator.report.examples import curve

NAN, INF = math.nan, math.inf

HARD_CURVES = {
    "ordinary": [0.2, 0.05, 0.01, 0.02],
    "one point": [0.1],
    "constant": [0.1, 0.1, 0.1],
    "zero and below": [0.0, -1.0, 0.1, 0.2],
    "gaps": [0.1, NAN, 0.2, INF, 0.05, 0.04],
    "extremes": [1e300, 1e-300, 0.1, 1e11, 1e-11],
    "tiny and near": [2.00001e-7, 2.00002e-7, 2.00003e-7],
}


@pytest.mark.parametrize("held_out", HARD_CURVES.values(), ids=HARD_CURVES.keys())
@pytest.mark.parametrize("stop", [-5, 0, 7, 20, 10**9])
def test_a_drawing_has_only_finite_coordinates_inside_its_frame(held_out: list[float], stop: int) -> None:
    for svg in (
        held_out_chart([curve(held_out, stop=stop)], "a"),
        psnr_chart([curve(held_out, held_out, stop=stop)], "b"),
    ):
        assert svg is not None
        found = numbers(svg)
        assert all(math.isfinite(value) and 0 <= value <= WIDTH for value in found)
        assert re.search(r"nan|inf\b", svg) is None


@pytest.mark.parametrize("held_out", [[], [NAN, NAN], [INF], [0.0, -1.0]])
def test_nothing_is_drawn_where_nothing_can_be(held_out: list[float]) -> None:
    assert held_out_chart([curve(held_out)], "a") is None
    assert held_out_chart([], "a") is None
    assert psnr_chart([curve([0.1], None)], "a") is None
    assert psnr_chart([curve([0.1], [NAN])], "a") is None


def test_lists_of_unequal_length_are_drawn_as_far_as_both_go() -> None:
    short = replace(curve([0.2, 0.1, 0.05]), iterations=[0, 10])
    assert held_out_chart([short], "a") is not None


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot() -> None:
    svg = held_out_chart([curve([0.1, 0.2, NAN, 0.3, NAN, 0.1, 0.2], stop=0)], "a")
    assert svg is not None
    assert svg.count("<polyline") == 2
    assert svg.count('class="lone"') == 1


def test_the_stop_lies_on_the_line_even_if_its_iteration_was_thinned_away() -> None:
    line = curves._line(replace(curve([0.1, 0.001]), stop_iteration=5), "c0", [0.1, 0.001], curves._log_of_error)
    assert line.stop is not None
    assert line.stop == pytest.approx((5, -2))


def test_a_stop_beyond_what_was_measured_is_not_marked() -> None:
    svg = held_out_chart([curve([0.1, 0.2], stop=11)], "a")
    assert svg is not None
    assert 'class="stop"' not in svg


def test_a_fit_of_one_iteration_has_no_fractions_of_iterations_on_its_axis() -> None:
    svg = held_out_chart([curve([0.1], stop=0)], "a")
    assert svg is not None
    assert re.findall(r'class="tick x"[^>]*>([^<]*)<', svg) == ["0", "1"]


def test_a_drawing_tells_where_each_fit_stopped_and_escapes_its_label() -> None:
    svg = held_out_chart([curve([0.2, 0.05, 0.01, 0.02], label="<b>&")], "a")
    assert svg is not None
    assert "&lt;b&gt;&amp;: stopped at iteration 20, 0.010000." in svg


def test_of_many_curves_only_those_of_the_picks_have_a_style() -> None:
    assert styles_of([curve([0.1])] * 8) == ["c0 lead", "c1", "c2", "c3", "c4", "c5", "c0 dashed", "c1 dashed"]
    assert styles_of([curve([0.1])] * 9) == ["other"] * 9
