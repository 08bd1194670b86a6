"""Follow a run until it ends, from any machine that can read its store. Ctrl-C leaves the run alone."""

import argparse

from orchestrator.cli.common import store_of
from orchestrator.cli.driving import follow
from orchestrator.run.claim import latest
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")


def act(options: argparse.Namespace) -> int:
    """Show its progress, and what came out."""
    store = store_of(options)
    record = read_run(store, options.run)
    # One that no driver has begun yet may be about to be: a job waits for its turn.
    return follow(store, record.run, after=max(0, latest(store, RunLayout(record.run)) - 1))
