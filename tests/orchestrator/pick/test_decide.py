import json
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.arms.arm import HEARS_HELD_OUT, NEEDS_OUTPUTS, Arm, Rule
from orchestrator.arms.resolve import arms_of
from orchestrator.fit.fit import FitArrays, fit_keys
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import Evaluation, FitRecord
from orchestrator.pick.decide import Decision, Member, decide, final_order, halve, order_by, values_by
from orchestrator.score.score import Scored
from orchestrator.store import Store
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import PriorName, parse_name
from workers.noise import CORRELATED

A, B, C = CANDIDATES
SHORTLIST = [Scored(PriorName(A), 1.0), Scored(PriorName(B), 2.0), Scored(PriorName(C), 3.0)]
RULES: tuple[Rule, ...] = get_args(Rule)


def members(
    *errors: float | None,
    values: tuple[float, ...] | None = None,
    scores: tuple[float, ...] = (1.0, 2.0, 3.0),
) -> list[Member]:
    """Members a, b and c; with ``values`` they have flat outputs of these."""
    outputs = [None] * 3 if values is None else flat(*values)
    return [Member(*member) for member in zip("abc", scores, errors, outputs, strict=False)]


def flat(*values: float) -> list[NDArray[np.float32]]:
    return [np.full((1, 2, 2), value, dtype=np.float32) for value in values]


def order(rule: Rule, *errors: float | None, **others: Any) -> list[str]:
    return order_by(rule, members(*errors, **others))


def test_the_least_held_out_error_comes_first() -> None:
    assert order("held-out", 0.3, 0.1, 0.2) == ["b", "c", "a"]


def test_equal_held_out_errors_stay_in_the_order_of_the_shortlist() -> None:
    assert order("held-out", 0.2, 0.1, 0.1) == ["b", "c", "a"]


def test_an_error_of_nothing_is_the_best_and_not_a_missing_one() -> None:
    assert order("held-out", 0.2, 0.0, 0.1) == ["b", "c", "a"]


def test_without_held_out_pixels_the_scores_decide() -> None:
    assert order("held-out", None, None, None, scores=(3.0, 1.0, 2.0)) == ["b", "c", "a"]
    assert order("held-out", 0.1, None, 0.2, scores=(3.0, 1.0, 2.0)) == ["b", "c", "a"]
    # By score: b, c, a. By distance to the median, 5: b, a, c.
    given = members(None, None, None, scores=(3.0, 1.0, 2.0), values=(6, 5, 0))
    assert values_by("held-out+consensus", given) == [5, 2, 5]


def test_consensus_orders_by_the_distance_to_the_median_image_whatever_the_errors() -> None:
    # The median of 0, 5, 6 is 5; the mean would be 11/3, which is closer to 5 than to 6 as well, but to 0 too for 0, 5, 20.
    assert order("consensus", 0.1, 0.2, 0.3, values=(0, 5, 6)) == ["b", "c", "a"]
    assert order("consensus", 0.1, 0.2, 0.3, values=(0, 5, 20)) == ["b", "a", "c"]
    assert values_by("consensus", members(0.1, 0.2, 0.3, values=(0, 5, 20))) == [25, 0, 225]


def test_consensus_takes_the_median_of_every_pixel_by_itself() -> None:
    # Medians 1 and 2 of the two channels; squared distances (1 + 1) / 2, (4 + 4) / 2, (0 + 0) / 2.
    outputs = [np.array(pair, dtype=np.float32).reshape(2, 1, 1) for pair in ((0, 3), (3, 0), (1, 2))]
    given = [Member(name, 0.0, None, output) for name, output in zip("abc", outputs, strict=True)]
    assert values_by("consensus", given) == [1, 4, 0]


