"""The difference between the orders of candidates by square scoring and by the paper's native size.

For pictures at two sizes: Kendall's tau between the two orders of the same candidates, next to tau between two native
orders from other weights, which is as close as orders of this many draws can be. ``python -m benchmarks.score_views``
"""

import argparse
from dataclasses import replace
from statistics import fmean

import numpy as np
import torch
from scipy.stats import kendalltau
from skimage.transform import resize

from benchmarks.common import machine, print_table
from benchmarks.images import PARTS
from workers.fingerprints import (
    BankSpec,
    compute_bank,
    image_fingerprint,
    native_size,
    score_bank,
    square_size,
)
from workers.operators import Identity
from workers.space import sample_candidates
from workers.spectra import Array
from workers.tasks import Denoise

SIZES = ((160, 224), (320, 448))
METRICS = ("psd db strip mse", "psd strip hist emd", "psd db hist emd", "psd 99_per_bw")


def pictures(height: int, width: int) -> dict[str, Array]:
    """The benchmarks' pictures at this size, noisy as `denoise` simulates them."""
    found = {}
    for seed, (name, part) in enumerate(PARTS.items()):
        clean = resize(part(), (height, width), anti_aliasing=True).transpose(2, 0, 1).astype(np.float32)
        found[name] = Denoise().simulate(clean, np.random.default_rng(seed)).pixels
    return found


def main() -> None:
    """Print a table for each number of draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--network-width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    candidates = sample_candidates(options.candidates, 0, width=options.network_width)
    print(
        f"{machine('cpu', options.threads)}; {options.candidates} candidates, {options.draws} draws, width"
        f" {options.network_width}\n"
    )
    rows = []
    for height, width in SIZES:
        native = BankSpec(*native_size(height, width), 3, 3, options.network_width, options.draws, 0, METRICS)
        side = square_size(height, width)
        specs = {
            "native": native,
            "square": replace(native, height=side[0], width=side[1]),
            "other": replace(native, seed=1),
        }
        banks = {name: compute_bank(candidates, spec, Identity()) for name, spec in specs.items()}
        shown = pictures(height, width).values()
        prints = {name: [image_fingerprint(picture, spec) for picture in shown] for name, spec in specs.items()}
        for metric in METRICS:
            scores = {name: [score_bank(banks[name], print_, metric) for print_ in prints[name]] for name in specs}
            apart, noise = (
                fmean(kendalltau(a, b).statistic for a, b in zip(scores["native"], scores[name], strict=True))
                for name in ("square", "other")
            )
            rows.append([f"{width}x{height}", f"{side[0]} px", metric, f"{apart:.2f}", f"{noise:.2f}"])
    print_table(["image", "square", "metric", "tau square, native", "tau native, other weights"], rows)


if __name__ == "__main__":
    main()
