import math
from dataclasses import replace
from typing import Literal

import pytest

from orchestrator.errors import UserMistakeError
from orchestrator.resources.share import (
    Machine,
    Resources,
    bytes_per_pixel,
    fit_bytes,
    resolve_resources,
    this_machine,
    why_too_large,
    with_gpus_seen,
)
from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config
from tests.orchestrator.conftest import CANDIDATES, MakeConfig
from workers.names import PriorName
from workers.networks.memory import fit_bytes_per_pixel
from workers.views import padded_side

GB = 10**9


def resolved(*machines: Machine, **wishes: float | str) -> tuple[int, int, float | None, str]:
    resources = resolve_resources(Config.model_validate({"resources": wishes}), machines)
    return resources.parallel, resources.threads, resources.gpus, resources.device


def test_on_a_cpu_as_many_trials_run_as_there_are_cores() -> None:
    assert resolved(Machine(8, GB)) == (8, 1, 0, "cpu")
    assert resolved(Machine(8, GB), threads=3) == (2, 3, 0, "cpu")
    assert resolved(Machine(2, GB), threads=3) == (1, 3, 0, "cpu")
    assert resolved(Machine(2, GB), parallel=5) == (5, 1, 0, "cpu")


def test_where_there_are_gpus_each_trial_has_one_or_the_fraction_asked_for() -> None:
    assert resolved(Machine(16, GB, 2, GB), gpus=1) == (2, 1, 1.0, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0.25) == (8, 1, 0.25, "cuda")
    assert resolved(Machine(16, GB, 1, GB), gpus=0.3) == (3, 1, 0.3, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0.5, parallel=1) == (1, 1, 0.5, "cuda")
    assert resolved(Machine(16, GB, 2, GB), gpus=0) == (16, 1, 0, "cpu")


def test_a_gpu_that_is_not_there_is_a_mistake_and_not_a_wait_without_end() -> None:
    with pytest.raises(UserMistakeError, match=r"resources\.gpus=0"):
        resolved(Machine(16, GB), gpus=0.5)


def test_trials_that_run_at_once_share_the_memory() -> None:
    config = Config.model_validate({"resources": {"gpus": 0.25}})
    assert resolve_resources(config, [Machine(16, 10 * GB, 2, 40 * GB)]).trial_memory == pytest.approx(8 * GB)
    config = Config.model_validate({"resources": {"gpus": 0}})
    assert resolve_resources(config, [Machine(4, 40 * GB, 1, GB)]).trial_memory == pytest.approx(8 * GB)


def test_an_image_whose_fit_would_not_fit_says_what_it_needs_and_what_to_do() -> None:
    image = InputImage("a.png", "a", "a.png", None, "a.png", height=3000, width=4000, channels=3)
    reason = why_too_large(image, 1, 5000.0, Resources(2, 1, "cpu", 0, 8 * GB))
    assert reason is not None
    assert "about 60 GB" in reason
    assert "8 GB" in reason
    assert "resources.parallel=1" in reason
    assert why_too_large(image, 1, 5000.0, Resources(1, 1, "cpu", 0, 70 * GB)) is None


def test_it_is_the_restored_image_that_must_fit() -> None:
    image = InputImage("a.png", "a", "a.png", None, "a.png", height=300, width=400, channels=3)
    machine = Resources(1, 1, "cpu", 0, 10 * GB)
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


# Several machines.

HEAD = Machine(0, 8 * GB)
"""A head that does no work of its own, as clusters have it."""


def test_the_machines_cpus_are_added_up_and_a_head_without_any_takes_no_part() -> None:
    assert resolved(HEAD, Machine(7, GB), Machine(5, GB), threads=2) == (5, 2, 0, "cpu")
    assert resolved(Machine(7, GB), Machine(5, GB), threads=2, parallel=3) == (3, 2, 0, "cpu")
    # Nothing to work with yet: machines may come, and one trial is waited for.
    assert resolved(HEAD) == (1, 1, 0, "cpu")


def test_a_trial_has_the_least_memory_that_any_machine_could_give_it() -> None:
    def memory(*machines: Machine, **wishes: int) -> float:
        return resolve_resources(Config.model_validate({"resources": {"gpus": 0, **wishes}}), machines).trial_memory

    assert memory(HEAD, Machine(4, 40 * GB), Machine(2, 10 * GB)) == pytest.approx(4 * GB)
    assert memory(Machine(4, 40 * GB), Machine(5, 20 * GB), threads=2) == pytest.approx(8 * GB)
    # With several machines nobody knows where fewer trials would go; with one it is known.
    assert memory(Machine(4, 40 * GB), Machine(4, 40 * GB), parallel=1) == pytest.approx(8 * GB)
    assert memory(Machine(4, 40 * GB), parallel=1) == pytest.approx(32 * GB)


