"""Follow a run until it ends, from any machine that can read its store. Ctrl-C leaves the run alone."""

import argparse

from orchestrator.api import Run
from orchestrator.cli.driving import follow
from orchestrator.cli.screen import muted_when_lost

EXAMPLES = """\
examples:
  python -m orchestrator watch RUN
  python -m orchestrator watch RUN --store s3://bucket/dip             from any machine that can read the store
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")


def act(options: argparse.Namespace) -> int:
    """Show its progress, and its results."""
    with muted_when_lost():
        return follow(Run(options.run, options.store))
