import pytest

from orchestrator.config import Config
from orchestrator.errors import UserMistakeError
from orchestrator.ingest import InputImage
from orchestrator.resources import Machine, Resources, bytes_per_pixel, resolve_resources, this_machine, why_too_large
from tests.orchestrator.conftest import MakeConfig

GB = 10**9


def resolved(machine: Machine, **wishes: float) -> tuple[int, int, float, str]:
    resources = resolve_resources(Config.model_validate({"resources": wishes}), machine)
    return resources.parallel, resources.threads, resources.gpus, resources.device


def test_on_a_cpu_as_many_trials_run_as_there_are_cores() -> None:
    assert resolved(Machine(8, GB)) == (8, 1, 0, "cpu")
    assert resolved(Machine(8, GB), threads=3) == (2, 3, 0, "cpu")
    assert resolved(Machine(2, GB), threads=3) == (1, 3, 0, "cpu")
    assert resolved(Machine(2, GB), parallel=5) == (5, 1, 0, "cpu")


def test_where_there_are_gpus_each_trial_has_one_or_the_fraction_asked_for() -> None:
    assert resolved(Machine(16, GB, 2, GB)) == (2, 1, 1.0, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0.25) == (8, 1, 0.25, "cuda")
    assert resolved(Machine(16, GB, 1, GB), gpus=0.3) == (3, 1, 0.3, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0.5, parallel=1) == (1, 1, 0.5, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0) == (16, 1, 0, "cpu")


def test_a_gpu_that_is_not_there_is_a_mistake_and_not_a_wait_without_end() -> None:
    with pytest.raises(UserMistakeError, match=r"resources\.gpus=0"):
        resolved(Machine(16, GB), gpus=0.5)


def test_trials_that_run_at_once_share_the_memory() -> None:
    config = Config.model_validate({"resources": {"gpus": 0.25}})
    assert resolve_resources(config, Machine(16, 10 * GB, 2, 40 * GB)).trial_memory == pytest.approx(8 * GB)
    config = Config.model_validate({"resources": {"gpus": 0}})
    assert resolve_resources(config, Machine(4, 40 * GB, 1, GB)).trial_memory == pytest.approx(8 * GB)


def test_an_image_whose_fit_would_not_fit_says_what_it_needs_and_what_to_do() -> None:
    image = InputImage("a.png", "a", "a.png", None, "a.png", height=3000, width=4000, channels=3)
    reason = why_too_large(image, 1, 5000.0, Resources(2, 1, 0, 8 * GB))
    assert reason is not None
    assert "about 60 GB" in reason
    assert "8 GB" in reason
    assert "resources.parallel=1" in reason
    assert why_too_large(image, 1, 5000.0, Resources(1, 1, 0, 70 * GB)) is None


def test_it_is_the_restored_image_that_must_fit() -> None:
    image = InputImage("a.png", "a", "a.png", None, "a.png", height=300, width=400, channels=3)
    machine = Resources(1, 1, 0, 10 * GB)
    assert why_too_large(image, 4, 5000.0, machine) is None
    reason = why_too_large(image, 8, 5000.0, machine)
    assert reason is not None
    assert reason.startswith("too large: fitting 3200x2400 pixels takes about ")
    assert "resources.parallel" not in reason


def test_memory_per_pixel_follows_the_run_s_networks(make_config: MakeConfig) -> None:
    narrow, wide = (bytes_per_pixel(make_config(network={"width": width}), 3) for width in (8, 16))
    assert 1.5 < wide / narrow < 2.5


def test_memory_per_pixel_is_that_of_the_largest_network_of_all_arms(make_config: MakeConfig) -> None:
    decoder = {"name": "decoder", "networks": ["deep-decoder-512"]}
    searched, largest, both = (
        bytes_per_pixel(make_config(arms=arms), 3)
        for arms in (["isnas-dip-blind"], [decoder], ["isnas-dip-blind", decoder])
    )
    assert searched < largest == both


def test_this_machine_has_something_to_offer() -> None:
    machine = this_machine()
    assert machine.cpus >= 1
    assert machine.memory > 2**28
