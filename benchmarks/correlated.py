"""The gain of falling back where noise is correlated: the same fits chosen with and without trust in held-out pixels.

Two of the benchmarks' pictures, once as JPEG and once with noise blurred by 0.7 px; each with the default `pick.noise`
and with `independent`. ``python -m benchmarks.correlated --store DIR`` runs what the store lacks and prints a table.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.common import print_table
from benchmarks.images import write_images
from orchestrator import cli
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import read_rows
from orchestrator.store import open_store
from workers.tasks import Jpeg

PICTURES = ("astronaut.png", "cat.png")
QUALITY, SIGMA, BLUR = 10, 50, 0.7


def degrade(kind: str, clean: Path, noisy: Path) -> None:
    """Write the degraded pictures, as PNG files."""
    noisy.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(PICTURES):
        with Image.open(clean / name) as image:
            pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
        random = np.random.default_rng(seed)
        if kind == "jpeg":
            degraded = Jpeg(QUALITY).simulate(pixels, random).pixels
        else:
            noise = random.standard_normal(pixels.shape) * SIGMA / 255
            degraded = np.clip(pixels + gaussian_filter(noise, (0, BLUR, BLUR)), 0, 1)
        Image.fromarray(np.rint(degraded.transpose(1, 2, 0) * 255).astype(np.uint8)).save(noisy / name)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="where the runs are kept")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="NAME=VALUE")
    options = parser.parse_args()
    store = open_store(options.store)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        everything, clean = Path(folder, "all"), Path(folder, "clean")
        write_images(everything, 96)
        clean.mkdir()
        for name in PICTURES:
            (everything / name).rename(clean / name)
        for kind in ("jpeg", "blurred noise"):
            noisy = Path(folder, kind)
            degrade(kind, clean, noisy)
            for noise in ("auto", "independent"):
                run = f"correlated-{kind.replace(' ', '-')}-{noise}"
                sets = [
                    "arms=[random]",
                    "cohort.size=4",
                    "pick.full_fits=2",
                    f"pick.noise={noise}",
                    *options.assignments,
                ]
                words = [word for assignment in sets for word in ("--set", assignment)]
                where = ["--images", str(noisy), "--references", str(clean), "--config", "benchmark", "--run", run]
                status = cli.main(["submit", *where, "--store", options.store, "--no-dashboard", *words])
                if status:
                    raise SystemExit(status)
                for row in read_rows(store, RunLayout(run)):
                    figures = (row.psnr_degraded, row.psnr, row.psnr_oracle_stop, row.psnr_mean)
                    shown = ["" if figure is None else f"{figure:.2f}" for figure in figures]
                    lines.append([kind, row.image, noise, str(row.rule), str(row.stopping), *shown, row.note or ""])
    heads = [
        "noise",
        "image",
        "pick.noise",
        "rule",
        "stopping",
        "before",
        "blind",
        "oracle stop",
        "mean of two",
        "note",
    ]
    print_table(heads, lines)


if __name__ == "__main__":
    main()
