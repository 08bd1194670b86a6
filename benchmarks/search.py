"""The tables of docs/results.md: every arm on four pictures, for three tasks, with the cost of a blind choice.

``python -m benchmarks.search --store DIR`` runs what the store lacks (about an hour on two cores) and prints the
tables; an interrupted run continues where it was. ``--side 48 --set fit.iterations=40`` tries it out.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.common import table
from benchmarks.images import write_images
from orchestrator import cli
from orchestrator.arms.arm import Rule
from orchestrator.figures.comparison import paired
from orchestrator.figures.study import expected_best, mean_tau, tau_of
from orchestrator.fit.arrays import read_arrays
from orchestrator.fit.record import read_record
from orchestrator.pick.rules import Member, values_by
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import Row, read_rows
from orchestrator.store import Store, open_store
from workers.names import parse_name

TASKS = ("denoise", "inpaint", "super-resolve")
ARMS = ("isnas-dip", "isnas-dip-blind", "random", "dip", "nas-dip", "deep-decoder")
RULES: tuple[Rule, ...] = ("held-out", "consensus", "held-out+consensus")


@dataclass(frozen=True)
class Picture:
    """A run's data on one image: its fits by view and candidate, and each arm's cohort, best score first."""

    name: str
    id: str
    fits: dict[tuple[str, str], dict[str, Any]]
    cohorts: dict[str, list[dict[str, Any]]]

    def of(self, view: str, arm: str) -> list[dict[str, Any]]:
        """The fits of an arm's cohort on a view."""
        names = [member["candidate"] for member in self.cohorts[arm]]
        return [self.fits[view, name] for name in names if (view, name) in self.fits]


@dataclass(frozen=True)
class Run:
    """A finished run of the benchmark."""

    task: str
    store: Store
    layout: RunLayout
    rows: list[Row]
    pictures: list[Picture]

    def values(self, arm: str, value: Callable[[Row], float | None]) -> dict[str, float]:
        """A figure of an arm, by image."""
        found = {row.image: value(row) for row in self.rows if row.arm == arm}
        return {image: number for image, number in found.items() if number is not None}


def _run(task: str, store_url: str, images: Path, assignments: Sequence[str]) -> None:
    sets = [word for assignment in (f"task.name={task}", *assignments) for word in ("--set", assignment)]
    where = ["--images", str(images), "--simulate", "--config", "benchmark", "--store", store_url]
    status = cli.main(["submit", *where, "--run", f"search-{task}", "--no-dashboard", *sets])
    if status:
        raise SystemExit(status)


def _read(task: str, store: Store) -> Run:
    layout = RunLayout(f"search-{task}")
    pictures = []
    inputs = read_inputs(store, layout)
    if inputs is None:
        raise SystemExit(f"{layout.root} has no inputs")
    for image in map(asdict, inputs.images):
        fits = pq.read_table(io.BytesIO(store.get(layout.cohort(image["id"])))).to_pylist()
        done = {(fit["view"], fit["candidate"]): fit for fit in fits if fit["state"] == "done"}
        arms = sorted({row.arm for row in read_rows(store, layout)})
        cohorts = {arm: json.loads(store.get(layout.pick(image["id"], arm)))["cohort"] for arm in arms}
        pictures.append(Picture(image["name"], image["id"], done, cohorts))
    return Run(task, store, layout, read_rows(store, layout), pictures)


def _with_interval(values: Sequence[float]) -> str:
    mean, _, low, high = paired(values)
    return _shown(mean, low, high)


def _shown(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:+.2f}" if low is None or high is None else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _difference(run: Run, arm: str, against: str) -> str:
    ours, theirs = run.values(arm, lambda row: row.psnr), run.values(against, lambda row: row.psnr)
    return "" if arm == against else _with_interval([ours[image] - theirs[image] for image in ours])


