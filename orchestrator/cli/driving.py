"""Carrying a plan out: on this machine, on the Ray cluster that it belongs to, or by a job on another."""

import argparse
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.common import command_for, duration
from orchestrator.errors import RayLostError, RunCancelledError, RunFailedError, StoreUnavailableError, UserMistakeError
from orchestrator.figures.sparsity import ids_of
from orchestrator.run.claim import RunState, latest, wait_until_free
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState, read_rows
from orchestrator.store import Store, check_store

if TYPE_CHECKING:
    from orchestrator.plan.make import Plan

_ARMS_LISTED = 9
EXIT_SOME_FAILED = 1
EXIT_RUN_FAILED = 2


def add_where(parser: argparse.ArgumentParser) -> None:
    """Where a run is to be carried out."""
    parser.add_argument(
        "--address",
        metavar="URL",
        help="a Ray cluster: the address of its dashboard, such as http://127.0.0.1:8265, on whose head the run's driver is"
        " started as a job; or auto, the cluster that this machine belongs to, with the driver here (default: this machine"
        " alone)",
    )
    parser.add_argument("--detach", action="store_true", help="with --address URL: do not wait for the run's end")
    parser.add_argument(
        "--ship-code",
        action="store_true",
        help="with --address URL: send this machine's code along, where the cluster has another state of it",
    )
    parser.add_argument("--no-dashboard", action="store_true", help="do not start Ray's dashboard")


def carry_out(options: argparse.Namespace, store: Store, planned: "Callable[..., Plan]") -> int:
    """Run a plan with its progress shown, and print what came out; the exit status.

    ``planned`` makes it, for the machines that it is given as ``resolve``.

    Raises:
        KeyboardInterrupt: the user stopped it; said so already.
    """
    elsewhere = options.address is not None and "://" in options.address
    if (options.detach or options.ship_code) and not elsewhere:
        raise UserMistakeError("--detach and --ship-code go with --address http://..., a job on a cluster")
    if elsewhere:
        return _hand_over(options, store, planned)
    if options.address is None:
        return _drive(options, store, planned())
    from orchestrator.drive.cluster import joined_ray, resolve_on_cluster

    with joined_ray(options.address):
        return _drive(options, store, planned(resolve=resolve_on_cluster))


def _drive(options: argparse.Namespace, store: Store, plan: "Plan") -> int:
    """Be the driver of a run."""
    from orchestrator.cli.live import LiveProgress
    from orchestrator.drive.driver import execute

    joined = options.address is not None
    # Before anything starts: does the store do what a run cannot do without?
    check_store(store, f"probe-{uuid.uuid4().hex}")
    try:
        with LiveProgress() as progress:
            progress.note(f"joining Ray at {options.address} ..." if joined else "starting Ray ...")
            outcome = execute(store, plan, progress, dashboard=not options.no_dashboard, joined=joined)
    except (KeyboardInterrupt, RunCancelledError) as stopped:
        said = str(stopped) or "interrupted"
        print(f"{said}; what was finished is in {store.show(RunLayout(plan.run).root)}")
        print(f"go on with       {command_for('resume', plan.run, store)}")
        raise KeyboardInterrupt from None
    except (StoreUnavailableError, RayLostError, RunFailedError):
        print(f"go on with       {command_for('resume', plan.run, store)}")
        raise
    show_outcome(store, outcome.record, outcome.rows)
    if plan.command == "study":
        from orchestrator.cli.study import conclude

        conclude(plan, outcome, store)
    return status_of(outcome.rows)


def _hand_over(options: argparse.Namespace, store: Store, planned: "Callable[..., Plan]") -> int:
    """Bring a run to the store, start its driver on a cluster, and follow it."""
    from orchestrator.cli.live import LiveProgress
    from orchestrator.drive.handover import Cluster, check_reachable_from_machines, hand_over

    check_reachable_from_machines(store)
    cluster = Cluster(options.address)
    plan = planned(resolve=None)
    check_store(store, f"probe-{uuid.uuid4().hex}")
    # By our own clock: the machine of the last driver may be gone without a word.
    wait_until_free(store, RunLayout(plan.run), note=print)
    before = latest(store, RunLayout(plan.run))
    try:
        with LiveProgress() as progress:
            progress.note(f"run {plan.run}: bringing {len(plan.uploads)} images to {store.url}")
            job = hand_over(store, plan, cluster, progress, ship_code=options.ship_code)
            progress.note(f"its driver is the job {job.id} of {job.cluster}")
    except KeyboardInterrupt:
        print(f"stopped before the run had a driver; the same submit with --run {plan.run} goes on with it")
        raise
    if options.detach:
        for command in ("watch", "status", "logs", "cancel"):
            print(f"{command:<16} {command_for(command, plan.run, store)}")
        return 0
    return follow(store, plan.run, after=before, driver=lambda: cluster.why_it_ended(job))


def follow(store: Store, run: str, *, after: int = 0, driver: "Callable[[], str | None]" = lambda: None) -> int:
    """Show a run's progress until it ends, and what came out; the exit status.

    Args:
        store: Where it is.
        run: Its name.
        after: The number of the claim that it goes on from; what earlier drivers said is not shown.
        driver: What its driver said last, if that is known to have ended; it is asked now and then.

    Raises:
        KeyboardInterrupt: the user has seen enough; the run goes on.
        RunFailedError: its driver ended without a word to the store.
    """
    from orchestrator.cli.live import LiveProgress
    from orchestrator.drive.following import Followed

    followed = Followed(store, run, after, driver)
    try:
        with LiveProgress() as progress:
            record = followed.until_it_ends(progress)
    except KeyboardInterrupt:
        print(f"the run {run} goes on; come back to it with {command_for('watch', run, store)}")
        raise
    rows = read_rows(store, RunLayout(run))
    if record.state is RunState.FINISHED:
        show_outcome(store, record, rows)
        return status_of(rows)
    print(f"{run} is {record.state}" + (f": {record.reason}" if record.reason else ""), file=sys.stderr)
    print(f"go on with       {command_for('resume', run, store)}")
    if record.state is RunState.CANCELLED:
        raise KeyboardInterrupt
    return EXIT_RUN_FAILED


def status_of(rows: Sequence[Row]) -> int:
    """The exit status of a run that came to its end."""
    return 0 if all(row.state is RowState.RESTORED for row in rows if row.picked) else EXIT_SOME_FAILED


def show_outcome(store: Store, record: RunRecord, rows: Sequence[Row]) -> None:
    """Print a run's results, and where they are."""
    from orchestrator.cli.table import print_comparison, print_lottery, print_rows

    print()
    print_rows(rows)
    print_comparison(rows)
    if any(row.round is not None for row in rows):
        print_lottery(rows, ids_of(store, RunLayout(record.run)))
    rows = [row for row in rows if row.picked]
    counts = Counter(row.state for row in rows)
    arms = list(dict.fromkeys(row.arm for row in rows))
    print()
    # With several arms an image has several results.
    images = f"{record.images} images by {len(arms)} arms: " if len(arms) > 1 else ""
    said = ", ".join(f"{counts[state]} {state}" for state in RowState if counts[state])
    took = "" if record.seconds is None else f" in {duration(record.seconds)}"
    print(f"{images}{said}{took}")
    layout = RunLayout(record.run)
    for arm in arms if len(arms) <= _ARMS_LISTED else ["<arm>"]:
        print(f"restored images  {store.show(layout.restored(arm, 'pick', 'x')).removesuffix('x')}")
    print(f"table            {store.show(layout.results('csv'))}")
    print(f"report           {store.show(layout.report)}")
    print(f"next             {command_for('results', record.run, store)}")
