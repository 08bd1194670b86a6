"""Whether a store creates an object once, tried by one writer and by many at once.

A server that ignores conditions overwrites. A store that checks first, and writes then, does well for one writer at a
time; two that check at the same moment both write, and both believe that they have created the object.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.errors import StoreError
from orchestrator.store.base import Store

ROUNDS = 2
"""How often many threads compete for an object. A bucket's service asks a little money for every request."""
WRITERS = 4
"""How many compete for an object."""

Competing = Callable[[Store, str, Sequence[bytes]], Sequence[bool]]
"""Calls `create` for a key once with each of the contents, at the same moment; returns what each call returned."""


def check_store(store: Store, key: str) -> None:
    """Test whether a store does everything that the project needs, with objects at an unused key and beside it.

    Raises:
        StoreError: it cannot be written or read, or `create` overwrites, or has several winners. A store may pass by
            luck.
    """
    data = key.encode()
    once = store.create(key, data) and not store.create(key, b"") and store.get(key) == data
    store.delete_many([key])
    if not once:
        raise StoreError(f"the store {store.url} overwrites what was created: its server ignores If-None-Match")
    for number in range(ROUNDS):
        compete(store, f"{key}-{number}", _by_threads)


def compete(store: Store, key: str, competing: Competing) -> None:
    """Let many writers create an object at once; it is deleted in the end.

    Raises:
        StoreError: not exactly one of them created it, or it is not that one's.
    """
    contents = [f"{key} by {writer}".encode() for writer in range(WRITERS)]
    created = competing(store, key, contents)
    winners = [content for content, won in zip(contents, created, strict=True) if won]
    kept = store.get(key)
    store.delete_many([key])
    if winners != [kept]:
        raise StoreError(
            f"{len(winners)} of {WRITERS} writers at once were told by the store {store.url} that they had created one"
            " object: it checks first and writes then"
        )


def _by_threads(store: Store, key: str, contents: Sequence[bytes]) -> Sequence[bool]:
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> bool:
        start.wait()
        return store.create(key, content)

    with ThreadPoolExecutor(len(contents)) as threads:
        return list(threads.map(write, contents))