def test_the_memory_of_a_machine_that_does_no_work_bounds_no_fit() -> None:
    resources = resolve_resources(Config.model_validate({"resources": {"gpus": 0}}), [HEAD])
    assert (resources.parallel, resources.trial_memory) == (1, math.inf)


def test_where_there_are_gpus_each_fit_takes_what_it_needs_unless_told_otherwise() -> None:
    assert resolved(HEAD, Machine(16, GB, 2, GB), Machine(16, GB, 1, GB)) == (24, 1, None, "cuda")
    assert resolved(HEAD, Machine(16, GB, 2, GB), gpus="auto") == (16, 1, None, "cuda")
    assert resolved(Machine(16, GB, 2, GB), parallel=3) == (3, 1, None, "cuda")
    assert resolved(HEAD, Machine(16, GB, 2, GB), Machine(4, GB, 1, GB), gpus=0.5) == (6, 1, 0.5, "cuda")
    assert resolved(HEAD, Machine(16, GB, 2, GB), gpus=0) == (16, 1, 0, "cpu")


def test_a_trial_s_memory_is_that_of_the_smallest_gpu() -> None:
    mixed = [HEAD, Machine(16, GB, 1, 80 * GB), Machine(16, GB, 4, 40 * GB)]
    resources = resolve_resources(Config.model_validate({}), mixed)
    assert (resources.gpu_memory, resources.trial_memory) == (40 * GB, pytest.approx(32 * GB))
    halves = resolve_resources(Config.model_validate({"resources": {"gpus": 0.5}}), mixed)
    assert halves.trial_memory == pytest.approx(16 * GB)
    unknown = resolve_resources(Config.model_validate({}), [Machine(16, GB, 1)])
    assert (unknown.gpu_memory, unknown.trial_memory) == (0, math.inf)


def test_gpus_that_may_come_are_waited_for_and_what_they_have_is_learnt_when_they_are_there() -> None:
    config = Config.model_validate({})
    assert resolve_resources(config, [HEAD]).device == "cpu"
    coming = resolve_resources(config, [HEAD], gpus_may_come=True)
    assert (coming.device, coming.gpus, coming.parallel) == ("cuda", None, 1)
    assert (coming.gpu_memory, coming.trial_memory) == (0, math.inf)
    half = Config.model_validate({"resources": {"gpus": 0.5}})
    assert resolve_resources(half, [HEAD], gpus_may_come=True).gpus == 0.5
    none = Config.model_validate({"resources": {"gpus": 0}})
    assert resolve_resources(none, [HEAD], gpus_may_come=True).device == "cpu"
    seen = with_gpus_seen(coming, [HEAD, Machine(8, GB, 2, 80 * GB), Machine(8, GB, 1, 24 * GB)])
    assert seen == replace(coming, gpu_memory=24 * GB)
    assert with_gpus_seen(coming, [HEAD]) == coming


@pytest.mark.parametrize("gpus", ["auto", 0.5, 0.25])
def test_gpus_that_can_never_come_are_a_mistake(gpus: float | str) -> None:
    with pytest.raises(UserMistakeError, match=f"resources.gpus={gpus}: there is no GPU"):
        resolved(HEAD, Machine(16, GB), gpus=gpus)


@pytest.mark.parametrize(
    ("machines", "wishes", "reserved"),
    [
        ([HEAD, Machine(16, GB, 1, GB)], {}, 0.25),
        ([Machine(15, GB), Machine(16, GB, 1, GB)], {}, 0.25),
        ([Machine(16, GB), Machine(16, GB, 1, GB)], {}, 0.0),
        ([Machine(16, GB), Machine(16, GB, 1, GB)], {"score": "gpu"}, 0.25),
        ([HEAD, Machine(16, GB, 1, GB)], {"score": "cpu"}, 0.0),
        ([HEAD, Machine(16, GB, 1, GB)], {"gpus": 0.5}, 0.5),
        # Fits on the CPU and scoring on a GPU: there is no such run.
        ([HEAD, Machine(16, GB, 1, GB)], {"gpus": 0, "score": "gpu"}, 0.0),
        ([Machine(16, GB)], {"score": "gpu"}, 0.0),
    ],
)
def test_candidates_are_scored_where_most_cpus_are_unless_told_otherwise(
    machines: list[Machine], wishes: dict[str, float | str], reserved: float
) -> None:
    resources = resolve_resources(Config.model_validate({"resources": wishes}), machines)
    assert resources.score_gpus == reserved
    assert resources.score_device == ("cuda" if reserved else "cpu")


