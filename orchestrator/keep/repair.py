"""Repair what `orchestrator.keep.verify` finds: remove what can be made again, so that `resume` makes it.

A run is claimed first, as a driver does, so that nobody works on it meanwhile, and verified once more under the claim.
What marks an image as finished goes last: a repair that was interrupted leaves a damage that the next one finds.
"""

from collections.abc import Callable, Iterable, Sequence

from orchestrator.keep.damage import Damage, Remedy
from orchestrator.keep.verify import verify_run
from orchestrator.run.attempt import RunState
from orchestrator.run.claim import take
from orchestrator.run.layout import SHARED, RunLayout
from orchestrator.run.marker import hold
from orchestrator.run.record import read_run
from orchestrator.run.upkeep import check_upkeep, upkeep
from orchestrator.store import Store

_AT_ONCE = 1000


def to_remove(damages: Iterable[Damage], layout: RunLayout | None = None) -> list[str]:
    """The keys that a repair removes, each once, the rows of images last."""
    keys = list(dict.fromkeys(key for damage in damages for key in damage.removes))
    rows = "" if layout is None else f"{layout.rows}/"
    return sorted(keys, key=lambda key: bool(rows) and key.startswith(rows))


def state_after(before: RunState, damages: Sequence[Damage]) -> RunState:
    """The state of a run after a repair: a finished one is interrupted if something is to be made again."""
    again = any(damage.remedy in (Remedy.REMOVE, Remedy.RESUME) for damage in damages)
    return RunState.INTERRUPTED if before is RunState.FINISHED and again else before


def repair_run(store: Store, run: str, *, note: Callable[[str], None] = lambda message: None) -> int:
    """Remove what is damaged or left over of a run, as far as it can be made again; returns how many objects.

    It can be interrupted at any time and repeated.

    Raises:
        UserMistakeError: there is no such run, or a driver works on it.
        DamagedError, NewerFormatError: its record, or the store's marker, cannot be read, so nobody can claim it.
        SupersededError: a driver has taken it over.
    """
    hold(store)
    layout, record = RunLayout(run), read_run(store, run)
    with take(store, layout, record.machine, note=note) as claim:
        damages = verify_run(store, run, inputs_too=False, state=record.state).damages
        keys = to_remove(damages, layout)
        _remove(store, keys, lambda: claim.check(now=True))
        store.sweep(layout.root)
        state = state_after(record.state, damages)
        reason = record.reason if state is record.state else "damage was removed, and is to be made again"
        claim.end(state, seconds=record.seconds, reason=reason)
    return len(keys)


def repair_shared(store: Store, damages: Sequence[Damage]) -> int:
    """Remove the damaged parts of banks of fingerprints, which can be computed again, and unfinished files of killed
    processes; returns how many objects.

    Raises:
        UserMistakeError: another process looks after the store.
    """
    keys = to_remove(damages)
    if keys:
        with upkeep(store, "verify") as claim:
            _remove(store, keys, lambda: check_upkeep(store, claim))
    for prefix in SHARED:
        store.sweep(prefix)
    return len(keys)


def _remove(store: Store, keys: Sequence[str], check: Callable[[], None]) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        check()
        store.delete_many(keys[start : start + _AT_ONCE])
