from functools import partial

import pytest

from orchestrator.plan.effort import choose_effort
from orchestrator.plan.make import Resolve
from orchestrator.resources.share import Machine, resolve_resources
from orchestrator.settings import Config, resolve
from orchestrator.settings.effort import Wanted


def on(*machines: Machine, gpus_may_come: bool = False) -> Resolve:
    return partial(resolve_resources, machines=machines, gpus_may_come=gpus_may_come)


QUICK = 'arms=["portfolio"]'
LAPTOP = on(Machine(2, 8 * 2**30))
SERVER = on(Machine(128, 2**40))
GPU = on(Machine(8, 2**36, 1, 80 * 2**30))
SMALL_GPU = on(Machine(8, 2**36, 1, 4 * 2**30))


@pytest.mark.parametrize(
    ("machines", "effort", "why"),
    [
        (LAPTOP, "quick", "fits run on the CPU here; --effort standard is for GPUs"),
        (SERVER, "quick", "fits run on the CPU here; --effort standard is for GPUs"),
        (GPU, "standard", "fits run on GPUs here; --effort quick tries it out in minutes"),
        (SMALL_GPU, "quick", "the GPU has 4 GB of memory; --effort standard is for 8 GB or more"),
        (
            on(Machine(8, 2**36), gpus_may_come=True),
            "standard",
            "fits run on GPUs here; --effort quick tries it out in minutes",
        ),
        (None, "quick", "the cluster's machines are not known from here; --effort standard is for GPUs"),
    ],
)
def test_the_effort_suits_the_machines(machines: Resolve | None, effort: str, why: str) -> None:
    sizing, config = choose_effort(Wanted(), machines)
    assert (sizing.effort, sizing.why) == (effort, why)
    assert config == (resolve("quickstart", [QUICK]) if effort == "quick" else resolve("denoise"))
    assert sizing.settings == ("quickstart" if effort == "quick" else "denoise")


def test_fits_that_are_to_run_on_the_cpu_are_quick_beside_a_gpu() -> None:
    sizing, config = choose_effort(Wanted(assignments=["resources.gpus=0"]), GPU)
    assert (sizing.effort, config.resources.gpus) == ("quick", 0)


@pytest.mark.parametrize("machines", [LAPTOP, GPU, None])
def test_what_is_asked_for_counts_on_any_machine(machines: Resolve | None) -> None:
    sizing, config = choose_effort(Wanted(effort="standard", task={"name": "inpaint"}), machines)
    assert (sizing.effort, sizing.why, sizing.settings) == ("standard", "as asked", "inpaint")
    assert config == resolve("inpaint")
    sizing, config = choose_effort(Wanted("denoise"), machines)
    assert (sizing.effort, sizing.settings) == (None, "denoise")
    assert config == Config()
