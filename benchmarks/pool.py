"""A pool of finished fits, from which `benchmarks.worth` makes its tables: networks on pictures, for several tasks.

Every network is fitted to the same degraded pictures, with the same pixels hidden, from the same start whatever the
order. Kept of a fit are its output at the stop, the one that has seen all pixels (`workers.reveal`), its held-out error
and its PSNR after every iteration, and its cost. A second call goes on; ``--list`` writes what is finished as a table
(docs/data/fits.parquet is one), from which `study --portfolio` learns.

    python -m benchmarks.pool --folder DIR
    python -m benchmarks.pool --folder DIR --width 128 --iterations 3000 --side 256 --device cuda

Needs `workers`, torch, numpy and scikit-image, for ``--list`` pyarrow too; no Ray.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import machine
from benchmarks.images import MANY, clean_picture
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.networks.cost import multiply_adds
from workers.networks.priors import NAS_DIP, draws_of, prior_of
from workers.objective import Measurement
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of, seed_of
from workers.space import sample_candidates
from workers.tasks import Denoise, Inpaint, Observation, SuperResolve, Task
from workers.views import padded_side

TASKS: Mapping[str, Task] = {
    "denoise-25": Denoise(25),
    "inpaint": Inpaint(0.5),
    "denoise-50": Denoise(50),
    "denoise-15": Denoise(15),
    "super-resolve": SuperResolve(2),
}
FIGURES = ("held_out_error", "stop", "iterations", "multiply_adds", "seconds")
RANDOM = 8
"""The last networks of a pool are so many that were drawn at random."""


def networks(width: int) -> tuple[str, ...]:
    """DIP in three draws, NAS-DIP's networks and another draw of one, a good candidate, and eight at random."""
    drawn = sample_candidates(RANDOM, seed=7, width=width)
    inpaint = NAS_DIP["inpaint"]
    known = (*draws_of("dip", 3), *draws_of(inpaint, 2), NAS_DIP["denoise"], NAS_DIP["super-resolve"])
    return (*known, "107-0110010001110110101000000", *(candidate.id for candidate in drawn))


def observed(task: str, picture: str, side: int) -> tuple[np.ndarray, Observation, Measurement]:
    """A clean picture, what is seen of it, and the measurement with its hidden pixels."""
    random = np.random.default_rng(seed_of("pool", task, picture))
    clean = clean_picture(picture, side)
    observation = TASKS[task].simulate(clean, random)
    return clean, observation, Measurement.hiding(observation.pixels, observation.known, random)


def with_known(image: np.ndarray, observation: Observation) -> np.ndarray:
    """An image as a user gets it: with the known pixels of an inpainting."""
    if observation.known is None:
        return image
    return np.where(observation.known, observation.pixels, image).astype(np.float32)


def path_of(options: argparse.Namespace, task: str, picture: str, network: str) -> Path:
    """Where a fit is kept."""
    folder: Path = options.folder
    return folder / task / picture / f"{network}.npz"


def fitted(options: argparse.Namespace, task: str, picture: str, network: str) -> dict[str, Any]:
    """A fit from its start to its end."""
    clean, _, measurement = observed(task, picture, options.side)
    channels = len(clean)
    built = prior_of(network).build(
        channels, options.width, input_channels=3, generator=generator_of("pool weights", picture, network)
    )
    cost = multiply_adds(built, *(padded_side(side) for side in clean.shape[1:]))
    curve = PsnrObserver(clean, options.device)
    settings = FitSettings(options.iterations, patience=options.patience, average=options.average)
    fit = Fit(
        built,
        measurement,
        TASKS[task].operator,
        settings,
        seed=seed_of("pool fit", task, picture, network),
        device=options.device,
        observers=[curve],
    )
    began = time.thread_time()
    while not fit.finished:
        fit.advance(25)
    result = fit.result()
    reveal = fit.reveal()
    iterations, delivered = result.iterations, result.output
    if reveal is not None:
        reveal.advance(reveal.iterations)
        iterations += reveal.iterations
        output = reveal.output()
        delivered = delivered if output is None else output
    return {
        "output": result.output,
        "delivered": delivered,
        "held_out_error": np.array(np.nan if result.held_out_error is None else result.held_out_error),
        "held_out_curve": np.array(result.held_out_curve, np.float32),
        "psnr_curve": np.array(curve.curve()[: result.iterations], np.float32),
        "stop": np.array(result.stop_iteration),
        "iterations": np.array(iterations),
        "multiply_adds": np.array(cost * iterations),
        "seconds": np.array(time.thread_time() - began),
    }


def fill(options: argparse.Namespace) -> None:
    """Make the fits that are missing, picture by picture."""
    for task in options.tasks:
        for picture in options.pictures:
            for network in networks(options.width):
                path = path_of(options, task, picture, network)
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    arrays = fitted(options, task, picture, network)
                except FitDivergedError as diverged:
                    print(f"{task} {picture} {network}: {diverged}", flush=True)
                    continue
                part = path.with_suffix(".part.npz")
                np.savez_compressed(part, **arrays)
                part.rename(path)
                print(f"{task} {picture} {network}: {float(arrays['seconds']):.0f} s", flush=True)


def kept(options: argparse.Namespace, task: str, picture: str) -> dict[str, dict[str, np.ndarray]]:
    """The fits of a picture by network; those that are missing are left out."""
    found = {}
    for network in networks(options.width):
        path = path_of(options, task, picture, network)
        if path.exists():
            with np.load(path) as arrays:
                found[network] = dict(arrays)
    return found


def listed(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each finished fit."""
    for task in options.tasks:
        for picture in options.pictures:
            clean, observation, _ = observed(task, picture, options.side)
            for network, fit in kept(options, task, picture).items():
                figures = {
                    "psnr": psnr(with_known(fit["delivered"], observation), clean),
                    "psnr_at_stop": psnr(with_known(fit["output"], observation), clean),
                    "psnr_oracle_stop": float(fit["psnr_curve"].max()),
                }
                rest = {name: fit[name].item() for name in FIGURES}
                kind, _, sigma = task.partition("-")
                named = {"task": task, "sigma": None} if kind == "super" else {"task": kind, "sigma": sigma or None}
                named["sigma"] = None if named["sigma"] is None else float(named["sigma"])
                yield {"image": picture, "candidate": network, **named, **figures, **rest}


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that a pool is made and read with."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where finished fits are kept")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--pictures", nargs="+", default=list(MANY), choices=MANY)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    return parser


def main() -> None:
    """Fit what is missing, or list what is there."""
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--patience", type=int, default=60)
    parser.add_argument("--average", type=float, default=0.98)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--list", type=Path, metavar="FILE", help="write a Parquet table of what is finished")
    options = parser.parse_args()
    if options.list:
        import pyarrow as pa  # noqa: PLC0415 - fits are made on machines without it
        import pyarrow.parquet as pq  # noqa: PLC0415

        table = pa.Table.from_pylist(list(listed(options)))
        pq.write_table(table, options.list)
        print(f"{table.num_rows} fits")
        return
    torch.set_num_threads(1)
    print(f"{machine(options.device, 1)}; {options.side} px, width {options.width}", flush=True)
    fill(options)


if __name__ == "__main__":
    main()