def arms_table(run: Run) -> str:
    """Means over the images, and paired differences."""
    lines = []
    for arm in ARMS:
        blind, oracle = (
            run.values(arm, lambda row, key=key: getattr(row, key)) for key in ("psnr", "psnr_oracle_stop")
        )
        # Both are of the iterations that hid pixels.
        stop = run.values(arm, lambda row: row.psnr if row.psnr_before_reveal is None else row.psnr_before_reveal)
        mean = run.values(arm, lambda row: row.psnr_mean)
        lines.append(
            [
                arm,
                f"{fmean(blind.values()):.2f}",
                f"{fmean(oracle.values()):.2f}",
                f"{fmean(oracle[image] - stop[image] for image in stop):.2f}",
                f"{fmean(mean.values()):.2f}" if mean else "",
                _difference(run, arm, "random"),
                _difference(run, arm, "dip"),
                f"{fmean(run.values(arm, lambda row: row.iterations).values()):,.0f}",
            ]
        )
    heads = [
        "arm",
        "blind",
        "oracle stop",
        "gap",
        "mean of best",
        "less random (95 %)",
        "less dip (95 %)",
        "iterations",
    ]
    return table(heads, lines)


def images_table(run: Run) -> str:
    """The blind pick's PSNR, image by image."""
    before = run.values(ARMS[0], lambda row: row.psnr_degraded)
    by_arm = {arm: run.values(arm, lambda row: row.psnr) for arm in ARMS}
    lines = [[image, f"{psnr:.2f}", *(f"{by_arm[arm][image]:.2f}" for arm in ARMS)] for image, psnr in before.items()]
    return table(["image", "before", *ARMS], lines)


def luma_table(run: Run) -> str:
    """Super-resolution on luma, as the papers report it."""
    by_arm = {arm: run.values(arm, lambda row: row.psnr_y) for arm in ARMS}
    lines = [[image, *(f"{by_arm[arm][image]:.2f}" for arm in ARMS)] for image in by_arm[ARMS[0]]]
    return table(["image, PSNR Y", *ARMS], lines)


def _members(run: Run, picture: Picture, view: str, arm: str) -> list[Member]:
    scores = {member["candidate"]: member["score"] for member in picture.cohorts[arm]}
    members = []
    for fit in picture.of(view, arm):
        keys = run.layout.fit(picture.id, view, parse_name(fit["candidate"]))
        record = read_record(run.store, keys)
        if record is None:
            raise SystemExit(f"{keys.root} has no result")
        output = read_arrays(run.store, keys, record).output
        members.append(Member(fit["candidate"], scores[fit["candidate"]], fit["held_out_error"], output))
    return members


def choice_table(runs: Sequence[Run]) -> str:
    """The cost of choosing blind, by rule: the gap of the pick to the best member, and tau with best PSNR."""
    lines = []
    for run in runs:
        for view, arms in (("crop", ("isnas-dip-blind", "random")), ("full", ("shortlist-full",))):
            for rule in (*RULES, "weighted-mean"):
                gaps, taus = [], []
                for picture in run.pictures:
                    for arm in arms:
                        members = _members(run, picture, view, arm)
                        values = np.array(values_by(rule, members))
                        blind = np.array([fit["psnr"] for fit in picture.of(view, arm)])
                        best = np.array([fit["psnr_oracle_stop"] for fit in picture.of(view, arm)])
                        gaps.append(float(blind.max() - blind[int(values.argmin())]))
                        taus.append(tau_of(values, best))
                lines.append([run.task, view, rule, f"{fmean(gaps):.2f}", f"{max(gaps):.2f}", _shown(*mean_tau(taus))])
    return table(["task", "view", "rule", "pick below best, dB", "at most", "tau with best PSNR (95 %)"], lines)


