"""Verify a run, or all of a store: every checksum, every reference, every format.

All objects are read once, one batch after the other, so memory grows with the list of keys alone. Nothing of it needs
torch or Ray.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.keep.content import WrongContentError, check_bank, check_input, read_content
from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.keep.names import input_keys
from orchestrator.keep.references import References
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import Inputs
from orchestrator.run.layout import BANKS, IMAGES, RUNS, SHARED, RunLayout
from orchestrator.run.marker import hold_if_marked
from orchestrator.run.places import Kind, place_of
from orchestrator.run.record import RunRecord, is_run_name, read_run
from orchestrator.store import MARKER, Entry, Store
from orchestrator.text import counted, printable

_BATCH_BYTES = 64 << 20
_BATCH_OBJECTS = 256
_PUT_BACK = (
    "resume ends an unfinished image that needs it without a result: put back a good copy, or submit its file again"
)


@dataclass
class Verified:
    """How much was read, and what is wrong with it.

    Attributes:
        objects: The objects that were read.
        size: Their bytes.
        damages: What is wrong.
    """

    objects: int = 0
    size: int = 0
    damages: list[Damage] = field(default_factory=list)


Found = Callable[[Damage], None]


def verify_run(
    store: Store,
    run: str,
    *,
    inputs_too: bool = True,
    found: Found = lambda damage: None,
    into: Verified | None = None,
    state: RunState | None = None,
) -> Verified:
    """Verify a run: all its objects, and what they name.

    Args:
        store: Where it is.
        run: Its name.
        inputs_too: Also read its images, references and masks, which runs share.
        found: Is told of each damage at once.
        into: Takes the result; None makes a new one.
        state: The run's state before this process claimed it; None takes the present one.

    Raises:
        StoreError: the store cannot be read. A single object that is damaged raises nothing.
    """
    verified = Verified() if into is None else into
    layout = RunLayout(run)
    # What is missing because all of the store has vanished is no damage, and must not be repaired.
    _hold(store)
    entries = list(store.entries(layout.root))

    def tell(damage: Damage) -> None:
        # What has come or gone since the listing is no damage.
        if damage.wrong is not Wrong.MISSING or not store.exists(damage.key):
            verified.damages.append(damage)
            found(damage)

    references, unreadable = _references(store, layout, {entry.key for entry in entries})
    if references.record is not None and state is not None:
        references = replace(references, record=replace(references.record, state=state))
    # What cannot be read at all is not read again, and what nothing needs is not judged.
    told = {damage.key for damage in unreadable}
    for damage in (*unreadable, *references.without_reading()):
        told |= set(damage.removes)
        tell(damage)
    if (needed := references.needed_run) is not None:
        reason = "the run takes the lottery tickets of this run, and it is not there"
        advice = "resume ends the fits that need them without a result: import that run"
        tell(Damage(RunLayout(needed).record, Wrong.MISSING, reason, advice, Remedy.BY_HAND, (), run))
    for entry, data in _objects(store, entries, verified):
        if entry.key not in told and not isinstance(data, NotFoundError):
            for damage in _of_object(references, entry.key, data):
                tell(damage)
    if store_left := store.sweep(layout.root, dry_run=True):
        tell(_unfinished(layout.root, store_left, run))
    if inputs_too and references.inputs is not None:
        _verify_inputs(store, references.inputs, run, verified, tell)
    return verified


def verify_shared(store: Store, *, found: Found = lambda damage: None, into: Verified | None = None) -> Verified:
    """Verify what runs share: all images, references and masks, and all banks of fingerprints.

    Raises:
        StoreError: as in `verify_run`.
    """
    verified = Verified() if into is None else into

    def tell(damage: Damage) -> None:
        verified.damages.append(damage)
        found(damage)

    if (of_marker := _hold(store)) is not None:
        tell(of_marker)
    for entry, data in _objects(store, store.entries(IMAGES), verified):
        wrong = _wrong_content(partial(check_input, entry.key), data)
        if wrong is not None:
            tell(Damage(entry.key, Wrong.DAMAGED, wrong, _PUT_BACK, Remedy.BY_HAND))
    for entry, data in _objects(store, store.entries(BANKS), verified):
        wrong = _wrong_content(partial(check_bank, entry.key), data)
        if wrong is not None:
            again = "a run that needs it stops there; --repair removes it, and resume makes it again"
            tell(Damage(entry.key, Wrong.DAMAGED, wrong, again, Remedy.REMOVE, (entry.key,)))
    for prefix in SHARED:
        if left := store.sweep(prefix, dry_run=True):
            tell(_unfinished(prefix, left, None))
    return verified


def _hold(store: Store) -> Damage | None:
    """Hold a store to its marker; what is wrong with the marker, if it cannot be read."""
    try:
        hold_if_marked(store)
    except NewerFormatError as error:
        return Damage(MARKER, Wrong.NEWER, str(error), "no run begins or is resumed in this store", Remedy.BY_HAND)
    except DamagedError as error:
        advice = "no run begins or is resumed in this store: put back a good copy, or delete it, and it gets a new one"
        return Damage(MARKER, Wrong.DAMAGED, _said(error), advice, Remedy.BY_HAND)
    return None


def names_of_runs(store: Store) -> list[str]:
    """The names of all runs, and of what is left of runs."""
    # File systems keep folders whose objects were all deleted.
    return [name for name in store.children(RUNS) if is_run_name(name) and any(store.keys(RunLayout(name).root))]


def _references(store: Store, layout: RunLayout, keys: set[str]) -> tuple[References, list[Damage]]:
    """What is known of a run before its objects are read, and what of that cannot be read."""
    remedies = References(layout, keys, None, None).remedies
    wrong: list[Damage] = []

    def read(kind: Kind, key: str) -> Any:
        try:
            return read_content(kind, store.get(key), key)
        except NewerFormatError as error:
            wrong.append(remedies.newer(key, str(error)))
        except (DamagedError, WrongContentError) as error:
            wrong.append(remedies.again(key, Wrong.DAMAGED, _said(error)))
        return None

    record: RunRecord | None = None
    if layout.record not in keys:
        reason = "there is no record of the run: a deletion or an import was interrupted, or it is lost"
        advice = "there is no run to resume: put back a good copy, or `delete` or `import` the run again"
        wrong.append(Damage(layout.record, Wrong.MISSING, reason, advice, Remedy.BY_HAND, (), layout.run))
    else:
        record = read(Kind.RECORD, layout.record)
    if record is not None and record.run != layout.run:
        reason = f"it is the record of the run {printable(record.run)}: runs cannot be renamed or copied"
        wrong.append(remedies.again(layout.record, Wrong.DAMAGED, reason))
        record = None
    if record is not None:
        # A claim that cannot be read is met again as an object.
        with contextlib.suppress(DamagedError, NewerFormatError):
            record = read_run(store, layout.run)
    inputs = read(Kind.INPUTS, layout.inputs) if layout.inputs in keys else None
    return References(layout, keys, record, inputs), wrong


def _of_object(references: References, key: str, data: bytes | Exception) -> Iterator[Damage]:
    """What is wrong with an object, and with what it names."""
    place = place_of(references.layout, key)
    try:
        if isinstance(data, Exception):
            raise data
        content = read_content(place.kind, data, key)
    except NewerFormatError as error:
        yield references.remedies.newer(key, str(error))
    except (DamagedError, WrongContentError) as error:
        yield references.remedies.again(key, Wrong.DAMAGED, _said(error))
    else:
        if place.kind is Kind.ROWS and place.image is not None:
            yield from references.of_rows(key, place.image, content.rows)
        elif place.kind is Kind.FIT:
            yield from references.of_fit(key, place, content)


def _verify_inputs(store: Store, inputs: Inputs, run: str, verified: Verified, tell: Callable[[Damage], None]) -> None:
    """Read the images, references and masks of a run."""
    wanted = [Entry(key, 0, 0.0) for key in sorted(set(input_keys(inputs)))]
    for entry, data in _objects(store, wanted, verified):
        wrong = _wrong_content(partial(check_input, entry.key), data)
        if wrong is not None:
            kind = Wrong.MISSING if isinstance(data, NotFoundError) else Wrong.DAMAGED
            tell(Damage(entry.key, kind, wrong, _PUT_BACK, Remedy.BY_HAND, (), run))


def _wrong_content(check: Callable[[bytes], None], data: bytes | Exception) -> str | None:
    if isinstance(data, NotFoundError):
        return "the run names it, and it is not there"
    if isinstance(data, Exception):
        return _said(data)
    try:
        check(data)
    except WrongContentError as error:
        return str(error)
    return None


def _said(error: Exception) -> str:
    """The reason of an error, without the place and the advice that the damage has anyway."""
    if isinstance(error, DamagedError) and "(SHA-256)" in str(error):
        return "its content is not what was written (SHA-256)"
    return str(error).partition(" is damaged: ")[2].partition("; put back")[0] or str(error)


def _unfinished(prefix: str, count: int, run: str | None) -> Damage:
    reason = f"{counted(count, 'unfinished file')} of killed processes"
    advice = "the next driver removes them, and so does --repair"
    return Damage(prefix, Wrong.LEFT_OVER, reason, advice, Remedy.DISCARD, (), run)


def _objects(store: Store, entries: Iterable[Entry], verified: Verified) -> Iterator[tuple[Entry, bytes | Exception]]:
    """Objects with their content, or with the error that shows that it is damaged or not there.

    They are read in batches of bounded size, so what is held at a time does not grow with the store; within a batch the
    store reads them side by side.
    """
    for batch in _batches(entries):
        rest = deque(batch)
        while rest:
            reading = store.get_many([entry.key for entry in rest])
            try:
                while rest:
                    data = next(reading)
                    entry = rest.popleft()
                    verified.objects += 1
                    verified.size += len(data)
                    yield entry, data
            except (DamagedError, NewerFormatError, NotFoundError) as error:
                # An object that cannot be read ends the series; another begins after it.
                yield rest.popleft(), error


def _batches(entries: Iterable[Entry]) -> Iterator[Sequence[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (size + entry.size > _BATCH_BYTES or len(batch) == _BATCH_OBJECTS):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch
