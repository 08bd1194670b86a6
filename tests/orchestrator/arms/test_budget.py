from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.arms.arm import Arm
from orchestrator.arms.budget import cohort_iterations, iterations_of_arm
from orchestrator.arms.resolve import arms_of
from orchestrator.settings import ArmSettings, Config
from tests.orchestrator.conftest import CANDIDATES, MakeConfig

ARMS = ("isnas-dip-blind", "isnas-dip", "random", "seeds", "nas-dip", "portfolio", "all")


def test_halving_saves_what_the_worse_part_would_have_gone_on_with() -> None:
    def cohort(size: int, *rungs: int, full_fits: int = 1) -> Arm:
        return Arm("mine", None, "random", size, "crop", "held-out", full_fits, rungs)

    assert cohort_iterations(cohort(8), 100, 0.5) == 800
    assert cohort_iterations(cohort(8, 10, 20), 100, 0.5) == 8 * 10 + 4 * 10 + 2 * 80
    assert cohort_iterations(cohort(3, 10, 20, 40), 100, 0.1) == 3 * 10 + 90
    # Those that are to be fitted at full size stay.
    assert cohort_iterations(cohort(8, 10, 20, full_fits=3), 100, 0.5) == 8 * 10 + 4 * 10 + 3 * 80


def config_of(make_config: MakeConfig, arm: str | dict[str, Any], **cohort: Any) -> Config:
    """Fits of 100 iterations, and 25 more with all pixels; those on crops have 40."""
    fit = {"iterations": 100, "reveal": 0.25}
    cohort = {"iterations": 40, "size": 6, **cohort}
    return make_config(arms=[arm], fit=fit, cohort=cohort, score={"candidates": 30}, pick={"full_fits": 2})


def sized(make_config: MakeConfig, arm: str | dict[str, Any], **cohort: Any) -> Arm:
    (resolved,) = arms_of(config_of(make_config, arm, **cohort))
    return resolved


def test_what_is_counted_are_the_iterations_of_all_fits_of_an_arm(make_config: MakeConfig) -> None:
    def counted(arm: str | dict[str, Any], **cohort: Any) -> float:
        return iterations_of_arm(config_of(make_config, arm, **cohort), sized(make_config, arm, **cohort))

    assert counted("dip") == 125
    assert counted("seeds") == 6 * 125
    # Six on crops, of which two are begun anew.
    assert counted("random") == 6 * 40 + 2 * 125
    assert counted("random", view="full") == 6 * 125
    # Six to iteration 20, and three to the end.
    assert counted("random", halving="synchronous", first_rung=20) == 6 * 20 + 3 * 20 + 2 * 125
    assert counted("random", halving="race") == 12 * 17 + 3 * (100 - 17) + 3 * 25


@pytest.mark.parametrize(
    ("arm", "budget", "size", "full_fits"),
    [
        ("random", 125, 1, 1),
        ("random", 329, 1, 1),
        ("random", 330, 2, 2),
        ("random", 490, 6, 2),
        ("random", 529, 6, 2),
        ("random", 530, 7, 2),
        ("random", 10**9, 30, 2),
        ("all", 490, 6, 2),
        ("seeds", 499, 3, 3),
        ("seeds", 500, 4, 4),
        ("nas-dip", 330, 2, 2),
        ("nas-dip", 10**9, 3, 2),
        ("portfolio", 250, 2, 2),
        ("portfolio", 10**9, 6, 6),
        ("isnas-dip", 245, 3, 1),
        ("dip", 125, 1, 1),
        ({"name": "mine", "networks": ["dip", *CANDIDATES], "view": "full"}, 400, 3, 2),
        ({"name": "mine", "like": "random", "size": 4}, 10**9, 4, 2),
        ({"name": "mine", "like": "seeds", "full_fits": 1}, 500, 4, 1),
    ],
)
def test_a_cohort_is_as_large_as_the_budget_pays_for_and_the_setting_of_its_size_is_none(
    make_config: MakeConfig, arm: str | dict[str, Any], budget: int, size: int, full_fits: int
) -> None:
    found = sized(make_config, arm, budget=budget)
    assert (found.size, found.full_fits) == (size, full_fits)
    assert found.networks is None or len(found.networks) == size
    assert sized(make_config, arm, budget=budget, size=2) == found


def test_a_draw_has_a_number_that_there_is(make_config: MakeConfig) -> None:
    for arm in (sized(make_config, "seeds", budget=10**9), sized(make_config, "seeds", size=5000)):
        assert arm.networks is not None
        assert (arm.size, arm.networks[-1]) == (999, "dip-draw-999")


COHORTS = st.fixed_dictionaries(
    {
        "budget": st.integers(125, 3000),
        "view": st.sampled_from(["crop", "full", "downscale"]),
        "halving": st.sampled_from(["none", "synchronous", "race"]),
        "keep_share": st.floats(0.1, 0.9),
    }
)


@given(st.sampled_from(ARMS), COHORTS, st.integers(1, 5))
def test_no_larger_cohort_would_be_paid_for(
    make_config: MakeConfig, arm: str, cohort: dict[str, Any], full_fits: int
) -> None:
    config = config_of(make_config, arm, **cohort)
    config = config.model_copy(update={"pick": config.pick.model_copy(update={"full_fits": full_fits})})
    (found,) = arms_of(config)
    assert iterations_of_arm(config, found) <= cohort["budget"]
    assert 1 <= found.full_fits <= found.size
    without = config.cohort.model_copy(update={"size": found.size + 1, "budget": None})
    more = ArmSettings.model_validate({"name": arm, "like": arm, "size": found.size + 1})
    (larger,) = arms_of(config.model_copy(update={"cohort": without, "arms": [more]}))
    assert larger.size == found.size or iterations_of_arm(config, larger) > cohort["budget"]
