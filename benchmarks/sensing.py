"""What a trained generator is worth as the prior of compressed sensing, over the number of measurements.

The generator is a DCGAN for faces (`benchmarks.dcgan`). Four images are its own ("in range"); four are not: a real face
and three that are no faces. All priors see the same measurements, with the same twentieth hidden, which stops each of
them. A second call goes on where the first ended; ``--table`` prints what there is and writes it to ``--data``.

    python -m benchmarks.sensing --folder DIR
    python -m benchmarks.sensing --folder DIR --table --data docs/data/sensing.csv

Needs `workers`, torch, numpy, scikit-image and scipy; no Ray.
"""

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from skimage import data
from skimage.transform import resize

from benchmarks.common import machine, print_table
from benchmarks.dcgan import FACTORY, LATENT, weights
from benchmarks.images import clean_picture
from workers.classical.member import Given
from workers.classical.sensing import sensed
from workers.fitting import Fit, FitSettings
from workers.generators import facts_of, generate, load_generator
from workers.networks import Network, prior_of
from workers.networks.generator import GeneratorNetwork, Search
from workers.objective import Measurement
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of, seed_of
from workers.tasks import CompressedSensing

SIDE = 64
COUNTS = (100, 250, 500, 1000, 2500)
IN_RANGE = tuple(f"own-{number}" for number in range(1, 5))
OUT_OF_RANGE = ("face", "cat", "coffee", "rocket")
GENERATOR, ADAPTED, DIP = "generator", "generator and weights", "CS-DIP"
FITTED = (GENERATOR, ADAPTED, DIP)
CLASSICAL = ("total variation", "sparse cosines")
FIELDS = ("image", "measurements", "prior", "psnr", "psnr_oracle_stop", "stop", "iterations", "seconds")


def loaded(options: argparse.Namespace) -> tuple[torch.nn.Module, Any]:
    """The generator and what its images are."""
    module = load_generator(weights(options.folder).read_bytes(), FACTORY)
    return module, facts_of(module, (LATENT,), (-1.0, 1.0))


def clean_image(options: argparse.Namespace, name: str) -> np.ndarray:
    """An image (3, 64, 64) in [0, 1]."""
    if name in IN_RANGE:
        module, facts = loaded(options)
        with torch.no_grad():
            image = generate(module, torch.randn(1, *facts.latent, generator=generator_of("sensing image", name)))
        return ((image[0] + 1) / 2).numpy()
    if name == "face":
        small = resize(data.astronaut()[:200, 125:325], (SIDE, SIDE), anti_aliasing=True)
        return np.moveaxis(small, 2, 0).astype(np.float32)
    return clean_picture(name, SIDE)


def network_of(options: argparse.Namespace, prior: str, words: Sequence[object]) -> tuple[Network, FitSettings]:
    """The network of a prior, and how it is fitted."""
    random = generator_of("sensing weights", *words)
    if prior == DIP:
        built = prior_of("dip").build(3, options.width, input_channels=3, generator=random)
        return built, FitSettings(options.dip_iterations, patience=options.patience, average=0.98)
    module, facts = loaded(options)
    first = options.iterations if prior == ADAPTED else None
    search = Search(options.restarts, first)
    iterations = options.iterations + (options.adapting if prior == ADAPTED else 0)
    return GeneratorNetwork(module, facts, search, random), FitSettings(
        iterations, patience=options.patience, average=0.95
    )


def fitted(options: argparse.Namespace, name: str, count: int) -> list[dict[str, Any]]:
    """All priors of an image at a number of measurements."""
    clean, task = clean_image(options, name), CompressedSensing(count)
    observation = task.simulate(clean, np.random.default_rng(seed_of("sensing noise", name)))
    hidden = np.random.default_rng(seed_of("sensing hidden", name))
    measurement = Measurement.hiding(observation.pixels, None, hidden, fewest=1)
    operator = task.operator_of(observation)
    rows = []
    for prior in FITTED:
        network, settings = network_of(options, prior, (name, count, prior))
        seen = PsnrObserver(clean, "cpu")
        seed = seed_of("sensing fit", name, count)
        fit = Fit(network, measurement, operator, settings, seed=seed, observers=[seen])
        began = time.thread_time()
        while not fit.finished:
            fit.advance(25)
        result = fit.result()
        curve = seen.curve()[: result.iterations]
        figures = (psnr(result.output, clean), max(curve), result.stop_iteration, result.iterations)
        rows.append((prior, *figures, time.thread_time() - began))
    for prior, make in sensed(Given(observation, measurement.held_out, task, None, 0)):
        began = time.thread_time()
        member = make()
        rows.append((prior, psnr(member.delivered, clean), None, None, None, time.thread_time() - began))
    return [dict(zip(FIELDS, (name, count, *row), strict=True)) for row in rows]


def fill(options: argparse.Namespace) -> None:
    """Make what is missing; pairs of images first, so that a part of all is a table already."""
    pairs = list(zip(IN_RANGE, OUT_OF_RANGE, strict=True))
    for pair in (pairs[place] for place in options.pairs):
        for count in options.counts:
            for name in pair:
                path = options.folder / f"{name}-{count}.json"
                if not path.exists():
                    rows = fitted(options, name, count)
                    path.write_text(json.dumps(rows), encoding="utf-8")
                    print(name, count, {row["prior"]: round(row["psnr"], 1) for row in rows}, flush=True)


def found(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows that there are."""
    paths = sorted(options.folder.glob("*-*.json"))
    return [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))]


def tables(rows: Sequence[Mapping[str, Any]]) -> None:
    """Means over images: PSNR, what the blind stop loses, and the seconds."""
    for words, names in (("in range", IN_RANGE), ("out of range", OUT_OF_RANGE)):
        chosen = [row for row in rows if row["image"] in names]
        print(f"{words}: {len({row['image'] for row in chosen})} images\n")
        lines = []
        for prior in (*FITTED, *CLASSICAL):
            cells = []
            for count in COUNTS:
                mine = [row for row in chosen if (row["prior"], row["measurements"]) == (prior, count)]
                gap = [row["psnr_oracle_stop"] - row["psnr"] for row in mine if row["psnr_oracle_stop"] is not None]
                lost = f" (-{mean(gap):.1f})" if gap else ""
                cells.append(f"{mean(row['psnr'] for row in mine):.1f}{lost}" if mine else "")
            seconds = [row["seconds"] for row in chosen if row["prior"] == prior]
            lines.append([prior, *cells, f"{mean(seconds):.0f}" if seconds else ""])
        print_table(["prior", *map(str, COUNTS), "CPU-seconds"], lines)


def main() -> None:
    """Make the fits, or print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--pairs", type=int, nargs="+", default=list(range(len(IN_RANGE))), help="of images, from 0")
    parser.add_argument("--iterations", type=int, default=300, help="of the latent")
    parser.add_argument("--adapting", type=int, default=150, help="iterations of latent and weights that follow")
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--dip-iterations", type=int, default=800)
    parser.add_argument("--width", type=int, default=32, help="of CS-DIP's network")
    parser.add_argument("--patience", type=int, default=150)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--data", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        fill(options)
    rows = found(options)
    print(machine("cpu", 1), end="\n\n")
    tables(rows)
    if options.data is not None:
        with options.data.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(
                {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
                for row in rows
            )


if __name__ == "__main__":
    main()
