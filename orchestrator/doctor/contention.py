"""Processes that create an object of a store at the same moment, as drivers on several machines do."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from threading import BrokenBarrierError
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.store.once import WRITERS, compete

ROUNDS = 3
"""How often they compete."""
_START_S = 120.0
"""How long a process may take to start on a busy machine."""

_start: Any = None
"""In one of the processes: where all of them meet."""


def compete_by_processes(store: Store, key: str) -> None:
    """Let processes compete for objects at a key that has a number added.

    Raises:
        StoreError: more than one of them created an object, or none did.
    """
    context = get_context("spawn")
    start = context.Barrier(WRITERS)
    with ProcessPoolExecutor(WRITERS, context, initializer=_meet_at, initargs=(start,)) as processes:

        def competing(store: Store, key: str, contents: Sequence[bytes]) -> Sequence[bool]:
            try:
                return list(processes.map(_create, repeat(store), repeat(key), contents))
            except BrokenBarrierError:
                raise StoreError(f"{WRITERS} processes did not start within {_START_S:.0f} s") from None

        for number in range(ROUNDS):
            compete(store, f"{key}-{number}", competing)


def _meet_at(start: Any) -> None:
    global _start  # noqa: PLW0603 - a process of a pool has no other place
    _start = start


def _create(store: Store, key: str, content: bytes) -> bool:
    _start.wait(_START_S)
    return store.create(key, content)
