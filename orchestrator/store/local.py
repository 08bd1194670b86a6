"""A folder as a store."""

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrator.errors import DamagedError, NotFoundError, StoreError, StoreUnavailableError
from orchestrator.store.base import Entry, check_key
from orchestrator.store.folders import (
    NOT_THERE,
    LinkError,
    are_one,
    below,
    files_below,
    flush,
    in_key,
    names_in,
    on_disk,
    open_file,
    remove_empty,
    remove_folder,
    state_of,
)
from orchestrator.store.partial import PREFIX, SHA256, removed_on_error, sha256_of, sweep, written
from orchestrator.store.root import Root
from orchestrator.store.sums import SUMS, add_sum, contradicts
from orchestrator.text import printable

# Errors that pass by themselves or with somebody's help while a run waits. A network file system that is out of reach
# reports EIO, too, and a disk that breaks is no reason to lose a run that can go on elsewhere. On writing, ENOENT and
# ENOTEMPTY mean that somebody deleted the folder, or wrote into it, at the same moment.
_PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOTEMPTY),
    }
)

_NO_LINKS = "the file system does not permit it (it needs hard links): choose another place with --store"
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EACCES: "permission denied: choose another place with --store",
    **dict.fromkeys((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK), _NO_LINKS),
    errno.EXDEV: "a folder of it lies on another file system: mount none inside a store",
    errno.EROFS: (
        "the file system is read-only: make it writable (mount -o remount,rw) and resume the run, which loses nothing;"
        " for a new run you can choose another place with --store"
    ),
    errno.ENOTDIR: "a part of the path is a file: choose another place with --store",
    errno.ELOOP: "a part of the path is a symbolic link, and a store follows none: put the folder itself in its place",
    errno.ENAMETOOLONG: "the name is too long: rename the image",
}

_intact_files: set[Path] = set()
"""Files that this process has compared with their SHA-256."""


