from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.arms.arm import HEARS_HELD_OUT, NEEDS_OUTPUTS, Rule
from orchestrator.pick.rules import Member, final_order, order_by, values_by
from workers.names import FitName, PriorName

RULES: tuple[Rule, ...] = get_args(Rule)


def named(letters: str) -> list[FitName]:
    """A name for each letter."""
    return list(map(PriorName, letters))


def members(
    *errors: float | None,
    values: tuple[float, ...] | None = None,
    scores: tuple[float, ...] = (1.0, 2.0, 3.0),
) -> list[Member]:
    """Members a, b and c; with ``values`` they have flat outputs of these."""
    outputs = [None] * 3 if values is None else flat(*values)
    return [Member(*member) for member in zip(named("abc"), scores, errors, outputs, strict=False)]


def flat(*values: float) -> list[NDArray[np.float32]]:
    return [np.full((1, 2, 2), value, dtype=np.float32) for value in values]


def order(rule: Rule, *errors: float | None, **others: Any) -> list[FitName]:
    return order_by(rule, members(*errors, **others))


def test_the_least_held_out_error_comes_first() -> None:
    assert order("held-out", 0.3, 0.1, 0.2) == named("bca")


def test_equal_held_out_errors_stay_in_the_order_of_the_shortlist() -> None:
    assert order("held-out", 0.2, 0.1, 0.1) == named("bca")


def test_an_error_of_nothing_is_the_best_and_not_a_missing_one() -> None:
    assert order("held-out", 0.2, 0.0, 0.1) == named("bca")


def test_without_held_out_pixels_the_scores_decide() -> None:
    assert order("held-out", None, None, None, scores=(3.0, 1.0, 2.0)) == named("bca")
    assert order("held-out", 0.1, None, 0.2, scores=(3.0, 1.0, 2.0)) == named("bca")
    # By score: b, c, a. By distance to the median, 5: b, a, c.
    given = members(None, None, None, scores=(3.0, 1.0, 2.0), values=(6, 5, 0))
    assert values_by("held-out+consensus", given) == [5, 2, 5]


def test_consensus_orders_by_the_distance_to_the_median_image_whatever_the_errors() -> None:
    # The median is 5 in all three lines. The squared distances in the last line distinguish it from the mean.
    assert order("consensus", 0.1, 0.2, 0.3, values=(0, 5, 6)) == named("bca")
    assert order("consensus", 0.1, 0.2, 0.3, values=(0, 5, 20)) == named("bac")
    assert values_by("consensus", members(0.1, 0.2, 0.3, values=(0, 5, 20))) == [25, 0, 225]


def test_consensus_takes_the_median_of_every_pixel_by_itself() -> None:
    # Medians 1 and 2 of the two channels; squared distances (1 + 1) / 2, (4 + 4) / 2, (0 + 0) / 2.
    outputs = [np.array(pair, dtype=np.float32).reshape(2, 1, 1) for pair in ((0, 3), (3, 0), (1, 2))]
    given = [Member(name, 0.0, None, output) for name, output in zip(named("abc"), outputs, strict=True)]
    assert values_by("consensus", given) == [1, 4, 0]


def test_both_together_add_the_ranks() -> None:
    # By error: c 0, a 1, b 2. By distance to the median, 5: a 0, c 1, b 2.
    assert values_by("held-out+consensus", members(0.2, 0.3, 0.1, values=(5, 0, 6))) == [3, 6, 3]
    # Equal sums stay in the order of the shortlist.
    assert order("held-out+consensus", 0.2, 0.3, 0.1, values=(5, 0, 6)) == named("acb")
    # Neither the best by error, far from all others, nor by consensus, of the largest error.
    given = [
        Member(PriorName(name), 0.0, error, np.full((1, 2, 2), value, np.float32))
        for name, error, value in (("a", 0.1, 9.0), ("b", 0.2, 4.5), ("c", 0.9, 4.0), ("d", 0.8, 0.0), ("e", 0.7, 3.0))
    ]
    assert order_by("held-out+consensus", given)[0] == PriorName("b")
    assert order_by("held-out", given)[0] == PriorName("a")
    assert order_by("consensus", given)[0] == PriorName("c")


