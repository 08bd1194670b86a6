"""Stop a run; what is finished stays, and `resume` goes on with it."""

import argparse
import time

from orchestrator.cli.common import command_for, store_of
from orchestrator.run.claim import RunState
from orchestrator.run.record import cancel_run, read_run

_WAIT_S = 60.0
_POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument(
        "--drain", action="store_true", help="start no new work, and let what is under way go on to its end"
    )


def act(options: argparse.Namespace) -> int:
    """Ask the run's driver to stop, and wait until it has."""
    store = store_of(options)
    record = cancel_run(store, options.run, "drain" if options.drain else "now")
    if options.drain and record.state is RunState.RUNNING:
        print(f"{options.run} starts no new work; it is cancelled once what is under way has ended")
        return 0
    asked = time.monotonic()
    while record.state is RunState.RUNNING and time.monotonic() - asked < _WAIT_S:
        time.sleep(_POLL_S)
        record = read_run(store, options.run)
    if record.state is RunState.RUNNING:
        print(f"{options.run} has been asked to stop; its driver has not answered yet")
    elif record.state is RunState.FINISHED:
        print(f"{options.run} is finished; there is nothing to cancel")
    else:
        print(f"{options.run} is {record.state}; {command_for('resume', options.run, store)} goes on with it")
    return 0
