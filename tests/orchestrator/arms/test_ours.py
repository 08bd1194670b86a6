from typing import Any

import pytest

from orchestrator.arms.arm import Arm
from orchestrator.arms.resolve import arms_of
from tests.orchestrator.arms.given import LOTTERIES, arm_of
from tests.orchestrator.conftest import MakeConfig

EVERY_ARM = ["isnas-dip-blind", "isnas-dip", "random", "dip", "seeds", "nas-dip", "deep-decoder", "all"]


def test_every_arm_is_what_its_paper_or_its_name_says(make_config: MakeConfig) -> None:
    blind, published, random, dip, seeds, nas_dip, decoder, every = (arm_of(make_config, name) for name in EVERY_ARM)
    assert blind == Arm("isnas-dip-blind", None, "psd 99_per_bw", 6, "crop", "held-out", 2)
    assert published == Arm("isnas-dip", None, "psd 99_per_bw", 6, "downscale", "weighted-mean", 1)
    assert random == Arm("random", None, "random", 6, "crop", "held-out", 2)
    assert every == Arm("all", None, "psd 99_per_bw", 40, "crop", "held-out", 2)
    assert (dip.networks, dip.size, dip.view, dip.full_fits) == (("dip",), 1, "full", 1)
    draws = ("dip", *(f"dip-draw-{number}" for number in range(2, 7)))
    assert seeds == Arm("seeds", draws, "psd 99_per_bw", 6, "full", "held-out", 6)
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
