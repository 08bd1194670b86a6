"""List the runs of a store, oldest first."""

import argparse
import json

from orchestrator.cli.common import store_of
from orchestrator.cli.shown.units import size_of
from orchestrator.keep.sizes import sizes
from orchestrator.run.record import list_runs
from orchestrator.text import counted, duration, printable

_SHOWN = 100

EXAMPLES = """\
examples:
  python -m orchestrator runs                                           all runs of ./dip-store
  python -m orchestrator runs --sizes                                   with the bytes of each
  python -m orchestrator runs --store s3://bucket/dip --json            for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--sizes", action="store_true", help="measure them, too: all of the store is listed, which may take long on S3"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def act(options: argparse.Namespace) -> int:
    """Print the list."""
    store = store_of(options)
    runs, unreadable = list_runs(store)
    measured = sizes(store) if options.sizes else None
    if options.json:
        summaries = [run.summary() for run in runs] + [each.summary() for each in unreadable]
        if measured is not None:
            summaries = [{**summary, "bytes": measured.runs.get(summary["run"], 0)} for summary in summaries]
        print(json.dumps(summaries, indent=2))
        return 0
    if not runs and not unreadable:
        print(f"no runs in {store.url}")
    for run in runs:
        took = "" if run.seconds is None else f"  {duration(run.seconds)}"
        reason = "" if run.reason is None else f"  ({printable(run.reason)[:_SHOWN]})"
        size = "" if measured is None else f"  {size_of(measured.runs.get(run.run, 0)):>8}"
        number, noun = counted(run.images, "image").split()
        print(f"{run.run}  {run.state:<11}  {number:>6} {noun:<6}{size}  {run.created}{took}{reason}")
    for each in unreadable:
        print(f"{each.run}  unreadable   {printable(each.reason)}")
    if measured is not None:
        print(", ".join(f"{prefix}: {size_of(size)}" for prefix, size in measured.shared.items()) + ", shared by runs")
    return 0
