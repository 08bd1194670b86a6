"""Delete a run. Inputs and banks that other runs may share stay; `prune` deletes those that no run names.

A run that is under way is refused: `cancel` it first. A deletion that was interrupted leaves no run, and the same
command completes it.
"""

import argparse

from orchestrator.cli.common import check_yes, existing, store_of
from orchestrator.keep.delete import delete_run

EXAMPLES = """\
examples:
  python -m orchestrator delete RUN                 asks first
  python -m orchestrator delete RUN --yes           for programs
  python -m orchestrator export RUN run.tar.zst && python -m orchestrator delete RUN --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def act(options: argparse.Namespace) -> int:
    """Delete it."""
    store = store_of(options)
    existing(store, options.run)
    check_yes(options, f"delete the run {options.run} in {store.url} with its results and restored images?")
    delete_run(store, options.run, note=print)
    print(f"{options.run} is deleted")
    return 0