def test_a_machine_runs_as_many_trials_as_its_cpus_and_its_gpus_allow() -> None:
    def slots(machine: Machine, device: Literal["cpu", "cuda"], gpus: float | None, threads: int = 1) -> int:
        return Resources(1, threads, device, gpus, math.inf).slots(machine)

    assert slots(Machine(7, GB), "cpu", 0.0, threads=2) == 3
    assert slots(HEAD, "cpu", 0.0) == 0
    big = Machine(64, GB, 2, GB)
    assert [slots(big, "cuda", gpus) for gpus in (1.0, 0.5, 0.3, 0.1666, None)] == [2, 4, 6, 12, 16]
    assert slots(Machine(3, GB, 2, GB), "cuda", 0.5) == 3
    assert slots(Machine(64, GB), "cuda", None) == 0


# The share of a GPU that a fit takes.

SMALL = InputImage("a.png", "a", "a.png", None, "a.png", height=256, width=320, channels=3)
BY_MEMORY = Resources(8, 1, "cuda", None, math.inf, gpu_memory=80 * GB)


@pytest.mark.parametrize(
    ("needed", "share"),
    [
        # An eighth of 80 % of 80 GB is 8 GB, of which CUDA takes 0.7.
        *((0.0, 0.125), (7.2, 0.125), (7.4, 0.1666), (9.9, 0.1666), (10.0, 0.25), (15.2, 0.25), (15.4, 0.3333)),
        *((20.6, 0.3333), (20.7, 0.5), (31.2, 0.5), (31.4, 1.0), (63.0, 1.0), (500.0, 1.0)),
    ],
)
def test_a_fit_reserves_the_smallest_share_of_a_gpu_whose_memory_is_enough(
    needed: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.resources.share.fit_bytes", lambda *asked: needed * GB)
    assert BY_MEMORY.gpu_share(Config.model_validate({}), SMALL, "crop", PriorName(CANDIDATES[0])) == share
    # The number that the settings put on a GPU fit together.
    machine = Machine(64, GB, 1, 80 * GB)
    assert replace(BY_MEMORY, gpus=share).slots(machine) * share <= 1 < (1 + int(1 / share + 1e-3)) * share


def test_a_fit_has_the_share_asked_for_a_whole_gpu_where_its_memory_is_not_known_and_none_on_the_cpu(
    make_config: MakeConfig,
) -> None:
    def share(resources: Resources) -> float:
        return resources.gpu_share(make_config(), SMALL, "crop", PriorName(CANDIDATES[0]))

    assert share(BY_MEMORY) == 0.125
    assert share(replace(BY_MEMORY, gpu_memory=0)) == 1.0
    assert share(replace(BY_MEMORY, gpus=0.3)) == 0.3
    assert share(replace(BY_MEMORY, device="cpu", gpus=0.0)) == 0.0


def test_a_fit_on_a_crop_takes_less_of_a_gpu_than_one_on_the_whole_image(make_config: MakeConfig) -> None:
    config, image = make_config(), replace(SMALL, height=1000, width=1000)
    crop, full = (fit_bytes(config, image, view, PriorName(CANDIDATES[0])) for view in ("crop", "full"))
    per_pixel = fit_bytes_per_pixel(CANDIDATES[0], 3, 8, config.network.input_depth(3))
    assert crop == pytest.approx(per_pixel * padded_side(config.cohort.crop_px) ** 2)
    assert full == pytest.approx(per_pixel * padded_side(1000) ** 2)
    small_gpu = replace(BY_MEMORY, gpu_memory=8 * GB)
    shares = [small_gpu.gpu_share(config, image, view, PriorName(CANDIDATES[0])) for view in ("crop", "full")]
    assert shares[0] < shares[1]


def test_an_image_made_sharper_takes_the_memory_of_its_restored_size(make_config: MakeConfig) -> None:
    plain, sharper = (
        fit_bytes(make_config(task=task), replace(SMALL, height=64, width=64), "full", PriorName(CANDIDATES[0]))
        for task in ({"name": "denoise"}, {"name": "super-resolve", "factor": 4})
    )
    assert sharper == pytest.approx(16 * plain)
