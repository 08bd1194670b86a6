"""The cost of scoring: building the bank, scoring one more image with it, and the forward passes that it saves.

A bank is built once for a size; without one, every image pays a forward pass per candidate and draw. The time to score
an image is measured on a memory-mapped bank of 1,000 records in a file. Its first records are real and repeated to fill
it, since the content of a record does not change its cost.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from skimage import data
from skimage.transform import resize

from benchmarks.common import machine, print_table, spread
from workers.fingerprints import (
    BankSpec,
    bank_metrics,
    compute_bank,
    image_fingerprint,
    score_bank,
    untrained_output,
)
from workers.operators import Identity
from workers.space import sample_candidates

BANK = 1000
PAPER_METRICS = ("psd db strip mse", "psd strip hist emd")


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=128, help="channels of every scale (default 128)")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--candidates", type=int, default=16, help="how many are timed (default 16)")
    parser.add_argument("--image-px", type=int, default=512, help="side of the image that is scored (default 512)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    candidates = sample_candidates(options.candidates, seed=0, width=options.width)
    side = options.image_px
    image = resize(data.astronaut(), (side, side), anti_aliasing=True).transpose(2, 0, 1).astype(np.float32)
    print(f"{machine(options.device, options.threads)}; width {options.width}, RGB, 1 draw, image {side} px\n")
    rows = []
    for square in options.sides:
        spec = BankSpec(square, square, 3, 3, options.width, draws=1, seed=0, metrics=bank_metrics(PAPER_METRICS))
        scored = replace(spec, metrics=PAPER_METRICS)
        untrained_output(candidates[0], spec, 0, options.device)
        forwards = [timed(untrained_output, c, spec, 0, options.device) for c in candidates]
        builds = [timed(compute_bank, [c], spec, Identity(), options.device) for c in candidates]
        real = compute_bank(candidates[:4], spec, Identity(), options.device)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "part.npy")
            np.save(path, np.resize(real, BANK))
            bank = np.load(path, mmap_mode="r")
            fingerprint = image_fingerprint(image, scored)
            per_image = [timed(image_fingerprint, image, scored) for _ in range(5)]
            lookups = [[timed(score_bank, bank, fingerprint, metric) for _ in range(5)] for metric in PAPER_METRICS]
            size = path.stat().st_size / 1e6
        with_bank = (median(per_image) + max(map(median, lookups))) * 1000
        without = median(forwards) * BANK
        rows.append(
            [
                f"{square}",
                spread([s * 1000 for s in builds]),
                f"{median(builds) * BANK:.0f} s, {size:.1f} MB",
                f"{median(per_image) * 1000:.1f}",
                *(f"{median(lookup) * 1000:.1f}" for lookup in lookups),
                f"{without:.0f} s",
                f"{without * 1000 / with_bank:,.0f}",
            ]
        )
    print_table(
        [
            "square, px",
            "bank, ms per candidate",
            f"bank of {BANK}",
            "image's spectrum, ms",
            *(f"{metric} x {BANK}, ms" for metric in PAPER_METRICS),
            f"{BANK} forwards per image",
            "ratio",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
