"""A folder as a store."""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.errors import DamagedError, NotFoundError, StoreError, StoreUnavailableError
from orchestrator.store.base import check_key
from orchestrator.text import printable

_PARTIAL = ".partial-"
_SHA256 = "user.dip.sha256"

# Errors that pass by themselves or with somebody's help while a run waits. A network file system that is out of reach
# reports EIO, too, and a disk that breaks is no reason to lose a run that can go on elsewhere. On writing, ENOENT and
# ENOTEMPTY mean that somebody deleted the folder, or wrote into it, at the same moment.
_PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOTEMPTY),
    }
)

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EACCES: "permission denied: choose another place with --store",
    errno.EPERM: "the file system does not permit it (it needs hard links): choose another place with --store",
    errno.EROFS: "the file system is read-only: choose another place with --store",
    errno.ENOTDIR: "a part of the path is a file: choose another place with --store",
    errno.ENAMETOOLONG: "the name is too long: rename the image",
}

_intact_files: set[Path] = set()
"""Files that this process has compared with their SHA-256."""


class LocalStore:
    """The contract of `Store` on a local (or network) file system.

    An object is written next to its place under a temporary name, flushed to the disk and then renamed, which is
    atomic. Renaming overwrites, so create-once links instead: only one of several callers can make the link. A process
    that is killed meanwhile leaves a file named ``.partial-*``, which is no object and is deleted with its folder.

    The content's SHA-256 is kept as the extended attribute ``user.dip.sha256``. A file without it is not verified: the
    file system may have no attributes, or the file came by other means.
    """

    def __init__(self, root: str | Path) -> None:
        # os.path, where pathlib would raise: a home that does not exist, or a name that is too long, is simply no
        # folder.
        self._root = Path(os.path.expanduser(root)).absolute()  # noqa: PTH111

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def show(self, key: str) -> str:
        """The object's path."""
        return str(self._path(key))

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        path = self._path(key)
        partial = path.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
        with self._reporting("write", key):
            _write(partial, data)
            with _removed_on_error(partial):
                partial.replace(path)
            _flush(path.parent)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        """Write an object unless the key is taken; returns whether it was written."""
        path = self._path(key)
        partial = path.with_name(f"{_PARTIAL}{token or uuid.uuid4().hex}")
        with self._reporting("write", key):
            won = _are_one(partial, path)  # an earlier try with this token made the link and then met trouble
            if not won:
                _write(partial, data)
                try:
                    path.hardlink_to(partial)
                    won = True
                except FileExistsError:
                    won = _are_one(partial, path)  # NFS itself repeats a request whose answer was lost
                except OSError as error:
                    if error.errno not in _PASSING:
                        partial.unlink(missing_ok=True)
                    raise
            # Only now: until the link is on the disk, the partial file shows a repeated call whose the object is.
            _flush(path.parent)
            partial.unlink(missing_ok=True)
        return won

    def get(self, key: str) -> bytes:
        """The object's bytes, verified."""
        path = self._path(key)
        with self._reporting("read", key), self._reporting_missing(key), path.open("rb") as file:
            data = file.read()
            written = _sha256_of(file.fileno())
        if written and hashlib.sha256(data).hexdigest() != written:
            raise _damaged(path)
        return data

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of many objects, in the keys' order."""
        return map(self.get, keys)

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        with self._reporting("read", key):
            try:
                return not stat.S_ISDIR(self._path(key).stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        path = self._path(key)
        with (
            self._reporting("delete", key),
            contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
        ):
            path.unlink()

    def delete_all(self, prefix: str) -> None:
        """Delete all objects whose keys begin with ``prefix/``."""
        folder = self._path(prefix)
        with self._reporting("delete", prefix):
            while folder.is_dir():
                # Another process may delete a file between its listing and its removal here: then try again.
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""
        folder = self._path(prefix)
        with self._reporting("list", prefix):
            found = sorted(path.relative_to(self._root).as_posix() for path in _files_below(folder))
        yield from found

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""
        folder = self._path(prefix)
        with self._reporting("list", prefix):
            try:
                return sorted(path.name for path in folder.iterdir() if not path.name.startswith(_PARTIAL))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def local_path(self, key: str) -> Path:
        """The object's own file, verified on this process's first request for it."""
        path = self._path(key)
        with self._reporting("read", key), self._reporting_missing(key), path.open("rb") as file:
            if path not in _intact_files:
                written = _sha256_of(file.fileno())
                if written and hashlib.file_digest(file, "sha256").hexdigest() != written:
                    raise _damaged(path)
                _intact_files.add(path)
        return path

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _reporting_missing(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"the store {self._root} holds no {printable(key)}") from None

    @contextlib.contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[None]:
        """Turn an error of the system inside this context into an error of the store."""
        try:
            yield
        except OSError as error:
            reason = _ADVICE.get(error.errno or 0, error.strerror or str(error))
            kind = StoreUnavailableError if error.errno in _PASSING else StoreError
            raise kind(f"cannot {verb} {printable(key)} in the store {self._root}: {reason}") from error


def _write(path: Path, data: bytes) -> None:
    """Leave a file with the data and their SHA-256, flushed to the disk, or none."""
    _make_folder(path.parent)
    with _removed_on_error(path), path.open("wb") as file:
        file.write(data)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # not every file system has attributes
                os.setxattr(file.fileno(), _SHA256, hashlib.sha256(data).hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())


def _sha256_of(descriptor: int) -> str:
    """The SHA-256 that was recorded for a file, in hex; empty if it is not known."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.getxattr(descriptor, _SHA256).decode()
    return ""


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{printable(str(path))} is damaged: it is not what was written (SHA-256); put back a good copy,"
        f" or delete it if it was computed, and resume the run (if you changed it on purpose: setfattr -x {_SHA256} on"
        " it)"
    )


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, each flushed to the disk as an entry of its parent."""
    missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _flush(made.parent)


def _flush(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _are_one(first: Path, second: Path) -> bool:
    """Whether both names are there and are links to one file."""
    try:
        return first.samefile(second)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder but partial ones, in no order; none if there is no such folder."""
    for parent, _, names in os.walk(folder, onerror=_raise_unless_missing):
        for name in names:
            if not name.startswith(_PARTIAL):
                yield Path(parent, name)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
