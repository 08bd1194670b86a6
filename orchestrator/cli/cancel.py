"""Stop a run. Finished work stays, and `resume` continues it."""

import argparse

from orchestrator.api import Run
from orchestrator.cli.common import command_for
from orchestrator.run.attempt import RunState

EXAMPLES = """\
examples:
  python -m orchestrator cancel RUN                                   at once; checkpoints stay
  python -m orchestrator cancel RUN --drain                           when what is under way has ended
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument("--drain", action="store_true", help="start no new work, and let the work in progress finish")


def act(options: argparse.Namespace) -> int:
    """Ask the run's driver to stop, and wait until it has."""
    run = Run(options.run, options.store)
    record = run.cancel(drain=options.drain)
    if options.drain and record.state is RunState.RUNNING:
        print(f"{run.name} starts no new work; it is cancelled once what is under way has ended")
    elif record.state is RunState.RUNNING:
        print(f"{run.name} has been asked to stop; its driver has not answered yet")
    elif record.state is RunState.FINISHED:
        print(f"{run.name} is finished; there is nothing to cancel")
    else:
        print(f"{run.name} is {record.state}; {command_for('resume', run.name, run.store)} goes on with it")
    return 0
