import pytest

from orchestrator.settings import resolve
from tests.orchestrator.settings.given import GOOD, MOVED, WIDE, arm_mistakes, mistakes
from workers.space import upsamplers


def test_candidates_that_do_not_fit_the_width_are_refused() -> None:
    cell = next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16)
    candidate = f"{cell.index}-{'0' * 25}"
    assert resolve("quickstart", [f"score.candidates=[{candidate}]", "network.width=16"]).network.width == 16
    (line,) = mistakes(f"score.candidates=[{candidate}, {GOOD}]", "network.width=24")
    assert line == f"candidate {candidate} needs a network.width that is a multiple of 16"


def test_two_arms_cannot_share_a_name() -> None:
    assert arm_mistakes("dip,random,dip") == ["arms: dip is there twice; give one of them another name"]
    assert mistakes("arms=[dip, {name: dip, like: random}]") == arm_mistakes("dip,dip")


def test_a_network_of_an_arm_must_fit_the_width() -> None:
    cell = next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16)
    network = f"nas-dip-{cell.index}-{'0' * 25}"
    assert resolve("quickstart", [f"arms=[{{name: a, networks: [{network}]}}]", "network.width=16"])
    assert mistakes(f"arms=[{{name: a, networks: [dip, {network}]}}]", "network.width=24") == [
        f"arm a: network {network} needs a network.width that is a multiple of 16"
    ]


@pytest.mark.parametrize(
    ("assignments", "line"),
    [
        (
            ["arms=[lottery-imp, lottery-oes]", "lottery.network=picked"],
            "lottery.network: 'picked' by which arm? There are only lotteries",
        ),
        (
            ["arms=[lottery-imp]", f"lottery.network={WIDE}", "network.width=24"],
            f"lottery.network {WIDE} needs a network.width that is a multiple of 16",
        ),
        (
            ["arms=[dip, lottery-imp]", "lottery.network=picked", "lottery.together=true"],
            "lottery.together: images for which different networks are picked have no mask in common",
        ),
        (
            ["arms=[lottery-imp]", "lottery.together=true", "lottery.tickets=earlier"],
            "lottery.together: masks are found here, on all images, or are another run's (lottery.tickets)",
        ),
        ([f"arms=[{MOVED}]"], "arm moved: it has a source, but lottery.tickets names no run"),
        (
            ["arms=[lottery-imp]", "lottery.fit_rounds=[2]"],
            "lottery.fit_rounds: arm lottery-imp finds its masks round by round, and needs all of them",
        ),
        (
            ["lottery.rounds=4", "lottery.fit_rounds=[2, 5]"],
            "lottery.fit_rounds: each once, from 1 to lottery.rounds, 4",
        ),
        (["lottery.fit_rounds=[2, 2]"], "lottery.fit_rounds: each once, from 1 to lottery.rounds, 16"),
        (["lottery.fit_rounds=[0]"], "lottery.fit_rounds.0: input should be greater than or equal to 1, not 0"),
        (["lottery.fit_rounds=[]"], "lottery.fit_rounds: list should have at least 1 item"),
        (["lottery.rate=1"], "lottery.rate: input should be less than 1"),
        (["lottery.rounds=100"], "lottery.rounds: input should be less than or equal to 99"),
        (["lottery.network=unet"], "lottery.network: prior 'unet' does not exist"),
        (["lottery.target=wanted"], "lottery.target: input should be 'observed' or 'clean'"),
        (
            ["arms=[{name: a, like: lottery-imp, networks: [dip], size: 3}]"],
            "arms.0: networks, size: not of a lottery, whose settings are below lottery",
        ),
        (
            ["arms=[{name: a, like: lottery-imp, metric: random, view: crop, halving: none}]"],
            "arms.0: metric, view, halving: not of a lottery, whose settings are below lottery",
        ),
        (["arms=[{name: a, source: f16-5f}]"], "arms.0: source: only a lottery's masks come from somewhere"),
        (["arms=[{name: a, like: lottery-imp, source: F16}]"], "arms.0.source: string should match pattern"),
    ],
)
def test_what_is_wrong_with_a_lottery_is_said_with_its_setting(assignments: list[str], line: str) -> None:
    (said,) = mistakes(*assignments)
    assert said.startswith(line)


def test_rounds_can_be_chosen_where_masks_do_not_come_out_of_the_round_before() -> None:
    rounds = "lottery.fit_rounds=[2, 16]"
    for assignments in (
        ["arms=[lottery-oes, lottery-random, lottery-snip, lottery-decoder, lottery-dense]"],
        ["arms=[lottery-imp]", "lottery.target=clean"],
        ["arms=[lottery-imp]", "lottery.together=true"],
        [f"arms=[{MOVED}]", "lottery.tickets=earlier"],
    ):
        assert resolve("quickstart", [*assignments, rounds]).lottery.fit_rounds == [2, 16]


def test_the_settings_of_a_lottery_are_of_no_matter_where_there_is_none() -> None:
    assert resolve("quickstart", ["lottery.network=picked", "lottery.together=true"]).lottery.together


def test_an_image_to_deblur_is_not_made_small() -> None:
    (line,) = mistakes("task.name=deblur", "cohort.view=downscale")
    assert line.startswith("cohort.view: an image to deblur cannot be made small")
    (line,) = mistakes("task.name=deblur", "arms=[dip, {name: small, view: downscale}]")
    assert line.startswith("arm small: an image to deblur cannot be made small")
    assert resolve("quickstart", ["task.name=deblur"], arms="isnas-dip").task.name == "deblur"
    assert resolve("quickstart", ["cohort.view=downscale"]).cohort.view == "downscale"


def test_a_budget_pays_for_one_whole_fit_at_least() -> None:
    enough = ["fit.iterations=100", "fit.reveal=0.25", "cohort.budget=125"]
    assert resolve("quickstart", enough).cohort.budget == 125
    assert mistakes(*enough[:2], "cohort.budget=124") == [
        "cohort.budget: 124 iterations pay for no fit at full size, which takes 125 (fit.iterations, and fit.reveal of"
        " them with all pixels); give at least as many"
    ]
    (line,) = mistakes("cohort.budget=0")
    assert line.startswith("cohort.budget: input should be greater than or equal to 1")
    # The budget of a lottery are its rounds.
    assert resolve("quickstart", [*enough[:2], "cohort.budget=1"], arms="lottery-imp").cohort.budget == 1
