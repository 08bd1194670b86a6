"""A store that waits while another is in trouble."""

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import StoreUnavailableError
from orchestrator.store.base import Entry, Store

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0

_Result = TypeVar("_Result")


class PatientStore:
    """A store that retries every operation while the store behind it is in trouble for the moment.

    The waits between tries double, up to 5 s, and each is drawn at random from 0 to its length (full jitter), so that
    the workers of a cluster do not come back all at once. All other errors are raised at once.

    Args:
        inner: The store that does the work.
        patience_s: How many seconds after its first failure an operation is retried; 0: not at all.
        sleep, clock, generator: Time and chance, for tests.
    """

    def __init__(
        self,
        inner: Store,
        patience_s: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        generator: random.Random | None = None,
    ) -> None:
        self._inner = inner
        self._patience_s = patience_s
        self._sleep = sleep
        self._clock = clock
        self._generator = generator or random.Random()  # noqa: S311 - waits are no secret

    def __reduce__(self) -> tuple[type["PatientStore"], tuple[Store, float]]:
        return PatientStore, (self._inner, self._patience_s)

    @property
    def url(self) -> str:
        """The place of the store behind."""
        return self._inner.url

    def hold(self, marker: bytes) -> None:
        """Take only a store of this marker for this one."""
        self._inner.hold(marker)

    def show(self, key: str) -> str:
        """Where a person finds the object."""
        return self._inner.show(key)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        self._patiently(lambda: self._inner.put(key, data))

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        """Write an object unless the key is taken; returns whether it was written, also by a
        try whose answer was lost.
        """
        token = token or uuid.uuid4().hex
        return self._patiently(lambda: self._inner.create(key, data, token=token))

    def get(self, key: str) -> bytes:
        """The object's bytes, verified."""
        return self._patiently(lambda: self._inner.get(key))

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of many objects, in the keys' order; after trouble it continues with the
        first that was not given.
        """
        rest = deque(keys)
        objects: Iterator[bytes] | None = None

        def following() -> bytes:
            nonlocal objects
            if objects is None:
                objects = self._inner.get_many(tuple(rest))
            try:
                return next(objects)
            except StoreUnavailableError:
                objects = None
                raise

        while rest:
            data = self._patiently(following)
            rest.popleft()
            yield data

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        return self._patiently(lambda: self._inner.exists(key))

    def checksum(self, key: str) -> str | None:
        """The SHA-256 of an object; None if there is none, or it is seen to be damaged."""
        return self._patiently(lambda: self._inner.checksum(key))

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        self._patiently(lambda: self._inner.delete(key))

    def delete_all(self, prefix: str) -> None:
        """Delete all objects whose keys begin with ``prefix/``."""
        self._patiently(lambda: self._inner.delete_all(prefix))

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete these objects; nothing happens where there is none."""
        wanted = tuple(keys)
        self._patiently(lambda: self._inner.delete_many(wanted))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The entries of all keys that begin with ``prefix/``, sorted; collected first, as in `keys`."""
        return iter(self._patiently(lambda: list(self._inner.entries(prefix))))

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted; collected first, because a listing cannot be
        continued from its middle.
        """
        return iter(self._patiently(lambda: list(self._inner.keys(prefix))))

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""
        return self._patiently(lambda: self._inner.children(prefix))

    def local_path(self, key: str) -> Path:
        """A file on this machine with the object's bytes, to be read only."""
        return self._patiently(lambda: self._inner.local_path(key))

    def sweep(self, prefix: str, *, dry_run: bool = False) -> int:
        """Remove what killed writers have left below ``prefix/``; returns how much that was."""
        return self._patiently(lambda: self._inner.sweep(prefix, dry_run=dry_run))

    def _patiently(self, operation: Callable[[], _Result]) -> _Result:
        end: float | None = None
        longest = _FIRST_WAIT_S
        while True:
            try:
                return operation()
            except StoreUnavailableError as error:
                now = self._clock()
                end = now + self._patience_s if end is None else end
                if now >= end:
                    raise StoreUnavailableError(f"{error} (tried again for {self._patience_s:g} s)") from error
                self._sleep(min(self._generator.uniform(0, longest), end - now))
                longest = min(2 * longest, _LONGEST_WAIT_S)
