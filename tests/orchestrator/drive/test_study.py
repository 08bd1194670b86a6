import pytest

from orchestrator.drive.study import level_of
from orchestrator.settings import resolve


@pytest.mark.parametrize(
    ("task", "level"),
    [
        (["name=denoise"], 25.0),
        (["name=denoise", "sigma=50"], 50.0),
        (["name=denoise", "sigma=[10, 50]"], None),
        (["name=denoise", "noise=poisson"], None),
        (["name=deblur"], 0.0),
        (["name=deblur", "sigma=5"], 5.0),
        (["name=inpaint", "sigma=5"], None),
        (["name=jpeg"], None),
    ],
)
def test_a_study_knows_the_noise_that_it_added_to_every_image(task: list[str], level: float | None) -> None:
    assert level_of(resolve("quickstart", [f"task.{setting}" for setting in task]).task) == level
