from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.asha import ContestsOfImages
from workers.names import PriorName

STOP, CONTINUE = ContestsOfImages.STOP, ContestsOfImages.CONTINUE


@dataclass
class Trial:
    """A trial as a scheduler sees it."""

    image: str
    contest: str | None = "random"
    candidate: str = "dip"
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        image = InputImage(self.image, self.image, "a.png", None, "a.png", 64, 64, 3)
        self.config = {"job": FitJob(image, "crop", PriorName(self.candidate), contest=self.contest)}

    @property
    def trial_id(self) -> str:
        return f"{self.image}/{self.contest}/{self.candidate}"


@pytest.fixture
def contests() -> ContestsOfImages:
    return ContestsOfImages(first_rung=10, keep_share=0.5, iterations=80)


def told(contests: ContestsOfImages, trial: Trial, iteration: int, error: float) -> str:
    return contests.on_trial_result(None, trial, {"iteration": iteration, "held_out_error": error})


def entered(contests: ContestsOfImages, *names: str, image: str = "a", contest: str | None = "random") -> list[Trial]:
    trials = [Trial(image, contest, name) for name in names]
    for trial in trials:
        contests.on_trial_add(None, trial)
    return trials


def test_the_worse_of_a_contest_is_ended_at_the_rung_and_not_before(contests: ContestsOfImages) -> None:
    good, bad = entered(contests, "good", "bad")
    assert told(contests, good, 9, 0.2) == CONTINUE
    assert told(contests, bad, 9, 0.9) == CONTINUE
    assert told(contests, good, 10, 0.2) == CONTINUE
    assert told(contests, bad, 10, 0.9) == STOP


def test_fits_of_other_images_and_arms_do_not_compete(contests: ContestsOfImages) -> None:
    (easy,) = entered(contests, "x", image="easy")
    (hard,) = entered(contests, "x", image="hard")
    (other,) = entered(contests, "x", image="easy", contest="mine")
    assert told(contests, easy, 10, 0.01) == CONTINUE
    assert told(contests, hard, 10, 0.5) == CONTINUE
    assert told(contests, other, 10, 0.5) == CONTINUE


def test_a_fit_without_a_contest_is_never_ended(contests: ContestsOfImages) -> None:
    good, bad = (*entered(contests, "good"), *entered(contests, "bad", contest=None))
    told(contests, good, 10, 0.1)
    assert told(contests, bad, 10, 0.9) == CONTINUE
    contests.on_trial_complete(None, bad, {"iteration": 80, "fit_states": ["done"]})
    contests.on_trial_remove(None, bad)


def test_a_fit_that_has_a_result_is_not_ended_any_more(contests: ContestsOfImages) -> None:
    good, bad = entered(contests, "good", "bad")
    told(contests, good, 20, 0.1)
    last = {"iteration": 20, "held_out_error": 0.9, "fit_states": ["done"]}
    assert contests.on_trial_result(None, bad, last) == CONTINUE
    contests.on_trial_complete(None, bad, last)


def test_a_fit_that_has_come_to_the_end_is_not_ended_before_its_result(contests: ContestsOfImages) -> None:
    good, bad = entered(contests, "good", "bad")
    for iteration in (10, 20, 40, 80):
        assert told(contests, good, iteration, 0.1) == CONTINUE
    assert told(contests, bad, 80, 0.9) == CONTINUE


def test_the_last_rung_ends_nobody_by_itself(contests: ContestsOfImages) -> None:
    (alone,) = entered(contests, "alone")
    assert [told(contests, alone, iteration, 0.3) for iteration in (10, 20, 40, 79, 80)] == [CONTINUE] * 5
