import pytest

from orchestrator.settings import resolve
from tests.orchestrator.settings.given import MOVED, mistakes


@pytest.mark.parametrize(
    ("arm", "start"),
    [
        ("{name: Mine}", "arms.0.name: string should match pattern"),
        ("{name: a/b}", "arms.0.name: string should match pattern"),
        ("{name: [1]}", "arms.0.name: input should be a valid string"),
        ("{like: dip}", "arms.0.name: field required"),
        ("{name: a, like: b}", "arms.0.like: input should be 'isnas-dip-blind'"),
        ("{name: a, size: 0}", "arms.0.size: input should be greater than or equal to 1, not 0"),
        ("{name: a, siz: 1}", "arms.0.siz: no such setting; did you mean arms.0.size?"),
        ("{name: a, crop_px: 1}", "arms.0.crop_px: no such setting; did you mean cohort.crop_px?"),
        ("{name: a, qqq: 1}", "arms.0.qqq: no such setting; known here: name, like, networks, "),
        ("{name: a, metric: b}", "arms.0.metric: no metric is called 'b'; "),
        ("{name: a, networks: []}", "arms.0.networks: list should have at least 1 item"),
        ("{name: a, networks: [dip, unet]}", "arms.0.networks.1: prior 'unet' does not exist"),
        ("{name: a, networks: [dip, dip]}", "arms.0: its list of networks names one twice"),
        ("3", "arms.0: input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_with_its_place(arm: str, start: str) -> None:
    (line,) = mistakes(f"arms=[{arm}]")
    assert line.startswith(start)


def test_lotteries_are_chosen_by_name_and_their_settings_are_below_lottery() -> None:
    config = resolve("quickstart", ["lottery.rounds=4"], arms="lottery-imp,lottery-oes,dip")
    assert [arm.name for arm in config.arms] == ["lottery-imp", "lottery-oes", "dip"]
    assert [arm.is_lottery for arm in config.arms] == [True, True, False]
    assert (config.lottery.rounds, config.lottery.network) == (4, None)
    (moved,) = resolve("quickstart", [f"arms=[{MOVED}]", "lottery.tickets=earlier"]).arms
    assert moved.source == "f16-5fb2ac1e"
    assert resolve("quickstart", ["arms=[dip, lottery-imp]", "lottery.network=picked"]).lottery.network == "picked"
