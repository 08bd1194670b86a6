"""A folder as a store."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import NotFoundError, StoreError
from orchestrator.store.base import check_key

_PARTIAL = ".partial-"


class LocalStore:
    """The contract of `Store` on a local (or network) file system.

    An object is written beside its place under a temporary name, flushed to the disk and then renamed, which is atomic.
    Renaming overwrites, so create-once links instead: of several callers only one can make the link.
    """

    def __init__(self, root: str | Path) -> None:
        # os.path, where pathlib would raise: a home that does not exist or a name too long is no folder, that is all.
        self._root = Path(os.path.expanduser(root)).absolute()  # noqa: PTH111

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def show(self, key: str) -> str:
        """The object's path."""
        return str(self._path(key))

    @contextlib.contextmanager
    def _partial(self, key: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """The data under a temporary name, flushed to the disk, and the path it is meant for."""
        path = self._path(key)
        partial = path.parent / f"{_PARTIAL}{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield partial, path
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreError(_reason(self._root, "write", key, error)) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        with self._partial(key, data) as (partial, path):
            partial.replace(path)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken; whether it was written."""
        with self._partial(key, data) as (partial, path):
            try:
                path.hardlink_to(partial)
            except FileExistsError:
                return False
        return True

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"the store {self._root} holds no {key}") from None
        except OSError as error:
            raise StoreError(_reason(self._root, "read", key, error)) from error

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        return os.path.isfile(self._path(key))  # noqa: PTH113

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(_reason(self._root, "delete", key, error)) from error

    def delete_all(self, prefix: str) -> None:
        """Remove all objects whose keys begin with ``prefix/``."""
        try:
            shutil.rmtree(self._path(prefix))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(_reason(self._root, "delete", prefix, error)) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""
        found = (path for path in self._path(prefix).rglob("*") if path.is_file())
        yield from sorted(
            path.relative_to(self._root).as_posix() for path in found if not path.name.startswith(_PARTIAL)
        )

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""
        folder = self._path(prefix)
        if not os.path.isdir(folder):  # noqa: PTH112
            return []
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith(_PARTIAL))

    def local_path(self, key: str) -> Path:
        """The object's own file."""
        path = self._path(key)
        if not os.path.isfile(path):  # noqa: PTH113
            raise NotFoundError(f"the store {self._root} holds no {key}")
        return path


def _reason(root: Path, verb: str, key: str, error: OSError) -> str:
    advice = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "your quota is used up: free some space",
        errno.EACCES: "permission denied: choose another place with --store",
        errno.EROFS: "the file system is read-only: choose another place with --store",
        errno.ENOTDIR: "a part of the path is a file: choose another place with --store",
        errno.ENAMETOOLONG: "the name is too long: rename the image",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot {verb} {key} in the store {root}: {advice}"
