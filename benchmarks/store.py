"""The cost of a store for a calm run: python -m benchmarks.store

The same run on a local folder and on an S3 server (SeaweedFS on this machine's loopback), in turns. Every call of the
store in every process of a run is timed where the project makes it, retries included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.common import machine, print_table, spread
from benchmarks.images import write_images
from tests.seaweed import SeaweedFS
from tests.system.hook import write_hook

PARALLEL = 2
SETTINGS = ("fit.iterations=100", "cohort.iterations=100", f"resources.parallel={PARALLEL}", "fit.checkpoint_s=5")

TIMED = """
import functools
import os
import threading
import time


def act(module):
    patiently = module.PatientStore._patiently

    def timed(self, operation):
        started = time.perf_counter()
        try:
            return patiently(self, operation)
        finally:
            # The holder's signs of life come from a thread of their own, and nobody waits for them.
            if threading.current_thread().name != "claim":
                name = operation.__qualname__.split(".")[1]
                with open(os.environ["STORE_TRACE"], "a") as file:
                    print(name, time.perf_counter() - started, file=file)

    module.PatientStore._patiently = timed
"""


def one_run(folder: Path, store: str, name: str) -> tuple[float, dict[str, list[float]]]:
    """Seconds of a run from its start to its end, and those of each call of the store by its kind."""
    trace = folder / f"trace-{name}"
    inputs = ["--images", str(folder / "images"), "--simulate", "--store", store, "--run", name, "--no-dashboard"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "submit", *inputs, *settings],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "STORE_TRACE": str(trace)},
    )
    seconds = time.monotonic() - started
    calls = defaultdict(list)
    for line in trace.read_text().splitlines():
        what, took = line.split()
        calls[what].append(float(took))
    return seconds, calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=96, help="of the four pictures, in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dip-store-") as scratch:
        folder = Path(scratch)
        write_images(folder / "images", options.side)
        (folder / "server").mkdir()
        os.environ |= SeaweedFS.environment | {"DIP_CACHE": str(folder / "cache")}
        hook = write_hook(folder / "hook", "orchestrator.store.patient", TIMED)["PYTHONPATH"]
        os.environ["PYTHONPATH"] = os.pathsep.join([hook, str(Path(__file__).parents[1])])
        with SeaweedFS(folder / "server") as server:
            server.make_bucket("bench")
            places = {"local folder": str(folder / "store"), "S3 (SeaweedFS)": server.url("bench", "store")}
            # The first run of each place computes the bank, which the others find there: it is not counted.
            for number, (place, url) in enumerate(places.items()):
                one_run(folder, url, f"bank-{number}")
                print(f"bank on {place}", flush=True)
            runs = {place: [] for place in places}
            for repeat in range(options.repeats):
                for place, url in places.items():
                    runs[place].append(one_run(folder, url, f"run-{repeat}-{len(url)}"))
                    print(place, round(runs[place][-1][0], 1), flush=True)
    print(f"\n{machine('cpu', 1)}; {PARALLEL} trials at once; {options.repeats} runs each, in turns\n")
    rows = []
    for place, measured in runs.items():
        wall = [seconds for seconds, _ in measured]
        waited = [sum(map(sum, calls.values())) for _, calls in measured]
        count = median(sum(map(len, calls.values())) for _, calls in measured)
        share = median(100 * waiting / (PARALLEL * seconds) for waiting, seconds in zip(waited, wall, strict=True))
        rows.append([place, spread(wall), f"{count:.0f}", spread(waited), f"{share:.1f} %"])
    print_table(["store", "run, s", "calls", "in calls, all processes, s", "of the trials' time"], rows)
    rows = []
    for what in sorted({name for measured in runs.values() for _, calls in measured for name in calls}):
        for place, measured in runs.items():
            times = [1000 * took for _, calls in measured for took in calls.get(what, [])]
            if times:
                rows.append(
                    [what, place, str(len(times) // len(measured)), f"{median(times):.1f}", f"{max(times):.0f}"]
                )
    print_table(["call", "store", "a run", "median, ms", "most, ms"], rows)


if __name__ == "__main__":
    main()
