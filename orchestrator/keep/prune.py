"""Delete from a store what no run names: inputs, banks of fingerprints, and what killed processes have left."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.errors import UserMistakeError
from orchestrator.keep.decide import Known, named_banks, named_inputs, runs_to_go, unnamed
from orchestrator.keep.delete import remove
from orchestrator.keep.names import known_runs
from orchestrator.run.claim import Claim
from orchestrator.run.layout import BANKS, IMAGES, PROBES, RUNS, RunLayout
from orchestrator.run.marker import hold_if_marked
from orchestrator.run.record import is_run_name
from orchestrator.run.upkeep import PRUNE, UPKEEP, check_upkeep, upkeep
from orchestrator.store import Entry, Store

DAY_S = 86400.0
_AT_ONCE = 1000


@dataclass(frozen=True)
class Pruned:
    """What was pruned, or what would be.

    Attributes:
        runs: The runs that are deleted.
        inputs: The images, references and masks that no run names.
        banks: The objects of banks of fingerprints that no run names.
        leftovers: The objects of runs that never began or were half deleted, and those by which the store was tried.
        swept: The unfinished files of killed writers that were removed; not known in advance.
        kept: Why something is kept whose use is not known, a line each.
    """

    runs: Sequence[str]
    inputs: Sequence[Entry]
    banks: Sequence[Entry]
    leftovers: Sequence[Entry]
    swept: int
    kept: Sequence[str]

    @property
    def size(self) -> int:
        """The bytes of all objects but those of the runs."""
        return sum(entry.size for entry in (*self.inputs, *self.banks, *self.leftovers))


def prune(
    store: Store,
    *,
    keep: int | None = None,
    older_than_s: float | None = None,
    dry_run: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> Pruned:
    """Delete what no run names; it can be interrupted at any time and repeated.

    Args:
        store: The store.
        keep: Delete all runs but this many, the newest, too. Runs that are under way or cannot be read, and runs whose
            tickets a kept run takes, are kept.
        older_than_s: Delete only what was written longer ago than this many seconds (None: a day), and with ``keep``
            only runs that ended longer ago (None: all).
        dry_run: Delete nothing, and say what would be deleted.
        note: Hears what is going on.

    Raises:
        UserMistakeError: another process prunes the store or imports a run.
        SupersededError: another process has taken this over.
    """
    if dry_run:
        hold_if_marked(store)
        known = known_runs(store)
        gone = _runs(known, keep, older_than_s, time.time())
        return _unnamed(store, [run for run in known if run.run not in gone], gone, older_than_s, time.time())
    with upkeep(store, PRUNE, note=note) as claim:
        # The claim has just been written, so this is the time by the store's own clock.
        now = max((entry.modified for entry in store.entries(UPKEEP.root)), default=time.time())
        gone = []
        for run in _runs(known_runs(store, banks=False), keep, older_than_s, now):
            check_upkeep(store, claim)
            try:
                remove(store, RunLayout(run), note=note)
                gone.append(run)
            except UserMistakeError as error:
                note(f"kept: {error}")  # it has been resumed meanwhile
        found = _unnamed(store, known_runs(store), gone, older_than_s, now)
        for entries in (found.inputs, found.banks, found.leftovers):
            _delete(store, claim, entries)
        # Earlier versions tried a store by objects beside the folders, which they deleted at once.
        store.delete_many([name for name in store.children("") if name.startswith("probe-")])
        swept = store.sweep("")
    return Pruned(gone, found.inputs, found.banks, found.leftovers, swept, found.kept)


def _runs(known: Sequence[Known], keep: int | None, older_than_s: float | None, now: float) -> list[str]:
    if keep is None:
        return []
    before = None if older_than_s is None else datetime.fromtimestamp(now - older_than_s, UTC).isoformat()
    return runs_to_go(known, keep, before)


def _unnamed(
    store: Store, known: Sequence[Known], gone: Sequence[str], older_than_s: float | None, now: float
) -> Pruned:
    before = now - (DAY_S if older_than_s is None else older_than_s)
    inputs, banks = named_inputs(known), named_banks(known)
    there = {run.run for run in known} | set(gone)
    rests = [
        entry
        for name in store.children(RUNS)
        if is_run_name(name) and name not in there
        for entry in store.entries(RunLayout(name).root)
        if entry.key != RunLayout(name).record  # a run that was begun since
    ]
    return Pruned(
        runs=gone,
        inputs=[] if inputs is None else unnamed(list(store.entries(IMAGES)), 3, inputs, before),
        banks=[] if banks is None else unnamed(list(store.entries(BANKS)), 2, banks, before),
        leftovers=unnamed([*rests, *store.entries(PROBES)], 2, frozenset(), before),
        swept=0,
        kept=[run.why for run in known if run.why],
    )


def _delete(store: Store, claim: Claim, entries: Sequence[Entry]) -> None:
    for start in range(0, len(entries), _AT_ONCE):
        check_upkeep(store, claim)
        store.delete_many([entry.key for entry in entries[start : start + _AT_ONCE]])
