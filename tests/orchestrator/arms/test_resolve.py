from typing import Any

import pytest

from orchestrator.arms.resolve import Arm, arms_of, chains_of, finds_apart, rounds_of
from orchestrator.run.layout import TOGETHER
from tests.orchestrator.conftest import CANDIDATES, MakeConfig
from workers.names import Chain

EVERY_ARM = ["isnas-dip-blind", "isnas-dip", "random", "dip", "nas-dip", "deep-decoder", "all"]


def arm_of(make_config: MakeConfig, arm: str | dict[str, Any], **changes: Any) -> Arm:
    """An arm in settings of 40 candidates, of which 6 are fitted for 60 iterations."""
    settings: dict[str, Any] = {
        "score": {"candidates": 40, "metric": "psd 99_per_bw"},
        "cohort": {"size": 6, "iterations": 60, "first_rung": 10},
    }
    for name, section in changes.items():
        settings[name] = {**settings.get(name, {}), **section}
    (resolved,) = arms_of(make_config(arms=[arm], **settings))
    return resolved


def test_every_arm_is_what_its_paper_or_its_name_says(make_config: MakeConfig) -> None:
    blind, published, random, dip, nas_dip, decoder, every = (arm_of(make_config, name) for name in EVERY_ARM)
    assert blind == Arm("isnas-dip-blind", None, "psd 99_per_bw", 6, "crop", "held-out", 2)
    assert published == Arm("isnas-dip", None, "psd 99_per_bw", 6, "downscale", "weighted-mean", 1)
    assert random == Arm("random", None, "random", 6, "crop", "held-out", 2)
    assert every == Arm("all", None, "psd 99_per_bw", 40, "crop", "held-out", 2)
    assert (dip.networks, dip.size, dip.view, dip.full_fits) == (("dip",), 1, "full", 1)
    assert decoder.networks == ("deep-decoder-64", "deep-decoder-128")
    assert (decoder.size, decoder.view, decoder.full_fits, decoder.refits) == (2, "crop", 2, 2)
    assert nas_dip.networks is not None
    assert nas_dip.size == len(nas_dip.networks) == 3
    assert {name.split("-")[2] for name in nas_dip.networks} == {"158", "86", "119"}


def test_arms_keep_the_order_of_the_settings(make_config: MakeConfig) -> None:
    reverse = EVERY_ARM[::-1]
    assert [arm.name for arm in arms_of(make_config(arms=reverse))] == reverse


@pytest.mark.parametrize(
    ("task", "view", "rule", "dip"),
    [
        ("denoise", "downscale", "held-out", "dip"),
        ("inpaint", "downscale", "held-out", "dip-inpaint"),
        ("super-resolve", "full", "held-out+consensus", "dip"),
        ("deblur", "full", "held-out", "dip"),
        ("jpeg", "downscale", "consensus", "dip"),
    ],
)
def test_arms_follow_the_task(make_config: MakeConfig, task: str, view: str, rule: str, dip: str) -> None:
    section = {"name": task}
    assert arm_of(make_config, "isnas-dip", task=section).view == view
    assert arm_of(make_config, "isnas-dip", task=section).rule == "weighted-mean"
    assert arm_of(make_config, "isnas-dip-blind", task=section).rule == rule
    assert arm_of(make_config, "dip", task=section).networks == (dip,)
    assert arm_of(make_config, "isnas-dip-blind", task=section, pick={"rule": "held-out"}).rule == "held-out"


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


# Lotteries.

LOTTERIES = [f"lottery-{method}" for method in ("imp", "random", "snip", "oes", "dense", "decoder")]
MOVED = {"name": "moved", "like": "lottery-imp", "source": "f16-5fb2ac1e"}


def lottery_of(make_config: MakeConfig, arm: str | dict[str, Any] = "lottery-imp", **lottery: Any) -> Arm:
    """An arm of a lottery of two chains in three rounds."""
    return arm_of(make_config, arm, lottery={"initialisations": 2, "rounds": 3, **lottery})


def test_a_lottery_picks_one_of_all_its_rounds_at_full_size(make_config: MakeConfig) -> None:
    for name in LOTTERIES:
        arm = lottery_of(make_config, name)
        assert (arm.name, arm.method, arm.source) == (name, name.removeprefix("lottery-"), None)
        assert (arm.networks, arm.view, arm.rule) == (("dip",), "full", "held-out")
        assert (arm.refits, arm.rungs, arm.asynchronous) == (0, (), False)
    assert lottery_of(make_config, {"name": "mine", "like": "lottery-oes", "rule": "consensus"}).rule == "consensus"
    assert lottery_of(make_config, {"name": "mine", "like": "lottery-oes", "full_fits": 7}).full_fits == 7
    halved = arm_of(make_config, "lottery-imp", cohort={"halving": "synchronous"})
    assert halved.rungs == ()