@pytest.mark.parametrize(
    ("values", "best_first"),
    [
        # Metrics 1, 2, 3 weigh 1, 1/2, 0, so the mean of 4, 1, 0 is 4.5 / 1.5 = 3. The squared distances are 1, 4, 9.
        # The plain mean, 5/3, would put b first.
        ((4, 1, 0), "abc"),
        # The mean of 0, 6, 2 is 3 / 1.5 = 2: a member of weight 0 may be the closest.
        ((0, 6, 2), "cab"),
        # The mean of 0, 3, 9 is 1.5 / 1.5 = 1, at distances 1, 4, 64.
        ((0, 3, 9), "abc"),
    ],
)
def test_the_papers_rule_orders_by_the_distance_to_the_weighted_mean(
    values: tuple[float, ...], best_first: str
) -> None:
    assert order("weighted-mean", 0.1, 0.1, 0.1, values=values) == named(best_first)


def test_the_papers_rule_takes_distances_over_all_pixels_and_channels() -> None:
    # Weights 1, 1/2, 0. Channel means: (0 + 3/2) / 1.5 = 1 and (3 + 0) / 1.5 = 2.
    # Squared distances: a 1 + 1, b 4 + 4, c 0.25 + 0.25.
    outputs = [np.array(pair, dtype=np.float32).reshape(2, 1, 1) for pair in ((0, 3), (3, 0), (1.5, 2.5))]
    given = [
        Member(name, score, None, output)
        for name, score, output in zip(named("abc"), (1.0, 2.0, 3.0), outputs, strict=True)
    ]
    assert order_by("weighted-mean", given) == named("cab")


def test_the_papers_rule_with_equal_metrics_uses_the_plain_mean() -> None:
    assert order("weighted-mean", 0, 0, 0, scores=(2.0, 2.0, 2.0), values=(0, 1, 5)) == named("bac")


def test_the_papers_rule_keeps_the_order_of_equal_distances_and_takes_a_single_member() -> None:
    assert order("weighted-mean", 0, 0, 0, scores=(2.0, 2.0, 2.0), values=(1, 1, 1)) == named("abc")
    assert order("weighted-mean", 0, values=(7,)) == named("a")


@pytest.mark.parametrize("rule", RULES)
def test_of_nobody_nobody_is_chosen(rule: Rule) -> None:
    assert order_by(rule, []) == []


@given(st.sampled_from(RULES), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=6))
def test_every_rule_orders_everybody_once(rule: Rule, figures: list[tuple[float, float, float]]) -> None:
    cohort = [
        Member(PriorName(str(number)), score, error, np.full((1, 1, 1), value, np.float32))
        for number, (score, error, value) in enumerate(figures)
    ]
    assert sorted(map(str, order_by(rule, cohort))) == sorted(str(member.name) for member in cohort)


@pytest.mark.parametrize("rule", set(RULES) - NEEDS_OUTPUTS)
def test_a_rule_that_needs_no_outputs_looks_at_none(rule: Rule) -> None:
    with_outputs = members(0.3, 0.1, 0.2, values=(1, 2, 3))
    assert order_by(rule, with_outputs) == order_by(rule, members(0.3, 0.1, 0.2))


def test_the_held_out_errors_at_full_size_have_the_last_word_and_other_rules_have_none() -> None:
    fitted = [Member(PriorName("a"), 1.0, 0.02), Member(PriorName("b"), 2.0, 0.01), Member(PriorName("c"), 3.0, 0.03)]
    assert final_order("held-out", fitted) == named("bac")
    for rule in NEEDS_OUTPUTS - HEARS_HELD_OUT:
        assert final_order(rule, fitted) == named("abc")
    # Ranks by held-out error 2, 1, 3, by distance to the median 1, 2, 3: the cohort's order breaks the tie.
    assert final_order("held-out+consensus", members(0.02, 0.01, 0.03, values=(5, 4, 9))) == named("abc")
    assert final_order("held-out+consensus", members(0.03, 0.01, 0.02, values=(9, 5, 4))) == named("bca")
    assert final_order("held-out", [Member(PriorName("a"), 2.0, None), Member(PriorName("b"), 1.0, None)]) == named(
        "ba"
    )
