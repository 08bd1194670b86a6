"""Check that a store does what a run needs; the store has to keep small objects for a moment."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.check import Check
from orchestrator.doctor.contention import ROUNDS as PROCESS_ROUNDS
from orchestrator.doctor.contention import compete_by_processes
from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.run.layout import PROBES, probe_key
from orchestrator.store import Store, check_store
from orchestrator.store.once import ROUNDS, WRITERS


def check_objects(store: Store) -> Iterator[Check]:
    """Check that a store keeps objects and creates an object only once, which keeps two drivers from sharing a run."""
    root = None if "://" in store.url else Path(store.url)
    made = [] if root is None else [path for path in (root / PROBES, root) if not path.exists()]
    prefix = probe_key()
    try:
        plainly = _check_plainly(store, f"{prefix}/plain")
        yield plainly
        if plainly.ok:
            yield _check_create_once(store, f"{prefix}/once")
    finally:
        with contextlib.suppress(StoreError):
            store.delete_all(prefix)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _check_plainly(store: Store, key: str) -> Check:
    data = key.encode()
    try:
        store.put(key, data)
        does = {
            "give back what it was given": store.get(key) == data,
            "list what it holds": key in store.keys(key.rpartition("/")[0]),
        }
        store.delete(key)
        does["delete"] = not store.exists(key)
    except StoreError as error:
        return Check("store", str(error), _advice(error))
    wrong = [what for what, well in does.items() if not well]
    if wrong:
        return Check("store", f"{store.url} does not {' nor '.join(wrong)}", "choose another place with --store")
    return Check("store", f"{store.url} writes, reads, lists and deletes")


def _check_create_once(store: Store, key: str) -> Check:
    try:
        check_store(store, key)
        compete_by_processes(store, f"{key}-by-processes")
    except StoreUnavailableError as error:
        return Check("create-once", str(error), _advice(error))
    except StoreError as error:
        # The store has just done everything else, so creating once is what it cannot do.
        found = f"two drivers could take one run: {error}"
        return Check("create-once", found, "choose a place that can (docs/store.md)")
    tries = f"tried {ROUNDS} times by {WRITERS} threads, {PROCESS_ROUNDS} times by {WRITERS} processes"
    return Check("create-once", f"if many create an object at once, exactly one does ({tries})")


def _advice(error: StoreError) -> str:
    if isinstance(error, StoreUnavailableError):
        return "bring it back, or wait, and ask again; a run would wait, too (resources.store_patience_s)"
    return "correct what it names; docs/store.md says what a store needs"