def test_a_lottery_s_network_is_that_of_the_task_a_named_or_a_picked_one(make_config: MakeConfig) -> None:
    assert arm_of(make_config, "lottery-imp", task={"name": "inpaint"}).networks == ("dip-inpaint",)
    assert lottery_of(make_config, network="deep-decoder-8").networks == ("deep-decoder-8",)
    config = make_config(arms=["dip", "lottery-imp"], lottery={"network": "picked"})
    assert arms_of(config)[1].networks is None


def test_a_lottery_has_a_chain_for_every_initialisation_and_those_of_its_dense_networks_first(
    make_config: MakeConfig,
) -> None:
    lottery = {"initialisations": 2, "rounds": 3}
    config = make_config(arms=LOTTERIES, lottery=lottery)
    chains = {arm.name: [str(chain) for chain in chains_of(config, arm, "dip")] for arm in arms_of(config)}
    dense = ["dip.dense.0", "dip.dense.1"]
    assert chains == {
        "lottery-imp": [*dense, "dip.imp.0", "dip.imp.1"],
        "lottery-random": [*dense, "dip.random.0", "dip.random.1"],
        "lottery-snip": [*dense, "dip.snip.0", "dip.snip.1"],
        "lottery-oes": [*dense, "dip.oes.0", "dip.oes.1"],
        "lottery-dense": dense,
        "lottery-decoder": ["dip.decoder.0", "dip.decoder.1"],
    }
    assert [arm.size for arm in arms_of(config)] == [4, 4, 4, 4, 2, 2]


def test_masks_from_elsewhere_have_a_source_and_no_dense_networks_of_their_own(make_config: MakeConfig) -> None:
    lottery = {"initialisations": 2, "tickets": "earlier"}
    config = make_config(arms=[MOVED], lottery=lottery)
    (arm,) = arms_of(config)
    assert (arm.source, arm.size) == ("f16-5fb2ac1e", 2)
    assert [str(chain) for chain in chains_of(config, arm, "dip")] == [f"dip.imp.{n}.f16-5fb2ac1e" for n in (0, 1)]


def test_what_looks_at_images_finds_one_mask_for_all_of_them_together(make_config: MakeConfig) -> None:
    config = make_config(arms=LOTTERIES, lottery={"together": True, "initialisations": 1})
    sources = {arm.name: arm.source for arm in arms_of(config)}
    assert sources == dict.fromkeys(LOTTERIES) | dict.fromkeys(["lottery-imp", "lottery-snip", "lottery-oes"], TOGETHER)
    for arm in arms_of(config):
        names = [str(chain) for chain in chains_of(config, arm, "dip")]
        own = f"dip.{arm.method}.0"
        if arm.method in ("dense", "decoder"):
            assert names == [own]
        else:
            assert names == ["dip.dense.0", f"{own}.{TOGETHER}" if arm.source else own]
        assert arm.size == len(names)


def test_the_rounds_of_a_chain_are_all_or_those_asked_for(make_config: MakeConfig) -> None:
    every = make_config(lottery={"rounds": 3})
    some = make_config(lottery={"rounds": 9, "fit_rounds": [9, 4]})
    for method, own, asked in (("dense", [0], [0]), ("imp", [1, 2, 3], [9, 4]), ("decoder", [1, 2, 3], [9, 4])):
        chain = Chain("dip", method, 0)  # type: ignore[arg-type]
        assert (rounds_of(every, chain), rounds_of(some, chain)) == (own, asked)


@pytest.mark.parametrize(
    ("method", "source", "lottery", "apart"),
    [
        ("imp", None, {}, False),
        ("imp", None, {"target": "clean"}, True),
        ("imp", None, {"together": True}, True),
        ("imp", "f16-5fb2ac1e", {}, True),
        ("random", None, {}, True),
        ("snip", None, {}, True),
        ("oes", None, {}, True),
        ("dense", None, {}, True),
        ("decoder", None, {}, True),
    ],
)
def test_only_magnitudes_of_the_fits_themselves_are_found_with_them(
    make_config: MakeConfig, method: Any, source: str | None, lottery: dict[str, Any], apart: bool
) -> None:
    assert finds_apart(make_config(lottery=lottery), Chain("dip", method, 0, source)) is apart
