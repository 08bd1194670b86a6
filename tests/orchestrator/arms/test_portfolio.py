import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.arms.arm import Arm, Band
from tests.orchestrator.arms.given import arm_of
from tests.orchestrator.conftest import CANDIDATES, MakeConfig

WEAK, STRONG = (["dip", *CANDIDATES], ["deep-decoder-64", "deep-decoder-128"])


def portfolio(*lists: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"name": "mine", "like": "portfolio", "portfolio": list(lists), **others}


def test_the_first_three_are_fitted_at_full_size_and_all_are_members_of_the_stack(make_config: MakeConfig) -> None:
    shipped = arm_of(make_config, "portfolio", network={"width": 32})
    assert shipped.networks is not None
    assert (len(shipped.networks), shipped.size, shipped.view, shipped.full_fits, shipped.refits) == (
        3,
        3,
        "full",
        3,
        0,
    )
    own = arm_of(make_config, portfolio({"task": "denoise", "networks": WEAK}))
    assert (own.networks, own.size, own.full_fits) == (tuple(WEAK[:3]), 3, 3)


def test_its_own_size_is_bounded_by_its_lists(make_config: MakeConfig) -> None:
    one = {"task": "any", "networks": WEAK}
    for size, expected in ((1, 1), (2, 2), (99, 4)):
        arm = arm_of(make_config, portfolio(one, size=size))
        assert (arm.size, arm.full_fits, arm.networks) == (expected, expected, tuple(WEAK[:expected]))
    assert arm_of(make_config, portfolio(one, size=4, full_fits=1)).full_fits == 1
    crops = arm_of(make_config, portfolio(one, size=4, full_fits=2, view="crop"))
    assert (crops.view, crops.full_fits, crops.refits) == ("crop", 2, 2)


def test_a_task_s_own_lists_go_before_those_for_any(make_config: MakeConfig) -> None:
    lists = ({"task": "inpaint", "networks": WEAK}, {"task": "any", "networks": STRONG})
    for task, expected in (("inpaint", WEAK[:3]), ("denoise", STRONG)):
        assert arm_of(make_config, portfolio(*lists), task={"name": task}).networks == tuple(expected)


def test_an_image_takes_the_list_of_its_noise(make_config: MakeConfig) -> None:
    bands = [
        {"task": "denoise", "noise": band, "networks": names} for band, names in (((35, 255), STRONG), ((5, 20), WEAK))
    ]
    arm = arm_of(make_config, portfolio(*bands))
    # As many for all images.
    weak, strong = tuple(WEAK[:2]), tuple(STRONG)
    assert arm.bands == (Band(5, 20, weak), Band(35, 255, strong))
    chosen = {sigma: arm.networks_at(sigma) for sigma in (0.0, 10.0, 26.0, 29.0, 50.0, 300.0)}
    assert chosen == {0.0: weak, 10.0: weak, 26.0: weak, 29.0: strong, 50.0: strong, 300.0: strong}
    # Of unknown noise: the list that is nearest to the usual noise, unless there is one for it.
    assert arm.networks_at(None) == arm.networks == weak
    general = {"task": "denoise", "networks": ["dip-inpaint"]}
    assert arm_of(make_config, portfolio(*bands, general)).networks_at(None) == ("dip-inpaint",)
    assert arm.all_networks == (*weak, *strong)


@given(st.lists(st.integers(1, 254), min_size=1, max_size=5, unique=True), st.floats(0, 300))
def test_every_level_has_one_list_and_that_of_its_band_where_it_is_in_one(ends: list[int], sigma: float) -> None:
    edges = [0, *sorted(ends), 255]
    bands = tuple(Band(low, high, (f"n{low}",)) for low, high in itertools.pairwise(edges))
    arm = Arm("mine", ("n",), "random", 1, "full", "held-out", 1, bands=bands)
    expected = next((band for band in bands if band.low <= sigma < band.high), bands[-1])
    assert arm.networks_at(sigma) == expected.networks


@pytest.mark.parametrize("sigma", [None, 25.0])
def test_without_bands_all_images_have_one_cohort(make_config: MakeConfig, sigma: float | None) -> None:
    arm = arm_of(make_config, portfolio({"task": "denoise", "networks": STRONG}))
    assert arm.networks_at(sigma) == arm.networks == tuple(STRONG)
    assert arm_of(make_config, "random").networks_at(sigma) is None
