"""Fit every candidate on every image and find what foretells the best: for researchers; it takes long."""

import argparse
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.common import decibels, store_of
from orchestrator.cli.driving import carry_out
from orchestrator.cli.submit import add_inputs, add_settings, plan_of, print_plan
from orchestrator.run.layout import RunLayout
from orchestrator.settings.config import DEFAULT, resolve
from orchestrator.store import Store

if TYPE_CHECKING:
    from orchestrator.drive.driver import Outcome
    from orchestrator.figures.study import Study
    from orchestrator.plan.make import Plan

_SHOWN_SIZES = (1, 3, 5, 15)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_inputs(parser)
    parser.add_argument(
        "--candidates",
        required=True,
        metavar="FILE",
        help="the candidates: a CSV file of ids, the name of a list that ships (isnas522), or a number of random ones",
    )
    add_settings(parser, default=DEFAULT)


def act(options: argparse.Namespace) -> int:
    """Run the fits, or go on with them, and put the figures together."""
    store = store_of(options)
    config = resolve(options.config, [*options.assignments, *_as_study(options.candidates)])
    # Without references the images are the clean ones.
    planned = partial(plan_of, options, store, config, simulate=options.references is None)
    if options.dry_run:
        print_plan(planned(), store, options.config)
        return 0
    return carry_out(options, store, planned)


def conclude(plan: "Plan", outcome: "Outcome", store: Store) -> None:
    """Put the figures of a finished run together, and show them."""
    from orchestrator.figures.study import read_table, study_of, write_study
    from orchestrator.report.study.page import write_study_page

    layout = RunLayout(plan.run)
    table = read_table(store, layout, plan.images)
    study = study_of(table)
    write_study(store, layout, table, study)
    write_study_page(store, outcome.record, table, study)
    _print_study(study)
    print(f"table            {store.show(layout.study('table.parquet'))}")
    print(f"study            {store.show(layout.study('index.html'))}")


def _as_study(candidates: str) -> list[str]:
    """The settings that make a run a study: one arm that fits all candidates at full size, and every metric scored."""
    from workers.metrics import RANDOM, metric_names

    also = [name for name in metric_names() if name != RANDOM]
    return [
        f"score.candidates={candidates}",
        "arms=[{name: all, like: all, view: full, rule: held-out, full_fits: 1, halving: none}]",
        # A consensus of hundreds would have to hold all their images.
        "pick.noise=independent",
        f"score.also={also}",
    ]


def _print_study(study: "Study") -> None:
    print()
    print(f"Kendall's tau with the best PSNR, mean of {study.images} images (95 %); -1 foretells it exactly")
    for tau in study.taus:
        if tau.image is None:
            interval = "" if tau.low is None or tau.high is None else f"  {tau.low:+.2f} to {tau.high:+.2f}"
            print(f"  {tau.predictor:<24} {tau.tau:+.2f}{interval}")
    chosen = [point for point in study.cohort_sizes if point.size in _SHOWN_SIZES]
    print("best PSNR among K, dB")
    for name in dict.fromkeys(point.by for point in chosen):
        figures = "  ".join(f"{point.size}: {decibels(point.best)}" for point in chosen if point.by == name)
        print(f"  {name or 'at random (expected)':<24} {figures}")
