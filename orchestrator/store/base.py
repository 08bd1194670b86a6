"""The contract of a store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from orchestrator.errors import StoreError


def check_key(key: str) -> str:
    """The key itself, if it is a plain relative path: no empty, ``.`` or ``..`` part, no NUL.

    Raises:
        StoreError: the key could leave the store.
    """
    if "\0" in key or not all(part not in ("", ".", "..") for part in key.split("/")):
        raise StoreError(f"{key!r} is no key: keys are relative paths without '.', '..' or empty parts")
    return key


class Store(Protocol):
    """Objects (bytes) by key; keys are relative paths with forward slashes.

    Promises that every implementation keeps, and that the contract tests hold it to:

    - `put` is whole or nothing: a reader finds the old object, or the new one, never a part; what `put` has returned for
      survives a crash of the machine.
    - `create` succeeds for exactly one of any number of callers, on any machine.
    - Objects are safe to read and write from any number of threads, processes and machines at once.
    - A key that holds nothing raises NotFoundError; whatever else goes wrong raises StoreError, with the place and reason.
    """

    @property
    def url(self) -> str:
        """The place, in the form that opens the same store again from another process."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken; whether it was written."""

    def get(self, key: str) -> bytes:
        """The object's bytes."""

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""

    def delete_all(self, prefix: str) -> None:
        """Remove all objects whose keys begin with ``prefix/``."""

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""

    def local_path(self, key: str) -> Path:
        """A file on this machine with the object's bytes, to be read (or memory-mapped) only."""

    def show(self, key: str) -> str:
        """Where a person finds the object: a path or an address."""