class LocalStore:
    """The contract of `Store` on a local (or network) file system.

    An object is written next to its place under a temporary name, flushed to the disk and then renamed, which is
    atomic. Renaming overwrites, so create-once links instead: only one of several callers can make the link. A process
    that is killed meanwhile leaves a file named ``.partial-*``, which is no object and is removed by `sweep`.

    No operation follows a symbolic link below the root, which itself may be one: a link is no object, and is never
    listed; reading one raises `DamagedError`, writing replaces it, deleting removes the link alone.

    The content's SHA-256 is kept as the extended attribute ``user.dip.sha256``, and in the folder's ``.sha256sums`` for
    copies that lose attributes. A file that neither knows is not verified: it came by other means.
    """

    def __init__(self, root: str | Path, marker: bytes = b"") -> None:
        # os.path, where pathlib would raise: a home that does not exist, or a name that is too long, is simply no
        # folder.
        self._root = Path(os.path.expanduser(root)).absolute()  # noqa: PTH111
        self._folder_at_root = Root(self._root, marker)

    def __reduce__(self) -> tuple[type["LocalStore"], tuple[str, bytes]]:
        return type(self), (self.url, self._folder_at_root.marker)

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def hold(self, marker: bytes) -> None:
        """Take only the folder that has this marker for this store."""
        self._folder_at_root.hold(marker)

    def show(self, key: str) -> str:
        """The object's path."""
        return str(self._root / check_key(key))

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        partial = f"{PREFIX}{uuid.uuid4().hex}"
        with self._reporting("write", key), self._folder_of(key, make=True) as (folder, name):
            with written(folder, partial, data) as sha256, removed_on_error(folder, partial):
                add_sum(folder, name, sha256, flushed=state_of(folder, name) is not None)
                os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            flush(folder)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        """Write an object unless the key is taken; returns whether it was written."""
        partial = f"{PREFIX}{token or uuid.uuid4().hex}"
        with self._reporting("write", key), self._folder_of(key, make=True) as (folder, name):
            # It is one if an earlier try with this token made the link and then met trouble.
            won = are_one(folder, partial, name)
            if not won and state_of(folder, name) is None:
                won = _linked(folder, partial, name, data)
            # Only now: until the link is on the disk, the partial file shows a repeated call whose the object is.
            flush(folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folder)
        return won

    def get(self, key: str) -> bytes:
        """The object's bytes, verified."""
        with self._reading(key) as (folder, name, file):
            with os.fdopen(file, "rb", closefd=False) as stream:
                data = stream.read()
            self._verify(folder, name, file, key, hashlib.sha256(data).hexdigest())
        return data

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of many objects, in the keys' order."""
        return map(self.get, keys)

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        with self._reporting("read", key):
            try:
                with self._folder_of(key) as (folder, name):
                    state = state_of(folder, name)
            except (*NOT_THERE, LinkError):
                return False
        return state is not None and stat.S_ISREG(state.st_mode)

    def checksum(self, key: str) -> str | None:
        """The SHA-256 of an object; None if there is none, or it is damaged."""
        try:
            return hashlib.sha256(self.get(key)).hexdigest()
        except (NotFoundError, DamagedError):
            return None

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        gone = (*NOT_THERE, LinkError, IsADirectoryError)
        with (
            self._reporting("delete", key),
            contextlib.suppress(*gone),
            self._folder_of(key) as (folder, name),
        ):
            os.unlink(name, dir_fd=folder)

    def delete_all(self, prefix: str) -> None:
        """Delete all objects whose keys begin with ``prefix/``."""
        with (
            self._reporting("delete", prefix),
            contextlib.suppress(*NOT_THERE, LinkError),
            self._folder_of(prefix) as (parent, name),
        ):
            remove_folder(parent, name)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete these objects, and the folders that this leaves empty; nothing happens where there is none."""
        for key in keys:
            self.delete(key)
            parts = check_key(key).split("/")[:-1]
            self._remove_empty(parts, key)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The entries of all keys that begin with ``prefix/``, sorted."""
        found: list[Entry] = []
        with (
            self._reporting("list", prefix),
            contextlib.suppress(*NOT_THERE, LinkError),
            self._folder(prefix) as folder,
        ):
            for path, file in files_below(folder, prefix and f"{on_disk(prefix)}/"):
                # What was deleted since it was listed is not there.
                with contextlib.suppress(FileNotFoundError):
                    state = file.stat(follow_symlinks=False)
                    if _is_object(file.name):
                        found.append(Entry(in_key(path), state.st_size, state.st_mtime))
        yield from sorted(found)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""
        found: list[str] = []
        with (
            self._reporting("list", prefix),
            contextlib.suppress(*NOT_THERE, LinkError),
            self._folder(prefix) as folder,
        ):
            files = files_below(folder, prefix and f"{on_disk(prefix)}/")
            found = sorted(in_key(path) for path, file in files if _is_object(file.name))
        yield from found

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""
        found: list[str] = []
        with (
            self._reporting("list", prefix),
            contextlib.suppress(*NOT_THERE, LinkError),
            self._folder(prefix) as folder,
        ):
            found = sorted(in_key(name) for name in names_in(folder) if _is_object(name))
        return found

    def local_path(self, key: str) -> Path:
        """The object's own file, verified on this process's first request for it."""
        path = self._root / on_disk(check_key(key))
        with self._reading(key) as (folder, name, file):
            if path not in _intact_files:
                with os.fdopen(file, "rb", closefd=False) as stream:
                    self._verify(folder, name, file, key, hashlib.file_digest(stream, "sha256").hexdigest())
                _intact_files.add(path)
        return path

    def sweep(self, prefix: str, *, dry_run: bool = False) -> int:
        """Remove the files below ``prefix/`` that killed writers have left behind, and folders without an object;
        returns how many files.
        """
        swept = 0
        with (
            self._reporting("list", prefix),
            contextlib.suppress(*NOT_THERE, LinkError),
            self._folder(prefix) as folder,
        ):
            swept = sweep(folder, but=SUMS, dry_run=dry_run)
        if prefix and not dry_run:
            self._remove_empty(check_key(prefix).split("/"), prefix)
        return swept

    def _remove_empty(self, parts: Sequence[str], key: str) -> None:
        """Remove a folder that holds no object, and those above it that have become so."""
        with self._reporting("delete", key), contextlib.suppress(*NOT_THERE, LinkError), self._folder() as root:
            remove_empty(root, [on_disk(part) for part in parts], but=SUMS)

    @contextlib.contextmanager
    def _folder(self, *prefix: str, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder of a prefix; without one, or with an empty one, of the root."""
        parts = [on_disk(part) for each in prefix if each for part in check_key(each).split("/")]
        root = self._folder_at_root.open(make=make)
        try:
            with below(root, parts, make=make) as folder:
                yield folder
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _folder_of(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that an object lies in, and the object's name there."""
        prefix, slash, name = check_key(key).rpartition("/")
        with self._folder(*([prefix] if slash else []), make=make) as folder:
            yield folder, on_disk(name)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[tuple[int, str, int]]:
        """A descriptor of the folder that an object lies in, the object's name there, and a descriptor of its file."""
        with self._reporting("read", key), contextlib.ExitStack() as opened:
            try:
                folder, name = opened.enter_context(self._folder_of(key))
                file = open_file(folder, name)
                opened.callback(os.close, file)
            except LinkError:
                place = printable(self.show(key))
                raise DamagedError(
                    f"{place} is damaged: it, or a folder on the way to it, is a symbolic link or no regular file, and"
                    " a store follows none; put the file itself in its place"
                ) from None
            except (*NOT_THERE, IsADirectoryError):
                raise NotFoundError(f"the store {self._root} holds no {printable(key)}") from None
            yield folder, name, file

    def _verify(self, folder: int, name: str, file: int, key: str, found: str) -> None:
        """Compare the SHA-256 of what was read with that of what was written.

        Raises:
            DamagedError: they differ.
        """
        recorded = sha256_of(file)
        if found != recorded if recorded else contradicts(folder, name, found):
            raise DamagedError(
                f"{printable(self.show(key))} is damaged: it is not what was written (SHA-256); put back a good copy,"
                f" or delete it if it was computed, and resume the run (if you changed it on purpose: setfattr -x"
                f" {SHA256} on it, and delete its lines in {SUMS} beside it)"
            )

    @contextlib.contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[None]:
        """Turn an error of the system inside this context into an error of the store."""
        try:
            yield
        except OSError as error:
            reason = _ADVICE.get(error.errno or 0, error.strerror or str(error))
            kind = StoreUnavailableError if error.errno in _PASSING else StoreError
            raise kind(f"cannot {verb} {printable(key)} in the store {self._root}: {reason}") from error


def _linked(folder: int, partial: str, name: str, data: bytes) -> bool:
    """Write the data and link them to a name that nothing has yet; returns whether this was the first to do so."""
    with written(folder, partial, data) as sha256:
        try:
            add_sum(folder, name, sha256, flushed=False)
            os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return are_one(folder, partial, name)  # NFS itself repeats a request whose answer was lost
        except OSError as error:
            if error.errno not in _PASSING:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
            raise
    return True


def _is_object(name: str) -> bool:
    """Whether a file of this name is an object, or a folder one of keys."""
    return not name.startswith(PREFIX) and name != SUMS
