"""The seams of tiles: one network fitted to a whole picture, and to its tiles, which are blended.

    nice -n 10 python -m benchmarks.tiles --folder seams/ --picture seams.jpg

All are fitted to the same noisy picture, with the same hidden pixels. If tiles left seams, their image would differ
from the whole's more where tiles meet than elsewhere, and the difference would jump at tiles' edges. A second fit of
the whole, from other weights, says how far two fits differ without any tile. ``--neighbour`` fits every tile but the
first once more, from its neighbour's weights where that stopped, and says whether that saves iterations.

A fit that is done lies in the folder, so what was interrupted goes on with the next fit, and two processes may share
the work: one makes ``--only whole other``, one the rest, and the table is made by who finds all of them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from workers.tiles import Tile, Tiling, tiling_of

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Fits:
    """What all fits share, and the folder where they lie.

    Attributes:
        clean: the picture without noise (C, H, W).
        measured: the picture with noise, and the pixels that are hidden from all fits.
    """

    folder: Path
    clean: Array
    measured: Measurement
    settings: FitSettings
    width: int
    network: str

    def made(self, name: str, tile: Tile | None = None, *, draw: int = 0, start: str | None = None) -> None:
        """Fit a tile, or the whole, unless it lies in the folder; from the weights of the fit ``start``, if given.

        What lies there then: the output after the iterations with all pixels, the curve of the held-out error, the
        stop, and the weights there.
        """
        if (self.folder / f"{name}.pt").exists():
            return
        channels = len(self.clean)
        generator = generator_of("benchmark tiles", self.network, draw)
        built = prior_of(self.network).build(channels, self.width, input_channels=channels, generator=generator)
        if start is not None:
            built.load_state_dict(self.read(start)["weights"])
        measured = self.measured if tile is None else part(self.measured, tile.slices)
        fit = Fit(built, measured, Identity(), self.settings, seed=draw)
        while not fit.finished:
            fit.advance(25)
        result = fit.result()
        found = {"stop": result.stop_iteration, "iterations": result.iterations, "curve": result.held_out_curve}
        reveal = fit.reveal()
        # The state at the stop has not seen the hidden pixels, which a neighbour shares.
        weights = {key: value.clone() for key, value in fit.network.state_dict().items()}
        while reveal is not None and not reveal.finished:
            reveal.advance(25)
        shown = None if reveal is None else reveal.output()
        output = torch.from_numpy(result.output if shown is None else shown)
        partial = self.folder / f"{name}.part"
        torch.save({**found, "weights": weights, "output": output}, partial)
        partial.rename(self.folder / f"{name}.pt")
        print(f"{name}: stop {result.stop_iteration} of {result.iterations} iterations", flush=True)

    def read(self, name: str) -> dict[str, Any]:
        """A fit that lies in the folder."""
        found: dict[str, Any] = torch.load(self.folder / f"{name}.pt", weights_only=True)
        return found

    def output(self, name: str) -> Array:
        """Its image (C, h, w)."""
        output: Array = self.read(name)["output"].numpy()
        return output


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


def edges(tiling: Tiling) -> tuple[set[int], set[int]]:
    """The rows and the columns, not those of the image's own edge, that are the first behind a tile's edge."""
    rows = {edge for tile in tiling.tiles for edge in (tile.top, tile.top + tile.height)}
    columns = {edge for tile in tiling.tiles for edge in (tile.left, tile.left + tile.width)}
    return rows - {0, tiling.height}, columns - {0, tiling.width}


def jumps(difference: Array, tiling: Tiling) -> tuple[float, float]:
    """How much a difference (C, H, W) changes from pixel to pixel: across tiles' edges, and everywhere else (RMS)."""
    across, beside = [], []
    for axis, at in zip((1, 2), edges(tiling), strict=True):
        steps = np.moveaxis(np.diff(difference, axis=axis), axis, 0)
        is_edge = np.isin(np.arange(1, len(steps) + 1), sorted(at))
        across.append(steps[is_edge].ravel())
        beside.append(steps[~is_edge].ravel())
    return rms(np.concatenate(across)), rms(np.concatenate(beside))


def rms(values: NDArray[np.floating]) -> float:
    """The root of the mean square, in grey levels of 8 bits."""
    return 255 * float(np.sqrt(np.mean(np.square(values))))


