"""Delete a run. What makes it a run goes first, so a deletion that was interrupted leaves no run that looks whole."""

from collections.abc import Callable

from orchestrator.errors import UserMistakeError
from orchestrator.keep.names import tickets_of
from orchestrator.run.attempt import DELETES, RunState
from orchestrator.run.claim import take
from orchestrator.run.layout import RunLayout
from orchestrator.run.marker import hold_if_marked
from orchestrator.run.record import check_run_name, list_runs, read_run
from orchestrator.run.upkeep import upkeep
from orchestrator.store import Store

_AT_ONCE = 1000
"""Keys between two looks whether the run is still ours to delete."""


def delete_run(store: Store, run: str, *, note: Callable[[str], None] = lambda message: None) -> None:
    """Delete a run: everything below its folder. What runs share stays (`orchestrator.keep.prune`).

    The run is claimed first, as a driver does, so that nobody works on it meanwhile. Then ``run.json`` goes, and from
    then on there is no such run; the rest follows, the claim last. A deletion that was interrupted is completed by the
    next one, or by a prune. Until then no new run can have the name (`orchestrator.drive.driver.begin`).

    Args:
        store: Where it is.
        run: Its name.
        note: Hears why this takes longer than usual.

    Raises:
        UserMistakeError: there is no such run, a driver works on it, or an unfinished run takes its tickets.
    """
    layout = RunLayout(check_run_name(run))
    hold_if_marked(store)
    if not store.exists(layout.record):
        _delete_rest(store, layout)
        return
    _check_tickets(store, run)
    remove(store, layout, note=note)


def remove(store: Store, layout: RunLayout, *, note: Callable[[str], None] = lambda message: None) -> None:
    """As `delete_run`, for a run that is there and whose tickets nobody needs.

    Raises:
        UserMistakeError: a driver works on it.
    """
    with take(store, layout, DELETES, note=note) as claim:
        store.delete(layout.record)
        own = layout.claim(claim.holder.number)
        # The record is left out: it can only be that of a new run, which sees the claim and withdraws.
        rest = [key for key in store.keys(layout.root) if key != layout.record and not key.startswith(f"{own.root}/")]
        for start in range(0, len(rest), _AT_ONCE):
            claim.check(now=True)
            store.delete_many(rest[start : start + _AT_ONCE])
    store.delete_many([own.cancel, own.log, own.state, own.holder])
    store.sweep(layout.root)


def _delete_rest(store: Store, layout: RunLayout) -> None:
    """Complete a deletion that was interrupted.

    Raises:
        UserMistakeError: there is nothing of such a run.
    """
    if not any(True for _ in store.keys(layout.root)):
        read_run(store, layout.run)
    with upkeep(store, "delete"):  # an import of this name would look the same
        store.delete_many([key for key in store.keys(layout.root) if key != layout.record])


def _check_tickets(store: Store, run: str) -> None:
    for record in list_runs(store)[0]:
        if tickets_of(record) == run and record.state is not RunState.FINISHED:
            raise UserMistakeError(
                f"the run {record.run} takes the lottery tickets of {run} and is {record.state}: finish it with"
                f" `resume {record.run}`, or delete it first"
            )
