from orchestrator.arms.arm import Arm
from tests.orchestrator.arms.given import arm_of
from tests.orchestrator.conftest import CANDIDATES, MakeConfig


def test_what_an_arm_says_goes_before_the_settings(make_config: MakeConfig) -> None:
    own = {
        "name": "mine",
        "like": "random",
        "metric": "task loss",
        "size": 3,
        "view": "downscale",
        "rule": "consensus",
        "full_fits": 1,
    }
    assert arm_of(make_config, own) == Arm("mine", None, "task loss", 3, "downscale", "consensus", 1)
    by_task = arm_of(make_config, {"name": "mine", "like": "isnas-dip", "rule": "auto"}, task={"name": "jpeg"})
    assert by_task.rule == "consensus"
    named = arm_of(make_config, {"name": "mine", "networks": [CANDIDATES[0], "dip"], "view": "full"})
    assert (named.networks, named.size) == ((CANDIDATES[0], "dip"), 2)


def test_no_more_are_fitted_than_there_are(make_config: MakeConfig) -> None:
    few = {"candidates": list(CANDIDATES)}
    assert arm_of(make_config, "isnas-dip-blind", score=few).size == 3
    assert arm_of(make_config, "all", score=few).size == 3
    assert arm_of(make_config, {"name": "mine", "size": 50}).size == 40
    many = arm_of(make_config, {"name": "mine", "size": 2, "full_fits": 9})
    assert (many.full_fits, many.refits) == (2, 2)


def test_where_there_is_nothing_to_choose_from_the_cohort_is_the_result(make_config: MakeConfig) -> None:
    for arm in ({"name": "mine", "size": 1}, {"name": "mine", "networks": ["dip"], "view": "downscale"}):
        only = arm_of(make_config, arm, cohort={"halving": "synchronous"})
        assert (only.size, only.view, only.full_fits, only.refits, only.rungs) == (1, "full", 1, 0, ())


def test_a_cohort_at_full_size_is_not_fitted_again(make_config: MakeConfig) -> None:
    full = arm_of(make_config, {"name": "mine", "view": "full"})
    assert (full.full_fits, full.refits) == (2, 0)
    assert arm_of(make_config, {"name": "mine", "view": "crop"}).refits == 2


def test_rungs_are_those_of_the_view_s_iterations(make_config: MakeConfig) -> None:
    halved = {"halving": "synchronous"}
    assert arm_of(make_config, "isnas-dip-blind").rungs == ()
    assert arm_of(make_config, "isnas-dip-blind", cohort=halved).rungs == (10, 20, 40)
    assert arm_of(make_config, {"name": "mine", "halving": "synchronous"}).rungs == (10, 20, 40)
    assert arm_of(make_config, {"name": "mine", "halving": "none"}, cohort=halved).rungs == ()
    # A cohort at full size has a whole fit's iterations.
    full = {"name": "mine", "view": "full"}
    assert arm_of(make_config, full, cohort=halved, fit={"iterations": 30}).rungs == (10, 20)


def test_the_paper_s_rule_needs_all_its_members_and_halves_nothing(make_config: MakeConfig) -> None:
    for halving in ("synchronous", "asha"):
        arm = arm_of(make_config, {"name": "mine", "rule": "weighted-mean", "halving": halving})
        assert (arm.rungs, arm.asynchronous) == ((), False)


def test_asynchronous_halving_is_tune_s_and_has_no_rungs_of_ours(make_config: MakeConfig) -> None:
    arm = arm_of(make_config, {"name": "mine", "halving": "asha"})
    assert (arm.rungs, arm.asynchronous) == ((), True)
    # A fit at full size is a result, and others may want it.
    assert not arm_of(make_config, {"name": "mine", "halving": "asha", "view": "full"}).asynchronous


RACE = {"halving": "race"}


def test_in_a_race_twelve_begin_at_full_size_and_three_go_on(make_config: MakeConfig) -> None:
    arm = arm_of(make_config, "isnas-dip-blind", cohort=RACE | {"first_rung": None}, fit={"iterations": 300})
    assert (arm.size, arm.view, arm.full_fits, arm.refits) == (12, "full", 3, 0)
    assert (arm.rungs, arm.races, arm.asynchronous) == ((50,), True, False)
    assert (arm.going_on(12, 0.5), arm.going_on(3, 0.5)) == (3, 3)
    halved = arm_of(make_config, "isnas-dip-blind", cohort={"halving": "synchronous"})
    assert [halved.going_on(size, 0.5) for size in (12, 3)] == [6, 2]


def test_a_race_has_the_sizes_that_are_given(make_config: MakeConfig) -> None:
    own = {"name": "mine", "like": "random", "size": 20, "full_fits": 1, "halving": "race", "view": "crop"}
    arm = arm_of(make_config, own)
    assert (arm.size, arm.view, arm.full_fits, arm.rungs) == (20, "crop", 1, (10,))
    assert arm_of(make_config, "random", cohort=RACE, pick={"full_fits": 5}, fit={"iterations": 99}).full_fits == 5
    assert arm_of(make_config, "random", cohort=RACE, score={"candidates": list(CANDIDATES)}).size == 3
    assert arm_of(make_config, "all", cohort=RACE).size == 40


def test_there_is_no_race_where_none_would_end(make_config: MakeConfig) -> None:
    for arm in ("nas-dip", "portfolio", "seeds", "dip"):
        raced = arm_of(make_config, arm, cohort=RACE)
        assert (raced.rungs, raced.races, raced.view) == ((), False, "full")
        assert raced.full_fits == raced.size
    short = arm_of(make_config, "random", cohort=RACE, fit={"iterations": 10})
    assert (short.rungs, short.races) == ((), False)


def test_where_held_out_errors_mislead_a_cohort_is_fitted_as_without_a_race(make_config: MakeConfig) -> None:
    for arm, task in (("isnas-dip", "denoise"), ("isnas-dip-blind", "jpeg")):
        plain, raced = (arm_of(make_config, arm, task={"name": task}, cohort=each) for each in ({}, RACE))
        assert plain == raced
