"""The lottery tables of docs/results.md: quality over sparsity, tickets moved between images
and tasks, and overfitting.

``python -m benchmarks.lottery --store DIR`` runs what the store lacks (about an hour on two cores) and prints the
tables; an interrupted run continues where it was. ``--set lottery.iterations=20`` tries it out.

Three colour pictures of 64 px, the deep image prior's network with 32 channels, 500 iterations a round, three
initialisations. A round takes 35 % of the weights left, so that eight come to the paper's 97 %.
"""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from benchmarks.common import table
from benchmarks.images import write_images
from orchestrator import cli
from orchestrator.figures.sparsity import curve, matching_sparsity
from orchestrator.figures.transfer import transfers
from orchestrator.run.inputs import image_ids
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import Row, read_rows
from orchestrator.store import Store, open_store

TASKS = ("denoise", "inpaint")
ARMS = "lottery-imp,lottery-random,lottery-snip,lottery-oes,lottery-decoder"
MOVED, LAST = "5", "8"
PICTURES = ("astronaut", "cat", "coffee")
LONG = 2000
SETTINGS = (
    *(
        "network.width=32",
        "lottery.rounds=8",
        "lottery.rate=0.35",
        "lottery.iterations=500",
        "lottery.initialisations=3",
    ),
    *("fit.iterations=500", "fit.average=0.98"),
)


def _run(command: Sequence[str], sets: Sequence[str]) -> None:
    assigned = [word for assignment in sets for word in ("--set", assignment)]
    # Status 1 is a fit without a result: a network that pruning has cut in two. The tables say how many fits there
    # were.
    if cli.main([*command, "--no-dashboard", *assigned]) > 1:
        raise SystemExit(f"{' '.join(command)} failed")


def _find(task: str, store: str, images: Path, extra: Sequence[str]) -> str:
    """Find tickets on all pictures for a task."""
    run = f"lottery-{task}"
    where = ["--images", str(images), "--simulate", "--store", store, "--config", "lottery", "--arms", ARMS]
    _run(["submit", *where, "--run", run], [*SETTINGS, f"task.name={task}", *extra])
    return run


def _move(found_for: str, task: str, store: str, images: Path, extra: Sequence[str]) -> str:
    """Train one round's tickets of one task on all pictures for a task."""
    run = f"moved-{found_for}-{task}"
    where = ["--images", str(images), "--simulate", "--store", store, "--tickets", f"lottery-{found_for}"]
    _run(["evaluate", *where, "--methods", "imp", "--rounds", MOVED, "--run", run], [f"task.name={task}", *extra])
    return run