def test_both_together_add_the_ranks() -> None:
    # By error: c 0, a 1, b 2. By distance to the median, 5: a 0, c 1, b 2.
    assert values_by("held-out+consensus", members(0.2, 0.3, 0.1, values=(5, 0, 6))) == [3, 6, 3]
    # Equal sums stay in the order of the shortlist.
    assert order("held-out+consensus", 0.2, 0.3, 0.1, values=(5, 0, 6)) == ["a", "c", "b"]
    # Neither the best by error, far from all others, nor by consensus, of the largest error.
    given = [
        Member(name, 0.0, error, np.full((1, 2, 2), value, np.float32))
        for name, error, value in (("a", 0.1, 9.0), ("b", 0.2, 4.5), ("c", 0.9, 4.0), ("d", 0.8, 0.0), ("e", 0.7, 3.0))
    ]
    assert order_by("held-out+consensus", given)[0] == "b"
    assert order_by("held-out", given)[0] == "a"
    assert order_by("consensus", given)[0] == "c"


@pytest.mark.parametrize(
    ("values", "best_first"),
    [
        # Metrics 1, 2, 3 weigh 1, 1/2, 0: the mean of 4, 1, 0 is 4.5 / 1.5 = 3, at distances 1, 4, 9. The plain mean, 5/3,
        # would put b first.
        ((4, 1, 0), ["a", "b", "c"]),
        # The mean of 0, 6, 2 is 3 / 1.5 = 2: what weighs nothing may be the closest.
        ((0, 6, 2), ["c", "a", "b"]),
        # The mean of 0, 3, 9 is 1.5 / 1.5 = 1, at distances 1, 4, 64.
        ((0, 3, 9), ["a", "b", "c"]),
    ],
)
def test_the_papers_rule_orders_by_the_distance_to_the_weighted_mean(
    values: tuple[float, ...], best_first: list[str]
) -> None:
    assert order("weighted-mean", 0.1, 0.1, 0.1, values=values) == best_first


def test_the_papers_rule_takes_distances_over_all_pixels_and_channels() -> None:
    # Weights 1, 1/2, 0. Channel means: (0 + 3/2) / 1.5 = 1 and (3 + 0) / 1.5 = 2.
    # Squared distances: a 1 + 1, b 4 + 4, c 0.25 + 0.25.
    outputs = [np.array(pair, dtype=np.float32).reshape(2, 1, 1) for pair in ((0, 3), (3, 0), (1.5, 2.5))]
    given = [
        Member(name, score, None, output) for name, score, output in zip("abc", (1.0, 2.0, 3.0), outputs, strict=True)
    ]
    assert order_by("weighted-mean", given) == ["c", "a", "b"]


def test_the_papers_rule_with_equal_metrics_uses_the_plain_mean() -> None:
    assert order("weighted-mean", 0, 0, 0, scores=(2.0, 2.0, 2.0), values=(0, 1, 5)) == ["b", "a", "c"]


def test_the_papers_rule_keeps_the_order_of_equal_distances_and_takes_a_single_member() -> None:
    assert order("weighted-mean", 0, 0, 0, scores=(2.0, 2.0, 2.0), values=(1, 1, 1)) == ["a", "b", "c"]
    assert order("weighted-mean", 0, values=(7,)) == ["a"]


@pytest.mark.parametrize("rule", RULES)
def test_of_nobody_nobody_is_chosen(rule: Rule) -> None:
    assert order_by(rule, []) == []


@hypothesis_settings(deadline=None, derandomize=True)
@given(st.sampled_from(RULES), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=6))
def test_every_rule_orders_everybody_once(rule: Rule, figures: list[tuple[float, float, float]]) -> None:
    cohort = [
        Member(str(number), score, error, np.full((1, 1, 1), value, np.float32))
        for number, (score, error, value) in enumerate(figures)
    ]
    assert sorted(order_by(rule, cohort)) == sorted(member.candidate for member in cohort)


@pytest.mark.parametrize("rule", set(RULES) - NEEDS_OUTPUTS)
def test_a_rule_that_needs_no_outputs_looks_at_none(rule: Rule) -> None:
    with_outputs = members(0.3, 0.1, 0.2, values=(1, 2, 3))
    assert order_by(rule, with_outputs) == order_by(rule, members(0.3, 0.1, 0.2))


def arm_of(bench: Bench) -> Arm:
    """The arm of a run that has one."""
    (arm,) = arms_of(bench.context.config)
    return arm


