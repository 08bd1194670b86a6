"""The seams of tiles: one network fitted to a whole picture, and to its tiles, which are blended.

    nice -n 19 python -m benchmarks.tiles --side 512 --tile 256 --iterations 300 --picture seams.png

Both are fitted to the same noisy picture, with the same hidden pixels. If tiles left seams, their image would differ
from the whole's more where tiles meet than elsewhere, and its gradient across a seam would be steeper than beside it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from workers.fitting import Fit, FitSettings
from workers.networks import prior_of
from workers.objective import Measurement
from workers.operators import Identity
from workers.quality import psnr
from workers.seeds import generator_of
from workers.tiles import Tiling, tiling_of

Array = NDArray[np.float32]


def fitted(measured: Measurement, width: int, settings: FitSettings, network: str) -> Array:
    """The output of a fit where it was stopped, after the iterations with all pixels."""
    channels = len(measured.pixels)
    built = prior_of(network).build(
        channels, width, input_channels=channels, generator=generator_of("benchmark tiles", network)
    )
    fit = Fit(built, measured, Identity(), settings, seed=0)
    while not fit.finished:
        fit.advance(25)
    reveal = fit.reveal()
    while reveal is not None and not reveal.finished:
        reveal.advance(25)
    shown = None if reveal is None else reveal.output()
    return fit.result().output if shown is None else shown


def part(measured: Measurement, rows_and_columns: tuple[slice, slice]) -> Measurement:
    """A tile of a measurement."""
    pixels = np.ascontiguousarray(measured.pixels[:, *rows_and_columns])
    return Measurement(pixels, measured.held_out[rows_and_columns])


def overlaps(tiling: Tiling) -> NDArray[np.bool_]:
    """The pixels (H, W) that lie in more than one tile."""
    count = np.zeros((tiling.height, tiling.width), int)
    for tile in tiling.tiles:
        count[tile.slices] += 1
    return count > 1


def rms(values: NDArray[np.floating]) -> float:
    """The root of the mean square, in grey levels of 8 bits."""
    return 255 * float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    """Fit, compare, and print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--network", default="dip")
    parser.add_argument("--picture", type=Path, help="write clean, whole, tiles and ten times their difference here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clean = (data.astronaut()[: options.side, : options.side] / 255).transpose(2, 0, 1).astype(np.float32)
    random = np.random.default_rng(0)
    noisy = np.clip(clean + random.normal(0, 25 / 255, clean.shape), 0, 1).astype(np.float32)
    measured = Measurement.hiding(noisy, None, random)
    settings = FitSettings(iterations=options.iterations, patience=options.iterations, average=0.98)
    tiling = tiling_of(options.side, options.side, options.tile, options.overlap)
    whole = fitted(measured, options.width, settings, options.network)
    tiles = (
        (tile, fitted(part(measured, tile.slices), options.width, settings, options.network)) for tile in tiling.tiles
    )
    blended = tiling.blend(tiles, len(clean))
    seams = overlaps(tiling)
    difference = blended - whole
    print(
        "| px | tiles | PSNR whole | PSNR tiles | difference in overlaps | elsewhere | error in overlaps | elsewhere |"
    )
    print("|---|---|---|---|---|---|---|---|")
    error = blended - clean
    figures = [rms(difference[:, seams]), rms(difference[:, ~seams]), rms(error[:, seams]), rms(error[:, ~seams])]
    shown = " | ".join(f"{figure:.2f}" for figure in figures)
    print(
        f"| {options.side} | {len(tiling.tiles)} of {options.tile} | {psnr(whole, clean):.2f}"
        f" | {psnr(blended, clean):.2f} | {shown} |"
    )
    if options.picture is not None:
        row = np.concatenate([clean, whole, blended, 0.5 + 10 * difference], axis=2)
        Image.fromarray((255 * np.clip(row, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0)).save(options.picture)


if __name__ == "__main__":
    main()
