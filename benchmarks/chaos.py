"""A run under fire: python -m benchmarks.chaos --faults 30

Runs on a Ray cluster of three nodes on this machine (one for the driver, two that fit) and a SeaweedFS server as its
store, while seeded random faults happen: the driver, a worker or a node is killed by SIGKILL, the store is killed and
started again. When a driver is gone, `resume` starts the next. In the end the output is compared byte by byte with a
calm run of the same settings.
"""

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.common import machine, print_table
from benchmarks.images import write_images
from orchestrator.drive.local_ray import make_token
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import read_rows
from orchestrator.store import Store, open_store
from tests.seaweed import SeaweedFS
from tests.system.hook import write_hook

import ray  # isort: skip - what it reads from the environment, local_ray has set
from ray.cluster_utils import Cluster  # isort: skip

OBJECT_STORE_BYTES = 128 * 2**20
SOME_FAILED = 1
KINDS = ("driver", "worker", "node", "store")
SETTINGS = {
    "network.width": 8,
    "score.candidates": 8,
    "score.chunk": 2,
    "cohort.size": 3,
    "cohort.crop_px": 64,
    "cohort.iterations": 400,
    "fit.iterations": 400,
    "fit.patience": 400,
    "fit.block": 5,
    "fit.checkpoint_s": 1,
    "pick.full_fits": 2,
    "keep.fits": "all",
    # Chance may hit one fit more often than its retries allow.
    "resources.retries": 1000,
    "resources.parallel": 2,
}

# Every block of every fit, and every end of one, as a line of a file: the work that was done, and done twice.
TRACE = """
import os


def act(module):
    path = os.environ["CHAOS_TRACE"]

    def log(*words):
        with open(path, "a") as file:
            print(*words, file=file)

    fit, record_once = module.run_fit, module.record_once

    def logged_fit(context, job, subject_of, *, on_progress, **options):
        key = module.fit_keys(context, job).root

        def progress(iteration, error):
            log("block", key, iteration)
            on_progress(iteration, error)

        return fit(context, job, subject_of, on_progress=progress, **options)

    def logged_record(store, key, record):
        recorded = record_once(store, key, record)
        log("end", key.rsplit("/", 1)[0], record.iterations)
        return recorded

    module.run_fit, module.record_once = logged_fit, logged_record
"""


@dataclass
class Fault:
    """A fault of a run, its time (seconds since the run's beginning), and the reaction to it."""

    kind: str
    at: float
    outcome: str = ""


@dataclass
class Field:
    """The cluster, the server and the driver of the run that is under fire."""

    cluster: Any
    server: SeaweedFS
    store: Store
    folder: Path
    nodes: list[Any] = field(default_factory=list)

    def add_node(self) -> None:
        """A machine that fits."""
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES))

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """A driver."""
        arguments = [sys.executable, "-m", "orchestrator", *command, "--address", self.cluster.address]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(arguments, stdout=log, stderr=log)

    def submit(self, run: str) -> "subprocess.Popen[bytes]":
        """The driver of a new run."""
        settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        inputs = ["--images", str(self.folder / "images"), "--simulate"]
        return self.start("submit", *inputs, "--run", run, "--store", self.store.url, "--no-dashboard", *settings)

    def go_on(self, run: str) -> "subprocess.Popen[bytes]":
        """The next driver of a run; a run whose last driver left no record is submitted anew."""
        if not self.store.exists(RunLayout(run).record):
            return self.submit(run)
        return self.start("resume", run, "--store", self.store.url, "--no-dashboard")

    def failures_of(self, run: str) -> str:
        """Why a run lost an image: its rows that are not restored, and the end of the drivers' logs."""
        rows = [row for row in read_rows(self.store, RunLayout(run)) if row.state != "restored"]
        log = (self.folder / "log").read_text(errors="replace")
        return "\n".join([*map(str, rows), log[-8000:]])

    def strike(self, kind: str, driver: "subprocess.Popen[bytes]", chance: random.Random) -> bool:
        """Let a fault happen; returns whether there was anything to hit."""
        if kind == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        elif kind == "worker":
            workers = [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]
            if not workers:
                return False
            chance.choice(sorted(workers, key=lambda worker: worker.pid)).kill()
        elif kind == "node":
            node = self.nodes.pop(chance.randrange(len(self.nodes)))
            self.cluster.remove_node(node, allow_graceful=False)
            self.add_node()
        else:
            self.server.kill()
            time.sleep(chance.uniform(0, 4))
            self.server.start()
        return True


def _is_worker(process: psutil.Process) -> bool:
    """Whether it fits at this moment, or is there to score, decide and collect."""
    try:
        title = " ".join(process.cmdline())
        return "ImplicitFunc.train" in title or "ImageWorker" in title
    except psutil.Error:
        return False


@contextmanager
def the_field(folder: Path) -> Iterator[Field]:
    """Start everything, and end it with the block."""
    os.environ |= write_hook(folder / "hook", "orchestrator.fit.fit", TRACE) | SeaweedFS.environment
    os.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[1])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["CHAOS_TRACE"] = str(folder / "trace")
    make_token()
    (folder / "server").mkdir()
    with SeaweedFS(folder / "server") as server:
        server.make_bucket("chaos")
        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            made = Field(cluster, server, open_store(server.url("chaos", "store"), patience_s=90), folder)
            made.add_node()
            made.add_node()
            yield made
        finally:
            cluster.shutdown()
            ray.shutdown()


