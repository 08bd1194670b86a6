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
