"""The gain of more nodes, and the time to the first results: python -m benchmarks.nodes

A real run over many small images on Ray clusters of 1, 2 and 4 nodes on this machine, in turns. Only the fit is a stub,
which sleeps for a while and leaves an image. Nodes then do not compete for two cores, and only the orchestration is
measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.common import machine, print_table, spread
from orchestrator.drive.local_ray import make_token
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import read_rows
from orchestrator.store import LocalStore
from tests.system.hook import write_hook

from ray.cluster_utils import Cluster  # isort: skip - what it reads from the environment, local_ray has set

OBJECT_STORE_BYTES = 128 * 2**20
SLOTS = 2
"""Trials at a time on each node."""
FITS_PER_IMAGE = 5
SETTINGS = (
    "network.width=4",
    "score.candidates=8",
    "cohort.size=4",
    "cohort.crop_px=64",
    "fit.iterations=1",
    "pick.full_fits=1",
    "keep.fits=none",
    "keep.report_images=0",
)

# A stub takes the place of the fit, in every process of the run.
STUB = """
import hashlib
import os
import time


def act(module):
    def stub(context, job, subject_of, **options):
        began = time.monotonic()
        keys = module.fit_keys(context, job)
        problem = module.Problem(context, job.image)
        pixels, _ = problem.view(job.view).take(problem.observation.pixels)
        data = module.FitArrays(pixels, pixels, *(module.np.zeros(1, module.np.float32) for _ in range(2))).to_bytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        context.store.put(keys.arrays(digest), data)
        time.sleep(max(0.0, float(os.environ["STUB_SECONDS"]) - (time.monotonic() - began)))
        error = 0.01 + int(hashlib.sha256(str(job.name).encode()).hexdigest()[:4], 16) * 1e-7
        record = module.FitRecord(
            job.name, job.view, "done", held_out_error=error, held_out_standard_error=1e-4, stop_iteration=1,
            steady_iteration=1, iterations=1, residual_correlation=0.0, parameters=1, seconds=1.0, arrays=digest,
        )
        return module.record_once(context.store, keys.result, record)

    module.run_fit = stub
"""


@dataclass
class Measured:
    """Seconds from the start of a run's command: until its first row, a tenth of them, and all; and fits a second."""

    first: float
    tenth: float
    all: float
    rate: float
    restored: int


def run(folder: Path, images: Path, nodes: int) -> Measured:
    """A run on a cluster of ``nodes`` nodes besides the head."""
    head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=SLOTS, object_store_memory=OBJECT_STORE_BYTES)
        store = folder / f"store-{time.monotonic_ns()}"
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        command = [sys.executable, "-m", "orchestrator", "submit", "--images", str(images), "--store", str(store)]
        began = time.time()
        with (folder / "log").open("ab") as log:
            subprocess.run(
                [*command, "--run", "r", "--address", cluster.address, *settings], stdout=log, stderr=log, check=True
            )
        rows = sorted(path.stat().st_mtime - began for path in (store / "runs/r/rows").glob("*.json"))
        # In full flow: without the beginning and the end, which every run has.
        low, high = len(rows) // 10, len(rows) * 9 // 10
        rate = FITS_PER_IMAGE * (high - low) / (rows[high] - rows[low])
        restored = sum(row.state == "restored" for row in read_rows(LocalStore(store), RunLayout("r")))
        return Measured(rows[0], rows[len(rows) // 10], rows[-1], rate, restored)
    finally:
        cluster.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a fit takes")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dip-nodes-") as scratch:
        folder = Path(scratch)
        os.environ |= write_hook(folder / "hook", "orchestrator.fit.fit", STUB)
        os.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[1])
        os.environ |= {
            "STUB_SECONDS": str(options.seconds),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        make_token()
        images = folder / "images"
        images.mkdir()
        random = np.random.default_rng(0)
        for number in range(options.images):
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number:04}.png")
        measured: dict[int, list[Measured]] = {nodes: [] for nodes in options.nodes}
        for _ in range(options.repeats):
            for nodes in options.nodes:
                measured[nodes].append(run(folder, images, nodes))
                print(nodes, measured[nodes][-1], flush=True)
    print(
        f"\n{machine('cpu', 1)}; {options.images} images of 64 px, 4 + 1 fits each of {options.seconds:g} s, {SLOTS}"
        " trials"
    )
    print(f"at a time on each node; {options.repeats} runs each, in turns\n")
    base = median(each.rate for each in measured[options.nodes[0]])
    rows = []
    for nodes, runs in measured.items():
        rate = median(each.rate for each in runs)
        ideal = nodes * SLOTS / options.seconds
        rows.append(
            [
                str(nodes),
                spread([each.rate for each in runs]),
                f"{100 * rate / ideal:.0f} %",
                f"{rate / base:.2f}",
                spread([each.first for each in runs]),
                spread([each.tenth for each in runs]),
                spread([each.all for each in runs]),
                str(min(each.restored for each in runs)),
            ]
        )
    header = [
        "nodes",
        "fits/s",
        "of what is possible",
        "against one",
        "first result, s",
        "a tenth, s",
        "all, s",
        "restored",
    ]
    print_table(header, rows)


if __name__ == "__main__":
    main()
