"""Bring an exported run into a store. It is verified whole before anything is written, and comes into sight last."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from orchestrator.errors import DamagedError, UserMistakeError
from orchestrator.keep.parcel import LIST, Packed, read_parcel, verified
from orchestrator.run.inputs import is_brought
from orchestrator.run.layout import IMAGES, RUNS, RunLayout
from orchestrator.run.upkeep import check_upkeep, upkeep
from orchestrator.store import Store
from orchestrator.text import printable

_BETWEEN_LOOKS = 100
"""Objects that are written between two looks whether this process may still do so."""


def import_run(
    store: Store,
    path: Path,
    *,
    note: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Bring a run in from a folder or an archive that `orchestrator.keep.export.export_run` has written.

    It can be interrupted and repeated: the run's record is written last, and only then there is a run. Objects that the
    store shares between runs are written where it lacks them.

    Args:
        store: The store.
        path: The folder or archive.
        note: Hears why this takes longer than usual.
        on_progress: Is called with the number of objects that are done, and of all.

    Returns:
        The run's name.

    Raises:
        UserMistakeError: there is no such export, or the store has another run of the name, or another process looks
            after the store.
        DamagedError: the export is damaged, or not whole, or has what no export has.
    """
    export = verified(path)
    listed = {packed.key: packed for packed in export.objects}
    layout = RunLayout(export.run)
    with upkeep(store, "import", note=note) as claim:
        is_new = not store.exists(layout.record)
        if is_new:
            _make_room(store, layout)
        else:
            _check_same(store, layout, listed)
        record = b""
        for done, (key, data) in enumerate(_read_again(path, listed)):
            if done % _BETWEEN_LOOKS == 0:
                check_upkeep(store, claim)
            if key == layout.record:
                record = data
            elif not key.startswith(f"{RUNS}/"):
                if not _is_whole(store, key):
                    store.put(key, data)
            elif is_new:
                store.put(key, data)
            on_progress(done + 1, len(listed))
        if is_new:
            check_upkeep(store, claim)
            store.delete(layout.reservation)
            if not store.create(layout.record, record):
                raise _taken(store, layout)
    return export.run


def _make_room(store: Store, layout: RunLayout) -> None:
    """Reserve a run's folder, and delete what an import or a deletion that was interrupted has left there.

    Who begins a run writes its record, and then looks whether anything else is there. Here something is written, and
    then the record is looked for. So one of the two sees the other, and withdraws.

    Raises:
        UserMistakeError: a run of the name has been begun meanwhile.
    """
    store.put(layout.reservation, b"")
    if store.exists(layout.record):
        store.delete(layout.reservation)
        raise _taken(store, layout)
    store.delete_many([key for key in store.keys(layout.root) if key not in (layout.reservation, layout.record)])


def _is_whole(store: Store, key: str) -> bool:
    """Whether a store has what runs share, as far as it can tell cheaply. A bank of other content is as good."""
    if key.startswith(f"{IMAGES}/"):
        return is_brought(store, key.rpartition("/")[2])
    return store.checksum(key) is not None


def _read_again(path: Path, listed: Mapping[str, Packed]) -> Iterator[tuple[str, bytes]]:
    for key, data in read_parcel(path):
        if key != LIST:
            if key not in listed or hashlib.sha256(data).hexdigest() != listed[key].sha256:
                raise DamagedError(f"{printable(str(path))} has changed since it was verified")
            yield key, data


def _check_same(store: Store, layout: RunLayout, listed: Mapping[str, Packed]) -> None:
    """Make sure that the run of this name in the store is the one that is imported, byte for byte.

    Raises:
        UserMistakeError: it is another, or has gone on since.
    """
    keys = sorted(key for key in listed if key.startswith(f"{RUNS}/"))
    if list(store.keys(layout.root)) == keys:
        objects = zip(keys, store.get_many(keys), strict=True)
        if all(hashlib.sha256(data).hexdigest() == listed[key].sha256 for key, data in objects):
            return
    raise _taken(store, layout)


def _taken(store: Store, layout: RunLayout) -> UserMistakeError:
    return UserMistakeError(
        f"the store {store.url} has a run {layout.run} that is not the same as the exported one: import it into another"
        f" store, or `delete {layout.run}` first"
    )
