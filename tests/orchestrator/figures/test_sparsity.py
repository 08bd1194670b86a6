from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.comparison import paired
from orchestrator.figures.sparsity import Matching, SparsityPoint, curve, matching_sparsity
from orchestrator.run.rows import Row, RowState
from tests.orchestrator.figures.lotteries import rounds, row


def test_a_point_has_the_figures_of_its_fits() -> None:
    rows = [
        *rounds("a", "imp", 30.0, 30.5, initialisation=0),
        *rounds("a", "imp", 31.0, 30.7, initialisation=1),
        *rounds("b", "imp", 20.0, 20.1, initialisation=0),
        *rounds("b", "imp", 20.5, 20.9, initialisation=1),
    ]
    overall = {point.round: point for point in curve(rows) if point.image is None}
    first = overall[1]
    assert (first.arm, first.measure, first.images, first.fits) == ("lottery-imp", "psnr", 2, 4)
    assert first.sparsity == pytest.approx(0.2)
    assert first.parameters == 999
    assert first.mean == pytest.approx(fmean([30.5, 30.7, 20.1, 20.9]))
    # The spread is that of initialisations, not of images.
    assert first.spread == pytest.approx((stdev([30.5, 30.7]) + stdev([20.1, 20.9])) / 2)
    # Images are the sample: each has one difference, the mean of its initialisations'.
    expected = paired([fmean([0.5, -0.3]), fmean([0.1, 0.4])])
    assert (first.difference, first.low, first.high) == pytest.approx((expected[0], expected[2], expected[3]))
    # The dense network is not compared with itself.
    assert (overall[0].mean, overall[0].difference, overall[0].low) == (fmean([30, 31, 20, 20.5]), None, None)


def test_an_image_s_own_interval_is_over_its_initialisations() -> None:
    rows = [row for at in range(3) for row in rounds("a", "imp", 30.0, 30.0 + at, initialisation=at)]
    (overall,) = [point for point in curve(rows) if point.image is None and point.round == 1]
    (own,) = [point for point in curve(rows) if point.image == "a" and point.round == 1]
    assert (own.difference, own.low, own.high) == pytest.approx((1.0, *paired([0.0, 1.0, 2.0])[2:]))
    # One image is no sample of others.
    assert (overall.difference, overall.low, overall.high) == (1.0, None, None)


def test_every_image_counts_alike_however_many_of_its_fits_failed() -> None:
    rows = [
        row("a", "imp", 1, 30.0, psnr_oracle_stop=31.0, psnr_last=25.0),
        row("b", "imp", 1, 20.0, initialisation=0, psnr_oracle_stop=21.0),
        row("b", "imp", 1, 22.0, initialisation=1, psnr_oracle_stop=25.0),
        row("b", "imp", 1, None, initialisation=2),
    ]
    point = curve(rows)[0]
    assert (point.images, point.fits, point.mean) == (2, 3, 25.5)
    assert (point.psnr_oracle_stop, point.psnr_last) == (27.0, 25.0)


def test_fits_are_paired_with_the_dense_one_of_their_image_and_initialisation_in_any_arm() -> None:
    rows = [
        row("a", "dense", 0, 30.0, initialisation=0),
        row("a", "dense", 0, 31.0, initialisation=1),
        row("a", "random", 3, 29.0, initialisation=1),
        row("a", "random", 3, 99.0, initialisation=2),
    ]
    point = next(point for point in curve(rows) if point.arm == "lottery-random")
    assert (point.difference, point.fits) == (-2.0, 2)


def test_arms_come_as_in_the_rows_and_rounds_rise_first_over_all_then_by_image() -> None:
    rows = [row(image, method, number, 1.0) for image in "ba" for method in ("snip", "imp") for number in (2, 1)]
    order = [(point.image, point.arm.removeprefix("lottery-"), point.round) for point in curve(rows)]
    per_image = [("snip", 1), ("snip", 2), ("imp", 1), ("imp", 2)]
    assert order == [(image, *arm) for image in (None, "b", "a") for arm in per_image]


def test_a_fit_counts_once_and_rows_without_a_round_not_at_all() -> None:
    twice = row("a", "imp", 1, 30.0)
    other = Row("a", "dip", RowState.RESTORED, psnr=40.0)
    rejected = Row("b", "lottery-imp", RowState.REJECTED)
    assert curve([twice, twice, other, rejected])[0].fits == 1
    assert curve([other, rejected]) == []
    assert curve([]) == []


def test_without_references_the_held_out_error_is_told_in_decibels() -> None:
    rows = [row("a", "imp", 0, held_out_error=0.01), row("a", "imp", 1, held_out_error=0.001)]
    _, point, *_ = curve(rows)
    assert (point.measure, point.mean, point.difference) == ("held-out", pytest.approx(30), pytest.approx(10))


def test_masks_of_the_clean_reference_are_marked() -> None:
    clean = row("a", "imp", 1, 30.0, blind=False)
    blind = row("a", "snip", 1, 30.0)
    assert [point.blind for point in curve([clean, blind]) if point.image is None] == [False, True]


def point(number: int, difference: float | None, low: float | None = None, arm: str = "imp") -> SparsityPoint:
    figures = (1 - 0.8**number, 1, 2, 2, 30.0, None, None, None, difference, low, None, True)
    return SparsityPoint(arm, None, number, "psnr", *figures)


def test_matching_sparsity_is_that_of_the_last_round_before_the_first_that_is_worse() -> None:
    points = [point(0, None), point(1, 0.2, 0.0), point(2, -0.1, -0.3), point(3, -0.2, -0.4), point(4, 0.3, 0.2)]
    assert matching_sparsity(points) == [Matching("imp", pytest.approx(0.36), pytest.approx(0.2))]
    assert matching_sparsity(points, tolerance=0.5) == [Matching("imp", *[pytest.approx(1 - 0.8**4)] * 2)]


def test_an_arm_whose_first_round_is_worse_matches_at_no_sparsity() -> None:
    assert matching_sparsity([point(1, -0.2, -0.3), point(2, 1.0, 0.9)]) == [Matching("imp", None, None)]
    # One image has no interval: nothing can be said cautiously.
    assert matching_sparsity([point(1, 0.0)]) == [Matching("imp", pytest.approx(0.2), None)]
    # Nor of rounds without a dense fit; and the dense network alone is no arm that prunes.
    assert matching_sparsity([point(1, None), point(0, None, arm="dense")]) == [Matching("imp", None, None)]


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0, 1))
def test_matching_sparsity_is_found_as_by_trying_every_round(
    found: list[tuple[float, float]], tolerance: float
) -> None:
    points = [point(at, mean, mean - reach) for at, (mean, reach) in enumerate(found, start=1)]
    (matching,) = matching_sparsity(points, tolerance)
    good = [
        at.sparsity
        for at in points
        if all(before.difference >= -tolerance for before in points[: at.round] if before.difference is not None)
    ]
    assert matching.sparsity == max((sparsity for sparsity in good if sparsity is not None), default=None)
    assert (matching.cautious or 0) <= (matching.sparsity or 0)
