"""Peak memory of a fit next to the estimate of `fit_bytes_per_pixel`, per pixel; each case in a process of its own."""

import argparse
import resource
import subprocess
import sys

import numpy as np
import psutil
import torch

from benchmarks.common import print_table
from workers.fitting import Fit, FitSettings
from workers.networks import build
from workers.networks.memory import fit_bytes_per_pixel
from workers.objective import Measurement
from workers.operators import Identity
from workers.seeds import generator_of
from workers.space import Candidate, sample_candidates
from workers.stopping import held_out_mask

CASES = ((0, 192, 32), (0, 512, 32), (1, 512, 32), (3, 512, 32), (3, 256, 128), (0, 512, 128))
"""Number of the candidate, side in pixels, width in channels."""


def peak_bytes(candidate: Candidate, side: int, width: int) -> int:
    """Peak resident memory of three iterations, over what the process held before."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    pixels = random.random((3, side, side), dtype=np.float32)
    measurement = Measurement(pixels, held_out_mask(side, side, 0.05, random))
    before = psutil.Process().memory_info().rss
    network = build(candidate, 3, 3, width, generator=generator_of("benchmark"))
    Fit(network, measurement, Identity(), FitSettings(), seed=0).advance(3)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=3, metavar=("CANDIDATE", "SIDE", "WIDTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(peak_bytes(Candidate.parse(options.case[0]), int(options.case[1]), int(options.case[2])))
        return
    rows = []
    for number, side, width in CASES:
        candidate = sample_candidates(number + 1, seed=0, width=width)[number]
        command = [sys.executable, "-m", "benchmarks.fit_memory", "--case", candidate.id, str(side), str(width)]
        measured = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / side**2
        planned = fit_bytes_per_pixel(candidate.id, 3, width, 3)
        rows.append(
            [
                f"`{candidate}`",
                str(side),
                str(width),
                f"{measured:,.0f}",
                f"{planned:,.0f}",
                f"{planned / measured:.2f}",
            ]
        )
    print_table(["network", "side, px", "width", "peak, bytes a pixel", "planned", "planned / peak"], rows)


if __name__ == "__main__":
    main()
