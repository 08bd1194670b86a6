"""A step of every cell of the search space, next to a plain loop: the worst, the median and the best ratio.

Each cell is measured in a network with skips of all kinds, as `benchmarks.fit` does: in turn, medians, the way that a
long fit takes. A file for each in a folder makes the survey resumable: what is there is not measured again. Several
processes may share the folder.

    python -m benchmarks.survey --folder survey/ --width 32 --side 64
    python -m benchmarks.survey --folder survey/ --width 128 --side 64 --every 20

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common import machine, print_table
from benchmarks.fit import our_fit, plain_loop
from benchmarks.step_floor import bytes_per_second, floors_ms, medians, products_per_second
from workers.space import upsamplers, valid_upsamplers

SKIPS = "1111101111001110001100001"


def measured(folder: Path, cell: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a cell, from the folder if they are there."""
    prior = f"{cell}-{SKIPS}"
    file = folder / f"{prior}-{options.width}-{options.side}.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    runs = [make(prior, options.side, options.width, "cpu") for make in (plain_loop, our_fit)]
    plain, ours = medians(runs, options.iterations, options.rounds)
    arithmetic, memory = floors_ms(prior, options.width, options.side)
    figures = {"network": prior, "width": options.width, "side": options.side}
    figures |= {"plain_ms": plain, "ours_ms": ours, "arithmetic_ms": arithmetic, "memory_ms": memory}
    file.write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Measure what is missing, and print a table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the figures of each cell are kept")
    parser.add_argument("--width", type=int, default=32, help="channels of every scale (default 32)")
    parser.add_argument("--side", type=int, default=64, help="image side in pixels (default 64)")
    parser.add_argument("--every", type=int, default=1, help="only every so many cells (default 1: all)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each, in turn (default 3)")
    parser.add_argument("--iterations", type=int, default=2, help="iterations a round (default 2)")
    options = parser.parse_args()
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
                _cell(row["network"]),
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


def _cell(network: str) -> str:
    cell = upsamplers()[int(network.split("-", maxsplit=1)[0])]
    return f"{cell.primitive}, {cell.convolution} {cell.kernel}, {cell.activation}, {cell.order}"


if __name__ == "__main__":
    main()
