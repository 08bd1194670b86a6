from orchestrator.arms.candidates import candidates_of, metrics_of
from tests.orchestrator.conftest import CANDIDATES, MakeConfig


def test_the_candidates_are_those_listed_or_as_many_as_wanted(make_config: MakeConfig) -> None:
    assert [candidate.id for candidate in candidates_of(make_config())] == list(CANDIDATES)
    few, many = (candidates_of(make_config(score={"candidates": count, "seed": 4})) for count in (5, 9))
    assert (len(few), many[:5]) == (5, few)
    assert candidates_of(make_config(score={"candidates": 5, "seed": 5})) != few


def test_the_metrics_are_those_that_arms_choose_by_and_those_asked_for_beside_them(make_config: MakeConfig) -> None:
    assert metrics_of(make_config()) == ("psd db strip mse",)
    config = make_config(
        arms=["random", "dip", "isnas-dip-blind", {"name": "low-pass", "metric": "psd 99_per_bw"}],
        score={"also": ["psd strip hist emd", "random"]},
    )
    assert metrics_of(config) == ("random", "psd db strip mse", "psd 99_per_bw", "psd strip hist emd")
    assert metrics_of(make_config(arms=["dip", "deep-decoder"])) == ()
