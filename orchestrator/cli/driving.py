"""Start a run from the command line, show its progress, and print its results. The exit status is how it ended."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.api import Run
from orchestrator.cli.common import command_for, store_of, warn
from orchestrator.cli.exits import exit_of_state
from orchestrator.cli.screen import muted_when_lost
from orchestrator.cli.shown.outcome import show_outcome, status_of
from orchestrator.cli.shown.plan import show_plan
from orchestrator.errors import (
    HoursSpentError,
    ImagesUnavailableError,
    RayLostError,
    RunCancelledError,
    RunFailedError,
    StoreUnavailableError,
    UserMistakeError,
)
from orchestrator.run.attempt import RunState
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import new_run_name
from orchestrator.run.rows import read_rows

if TYPE_CHECKING:
    from orchestrator.plan.request import Request
    from orchestrator.store import Store


def name_run(options: argparse.Namespace) -> None:
    """Give the run a name now, if the user gave none: messages about a run that did not end need it."""
    options.run = new_run_name() if options.run is None else options.run


def carry_out(options: argparse.Namespace, start: Callable[..., Run]) -> int:
    """Start a run with its progress shown, and print its results; returns the exit status.

    ``start`` takes the arguments of `orchestrator.api.Where`.

    Raises:
        KeyboardInterrupt: the user stopped it; that is printed already.
    """
    elsewhere = options.address is not None and "://" in options.address
    if (options.detach or options.ship_code) and not elsewhere:
        raise UserMistakeError("--detach and --ship-code go with --address http://..., a job on a cluster")
    with muted_when_lost():
        return _hand_over(options, start) if elsewhere else _drive(options, start)


def check_json(options: argparse.Namespace) -> None:
    """Check that a plan for programs is asked for where only a plan is made.

    Raises:
        UserMistakeError: the run would be carried out.
    """
    if options.json and not options.dry_run:
        raise UserMistakeError("--json goes with --dry-run; `results --json` has the results of a run")


def print_request(request: "Request", name: str | None, *, as_json: bool) -> None:
    """Print the plan of a request; ``name`` is the place its settings come from, if not its effort."""
    plan = request.plan(ahead=None)
    name = name or (plan.sizing.settings if plan.sizing is not None else plan.run)
    show_plan(request, plan, name, as_json=as_json)


def _drive(options: argparse.Namespace, start: Callable[..., Run]) -> int:
    """Be the driver of a run."""
    from orchestrator.cli.shown.live import LiveProgress

    store, name = store_of(options), options.run
    progress = LiveProgress()
    try:
        with progress:
            run = start(
                background=False, address=options.address, dashboard=not options.no_dashboard, listener=progress
            )
    except (KeyboardInterrupt, RunCancelledError) as stopped:
        if not progress.noted:
            # It was still being planned, and there is nothing to resume.
            raise
        reason = str(stopped) or "interrupted"
        print(f"{reason}; what was finished is in {store.show(RunLayout(name).root)}")
        print(f"go on with       {_resume(name, store)}")
        raise KeyboardInterrupt from None
    except HoursSpentError:
        print(f"what was finished is in {store.show(RunLayout(name).root)}")
        print(f"go on with       {_resume(name, store, spent=True)}")
        raise
    except (StoreUnavailableError, ImagesUnavailableError, RayLostError, RunFailedError):
        if progress.noted:
            print(f"go on with       {_resume(name, store)}")
        raise
    record, rows = run.status(), read_rows(store, RunLayout(name), warn)
    show_outcome(store, record, rows)
    if record.command == "study":
        from orchestrator.cli.shown.study import show_study

        show_study(store, RunLayout(name))
    return status_of(rows)


def _resume(name: str, store: "Store", *, spent: bool = False) -> str:
    """The command that goes on with a run; one whose hours are spent needs more of them."""
    return command_for("resume", name, store) + (" --set resources.hours=N" if spent else "")


def _hand_over(options: argparse.Namespace, start: Callable[..., Run]) -> int:
    """Let a job on a cluster be the driver, and follow the run."""
    from orchestrator.cli.shown.live import LiveProgress

    store, name = store_of(options), options.run
    try:
        with LiveProgress() as progress:
            run = start(address=options.address, ship_code=options.ship_code, listener=progress)
    except KeyboardInterrupt:
        print(f"stopped before the run had a driver; the same submit with --run {name} goes on with it")
        raise
    if options.detach:
        for command in ("watch", "status", "logs", "cancel"):
            print(f"{command:<16} {command_for(command, name, store)}")
        return 0
    return follow(run)


def follow(run: Run) -> int:
    """Show a run's progress until it ends, and its results; returns the exit status.

    Raises:
        KeyboardInterrupt: the user stopped watching; the run goes on.
        RunFailedError: its driver ended without a report in the store.
    """
    from orchestrator.cli.shown.live import LiveProgress

    try:
        with LiveProgress() as progress:
            record = run.follow(progress)
    except KeyboardInterrupt:
        print(f"the run {run.name} goes on; come back to it with {command_for('watch', run.name, run.store)}")
        raise
    if record.state is RunState.FINISHED:
        rows = read_rows(run.store, RunLayout(run.name), warn)
        show_outcome(run.store, record, rows)
        return status_of(rows)
    print(f"{run.name} is {record.state}" + (f": {record.reason}" if record.reason else ""), file=sys.stderr)
    print(f"go on with       {_resume(run.name, run.store, spent=record.state is RunState.SPENT)}")
    return exit_of_state(record.state)