def _go_on_long(store: str, images: Path, extra: Sequence[str]) -> str:
    """Fit dense and sparse networks far past their best, on one picture with its own tickets."""
    where = ["--images", str(images), "--simulate", "--store", store, "--tickets", "lottery-denoise"]
    where += ["--sources", PICTURES[0], "--rounds", f"{MOVED},{LAST}"]
    long = [f"lottery.iterations={LONG}", "lottery.initialisations=1"]
    _run(["evaluate", *where, "--methods", "imp,oes", "--run", "long"], [*long, *extra])
    return "long"


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _with_interval(mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:+.2f}" if low is None or high is None else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def print_sparsity(rows: Sequence[Row]) -> None:
    """Quality less the dense network's over sparsity, a column for each method; and up to where it matches that."""
    points = {(point.arm, point.round): point for point in curve(rows) if point.image is None}
    arms = list(dict.fromkeys(arm for arm, number in points if number))
    dense = points[arms[0], 0]
    gap = fmean((point.psnr_oracle_stop or 0.0) - point.mean for point in points.values())
    print(
        f"The dense network: {dense.mean:.2f} dB (s.d. over initialisations {_decibels(dense.spread)}),"
        f" {dense.parameters:,}"
    )
    print(f"parameters, {dense.fits} fits. Stopped blind all fits are {gap:.2f} dB below their own best on average.\n")
    lines = []
    for number in sorted({number for _, number in points if number}):
        first = points[arms[0], number]
        found = [points.get((arm, number)) for arm in arms]
        cells = ["" if point is None else _with_interval(point.difference, point.low, point.high) for point in found]
        lines.append((str(number), f"{first.sparsity:.1%}", f"{first.parameters:,}", *cells))
    names = [arm.removeprefix("lottery-") for arm in arms]
    print(table(("round", "sparsity", "parameters left", *names), lines), end="\n\n")
    matching = [
        (each.arm.removeprefix("lottery-"), *map(_share, (each.sparsity, each.cautious)))
        for each in matching_sparsity(list(points.values()))
    ]
    print(table(("method", "matching up to", "by the interval's lower end"), matching), end="\n\n")


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def print_transfers(store: Store, runs: dict[tuple[str, str], str]) -> None:
    """A matrix for each method: where tickets were found, and where they were trained."""
    cells = {
        key: transfers(read_rows(store, RunLayout(run)), image_ids(store, RunLayout(run))) for key, run in runs.items()
    }
    methods = dict.fromkeys(cell.method for key in cells for cell in cells[key] if cell.source is not None)
    for method in methods:
        images = list(dict.fromkeys(cell.image for key in cells for cell in cells[key]))
        sources = list(dict.fromkeys(cell.source for key in cells for cell in cells[key] if cell.source is not None))
        columns = list(product(TASKS, images))
        lines = []
        for found_for, source in product(TASKS, sources):
            found = {
                (task, cell.image): f"{cell.mean:+.2f}{'*' if cell.own and task == found_for else ''}"
                for task in TASKS
                for cell in cells[found_for, task]
                if (cell.method, cell.source) == (method, source)
            }
            lines.append((f"{found_for}, {source.rsplit('-', 1)[0]}", *(found.get(column, "") for column in columns)))
        for other in ("random", "snip", "decoder"):
            per_image = {
                (task, cell.image): f"{cell.mean:+.2f}"
                for task in TASKS
                for cell in cells[task, task]
                if cell.source is None and cell.method == other
            }
            lines.append((other, *(per_image.get(column, "") for column in columns)))
        header = (f"{method}: found on", *(f"{task}, {Path(image).stem}" for task, image in columns))
        print(table(header, lines), end="\n\n")


def print_overfitting(rows: Sequence[Row]) -> None:
    """The loss of a fit that is not stopped."""
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row.psnr_last is not None and (row.round or row.arm == "lottery-dense"):
            method = row.arm.split("-from-")[0].removeprefix("lottery-")
            groups.setdefault((method, round(row.sparsity or 0.0, 3)), []).append(row)
    header = ("network", "sparsity", "best (oracle)", "blind stop", f"after {LONG:,}", "best less last")
    lines: list[tuple[str, ...]] = []
    for (method, sparsity), of_group in sorted(groups.items()):
        figures = [(row.psnr_oracle_stop, row.psnr, row.psnr_last) for row in of_group]
        best, blind, last = (
            fmean(value for value in values if value is not None) for values in zip(*figures, strict=True)
        )
        lines.append((method, f"{sparsity:.1%}", *map(_decibels, (best, blind, last, best - last))))
    print(table(header, lines), end="\n\n")


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="where runs are kept")
    parser.add_argument("--side", type=int, default=64, help="side of the pictures in pixels (default 64)")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="NAME=VALUE", help="as for submit")
    options = parser.parse_args()
    store = open_store(options.store)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder)
        write_images(images, options.side)
        for file in images.iterdir():
            if file.stem not in PICTURES:
                file.unlink()
        found = [_find(task, options.store, images, options.sets) for task in TASKS]
        moved = {(a, b): _move(a, b, options.store, images, options.sets) for a, b in product(TASKS, TASKS)}
        for name in PICTURES[1:]:
            (images / f"{name}.png").unlink()
        long = _go_on_long(options.store, images, options.sets)
    for task, run in zip(TASKS, found, strict=True):
        print(f"\n### {task.capitalize()}\n")
        print_sparsity(read_rows(store, RunLayout(run)))
    print("### Moved\n")
    print_transfers(store, moved)
    print("### Past the best\n")
    print_overfitting(read_rows(store, RunLayout(long)))


if __name__ == "__main__":
    main()
