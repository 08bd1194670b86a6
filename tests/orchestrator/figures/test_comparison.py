import math
from dataclasses import replace

import pytest

from orchestrator.figures.comparison import Difference, compare, paired
from orchestrator.run.rows import Row, RowState


def row(image: str, arm: str, psnr: float | None = None, held_out_error: float | None = None) -> Row:
    return Row(image, arm, RowState.RESTORED, psnr=psnr, held_out_error=held_out_error)


def of_psnr(**arms: list[float | None]) -> list[Row]:
    """The rows of arms by their PSNR on images a, b, c, ..."""
    return [row("abcdef"[at], arm, psnr) for arm, figures in arms.items() for at, psnr in enumerate(figures)]


def test_a_mean_has_student_s_interval() -> None:
    mean, error, low, high = paired([1.0, 2.0, 3.0])
    # For 2 degrees of freedom the 97.5 % quantile of t is 4.3027; the sample's standard deviation is 1.
    assert mean == 2
    assert error == pytest.approx(1 / math.sqrt(3))
    assert low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)


def test_one_value_has_no_interval_and_equal_ones_an_empty_one() -> None:
    assert paired([1.5]) == (1.5, None, None, None)
    assert paired([1.5, 1.5]) == (1.5, 0, 1.5, 1.5)


def test_arms_are_compared_image_by_image_and_over_all() -> None:
    overall, *per_image = compare(of_psnr(ours=[30.0, 31.0, 32.0], theirs=[29.0, 31.0, 30.0]))
    assert (overall.arm, overall.against, overall.measure, overall.image) == ("ours", "theirs", "psnr", None)
    assert (overall.images, overall.mean, overall.wins) == (3, 1, 2)
    assert (overall.mean, overall.standard_error, overall.low, overall.high) == paired([1, 0, 2])
    assert per_image == [
        Difference("ours", "theirs", "psnr", "a", 1, 1, None, None, None, 1),
        Difference("ours", "theirs", "psnr", "b", 1, 0, None, None, None, 0),
        Difference("ours", "theirs", "psnr", "c", 1, 2, None, None, None, 1),
    ]


def test_every_pair_of_arms_is_compared_once_the_first_in_the_rows_first() -> None:
    overall = [d for d in compare(of_psnr(z=[3.0, 4.0], a=[1.0, 1.0], m=[2.0, 2.0])) if d.image is None]
    assert [(d.arm, d.against, d.mean) for d in overall] == [("z", "a", 2.5), ("z", "m", 1.5), ("a", "m", -1)]


def test_only_images_that_both_arms_have_restored_count() -> None:
    overall, image = compare(of_psnr(ours=[30.0, None, 20.0], theirs=[29.0, 31.0, None]))
    assert (overall.images, overall.mean, image.image) == (1, 1, "a")
    assert compare(of_psnr(ours=[30.0, None], theirs=[None, 31.0])) == []
    assert compare(of_psnr(ours=[30.0, 31.0])) == []
    assert compare([]) == []


def test_without_references_the_held_out_error_is_compared_in_decibels() -> None:
    rows = [row("a", "ours", held_out_error=0.001), row("a", "theirs", held_out_error=0.01)]
    overall, _ = compare(rows)
    assert overall.measure == "held-out"
    assert overall.mean == pytest.approx(10)
    # Where nothing is known or left over, there is nothing to compare.
    assert compare([row("a", "ours", held_out_error=0.0), row("a", "theirs", held_out_error=0.1)]) == []
    assert compare([row("a", "ours"), row("a", "theirs", held_out_error=0.1)]) == []


def test_a_reference_of_any_image_makes_psnr_the_measure() -> None:
    rows = [*of_psnr(ours=[30.0], theirs=[29.0]), row("b", "ours", None, 0.1), row("b", "theirs", None, 0.2)]
    assert {(d.measure, d.image) for d in compare(rows)} == {("psnr", None), ("psnr", "a")}


def test_of_a_lottery_only_what_was_picked_is_compared() -> None:
    rounds = [replace(row("a", "lottery-imp", psnr), picked=psnr == 31) for psnr in (30.0, 31.0, 29.0)]
    overall, _ = compare([*rounds, row("a", "dip", 28.0)])
    assert (overall.images, overall.mean) == (1, 3)


def test_with_references_arms_are_compared_by_what_they_deliver() -> None:
    rows = [replace(row("a", "seeds", 28.0), psnr_delivered=28.5), row("a", "dip", 28.25)]
    pairs = compare([replace(each, psnr_classical=27.5) for each in rows])
    means = {(pair.arm, pair.against): pair.mean for pair in pairs if pair.image is None}
    assert means == {("seeds", "dip"): 0.25, ("seeds", "classical"): 1.0, ("dip", "classical"): 0.75}