def stop_table(runs: Sequence[Run]) -> str:
    """The cost of stopping blind, over all fits."""
    lines = []
    for run in runs:
        for view in ("crop", "full"):
            fits = [fit for picture in run.pictures for (on, _), fit in picture.fits.items() if on == view]
            gaps = [fit["psnr_oracle_stop"] - fit["psnr"] for fit in fits]
            steady = [fit["psnr_oracle_stop"] - fit["psnr_steady"] for fit in fits]
            ends = [fit["psnr_oracle_stop"] - fit["curve_psnr"][-1] for fit in fits]
            lines.append(
                [
                    run.task,
                    view,
                    str(len(fits)),
                    f"{fmean(gaps):.2f}",
                    f"{np.median(gaps):.2f}",
                    f"{np.quantile(gaps, 0.9):.2f}",
                    f"{fmean(steady):.2f}",
                    f"{fmean(ends):.2f}",
                ]
            )
    heads = ["task", "view", "fits", "held-out: mean", "median", "90 %", "es-emv: mean", "last iteration: mean"]
    return table(heads, lines)


def view_table(runs: Sequence[Run]) -> str:
    """Whether a choice made on a crop, or on the image made small, holds at full size."""
    lines = []
    for run in runs:
        for view in ("crop", "downscale", "full"):
            taus: list[float] = []
            best: dict[int, list[float]] = {count: [] for count in (1, 3, 5)}
            for picture in run.pictures:
                full = {fit["candidate"]: fit for fit in picture.of("full", "shortlist-full")}
                seen = [fit for fit in picture.of(view, "shortlist-full") if fit["candidate"] in full]
                if not seen:
                    continue
                psnr = np.array([full[fit["candidate"]]["psnr"] for fit in seen])
                chosen_by = np.array([fit["held_out_error"] for fit in seen])
                taus.append(tau_of(chosen_by, psnr))
                order = np.argsort(chosen_by, kind="stable")
                for count, gained in best.items():
                    # The pick is the one with the least held-out error among those fitted at full size.
                    errors = [full[seen[at]["candidate"]]["held_out_error"] for at in order[:count]]
                    gained.append(float(psnr[order[int(np.argmin(errors))]] - expected_best(psnr, 1)))
            if taus:
                gains = [f"{fmean(gained):+.2f}" for gained in best.values()]
                lines.append([run.task, view, _shown(*mean_tau(taus)), *gains])
    heads = ["task", "chosen on", "tau with PSNR at full size (95 %)", "best 1: gain, dB", "best 3", "best 5"]
    return table(heads, lines)


def halving_table(runs: Sequence[Run]) -> str:
    """The savings of halving the cohort, and its cost."""
    lines = []
    for run in runs:
        psnr = {arm: run.values(arm, lambda row: row.psnr) for arm in ("isnas-dip-blind", "halved")}
        used = {arm: fmean(run.values(arm, lambda row: row.iterations).values()) for arm in psnr}
        every, halved = psnr["isnas-dip-blind"], psnr["halved"]
        same = sum(halved[image] == every[image] for image in every)
        lines.append(
            [
                run.task,
                *(f"{used[arm]:,.0f}" for arm in used),
                f"{1 - used['halved'] / used['isnas-dip-blind']:.0%}",
                _with_interval([halved[image] - every[image] for image in every]),
                f"{same} of {len(every)}",
            ]
        )
    heads = ["task", "iterations, all to the end", "halved", "saved", "PSNR, dB (95 %)", "same pick"]
    return table(heads, lines)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="where the runs are kept")
    parser.add_argument("--side", type=int, default=96, help="side of the pictures in pixels (default: 96)")
    parser.add_argument("--tasks", default=",".join(TASKS), help="tasks with commas between them")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="NAME=VALUE")
    options = parser.parse_args()
    store = open_store(options.store)
    tasks = options.tasks.split(",")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), options.side)
        for task in tasks:
            _run(task, options.store, Path(folder), options.assignments)
    runs = [_read(task, store) for task in tasks]
    for run in runs:
        print(f"\n### {run.task}\n\n{arms_table(run)}\n\n{images_table(run)}")
        if run.task == "super-resolve":
            print(f"\n{luma_table(run)}")
    print(f"\n### Stopping blind\n\n{stop_table(runs)}")
    print(f"\n### Choosing blind\n\n{choice_table(runs)}")
    print(f"\n### Choosing on a part\n\n{view_table(runs)}")
    print(f"\n### Halving\n\n{halving_table(runs)}")


if __name__ == "__main__":
    main()
