"""The contract of a store, in prose and as a protocol.

A store holds objects (bytes) by key. The rest of the project relies on the following, and `orchestrator.store.contract`
tests every implementation for it:

- **Keys** are relative paths with forward slashes: no empty, ``.`` or ``..`` part, no NUL, valid Unicode. A key can
  neither leave the store nor, below a run's prefix, the run. No key is the prefix of another (``a`` and ``a/b``).
- **Whole or nothing.** After `put` a reader finds the old object or the new one, never a part of either, on any
  machine. Once `put` has returned, the object survives a crash of the machine. An object that is damaged later is not
  given out: content is verified by its SHA-256 when it is read, and a mismatch raises `DamagedError`.
- **Create-once.** If any number of callers call `create` on one key, on any machines, exactly one of them gets True;
  the object is then that caller's, whole, for good. All claims and marks of completion rest on this. A `create` that
  ends in an error may have made the object or not; a caller that repeats it with the same token learns which.
- **Read after write.** After a `put`, `create` or `delete` has returned, every reader and every listing sees its
  outcome, wherever it was made. Of listings the prefix ``""`` is the whole store.
- **Errors.** A key that holds nothing raises `NotFoundError`; a store that is in trouble for the moment (unreachable,
  overloaded, full, its credentials expired) `StoreUnavailableError`; anything else `StoreError`. Each names place and
  reason.
- **This very store.** A store that is held to its marker (`Store.hold`) is not made anew where it has vanished, and
  another in its place is not used: both are a `StoreUnavailableError`.
- **Safe at once.** Objects may be read and written from any number of threads, processes and machines at the same time.
  A store travels to another process by pickling, without secrets, and is held there as here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.errors import NotFoundError, StoreError

MARKER = "store.json"
"""The key of what makes a store this very one: a format, and an id that no other store has."""


def check_key(key: str) -> str:
    """The key itself, if it is a plain relative path: no empty, ``.`` or ``..`` part, no NUL, valid Unicode.

    Raises:
        StoreError: the key could leave the store, or not every store could hold it.
    """
    if "\0" in key or not all(part not in ("", ".", "..") for part in key.split("/")):
        raise StoreError(f"{key!r} is no key: keys are relative paths without '.', '..' or empty parts")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{key!r} is no key: keys are valid Unicode") from None
    return key


def create_or_read(store: "Store", key: str, data: bytes) -> bytes:
    """Write an object unless the key is taken; returns the content that the key then holds.
    The first caller's counts.

    Where the object is deleted between the two, as the fits of an image are that another driver finishes, it is written
    once more.
    """
    if store.create(key, data):
        return data
    try:
        return store.get(key)
    except NotFoundError:
        return data if store.create(key, data) else store.get(key)


@dataclass(frozen=True, order=True)
class Entry:
    """A line of a listing: a key, the bytes of its object, and when that was written, in seconds since 1970 by the
    clock of the store's machine (which need not agree with this one's).
    """

    key: str
    size: int
    modified: float


class Store(Protocol):
    """Objects (bytes) by key; the module's documentation has the promises."""

    @property
    def url(self) -> str:
        """The place, in the form that opens the same store again from another process; it holds no secret."""

    def hold(self, marker: bytes) -> None:
        """Take from now on only a store whose object `MARKER` has this content for this one.

        Every operation then raises `StoreUnavailableError` while there is no such store at the place, where a folder
        would otherwise be made anew and an object be taken for missing. A bucket is looked at every few seconds.
        """

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        """Write an object unless the key is taken; returns whether it was written.

        Args:
            key: Where to write it.
            data: Its content.
            token: Letters and digits that no other call uses. A call may be repeated with the token of one whose answer
                was lost: it returns True if that one has written the object.
        """

    def get(self, key: str) -> bytes:
        """The object's bytes, verified."""

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of many objects, in the keys' order, fetched side by side where that is faster."""

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""

    def checksum(self, key: str) -> str | None:
        """The SHA-256 of an object, as cheaply as it can be had; None if there is none, or it is seen to be damaged.

        A folder reads the object. A service is asked for what it keeps of it; empty if it keeps none.
        """

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""

    def delete_all(self, prefix: str) -> None:
        """Delete all objects whose keys begin with ``prefix/``."""

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete these objects, and in a file system the folders that this leaves empty; nothing happens where there is
        none.
        """

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The entries of all keys that begin with ``prefix/``, sorted; as cheap as `keys`."""

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once.

        A part below which everything was deleted may be among them: file systems, and services built on one, keep
        folders.
        """

    def local_path(self, key: str) -> Path:
        """A file on this machine with the object's bytes, to be read (or memory-mapped) only.

        Use it for objects that are written once: a caller that has asked before may get the same file again.
        """

    def sweep(self, prefix: str, *, dry_run: bool = False) -> int:
        """Remove what killed writers have left below ``prefix/`` beside the objects; returns how much that was.

        Safe beside living writers. With ``dry_run`` nothing is removed.
        """

    def show(self, key: str) -> str:
        """Where a person finds the object: a path or an address."""
