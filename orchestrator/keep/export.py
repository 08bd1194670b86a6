"""Write a run, with the inputs and banks that it needs, to a folder or an archive."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import UserMistakeError
from orchestrator.keep.names import bank_roots, input_keys, tickets_of
from orchestrator.keep.parcel import EXPORTS, LIST, Export, Packed, written_parcel
from orchestrator.run.attempt import RunState, latest
from orchestrator.run.inputs import check_content, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.marker import hold_if_marked
from orchestrator.run.record import RunRecord, read_run
from orchestrator.store import Store
from orchestrator.version import __version__


def export_run(
    store: Store, run: str, path: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Export:
    """Write a run to a path that is not there yet: an archive if its name ends as one, else a folder.

    Every object is verified as it is read, and all is read once more and compared before it appears at ``path``.

    Args:
        store: The store.
        run: The run's name.
        path: Where to write it.
        on_progress: Is called with the number of objects that are written, and of all.

    Raises:
        UserMistakeError: there is no such run, it is under way or has no inputs yet, it is unfinished and takes the
            tickets of another, or the path is taken or cannot be written.
        DamagedError: an object is damaged.
    """
    hold_if_marked(store)
    layout, record = RunLayout(run), read_run(store, run)
    number = _check_still(store, layout, record, None)
    shared, own = _needed(store, layout, record)
    keys = [*shared, *own]
    objects: list[Packed] = []
    with written_parcel(path) as add:
        for key, data in zip(keys, store.get_many(keys), strict=True):
            packed = Packed(key, len(data), hashlib.sha256(data).hexdigest())
            check_content(key, packed.sha256)
            add(key, data)
            objects.append(packed)
            on_progress(len(objects), len(keys))
        _check_still(store, layout, read_run(store, run), number)
        export = Export(run, __version__, objects)
        add(LIST, EXPORTS.to_json(export))
    return export


def _needed(store: Store, layout: RunLayout, record: RunRecord) -> tuple[list[str], list[str]]:
    """The keys of what the run shares with others, and of its own objects, its record last."""
    inputs = read_inputs(store, layout)
    if inputs is None:
        raise UserMistakeError(f"the run {record.run} has not brought its images yet: there is nothing to export")
    tickets = tickets_of(record)
    if tickets is not None and record.state is not RunState.FINISHED:
        raise UserMistakeError(
            f"the run {record.run} takes the lottery tickets of {tickets} and is {record.state}: finish it first, with"
            f" `resume {record.run}`"
        )
    try:
        roots = sorted(bank_roots(record, inputs))
    except ValueError:
        roots = []  # settings of another version; banks can be computed again
    banks = [key for root in roots for key in store.keys(root)]
    own = [key for key in store.keys(layout.root) if key != layout.record]
    return [*sorted(set(input_keys(inputs))), *banks], [*own, layout.record]


def _check_still(store: Store, layout: RunLayout, record: RunRecord, number: int | None) -> int:
    """Make sure that nobody works on the run, or has since; returns the number of its last driver."""
    now = latest(store, layout)
    if record.state is RunState.RUNNING or number not in (None, now):
        raise UserMistakeError(f"the run {record.run} is under way: wait for its end, or `cancel {record.run}` first")
    return now