def leave(bench: Bench, candidate: str, error: float | None, value: float, **known: Any) -> None:
    """A finished fit of the cohort in the store: a flat output of this value, and half of it where it was steadiest."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, parse_name(candidate)))
    record = FitRecord(candidate, view, "done", held_out_error=error, stop_iteration=1, arrays="x", **known)
    curve = np.zeros(1, dtype=np.float32)
    output = np.full((3, 32, 32), value, dtype=np.float32)
    bench.store.put(keys.arrays("x"), FitArrays(output, output / 2, curve, curve).to_bytes())
    bench.store.put(keys.result, record.to_json())


def leave_record(bench: Bench, candidate: str, record: dict[str, Any], rung: int | None = None) -> None:
    """The record of a fit that has no result: of its end, or of its pause at a rung."""
    view = arm_of(bench).view
    keys = fit_keys(bench.context, FitJob(bench.image, view, parse_name(candidate)))
    bench.store.put(keys.result if rung is None else keys.rung(rung), FitRecord(candidate, view, **record).to_json())


FAILED = {"state": "failed", "reason": "the fit diverged"}


def test_a_decision_is_made_from_the_store_and_recorded_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, candidate, error, 0.5)
    arm = arm_of(bench)
    decision = decide(bench.context, bench.image, arm, SHORTLIST, [])
    assert decision == Decision("held-out", [B, C, A], {})
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    assert recorded == asdict(decision) | {
        "format": 1,
        "cohort": [{"candidate": A, "score": 1.0}, {"candidate": B, "score": 2.0}, {"candidate": C, "score": 3.0}],
        "ended_by_halving": [],
    }


def test_every_arm_decides_by_its_own_rule_over_the_fits_they_share(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    for candidate, error, value in ((A, 0.1, 0.0), (B, 0.2, 6.0), (C, 0.3, 2.0)):
        leave(bench, candidate, error, value)
    arms = arms_of(make_config(arms=[{"name": rule.replace("+", "-"), "rule": rule} for rule in RULES]))
    orders = {arm.rule: decide(bench.context, bench.image, arm, SHORTLIST, []).order for arm in arms}
    assert orders == {
        "held-out": [A, B, C],
        # To the median, 2: distances 4, 16, 0.
        "consensus": [C, A, B],
        # Ranks 0 + 1, 1 + 2, 2 + 0.
        "held-out+consensus": [A, C, B],
        "weighted-mean": [C, A, B],
    }
    picks = bench.store.keys(f"{bench.context.layout.root}/picks")
    assert {key.rsplit("/", 1)[1] for key in picks} == {f"{arm.name}.json" for arm in arms}


@pytest.mark.parametrize("rule", RULES)
def test_members_without_a_result_are_left_out_with_the_reason(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    bench = make_bench(make_config(pick={"rule": rule}), encoded())
    leave_record(bench, A, FAILED)
    leave(bench, C, 0.2, 0.5)
    decision = decide(bench.context, bench.image, arm_of(bench), SHORTLIST, [])
    assert decision == Decision(rule, [C], {A: "the fit diverged", B: "no result"})


@pytest.mark.parametrize("rule", RULES)
def test_a_cohort_of_failures_has_no_order(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    bench = make_bench(make_config(pick={"rule": rule}), encoded())
    decision = decide(bench.context, bench.image, arm_of(bench), SHORTLIST, [])
    assert decision == Decision(rule, [], dict.fromkeys(CANDIDATES, "no result"))


@pytest.mark.parametrize("rule", RULES)
def test_the_decision_is_blind_to_every_figure_of_the_evaluation(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    evaluations = [
        (None, None, None),
        (Evaluation(40.0, 39.0, 41.0), Evaluation(10.0, 9.0, 11.0), Evaluation(20.0, 19.0, 21.0)),
        (Evaluation(10.0, 39.0, 41.0), Evaluation(20.0, 19.0, 11.0), Evaluation(40.0, 9.0, 91.0)),
    ]
    picks = []
    for number, known in enumerate(evaluations):
        reference = encoded() if number == 2 else None
        bench = make_bench(make_config(pick={"rule": rule}), encoded(), reference, store=str(number))
        for candidate, error, value, evaluation in zip(
            CANDIDATES, (0.3, 0.1, 0.2), (0.1, 0.9, 0.4), known, strict=True
        ):
            leave(bench, candidate, error, value, evaluation=evaluation)
        arm = arm_of(bench)
        decide(bench.context, bench.image, arm, SHORTLIST, [])
        picks.append(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    assert picks[0] == picks[1] == picks[2]


def decided_over(bench: Bench, correlations: tuple[float | None, ...], arm: Arm | None = None) -> Decision:
    """The decision over a cohort whose residuals are correlated so much; by error a is best, by consensus c."""
    cohort = zip(CANDIDATES, (0.1, 0.2, 0.3), (0.0, 6.0, 2.0), correlations, strict=True)
    for candidate, error, value, correlation in cohort:
        leave(bench, candidate, error, value, residual_correlation=correlation)
    arm = arm or arm_of(bench)
    decision = decide(bench.context, bench.image, arm, SHORTLIST, [])
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    assert {name: recorded[name] for name in asdict(decision)} == asdict(decision)
    return decision


LITTLE, MUCH = CORRELATED - 0.05, CORRELATED + 0.05


@pytest.mark.parametrize(
    ("correlations", "median"),
    [
        ((LITTLE, LITTLE, LITTLE), LITTLE),
        ((MUCH, MUCH, MUCH), MUCH),
        # Most of the cohort counts, not a network that left structure behind.
        ((0.01, 0.9, LITTLE), LITTLE),
        ((0.01, 0.9, MUCH), MUCH),
        ((None, MUCH, None), MUCH),
        # An image too small to tell is taken as what most images are.
        ((None, None, None), None),
    ],
)
def test_where_the_residuals_are_correlated_the_choice_is_by_consensus_and_says_so(
    make_bench: MakeBench,
    make_config: MakeConfig,
    encoded: Encoded,
    correlations: tuple[float | None, ...],
    median: float | None,
) -> None:
    decision = decided_over(make_bench(make_config(), encoded()), correlations)
    if median == MUCH:
        assert decision == Decision("consensus", [C, A, B], {}, True, MUCH)
    else:
        assert decision == Decision("held-out", [A, B, C], {}, False, median)


def test_where_noise_is_correlated_the_steadiest_outputs_are_compared(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(pick={"noise": "correlated"}), encoded())
    for candidate, steady in ((A, 5.0), (B, 0.0), (C, 4.0)):
        leave(bench, candidate, 0.1, 1.0)
        keys = fit_keys(bench.context, FitJob(bench.image, "crop", parse_name(candidate)))
        arrays = FitArrays.from_bytes(bench.store.get(keys.arrays("x")))
        bench.store.put(keys.arrays("x"), replace(arrays, steady=np.full_like(arrays.steady, steady)).to_bytes())
    assert decide(bench.context, bench.image, arm_of(bench), SHORTLIST, []).order == [C, A, B]


@pytest.mark.parametrize(("noise", "correlation"), [("independent", MUCH), ("correlated", LITTLE)])
def test_what_the_user_knows_of_the_noise_counts_more_than_what_is_seen(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, noise: str, correlation: float
) -> None:
    bench = make_bench(make_config(pick={"noise": noise}), encoded())
    decision = decided_over(bench, (correlation,) * 3)
    assert (decision.correlated, decision.residual_correlation) == (noise == "correlated", correlation)


@pytest.mark.parametrize(
    ("task", "correlated"), [("inpaint", False), ("super-resolve", False), ("deblur", False), ("jpeg", True)]
)
def test_of_other_tasks_the_task_and_not_the_residual_tells_of_the_noise(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: str, correlated: bool
) -> None:
    correlation = LITTLE if correlated else MUCH
    bench = make_bench(make_config(task={"name": task}), encoded())
    decision = decided_over(bench, (correlation,) * 3)
    assert decision.correlated is correlated
    assert decision.rule == {"super-resolve": "held-out+consensus", "jpeg": "consensus"}.get(task, "held-out")


def test_of_an_image_made_small_only_the_settings_can_say_that_its_noise_is_correlated(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(
        make_config(arms=[{"name": "own", "view": "downscale"}], pick={"noise": "correlated"}), encoded()
    )
    decision = decided_over(bench, (MUCH,) * 3)
    assert (decision.correlated, decision.rule) == (True, "consensus")


@pytest.mark.parametrize(
    ("noise", "arm"),
    [("auto", {"rule": "weighted-mean"}), ("correlated", {"rule": "weighted-mean"}), ("auto", {"view": "downscale"})],
    ids=str,
)
def test_the_papers_rule_and_images_made_small_know_nothing_of_correlated_noise(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, noise: str, arm: dict[str, str]
) -> None:
    bench = make_bench(make_config(arms=[{"name": "own"} | arm], pick={"noise": noise}), encoded())
    decision = decided_over(bench, (MUCH,) * 3)
    assert decision == Decision(arm_of(bench).rule, decision.order, {}, False, MUCH)
    assert decision.order == ([A, B, C] if "view" in arm else [C, A, B])


def test_what_halving_has_ended_is_no_part_of_the_order_and_none_of_the_failures(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave(bench, A, 0.3, 0.5)
    leave(bench, B, 0.1, 0.5)
    # Another arm may have brought it to its end.
    leave(bench, C, 0.01, 0.5)
    decision = decide(bench.context, bench.image, arm_of(bench), SHORTLIST, [C])
    assert decision == Decision("held-out", [B, A], {})
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, "isnas-dip-blind")))
    assert recorded["ended_by_halving"] == [C]


def paused(error: float | None) -> dict[str, Any]:
    return {"state": "paused", "held_out_error": error, "stop_iteration": 2, "iterations": 2}


@pytest.fixture
def halved(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    """A run that halves after 2 and 4 iterations, with one result."""
    cohort = {"halving": "synchronous", "first_rung": 2}
    return make_bench(make_config(cohort=cohort, pick={"full_fits": 1}), encoded())


def test_the_better_half_goes_on_from_a_rung_in_the_cohorts_order(halved: Bench) -> None:
    arm = arm_of(halved)
    assert arm.rungs == (2, 4)
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, candidate, paused(error), rung=2)
    assert halve(halved.context, halved.image, arm, CANDIDATES, 2) == [B, C]
    key = halved.context.layout.rung(halved.image.id, arm.name, 2)
    recorded = {"format": 1, "held_out_errors": {A: 0.3, B: 0.1, C: 0.2}, "go_on": [B, C]}
    assert json.loads(halved.store.get(key)) == recorded
    leave_record(halved, B, paused(0.1), rung=4)
    leave_record(halved, C, paused(0.05), rung=4)
    assert halve(halved.context, halved.image, arm, [B, C], 4) == [C]


def test_a_decision_at_a_rung_stands_whatever_comes_later(halved: Bench) -> None:
    arm = arm_of(halved)
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, candidate, paused(error), rung=2)
    before = halve(halved.context, halved.image, arm, CANDIDATES, 2)
    leave_record(halved, A, paused(0.01), rung=2)
    assert halve(halved.context, halved.image, arm, CANDIDATES, 2) == before
    other = replace(arm, name="other")
    assert halve(halved.context, halved.image, other, CANDIDATES, 2) == [A, B]


def test_at_a_rung_a_fit_counts_as_it_was_there_also_if_another_arm_has_taken_it_further(halved: Bench) -> None:
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, candidate, paused(error), rung=2)
    leave(halved, A, 0.01, 0.5)
    assert halve(halved.context, halved.image, arm_of(halved), CANDIDATES, 2) == [B, C]


def test_fits_that_ended_before_the_rung_compete_and_failures_do_not(halved: Bench) -> None:
    leave(halved, A, 0.05, 0.5)
    leave_record(halved, B, FAILED)
    leave_record(halved, C, paused(0.2), rung=2)
    assert halve(halved.context, halved.image, arm_of(halved), CANDIDATES, 2) == [A, C]


def test_as_many_go_on_as_are_wanted_at_full_size(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    cohort = {"halving": "synchronous", "first_rung": 2, "keep_share": 0.1}
    for full_fits, left in ((1, [B]), (2, [B, C]), (3, [A, B, C])):
        bench = make_bench(make_config(cohort=cohort, pick={"full_fits": full_fits}), encoded(), store=str(full_fits))
        for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
            leave_record(bench, candidate, paused(error), rung=2)
        assert halve(bench.context, bench.image, arm_of(bench), CANDIDATES, 2) == left


def test_without_any_error_nobody_is_ended(halved: Bench) -> None:
    leave_record(halved, A, paused(None), rung=2)
    leave_record(halved, B, FAILED)
    assert halve(halved.context, halved.image, arm_of(halved), CANDIDATES, 2) == list(CANDIDATES)


def test_the_held_out_errors_at_full_size_have_the_last_word_and_other_rules_have_none() -> None:
    fitted = [Member("a", 1.0, 0.02), Member("b", 2.0, 0.01), Member("c", 3.0, 0.03)]
    assert final_order("held-out", fitted) == ["b", "a", "c"]
    for rule in NEEDS_OUTPUTS - HEARS_HELD_OUT:
        assert final_order(rule, fitted) == ["a", "b", "c"]
    # Ranks by held-out error 2, 1, 3, by distance to the median 1, 2, 3: the cohort's order breaks the tie.
    assert final_order("held-out+consensus", members(0.02, 0.01, 0.03, values=(5, 4, 9))) == ["a", "b", "c"]
    assert final_order("held-out+consensus", members(0.03, 0.01, 0.02, values=(9, 5, 4))) == ["b", "c", "a"]
    assert final_order("held-out", [Member("a", 2.0, None), Member("b", 1.0, None)]) == ["b", "a"]


def test_a_decision_that_is_recorded_stands(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded())
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, candidate, error, 1.0)
    first = decide(bench.context, bench.image, arm_of(bench), SHORTLIST, [])
    recorded = bench.store.get(bench.context.layout.pick(bench.image.id, arm_of(bench).name))
    leave(bench, A, 0.0, 1.0)
    assert decide(bench.context, bench.image, arm_of(bench), SHORTLIST, []) == first
    assert bench.store.get(bench.context.layout.pick(bench.image.id, arm_of(bench).name)) == recorded


def test_of_two_who_decide_at_once_the_first_counts(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(make_config(cohort={"halving": "synchronous", "first_rung": 2}), encoded())
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, candidate, error, 1.0)
    create = type(bench.store).create
    faster = {
        bench.context.layout.rung(bench.image.id, arm_of(bench).name, 2): b'{"held_out_errors": {}, "go_on": ["x"]}',
        bench.context.layout.pick(bench.image.id, arm_of(bench).name): json.dumps(
            {"rule": "held-out", "order": ["x"], "failed": {}, "correlated": False, "residual_correlation": None}
        ).encode(),
    }

    def late(self: Store, key: str, data: bytes, **token: str) -> bool:
        create(self, key, faster[key], **token)
        return create(self, key, data, **token)

    monkeypatch.setattr(type(bench.store), "create", late)
    assert halve(bench.context, bench.image, arm_of(bench), [A, B, C], 2) == ["x"]
    assert decide(bench.context, bench.image, arm_of(bench), SHORTLIST, []) == Decision("held-out", ["x"], {})


def test_of_all_rounds_of_a_lottery_one_is_chosen_and_of_those_never_begun_their_chain_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(arms=["lottery-imp"]), encoded())
    leave(bench, "dip.dense.0.r00", 0.3, 0.5)
    leave(bench, "dip.imp.0.r01", 0.1, 0.5)
    leave_record(bench, "dip.imp.0.r02", FAILED)
    leave_record(bench, "dip.imp.0", {"state": "failed", "reason": "round 2 has no result"})
    leave_record(bench, "dip.dense.1", {"state": "failed", "reason": "no masks"})
    names = ["dip.dense.0.r00", "dip.dense.1.r00", *(f"dip.imp.{chain}.r0{n}" for chain in (0, 1) for n in (1, 2, 3))]
    decision = decide(bench.context, bench.image, arm_of(bench), [Scored(parse_name(name), 0.0) for name in names], [])
    assert decision.order == ["dip.imp.0.r01", "dip.dense.0.r00"]
    assert decision.failed == {
        "dip.dense.1.r00": "no masks",
        "dip.imp.0.r02": "the fit diverged",
        "dip.imp.0.r03": "round 2 has no result",
        **dict.fromkeys(("dip.imp.1.r01", "dip.imp.1.r02", "dip.imp.1.r03"), "no result"),
    }
