import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from orchestrator.arms.arm import Arm, Rule
from orchestrator.arms.resolve import arms_of
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import Evaluation, fit_keys
from orchestrator.pick.decide import Decision, decide
from orchestrator.pick.halve import halve
from orchestrator.score.score import Scored
from orchestrator.store import Store
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.pick.left import FAILED, NAMES, SHORTLIST, A, B, C, arm_of, leave, leave_record
from workers.correlation import CORRELATED
from workers.names import Chain, PriorName

RULES: tuple[Rule, ...] = get_args(Rule)


def test_a_decision_is_made_from_the_store_and_recorded_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, name, error, 0.5)
    arm = arm_of(bench)
    decision = decide(bench.context, bench.image, arm, SHORTLIST, [])
    assert decision == Decision("held-out", [B, C, A], {})
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    a, b, c = map(str, NAMES)
    assert recorded == {
        "format": 1,
        "rule": "held-out",
        "order": [b, c, a],
        "failed": {},
        "correlated": False,
        "residual_correlation": None,
        "cohort": [{"candidate": a, "score": 1.0}, {"candidate": b, "score": 2.0}, {"candidate": c, "score": 3.0}],
        "ended_by_halving": [],
    }


def test_every_arm_decides_by_its_own_rule_over_the_fits_they_share(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    for name, error, value in ((A, 0.1, 0.0), (B, 0.2, 6.0), (C, 0.3, 2.0)):
        leave(bench, name, error, value)
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
    assert decision == Decision(rule, [], dict.fromkeys(NAMES, "no result"))


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
        for name, error, value, evaluation in zip(NAMES, (0.3, 0.1, 0.2), (0.1, 0.9, 0.4), known, strict=True):
            leave(bench, name, error, value, evaluation=evaluation)
        arm = arm_of(bench)
        decide(bench.context, bench.image, arm, SHORTLIST, [])
        picks.append(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    assert picks[0] == picks[1] == picks[2]


def decided_over(bench: Bench, correlations: tuple[float | None, ...], arm: Arm | None = None) -> Decision:
    """The decision over a cohort whose residuals are correlated so much; by error a is best, by consensus c."""
    cohort = zip(NAMES, (0.1, 0.2, 0.3), (0.0, 6.0, 2.0), correlations, strict=True)
    for name, error, value, correlation in cohort:
        leave(bench, name, error, value, residual_correlation=correlation)
    arm = arm or arm_of(bench)
    decision = decide(bench.context, bench.image, arm, SHORTLIST, [])
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, arm.name)))
    assert Decision.of_record(recorded) == decision
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
        # An image too small to judge is treated like most images.
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
    for name, steady in ((A, 5.0), (B, 0.0), (C, 4.0)):
        leave(bench, name, 0.1, 1.0)
        keys = fit_keys(bench.context, FitJob(bench.image, "crop", name))
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
    assert recorded["ended_by_halving"] == [str(C)]


def test_a_decision_that_is_recorded_stands(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded())
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, name, error, 1.0)
    first = decide(bench.context, bench.image, arm_of(bench), SHORTLIST, [])
    recorded = bench.store.get(bench.context.layout.pick(bench.image.id, arm_of(bench).name))
    leave(bench, A, 0.0, 1.0)
    assert decide(bench.context, bench.image, arm_of(bench), SHORTLIST, []) == first
    assert bench.store.get(bench.context.layout.pick(bench.image.id, arm_of(bench).name)) == recorded


def test_of_two_who_decide_at_once_the_first_counts(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(make_config(cohort={"halving": "synchronous", "first_rung": 2}), encoded())
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave(bench, name, error, 1.0)
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
    assert halve(bench.context, bench.image, arm_of(bench), [A, B, C], 2) == [PriorName("x")]
    assert decide(bench.context, bench.image, arm_of(bench), SHORTLIST, []) == Decision(
        "held-out", [PriorName("x")], {}
    )


def test_of_all_rounds_of_a_lottery_one_is_chosen_and_of_those_never_begun_their_chain_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(arms=["lottery-imp"]), encoded())
    first, second = (Chain("dip", "imp", number) for number in (0, 1))
    leave(bench, first.dense.round(0), 0.3, 0.5)
    leave(bench, first.round(1), 0.1, 0.5)
    leave_record(bench, first.round(2), FAILED)
    leave_record(bench, first, {"state": "failed", "reason": "round 2 has no result"})
    leave_record(bench, second.dense, {"state": "failed", "reason": "no masks"})
    dense = [chain.dense.round(0) for chain in (first, second)]
    names = [*dense, *(chain.round(number) for chain in (first, second) for number in (1, 2, 3))]
    decision = decide(bench.context, bench.image, arm_of(bench), [Scored(name, 0.0) for name in names], [])
    assert decision.order == [first.round(1), first.dense.round(0)]
    assert decision.failed == {
        second.dense.round(0): "no masks",
        first.round(2): "the fit diverged",
        first.round(3): "round 2 has no result",
        **{second.round(number): "no result" for number in (1, 2, 3)},
    }
    recorded = json.loads(bench.store.get(bench.context.layout.pick(bench.image.id, arm_of(bench).name)))
    assert recorded["failed"] == {str(name): reason for name, reason in decision.failed.items()}
