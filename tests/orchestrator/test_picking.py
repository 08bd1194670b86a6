import json

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.fits import FitArrays, fit_keys
from orchestrator.jobs import Evaluation, FitJob, FitRecord
from orchestrator.picking import Decision, Member, by_held_out_error, by_weighted_mean, decide, final_order
from orchestrator.scoring import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig

A, B, C = CANDIDATES
SHORTLIST = [Scored(A, 1.0), Scored(B, 2.0), Scored(C, 3.0)]


def members(*errors: float | None, scores: tuple[float, ...] = (1.0, 2.0, 3.0)) -> list[Member]:
    return [Member(name, score, error) for name, score, error in zip("abc", scores, errors, strict=False)]


def flat(*values: float) -> list[NDArray[np.float32]]:
    return [np.full((1, 2, 2), value, dtype=np.float32) for value in values]


def test_the_least_held_out_error_comes_first() -> None:
    assert by_held_out_error(members(0.3, 0.1, 0.2)) == ["b", "c", "a"]


def test_equal_held_out_errors_stay_in_the_order_of_the_shortlist() -> None:
    assert by_held_out_error(members(0.2, 0.1, 0.1)) == ["b", "c", "a"]


def test_an_error_of_nothing_is_the_best_and_not_a_missing_one() -> None:
    assert by_held_out_error(members(0.2, 0.0, 0.1)) == ["b", "c", "a"]


def test_without_held_out_pixels_the_scores_decide() -> None:
    assert by_held_out_error(members(None, None, None, scores=(3.0, 1.0, 2.0))) == ["b", "c", "a"]
    assert by_held_out_error(members(0.1, None, 0.2, scores=(3.0, 1.0, 2.0))) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("values", "order"),
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
    values: tuple[float, ...], order: list[str]
) -> None:
    assert by_weighted_mean(members(0.1, 0.1, 0.1), flat(*values)) == order


def test_the_papers_rule_takes_distances_over_all_pixels_and_channels() -> None:
    # Weights 1, 1/2, 0. Channel means: (0 + 3/2) / 1.5 = 1 and (3 + 0) / 1.5 = 2.
    # Squared distances: a 1 + 1, b 4 + 4, c 0.25 + 0.25.
    outputs = [np.array(pair, dtype=np.float32).reshape(2, 1, 1) for pair in ((0, 3), (3, 0), (1.5, 2.5))]
    assert by_weighted_mean(members(None, None, None), outputs) == ["c", "a", "b"]


def test_the_papers_rule_with_equal_metrics_uses_the_plain_mean() -> None:
    assert by_weighted_mean(members(0, 0, 0, scores=(2.0, 2.0, 2.0)), flat(0, 1, 5)) == ["b", "a", "c"]


def test_the_papers_rule_keeps_the_order_of_equal_distances_and_takes_a_single_member() -> None:
    assert by_weighted_mean(members(0, 0, 0, scores=(2.0, 2.0, 2.0)), flat(1, 1, 1)) == ["a", "b", "c"]
    assert by_weighted_mean(members(0), flat(7)) == ["a"]


def leave(
    bench: Bench, candidate: str, error: float | None, value: float, evaluation: Evaluation | None = None
) -> None:
    """A finished fit in the store."""
    config = bench.context.config
    keys = fit_keys(bench.context, FitJob(bench.image, config.method, config.cohort.view, candidate))
    record = FitRecord(
        candidate, config.cohort.view, "done", held_out_error=error, stop_iteration=1, evaluation=evaluation
    )
    curve = np.zeros(1, dtype=np.float32)
    bench.store.put(keys.arrays, FitArrays(np.full((3, 32, 32), value, dtype=np.float32), curve, curve).to_bytes())
    bench.store.put(keys.result, record.to_json())


def leave_failure(bench: Bench, candidate: str, reason: str) -> None:
    config = bench.context.config
    keys = fit_keys(bench.context, FitJob(bench.image, config.method, config.cohort.view, candidate))
    bench.store.put(keys.result, FitRecord(candidate, config.cohort.view, "failed", reason=reason).to_json())


def test_a_decision_is_made_from_the_store_and_recorded_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    for candidate, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, candidate, error, 0.5)
    decision = decide(bench.context, bench.image, SHORTLIST)
    assert decision == Decision("held-out", [B, C, A], {})
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id)))
    assert recorded == {"rule": "held-out", "order": [B, C, A], "failed": {}}


def test_the_runs_rule_is_used(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(pick={"rule": "weighted-mean"}), encoded())
    for candidate, error, value in ((A, 0.1, 0.0), (B, 0.2, 6.0), (C, 0.3, 2.0)):
        leave(bench, candidate, error, value)
    assert decide(bench.context, bench.image, SHORTLIST) == Decision("weighted-mean", [C, A, B], {})


@pytest.mark.parametrize("rule", ["held-out", "weighted-mean"])
def test_members_without_a_result_are_left_out_with_the_reason(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    bench = make_bench(make_config(pick={"rule": rule}), encoded())
    leave_failure(bench, A, "the fit diverged")
    leave(bench, C, 0.2, 0.5)
    decision = decide(bench.context, bench.image, SHORTLIST)
    assert decision == Decision(rule, [C], {A: "the fit diverged", B: "no result"})


@pytest.mark.parametrize("rule", ["held-out", "weighted-mean"])
def test_a_cohort_of_failures_has_no_order(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    bench = make_bench(make_config(pick={"rule": rule}), encoded())
    decision = decide(bench.context, bench.image, SHORTLIST)
    assert decision == Decision(rule, [], dict.fromkeys(CANDIDATES, "no result"))


@pytest.mark.parametrize("rule", ["held-out", "weighted-mean"])
def test_the_decision_is_blind_to_every_figure_of_the_evaluation(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, rule: str
) -> None:
    evaluations = [
        (None, None, None),
        (Evaluation(40.0, 41.0), Evaluation(10.0, 11.0), Evaluation(20.0, 21.0)),
        (Evaluation(10.0, 41.0), Evaluation(20.0, 11.0), Evaluation(40.0, 91.0)),
    ]
    picks = []
    for number, known in enumerate(evaluations):
        reference = encoded() if number == 2 else None
        bench = make_bench(make_config(pick={"rule": rule}), encoded(), reference, store=str(number))
        for candidate, error, value, evaluation in zip(
            CANDIDATES, (0.3, 0.1, 0.2), (0.1, 0.9, 0.4), known, strict=True
        ):
            leave(bench, candidate, error, value, evaluation)
        decide(bench.context, bench.image, SHORTLIST)
        picks.append(bench.store.get(bench.context.layout.pick(bench.image.id)))
    assert picks[0] == picks[1] == picks[2]


def test_the_held_out_errors_at_full_size_have_the_last_word_and_the_papers_rule_has_none() -> None:
    fitted = [Member("a", 1.0, 0.02), Member("b", 2.0, 0.01), Member("c", 3.0, 0.03)]
    assert final_order("held-out", fitted) == ["b", "a", "c"]
    assert final_order("weighted-mean", fitted) == ["a", "b", "c"]
    assert final_order("held-out", [Member("a", 2.0, None), Member("b", 1.0, None)]) == ["b", "a"]
