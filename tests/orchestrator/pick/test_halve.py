import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.pick.halve import halve
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.pick.left import FAILED, NAMES, A, B, C, arm_of, leave, leave_record


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
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, name, paused(error), rung=2)
    assert halve(halved.context, halved.image, arm, NAMES, 2) == [B, C]
    key = halved.context.layout.rung(halved.image.id, arm.name, 2)
    assert json.loads(halved.store.get(key)) == {
        "format": 1,
        "held_out_errors": {str(A): 0.3, str(B): 0.1, str(C): 0.2},
        "go_on": [str(B), str(C)],
    }
    leave_record(halved, B, paused(0.1), rung=4)
    leave_record(halved, C, paused(0.05), rung=4)
    assert halve(halved.context, halved.image, arm, [B, C], 4) == [C]


def test_in_a_race_no_more_go_on_than_become_results(halved: Bench) -> None:
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, name, paused(error), rung=2)
    assert halve(halved.context, halved.image, replace(arm_of(halved), races=True), NAMES, 2) == [B]


def test_a_decision_at_a_rung_stands_whatever_comes_later(halved: Bench) -> None:
    arm = arm_of(halved)
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, name, paused(error), rung=2)
    before = halve(halved.context, halved.image, arm, NAMES, 2)
    leave_record(halved, A, paused(0.01), rung=2)
    assert halve(halved.context, halved.image, arm, NAMES, 2) == before
    other = replace(arm, name="other")
    assert halve(halved.context, halved.image, other, NAMES, 2) == [A, B]


def test_at_a_rung_a_fit_counts_as_it_was_there_also_if_another_arm_has_taken_it_further(halved: Bench) -> None:
    for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
        leave_record(halved, name, paused(error), rung=2)
    leave(halved, A, 0.01, 0.5)
    assert halve(halved.context, halved.image, arm_of(halved), NAMES, 2) == [B, C]


def test_fits_that_ended_before_the_rung_compete_and_failures_do_not(halved: Bench) -> None:
    leave(halved, A, 0.05, 0.5)
    leave_record(halved, B, FAILED)
    leave_record(halved, C, paused(0.2), rung=2)
    assert halve(halved.context, halved.image, arm_of(halved), NAMES, 2) == [A, C]


def test_as_many_go_on_as_are_wanted_at_full_size(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    cohort = {"halving": "synchronous", "first_rung": 2, "keep_share": 0.1}
    for full_fits, left in ((1, [B]), (2, [B, C]), (3, [A, B, C])):
        bench = make_bench(make_config(cohort=cohort, pick={"full_fits": full_fits}), encoded(), store=str(full_fits))
        for name, error in ((A, 0.3), (B, 0.1), (C, 0.2)):
            leave_record(bench, name, paused(error), rung=2)
        assert halve(bench.context, bench.image, arm_of(bench), NAMES, 2) == left


def test_without_any_error_nobody_is_ended(halved: Bench) -> None:
    leave_record(halved, A, paused(None), rung=2)
    leave_record(halved, B, FAILED)
    assert halve(halved.context, halved.image, arm_of(halved), NAMES, 2) == list(NAMES)
