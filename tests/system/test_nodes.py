"""What a run survives of its machines' ends: one lost, one about to be taken away."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drive.local_ray import make_token
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.store import LocalStore
from tests.system.conftest import LONGER, PATIENCE_S, TINY, CommandLine, assert_as_calm, save_rgb
from tests.system.hook import write_hook

from ray.cluster_utils import Cluster  # isort: skip - what it reads from the environment, local_ray has set

MEMORY = 128 * 2**20
# Which node each fit is on, and how far it is.
TRACE = """
import os
import ray


def act(module):
    fit = module.run_fit

    def told(context, job, subject_of, *, on_progress, **options):
        node = ray.get_runtime_context().get_node_id()

        def progress(iteration, error):
            with open(os.environ["TRACE"], "a") as file:
                print(node, job.image.id, job.view, job.name, iteration, file=file)
            on_progress(iteration, error)

        return fit(context, job, subject_of, on_progress=progress, **options)

    module.run_fit = told
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment = write_hook(tmp_path / "hook", "orchestrator.fit.fit", TRACE)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([environment["PYTHONPATH"], root]))
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return tmp_path / "trace"


# There is no GPU here: Ray is told that machines have some, and fits of the device "cuda" compute on the CPU.
NO_GPU = """
import dataclasses
import os
import ray


def act(module):
    fit = module.run_fit

    def told(context, job, subject_of, **options):
        assert context.device == "cuda"
        node = ray.get_runtime_context().get_node_id()
        with open(os.environ["TRACE"], "a") as file:
            print(node, os.environ["CUDA_VISIBLE_DEVICES"], job.gpus, file=file)
        return fit(dataclasses.replace(context, device="cpu"), job, subject_of, **options)

    module.run_fit = told
"""


@pytest.fixture
def cluster(trace: Path) -> Iterator[Any]:
    """One node for the driver; those that fit are added by the tests."""
    make_token()
    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def told(trace: Path) -> list[tuple[str, str, int]]:
    """(node, fit, iteration) after every block, in the order of time."""
    if not trace.exists():
        return []
    lines = [line.split() for line in trace.read_text().splitlines()]
    return [(node, "/".join(fit), int(iteration)) for node, *fit, iteration in lines]


def wait_for_fits_on(trace: Path, node: str, blocks: int) -> None:
    """Wait until so many blocks of fits were done on a node."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(each == node for each, _, _ in told(trace)) < blocks:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_lost_and_a_node_drained_cost_nothing_but_time(calm: CommandLine, cluster: Any, trace: Path) -> None:
    lost = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    settings = [*LONGER, "resources.retries=0", "resources.parallel=null"]
    command = calm.submit("--images", "noisy", "--run", "moved", "--address", cluster.address, settings=settings)
    with subprocess.Popen(
        command, cwd=calm.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for_fits_on(trace, lost.node_id, 20)
            drained = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
            cluster.remove_node(lost, allow_graceful=False)
            wait_for_fits_on(trace, drained.node_id, 20)
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
            drain(cluster.address, drained.node_id)
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    # Not one of its retries was spent: the loss of a machine is no crash of a fit.
    assert process.returncode == 0, output
    assert "its machine was lost" in output
    assert "its machine is being taken away at iteration" in output
    assert_as_calm(calm, "moved")
    # A warning costs not one iteration: what was under way on the drained node went on where it had been.
    blocks = [block for block in told(trace) if block[0] != lost.node_id]
    moved = [fit for node, fit, _ in blocks if node == drained.node_id][-1]
    iterations = [iteration for _, fit, iteration in blocks if fit == moved]
    assert iterations == sorted(set(iterations))
    assert len({node for node, fit, _ in blocks if fit == moved}) == 2


def test_fits_wait_for_machines_with_gpus_which_nothing_else_takes(
    cli: CommandLine, tmp_path: Path, trace: Path
) -> None:
    write_hook(tmp_path / "hook", "orchestrator.fit.fit", NO_GPU)
    save_rgb(tmp_path / "noisy/a.png", noise=0.1)
    make_token()
    head = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    settings = [*TINY, "resources.gpus=0.5", "resources.parallel=null"]
    command = cli.submit("--images", "noisy", "--run", "waits", "--address", cluster.address, settings=settings)
    with subprocess.Popen(
        command, cwd=cli.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (waits := waits_for(cli, "waits")):
                assert time.monotonic() < deadline
            assert waits == [
                "2 fits wait for a machine with 1 CPU and 0.5 GPU each",
                "there is 1 machine with 1 CPUs and 0 GPUs",
            ]
            with_gpu = cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=MEMORY)
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            cluster.shutdown()
    assert process.returncode == 0, output
    fits = [line.split() for line in trace.read_text().splitlines()]
    assert len(fits) == 4
    assert {(node, gpu, share) for node, gpu, share in fits} == {(with_gpu.node_id, "0", "0.5")}


def waits_for(cli: CommandLine, run: str) -> list[str]:
    """What a run waits for, by its record; nothing while it waits for no fits."""
    time.sleep(0.2)
    store = LocalStore(cli.folder / "dip-store")
    if not store.exists(RunLayout(run).record):
        return []
    waits = list(read_run(store, run).waits_for)
    return waits if any("fits" in line for line in waits) else []


def drain(address: str, node: str) -> None:
    """What a watcher of spot warnings does."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node]
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    done = subprocess.run(
        [*command, *reason, "--deadline-remaining-seconds", "60"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
