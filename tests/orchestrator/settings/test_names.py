import pytest

from orchestrator.settings import resolve
from tests.orchestrator.settings.given import GOOD, mistakes


@pytest.mark.parametrize("upsampler", [240, 300])
def test_a_candidate_that_cannot_be_built_is_refused_with_its_place_and_the_reason(upsampler: int) -> None:
    (line,) = mistakes(f"score.candidates=[{GOOD}, {upsampler}-{'0' * 25}]")
    assert line.startswith(f"score.candidates.1: candidate {upsampler}-{'0' * 25}: ")
    assert "cannot be built" in line


def test_every_wrong_candidate_of_a_list_has_its_line() -> None:
    lines = mistakes(f"score.candidates=[999-{'0' * 25}, {GOOD}, hello, 158-1, 7]")
    assert [line.split(": ")[0] for line in lines] == [f"score.candidates.{n}" for n in (0, 2, 3, 4)]


def test_a_candidate_is_kept_by_its_plain_id() -> None:
    assert resolve("quickstart", [f"score.candidates=[' 0{GOOD} ']"]).score.candidates == [GOOD]


def test_metrics_are_known_by_name_or_can_be_imported() -> None:
    named = resolve("quickstart", ["score.metric=operator:sub", "score.also=[task loss, random]"]).score
    assert (named.metric, named.also) == ("operator:sub", ["task loss", "random"])
    (line,) = mistakes("score.metric=psd db mze")
    assert line.startswith("score.metric: no metric is called 'psd db mze'; did you mean 'psd db mse'?")
    (line,) = mistakes("score.metric=no_such_module:f")
    assert line.startswith("score.metric: the metric 'no_such_module:f' cannot be loaded: ModuleNotFoundError: ")
    (line,) = mistakes("score.metric=os:sep")
    assert line == "score.metric: the metric 'os:sep' is str, which cannot be called"
    (line,) = mistakes("score.also=[task loss, ssim]")
    assert line.startswith("score.also.1: no metric is called 'ssim'")
