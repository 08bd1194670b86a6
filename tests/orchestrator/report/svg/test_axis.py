import math
from itertools import pairwise

import pytest

from orchestrator.report.svg.axis import decibel_span, log_span


@pytest.mark.parametrize(
    ("low", "high"), [(1e-9, 1e3), (1e-3, 1e-1), (0.01, 0.12), (0.002, 0.009), (0.01, 0.0101), (1e-7, 1.2e-7), (1, 1)]
)
def test_the_ticks_of_errors_are_few_distinct_and_true(low: float, high: float) -> None:
    start, end, ticks = log_span(math.log10(low), math.log10(high))
    labels = [label for _, label in ticks]
    assert 2 <= len(ticks) <= 9
    assert len(set(labels)) == len(labels)
    for value, label in ticks:
        assert start <= value <= end
        mantissa, _, power = label.partition("×10")
        plain = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        shown = float(mantissa.replace(",", "")) * 10 ** int(plain or 0)
        assert math.log10(shown) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(10, 34), (25.0, 25.0), (-3, 4), (26.91, 27.02)])
def test_the_ticks_of_decibels_are_few_distinct_and_evenly_spread(low: float, high: float) -> None:
    _, _, ticks = decibel_span(low, high)
    steps = [b[0] - a[0] for a, b in pairwise(ticks)]
    assert 3 <= len(ticks) <= 8
    assert len({label for _, label in ticks}) == len(ticks)
    assert steps == pytest.approx([steps[0]] * len(steps))
