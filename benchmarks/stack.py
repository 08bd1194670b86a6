"""What stacking is worth: several networks fitted to the same degraded pictures, combined in every way that needs no
reference.

Of every subset of the networks: the best by ground truth, the pick (least error on the held-out pixels), the plain
mean, the mean by inverse error, the stack (`workers.stacking`), and what a run would deliver: the one of pick, mean by
inverse error and stack whose cross-validated error is least. Fits are kept in the folder, so a second call goes on.

    python -m benchmarks.stack --folder DIR

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, print_table
from benchmarks.images import PARTS, clean_picture
from workers.fitting import Fit, FitSettings
from workers.networks.priors import NAS_DIP, prior_of
from workers.noise import noise_variance
from workers.objective import Measurement
from workers.quality import psnr
from workers.seeds import generator_of, seed_of
from workers.space import sample_candidates
from workers.stacking import HeldOut, best_of, mean_of, stacked
from workers.tasks import Denoise, Inpaint, SuperResolve, Task

TASKS: Mapping[str, Task] = {
    "denoise": Denoise(25),
    "inpaint": Inpaint(0.5),
    "super-resolve": SuperResolve(2),
}
WAYS = ("best", "pick", "mean", "inverse error", "stack", "delivered")
Arrays = Mapping[str, np.ndarray]


def fitted(options: argparse.Namespace, task: str, picture: str, network: str) -> Arrays:
    """A finished fit: its output, the output as it would be measured, the measurement and its hidden pixels."""
    path = options.folder / f"{task}_{picture}_{network}.npz"
    if path.exists():
        with np.load(path) as kept:
            return dict(kept)
    random = np.random.default_rng(seed_of("stack", task, picture))
    observed = TASKS[task].simulate(clean_picture(picture, options.side), random)
    measurement = Measurement.hiding(observed.pixels, observed.known, random)
    built = prior_of(network).build(
        3, options.width, input_channels=3, generator=generator_of("stack weights", picture, network)
    )
    settings = FitSettings(options.iterations, patience=100, average=0.98)
    fit = Fit(built, measurement, TASKS[task].operator, settings, seed=seed_of("stack fit", task, picture, network))
    while not fit.finished:
        fit.advance(25)
    result = fit.result()
    seen = TASKS[task].operator(torch.from_numpy(result.output)[None])[0].numpy()
    arrays = {
        "output": result.output,
        "seen": seen,
        "pixels": measurement.pixels,
        "held_out": measurement.held_out,
        "error": np.array(result.held_out_error),
    }
    np.savez_compressed(path.with_suffix(".part.npz"), **arrays)
    path.with_suffix(".part.npz").rename(path)
    return arrays


def figures_of(members: Sequence[Arrays], clean: np.ndarray, task: str, seed: int) -> dict[str, float]:
    """PSNR of every way to combine these members, and of the one whose cross-validated error is least."""
    outputs = np.stack([member["output"] for member in members]).astype(np.float64)
    first, hidden = members[0], members[0]["held_out"]
    seen = np.stack([member["seen"][:, hidden] for member in members])
    best = int(np.argmin([float(member["error"]) for member in members]))
    noise = noise_variance(first["pixels"] - members[best]["seen"]) if task == "denoise" else None
    held_out = HeldOut(seen, first["pixels"][:, hidden], np.random.default_rng(seed))
    ways = {
        "pick": held_out.combined(best_of),
        "inverse error": held_out.combined(mean_of(0.0 if noise is None else noise.value)),
        "stack": held_out.combined(stacked),
    }

    def decibels(weights: np.ndarray) -> float:
        return psnr(np.tensordot(weights, outputs, 1).astype(np.float32), clean)

    figures = {way: decibels(combination.weights) for way, combination in ways.items()}
    predicted = {way: np.inf if each.error is None else each.error.value for way, each in ways.items()}
    figures["delivered"] = figures[min(predicted, key=lambda way: predicted[way])]
    figures["best"] = max(decibels(one) for one in np.eye(len(members)))
    figures["mean"] = decibels(np.full(len(members), 1 / len(members)))
    return figures


def main() -> None:
    """Fit what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where finished fits are kept")
    parser.add_argument("--tasks", nargs="+", default=["denoise", "inpaint"], choices=TASKS)
    parser.add_argument("--pictures", nargs="+", default=["cat", "astronaut", "coffee"], choices=PARTS)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--random", type=int, default=3, help="random candidates beside NAS-DIP's three (default 3)")
    parser.add_argument("--iterations", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    drawn = sample_candidates(options.random, seed=7, width=options.width)
    networks = [*NAS_DIP.values(), *(candidate.id for candidate in drawn)]
    print(f"{machine('cpu', 1)}; {options.side} px, width {options.width}, networks: {', '.join(networks)}\n")
    for task in options.tasks:
        rows = []
        for count in sorted({2, 3, 4, len(networks)}):
            found = [
                figures_of([made[at] for at in subset], clean_picture(picture, options.side), task, number)
                for picture in options.pictures
                for made in [[fitted(options, task, picture, network) for network in networks]]
                for number, subset in enumerate(combinations(range(len(networks)), count))
            ]
            means = [f"{np.mean([one[name] for one in found]):.2f}" for name in WAYS]
            gains = np.array([one["stack"] - one["pick"] for one in found])
            rows.append([str(count), *means, f"{gains.mean():+.2f}", f"{gains.min():+.2f} to {gains.max():+.2f}"])
        print(f"{task}, {len(options.pictures)} pictures, means over all subsets\n")
        print_table(["networks", *WAYS, "stack less pick", "range"], rows)


if __name__ == "__main__":
    main()
