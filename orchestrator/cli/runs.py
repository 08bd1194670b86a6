"""List the runs of a store, oldest first."""

import argparse
import json

from orchestrator.cli.common import store_of
from orchestrator.cli.shown.units import duration
from orchestrator.run.record import list_runs
from orchestrator.text import printable

_SHOWN = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def act(options: argparse.Namespace) -> int:
    """Print the list."""
    store = store_of(options)
    runs, unreadable = list_runs(store)
    if options.json:
        summaries = [run.summary() for run in runs] + [each.summary() for each in unreadable]
        print(json.dumps(summaries, indent=2))
        return 0
    if not runs and not unreadable:
        print(f"no runs in {store.url}")
    for run in runs:
        took = "" if run.seconds is None else f"  {duration(run.seconds)}"
        reason = "" if run.reason is None else f"  ({printable(run.reason)[:_SHOWN]})"
        print(f"{run.run}  {run.state:<11}  {run.images:>6} images  {run.created}{took}{reason}")
    for each in unreadable:
        print(f"{each.run}  unreadable   {printable(each.reason)}")
    return 0
