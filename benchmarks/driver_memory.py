"""How the driver's memory grows with the number of images, and how many trials a second Tune hands out.

A real run over many small images, each fit a single iteration of the smallest network, so that only the orchestration
is measured. Memory is the resident set, sampled twice a second, of the driver, of the process that keeps Ray's own
records (the GCS), and of all processes together.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SETTINGS = (
    "arms=[random]",
    "network.width=4",
    "score.candidates=50",
    "cohort.size=2",
    "cohort.view=full",
    "fit.iterations=1",
    "pick.full_fits=1",
    "keep.fits=none",
    "classical.use=false",
)


def write_images(folder: Path, count: int) -> None:
    """Different pictures of 64 x 64 px noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number:06}.png")


def resident(process: psutil.Process) -> int:
    """Bytes a process holds in memory; none if it is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def is_gcs(process: psutil.Process) -> bool:
    """Whether a process keeps Ray's own records; False if it is gone."""
    try:
        return process.name() == "gcs_server"
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        write_images(images, options.images)
        assignments = [word for setting in SETTINGS for word in ("--set", setting)]
        command = [
            sys.executable,
            "-m",
            "orchestrator",
            "submit",
            "--images",
            str(images),
            "--no-dashboard",
            *assignments,
        ]
        started = time.monotonic()
        run = subprocess.Popen([*command, "--store", str(Path(folder, "store"))], stdout=subprocess.DEVNULL)
        driver, peak, peak_of_gcs, peak_of_all = psutil.Process(run.pid), 0, 0, 0
        while run.poll() is None:
            others = driver.children(recursive=True)
            peak = max(peak, resident(driver))
            peak_of_gcs = max([peak_of_gcs, *(resident(each) for each in others if is_gcs(each))])
            peak_of_all = max(peak_of_all, sum(map(resident, [driver, *others])))
            time.sleep(0.5)
        seconds = time.monotonic() - started
    print(
        f"{options.images} images, {2 * options.images} trials: exit {run.returncode}, {seconds:.0f} s,"
        f" driver {peak / 2**20:.0f} MiB at most, GCS {peak_of_gcs / 2**20:.0f} MiB at most, all processes"
        f" {peak_of_all / 2**30:.1f} GiB at most (shared pages counted in each)"
    )


if __name__ == "__main__":
    main()
