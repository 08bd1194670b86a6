from dataclasses import replace

import pytest

from orchestrator.figures.comparison import compare
from orchestrator.figures.worth import sentence, worth_of
from orchestrator.run.rows import Row, RowState

ROW = Row("a.png", "dip", RowState.RESTORED, seconds=60.0, delivered="pick")
MEASURED = replace(ROW, psnr=28.0, psnr_delivered=28.5, psnr_classical=28.0, gain_over_classical=0.5)


def said(*rows: Row) -> list[str]:
    return [sentence(worth, lambda seconds: f"{seconds:.0f} s") for worth in worth_of(rows)]


def test_what_was_gained_is_said_by_the_references_with_its_cost() -> None:
    rows = [
        replace(MEASURED, gain_over_degraded=8.0),
        replace(MEASURED, image="b.png", gain_over_classical=1.0, gain_over_degraded=9.0, seconds=120.0),
    ]
    assert said(*rows) == [
        "dip gained +0.75 dB over classical filters and +8.50 dB over the degraded images (the mean of 2 images, by"
        " their references), for 90 s of fits an image"
    ]


def test_without_references_it_is_said_to_be_estimated_and_each_arm_has_a_sentence() -> None:
    rows = [replace(ROW, gain_over_classical=0.25), replace(ROW, arm="random", gain_over_degraded=7.0, seconds=None)]
    assert said(*rows) == [
        "dip gained +0.25 dB over classical filters (1 image, estimated), for 60 s of fits an image",
        "random gained +7.00 dB over the degraded images (1 image, estimated)",
    ]


@pytest.mark.parametrize(
    ("gains", "end"),
    [
        ((0.0,), "; on it the search gained nothing over the filters"),
        ((0.5, -0.1, 0.0), "; on 2 of them the search gained nothing over the filters"),
        ((0.5, 0.1), "of fits an image"),
    ],
)
def test_where_nothing_was_gained_it_says_so(gains: tuple[float, ...], end: str) -> None:
    rows = [replace(MEASURED, image=f"{at}.png", gain_over_classical=gain) for at, gain in enumerate(gains)]
    assert said(*rows)[0].endswith(end)


def test_measured_and_estimated_gains_are_not_mixed_and_what_is_unknown_is_left_out() -> None:
    rows = [MEASURED, replace(ROW, image="b.png", gain_over_classical=9.0), replace(MEASURED, picked=False)]
    (worth,) = worth_of(rows)
    assert (worth.classical, worth.measured, worth.referenced) == (0.5, 1, True)
    assert worth_of([ROW, replace(ROW, state=RowState.FAILED, gain_over_classical=1.0)]) == []
    assert worth_of([replace(MEASURED, gain_over_classical=float("inf"))]) == []


def test_the_filters_are_one_more_arm_of_the_comparison_where_there_are_references() -> None:
    rows = [MEASURED, replace(MEASURED, arm="random", psnr_delivered=27.0)]
    pairs = {(each.arm, each.against): each.mean for each in compare(rows) if each.image is None}
    assert pairs == {("dip", "random"): 1.5, ("dip", "classical"): 0.5, ("random", "classical"): -1.0}
    blind = [replace(row, psnr=None, psnr_delivered=None, psnr_classical=None, held_out_error=0.01) for row in rows]
    assert {each.against for each in compare(blind)} == {"random"}