def under_fire(made: Field, run: str, faults: int, chance: random.Random) -> list[Fault]:
    """Take a run to its end through at most ``faults`` faults; returns those that happened."""
    began = time.monotonic()
    happened: list[Fault] = []
    driver = made.submit(run)
    while driver.poll() is None:
        left = len(happened) < faults
        try:
            driver.wait(timeout=chance.uniform(3, 14) if left else None)
        except subprocess.TimeoutExpired:
            fault = Fault(chance.choice(KINDS), time.monotonic() - began)
            if made.strike(fault.kind, driver, chance):
                happened.append(fault)
                fault.outcome = "resume" if fault.kind == "driver" else "the run goes on by itself"
                print(f"{run} {fault.at:6.1f} s  {fault.kind}", flush=True)
        if driver.poll() not in (None, 0, SOME_FAILED):
            if happened and driver.returncode != -signal.SIGKILL:
                happened[-1].outcome = f"the driver ended with status {driver.returncode}; resume"
                print(f"{run}: the driver ended with status {driver.returncode}", flush=True)
            driver = made.go_on(run)
    return happened


def artefacts(store: Store, run: str) -> dict[str, bytes]:
    """Everything that a run leaves except clock times: restored files, scores, decisions, and every
    fit's curves and figures.
    """
    root = RunLayout(run).root
    kept = {}
    for key in store.keys(root):
        kind = key.removeprefix(f"{root}/").split("/")[0]
        name = key.removeprefix(f"{root}/")
        if kind in ("restored", "scores", "picks", "previews"):
            kept[name] = store.get(key)
        elif kind == "cohorts":
            packed = pq.read_table(io.BytesIO(store.get(key))).drop_columns(["seconds"])
            kept[name] = json.dumps(packed.to_pylist(), sort_keys=True).encode()
        elif "/arrays-" in key:
            kept[name] = store.get(key)
    return kept


def computed(trace: Path, run: str) -> tuple[int, int, int]:
    """Fits ended; blocks of iterations computed; fits of which a block was computed after
    their end had been recorded.
    """
    ended: Counter[str] = Counter()
    again: set[str] = set()
    blocks = 0
    for line in trace.read_text().splitlines():
        what, key, _ = line.split()
        if f"/{run}/" in f"/{key}/":
            if what == "end":
                ended[key] += 1
            else:
                blocks += 1
                again |= {key} if ended[key] else set()
    return len(ended), blocks, len(again)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=72, help="of the four pictures, in pixels")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="dip-chaos-") as scratch, the_field(Path(scratch)) as made:
        write_images(made.folder / "images", options.side)
        began = time.monotonic()
        if made.submit("calm").wait() != 0:
            raise SystemExit((made.folder / "log").read_text()[-3000:])
        calm_s = time.monotonic() - began
        calm = artefacts(made.store, "calm")
        rows = read_rows(made.store, RunLayout("calm"))
        fits, blocks, _ = computed(made.folder / "trace", "calm")
        print(f"calm: {len(rows)} images, {fits} fits, {blocks} blocks, {calm_s:.0f} s", flush=True)
        faults: list[tuple[str, Fault]] = []
        outcomes = []
        while len(faults) < options.faults:
            run = f"chaos-{len(outcomes) + 1}"
            began = time.monotonic()
            happened = under_fire(made, run, options.faults - len(faults), chance)
            took = time.monotonic() - began
            faults += [(run, fault) for fault in happened]
            after = artefacts(made.store, run)
            different = [key for key in calm.keys() | after.keys() if calm.get(key) != after.get(key)]
            restored = sum(row.state == "restored" for row in read_rows(made.store, RunLayout(run)))
            ended, all_blocks, again = computed(made.folder / "trace", run)
            extra = f"{100 * (all_blocks / blocks - 1):.0f} %"
            counted = Counter(fault.kind for fault in happened)
            kinds = ", ".join(f"{counted[kind]} {kind}" for kind in KINDS if counted[kind])
            lost = str(len(rows) - restored)
            same = f"{len(calm) - len(different)} of {len(calm)}"
            outcomes.append([run, kinds, lost, str(again), same, f"{ended} of {fits}", extra, f"{took:.0f}"])
            print(outcomes[-1], different[:5], flush=True)
            if restored < len(rows):
                print(made.failures_of(run), flush=True)
    print(f"\n{machine('cpu', 1)}; {len(faults)} faults, seed {options.seed}; calm run {calm_s:.0f} s\n")
    header = [
        "run",
        "faults",
        "images lost",
        "finished fits repeated",
        "artefacts byte-equal",
        "fits",
        "computed twice",
        "s",
    ]
    print_table(header, outcomes)
    tally = Counter((fault.kind, fault.outcome) for _, fault in faults)
    print_table(
        ["fault", "outcome", "times"], [[kind, end, str(count)] for (kind, end), count in sorted(tally.items())]
    )


if __name__ == "__main__":
    main()