def neighbour_of(tiling: Tiling, place: int) -> int:
    """The place of the tile to the left; at the left edge, of the one above."""
    tile, tiles = tiling.tiles[place], tiling.tiles
    left = [at for at, each in enumerate(tiles) if each.top == tile.top and each.left < tile.left]
    above = [at for at, each in enumerate(tiles) if each.left == tile.left and each.top < tile.top]
    return (left or above)[-1]


def table_of_seams(fits: Fits, tiling: Tiling) -> Array:
    """Print what tiles give beside the whole; returns their image."""
    clean, whole = fits.clean, fits.output("whole")
    other = {"the whole, other weights": fits.output("other")} if (fits.folder / "other.pt").exists() else {}
    parts = ((tile, fits.output(f"tile-{place}")) for place, tile in enumerate(tiling.tiles))
    blended, seams = tiling.blend(parts, len(clean)), overlaps(tiling)
    print("| image | PSNR | in overlaps | elsewhere | differs from the whole: in overlaps | elsewhere", end="")
    print(" | jump of that difference: at tiles' edges | elsewhere |")
    print("|---|---|---|---|---|---|---|---|")
    for name, image in {"the whole": whole, **other, "tiles, blended": blended}.items():
        difference = image - whole
        figures = [rms(difference[:, seams]), rms(difference[:, ~seams]), *jumps(difference, tiling)]
        shown = " | ".join("-" if image is whole else f"{figure:.2f}" for figure in figures)
        at = [psnr(image[:, where], clean[:, where]) for where in (seams, ~seams)]
        print(f"| {name} | {psnr(image, clean):.2f} | {at[0]:.2f} | {at[1]:.2f} | {shown} |")
    return blended


def table_of_starts(fits: Fits, tiling: Tiling) -> None:
    """Print what it gives to begin a tile from its neighbour's weights."""
    print("| tile | afresh: stop | held-out error | PSNR | from its neighbour: stop | held-out error | PSNR", end="")
    print(" | reaches afresh's error at |")
    print("|---|---|---|---|---|---|---|---|")
    for place, tile in enumerate(tiling.tiles[1:], 1):
        clean = fits.clean[:, *tile.slices]
        row, least = [f"{place}"], np.inf
        for name in (f"tile-{place}", f"from-neighbour-{place}"):
            found = fits.read(name)
            row += [f"{found['stop']}", f"{255**2 * min(found['curve']):.1f}", f"{psnr(fits.output(name), clean):.2f}"]
            reached = np.flatnonzero(np.asarray(found["curve"]) <= least)
            least = min(least, *found["curve"])
        print(f"| {' | '.join(row)} | {reached[0] + 1 if len(reached) else 'never'} |")


def main() -> None:
    """Fit what the folder lacks, compare, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--tile", type=int, default=288)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--patience", type=int, default=200)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--network", default="dip")
    parser.add_argument("--neighbour", action="store_true", help="fit tiles from their neighbours' weights, too")
    parser.add_argument("--only", nargs="+", metavar="FIT", help="make these fits and no tables, as whole or tile-2")
    parser.add_argument("--picture", type=Path, help="write whole, tiles and ten times their difference here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    clean = (data.astronaut()[: options.side, : options.side] / 255).transpose(2, 0, 1).astype(np.float32)
    random = np.random.default_rng(0)
    noisy = np.clip(clean + random.normal(0, 25 / 255, clean.shape), 0, 1).astype(np.float32)
    settings = FitSettings(iterations=options.iterations, patience=options.patience)
    measured = Measurement.hiding(noisy, None, random)
    fits = Fits(options.folder, clean, measured, settings, options.width, options.network)
    tiling = tiling_of(options.side, options.side, options.tile, options.overlap)
    wanted: dict[str, dict[str, Any]] = {"whole": {}, "other": {"draw": 1}}
    wanted |= {f"tile-{place}": {"tile": tile} for place, tile in enumerate(tiling.tiles)}
    if options.neighbour:
        for place, tile in list(enumerate(tiling.tiles))[1:]:
            start = f"tile-{neighbour_of(tiling, place)}"
            wanted[f"from-neighbour-{place}"] = {"tile": tile, "start": start}
    for name in options.only or wanted:
        fits.made(name, **wanted[name])
    if options.only:
        return
    blended = table_of_seams(fits, tiling)
    if options.neighbour:
        table_of_starts(fits, tiling)
    if options.picture is not None:
        whole = fits.output("whole")
        row = np.concatenate([whole, blended, 0.5 + 10 * (blended - whole)], axis=2)
        shown = (255 * np.clip(row, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(shown).save(options.picture, quality=90)


if __name__ == "__main__":
    main()
