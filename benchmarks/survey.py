"""A step of every cell of the search space, next to a plain loop: the worst, the median and the best ratio.

Each cell is measured in a network with skips of all kinds: the plain loop and a fit in each way to compute a step
(`workers.networks.steps`), in turn, medians, in CPU time of the thread. Ours is the way that a long fit takes. A file
for each cell in a folder makes the survey resumable: what is there is not measured again. Several processes may share
the folder. With `--csv` all figures of the folder are written as one table.

    python -m benchmarks.survey --folder survey/ --width 32 --side 64
    python -m benchmarks.survey --folder survey/ --width 128 --side 64 --every 20
    python -m benchmarks.survey --folder survey/ --csv docs/data/steps.csv

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
import csv
import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common import machine, print_table
from benchmarks.fit import chosen_step, our_fit, plain_loop
from benchmarks.step_floor import bytes_per_second, floors_ms, medians, products_per_second
from workers.networks import prior_of
from workers.networks.layers import differing_steps
from workers.seeds import generator_of
from workers.space import upsamplers, valid_upsamplers

SKIPS = "1111101111001110001100001"


def measured(folder: Path, cell: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a cell, from the folder if they are there."""
    prior, width, side = f"{cell}-{SKIPS}", options.width, options.side
    file = folder / f"{prior}-{width}-{side}.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    network = prior_of(prior).build(3, width, input_channels=3, generator=generator_of("benchmark"))
    ways = {step.value: partial(our_fit, step=step) for step in differing_steps(network)}
    makers = {"plain": plain_loop, **ways}
    runs = [make(prior, side, width, "cpu") for make in makers.values()]
    times = dict(zip(makers, medians(runs, options.iterations, options.rounds), strict=True))
    chosen = chosen_step(network, side, "cpu").value
    arithmetic, memory = floors_ms(prior, width, side)
    figures = {"cell": cell, "width": width, "side": side, **{f"{name}_ms": ms for name, ms in times.items()}}
    figures |= {"chosen": chosen, "ours_ms": times[chosen], "arithmetic_ms": arithmetic, "memory_ms": memory}
    file.write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Measure what is missing, and print a table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the figures of each cell are kept")
    parser.add_argument("--width", type=int, default=32, help="channels of every scale (default 32)")
    parser.add_argument("--side", type=int, default=64, help="image side in pixels (default 64)")
    parser.add_argument("--every", type=int, default=1, help="only every so many cells (default 1: all)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each, in turn (default 5)")
    parser.add_argument("--iterations", type=int, default=1, help="iterations a round (default 1)")
    parser.add_argument("--csv", type=Path, help="write all figures of the folder to this file, and measure nothing")
    options = parser.parse_args()
    if options.csv:
        write_table(options.folder, options.csv)
        return
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [measured(options.folder, cell, options) for cell in valid_upsamplers()[:: options.every]]
    rows.sort(key=lambda row: row["plain_ms"] / row["ours_ms"])
    print(f"{machine('cpu', 1)}; {2e-9 * products_per_second():.0f} GFLOP/s, {1e-9 * bytes_per_second():.0f} GB/s\n")
    names = ("worst", "median", "best")
    print_table(
        ["", "cell", "plain", "ours", "plain / ours", "arithmetic floor", "memory floor"],
        [
            [
                name,
                _words(row["cell"]),
                *(f"{row[key]:.1f}" for key in ("plain_ms", "ours_ms")),
                f"{row['plain_ms'] / row['ours_ms']:.2f}",
                *(f"{row[key]:.1f}" for key in ("arithmetic_ms", "memory_ms")),
            ]
            for name, row in zip(names, (rows[0], rows[len(rows) // 2], rows[-1]), strict=True)
        ],
    )
    slower = sum(row["plain_ms"] < 0.97 * row["ours_ms"] for row in rows)
    reached = median(max(row["arithmetic_ms"], row["memory_ms"]) / row["ours_ms"] for row in rows)
    print(f"{len(rows)} cells; {slower} slower than the plain loop by more than 3 %; median share of the larger floor")
    print(f"that is reached: {reached:.0%}")


def write_table(folder: Path, file: Path) -> None:
    """Write the figures of all cells that a folder has, a row each, in milliseconds."""
    rows = [json.loads(each.read_text()) for each in folder.glob("*.json")]
    rows.sort(key=lambda row: (row["width"], row["side"], row["cell"]))
    with file.open("w", newline="") as table:
        writer = csv.DictWriter(table, max(rows, key=len))
        writer.writeheader()
        writer.writerows(
            {name: round(value, 1) if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        )


def _words(cell: int) -> str:
    of = upsamplers()[cell]
    return f"{of.primitive}, {of.convolution} {of.kernel}, {of.activation}, {of.order}"


if __name__ == "__main__":
    main()
