import pytest

from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.session import SessionSpec
from workers.names import PriorName

JOB = FitJob(InputImage("a.png", "a-1", "a-1.png", None, "a.png", 64, 64, 3), "crop", PriorName("0-0"))


@pytest.mark.parametrize(
    ("gpus", "alone", "resources"),
    [
        (0.0, False, {"cpu": 2, "gpu": 0.0}),
        (0.0, True, {"cpu": 8, "gpu": 0.0}),
        (0.25, False, {"cpu": 2, "gpu": 0.25}),
        (0.25, True, {"cpu": 2, "gpu": 1.0}),
    ],
)
def test_a_fit_that_must_be_alone_reserves_a_gpu_or_all_cpus(
    gpus: float, alone: bool, resources: dict[str, float]
) -> None:
    spec = SessionSpec(trials=400, at_once=8, cpus=2, place="")
    assert spec.resources(FitJob(JOB.image, "crop", PriorName("0-0"), gpus=gpus, alone=alone), all_cpus=8) == resources


def test_fits_side_by_side_reserve_the_sum_of_their_shares() -> None:
    spec = SessionSpec(trials=400, at_once=8, cpus=2, place="")
    shares = [FitJob(JOB.image, "crop", PriorName("0-0"), gpus=0.25)] * 3
    assert spec.resources(shares[0], 8, shares[1:]) == {"cpu": 2, "gpu": 0.75}
