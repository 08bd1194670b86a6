"""Restore a folder of images."""

import argparse
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.cli.common import duration, store_of
from orchestrator.config import DEFAULT, resolve
from orchestrator.layout import RunLayout
from orchestrator.results import RowState
from orchestrator.store import Store
from orchestrator.text import printable

if TYPE_CHECKING:
    from orchestrator.plan import Plan

EXIT_SOME_FAILED = 1
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--images", required=True, metavar="DIR", help="the folder of images, degraded or (--simulate) clean"
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--references", metavar="DIR", help="clean images of the same names and sizes: only to report PSNR and SSIM"
    )
    truth.add_argument(
        "--simulate", action="store_true", help="the images are clean: degrade them by the task, restore, report PSNR"
    )
    parser.add_argument(
        "--config",
        default=DEFAULT,
        metavar="FILE",
        help="settings: a YAML file, or the name of one that ships: quickstart (default), denoise",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="override a setting; repeatable",
    )
    parser.add_argument("--run", metavar="NAME", help="the run's name (default: from the time)")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan and an estimate of its time; run nothing"
    )
    parser.add_argument("--no-dashboard", action="store_true", help="do not start Ray's dashboard")


def act(options: argparse.Namespace) -> int:
    """Plan, and carry the plan out."""
    # Torch and Ray take seconds to import: after the mistakes that can be found without them.
    store = store_of(options)
    config = resolve(options.config, options.assignments)
    from orchestrator.plan import make_plan

    plan = make_plan(
        store, config, options.images, references=options.references, simulate=options.simulate, run=options.run
    )
    if options.dry_run:
        _print_plan(plan, store, options.config)
        return 0
    _check_store(store)
    return _run(plan, store, dashboard=not options.no_dashboard)


def _check_store(store: Store) -> None:
    """Find out before anything starts whether the store can be written."""
    key = f"probes/{uuid.uuid4().hex}"
    store.put(key, b"")
    store.delete(key)


def _run(plan: "Plan", store: Store, *, dashboard: bool) -> int:
    from orchestrator.cli.live import LiveProgress
    from orchestrator.cli.table import print_rows
    from orchestrator.driver import execute

    interrupted = False
    with LiveProgress() as progress:
        progress.note("starting Ray ...")
        try:
            outcome = execute(store, plan, progress, dashboard=dashboard)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        print(f"interrupted; what was finished is in {store.show(RunLayout(plan.run).root)}")
        raise KeyboardInterrupt
    print()
    print_rows(outcome.rows)
    counts = Counter(row.state for row in outcome.rows)
    print()
    print(", ".join(f"{counts[state]} {state}" for state in RowState if counts[state]) + _took(outcome.record.seconds))
    _print_places(plan, store)
    return 0 if counts[RowState.RESTORED] == len(outcome.rows) else EXIT_SOME_FAILED


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f" in {duration(seconds)}"


def _print_places(plan: "Plan", store: Store) -> None:
    layout = RunLayout(plan.run)
    print(f"restored images  {store.show(layout.restored(plan.config.method, 'pick', 'x')).removesuffix('x')}")
    print(f"table            {store.show(layout.results('csv'))}")
    print(f"report           {store.show(layout.report)}")
    print(f"next             python -m orchestrator results {plan.run} --store {store.url}")


def _print_plan(plan: "Plan", store: Store, config_name: str) -> None:
    from orchestrator.estimate import estimate

    config = plan.config
    sizes = Counter(f"{image.width}x{image.height}x{image.channels}" for image in plan.images)
    shown = ", ".join(f"{count} of {size}" if count > 1 else size for size, count in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} more sizes" if len(sizes) > _SHOWN else ""
    view = {"crop": f"crops of {config.cohort.crop_px} px", "downscale": "the image made small", "full": "full size"}
    then = f", then the best {plan.full_fits} at full size" if plan.full_fits else ""
    print(f"settings    {config_name}, arm {config.method}")
    print(f"images      {len(plan.images)} ({shown}{more}), {len(plan.rejected)} rejected")
    for rejected in plan.rejected[:_SHOWN]:
        print(f"            {printable(f'{rejected.name}: {rejected.reason}')}")
    if len(plan.rejected) > _SHOWN:
        print(f"            ... and {len(plan.rejected) - _SHOWN} more")
    truth = (
        "simulated" if plan.simulate else ("given" if plan.images[0].reference else "none: no PSNR, blind quality only")
    )
    print(f"references  {truth}")
    print(f"candidates  {plan.candidates}, scored by {config.score.metric}, {config.score.draws} draw(s) each")
    print(f"trials      {plan.trials}: per image {plan.cohort_size} on {view[config.cohort.view]}{then}")
    print(f"store       {store.url}")
    expected = estimate(plan, store)
    print(
        f"time        at most {duration(expected.seconds)} on this machine's CPU, {expected.parallel} trials at a time"
        f" (scoring {duration(expected.score_seconds / expected.parallel)});"
        " fits usually stop earlier"
    )
    print("nothing was run")
