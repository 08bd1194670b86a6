"""The most memory that steps of collecting a photograph take, beside the images that they are given.

    python -m benchmarks.collect_memory --megapixels 24

Memory is what Python and NumPy allocate (`tracemalloc`), in multiples of the photograph of three colours in float32.
"""

import argparse
import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.common import print_table
from orchestrator.collect.restored import mean_and_spread
from orchestrator.images import preview
from workers.noise import noise_variance
from workers.quality import psnr


def peak(step: Callable[[], object]) -> int:
    """The bytes that a step takes at most, with what it returns."""
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=24.0)
    options = parser.parse_args()
    height = round((options.megapixels * 1e6 / 1.5) ** 0.5)
    image = np.random.default_rng(0).random((3, height, round(1.5 * height)), dtype=np.float32)
    other, weights = image[:, ::-1], np.array([0.2, 0.3, 0.5])
    steps: dict[str, Callable[[], object]] = {
        "variance of the noise": lambda: noise_variance(image),
        "PSNR": lambda: psnr(image, other),
        "preview": lambda: preview(image),
        "mean of three fits, and where they differ": lambda: mean_and_spread([image, other, image], weights),
    }
    rows = []
    for name, step in steps.items():
        taken = peak(step)
        rows.append([name, f"{taken / image.nbytes:.1f}", f"{taken / 2**20:,.0f}"])
    print_table(["step", "photographs", "MiB"], rows)


if __name__ == "__main__":
    main()
