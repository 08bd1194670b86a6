"""What a run waits for on machines that are not its own."""

import subprocess
import time
from pathlib import Path

from orchestrator.drive.local_ray import make_token
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.store import LocalStore
from tests.system.conftest import MEMORY, PATIENCE_S, TINY, CommandLine, save_rgb
from tests.system.hook import write_hook

from ray.cluster_utils import Cluster  # isort: skip - what it reads from the environment, local_ray has set

# There is no GPU here: Ray is told that machines have some, and fits of the device "cuda" compute on the CPU.
NO_GPU = """
import dataclasses
import os

import ray


def act(module):
    fit = module.fit_in_blocks

    def told(context, job, subject_of, **options):
        assert context.device == "cuda"
        node = ray.get_runtime_context().get_node_id()
        with open(os.environ["TRACE"], "a") as file:
            print(node, os.environ["CUDA_VISIBLE_DEVICES"], job.gpus, file=file)
        return fit(dataclasses.replace(context, device="cpu"), job, subject_of, **options)

    module.fit_in_blocks = told
"""


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
                "there is 1 machine with 1 CPU and 0 GPUs",
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
