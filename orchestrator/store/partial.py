"""Objects that are being written: files of their own beside the object's place, until they are whole.

A writer holds a lock on its file. So a file that nobody has locked was left behind by a process that is dead.
"""

import contextlib
import fcntl
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator

from orchestrator.store.folders import NOT_THERE, LinkError, below, remove_empty, state_of

PREFIX = ".partial-"
SHA256 = "user.dip.sha256"
"""The extended attribute that has a file's SHA-256."""
_YOUNG_S = 10.0
"""A writer has locked its file long before that, or will repeat its write if it finds the file removed."""
_OLD_S = 86400.0
"""After that a file has been left behind, also where the file system knows no locks."""


@contextlib.contextmanager
def written(folder: int, name: str, data: bytes) -> Iterator[str]:
    """Write a file, locked until the context ends; gives its SHA-256, which the file has as an attribute if it can.

    The file is whole and on the disk inside the context. It is removed if it cannot be written.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb") as file:
        with removed_on_error(folder, name):
            _lock(file.fileno())
            file.write(data)
            _set_sha256(file.fileno(), sha256)
            file.flush()
            os.fsync(file.fileno())
        yield sha256


@contextlib.contextmanager
def removed_on_error(folder: int, name: str) -> Iterator[None]:
    """Remove a file if the context ends in an error."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _lock(file: int) -> bool | None:
    """Lock a file for this process; False if another has locked it, None if the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _set_sha256(file: int, sha256: str) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not every file system has attributes
            os.setxattr(file, SHA256, sha256.encode())


def sha256_of(file: int) -> str:
    """The SHA-256 that a file has as an attribute, in hex; empty if it has none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.getxattr(file, SHA256).decode()
    return ""


def sweep(folder: int, *, but: str, dry_run: bool = False) -> int:
    """Remove the files below a folder that dead writers have left behind, or only count them; returns how many.

    Folders below that hold nothing ``but`` a file of this name are removed, too. Files of living writers stay. A writer
    that finds its file removed all the same (it was stopped for a day) repeats its write.
    """
    swept = 0
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        # What vanishes meanwhile, and what belongs to somebody else, is none of ours.
        with contextlib.suppress(*NOT_THERE, PermissionError, LinkError):
            if entry.is_dir(follow_symlinks=False):
                with below(folder, [entry.name]) as inner:
                    swept += sweep(inner, but=but, dry_run=dry_run)
                if not dry_run:
                    remove_empty(folder, [entry.name], but=but)
            elif entry.name.startswith(PREFIX) and _is_left_behind(folder, entry.name):
                if not dry_run:
                    os.unlink(entry.name, dir_fd=folder)
                swept += 1
    return swept


def _is_left_behind(folder: int, name: str) -> bool:
    state = state_of(folder, name)
    if state is None or not stat.S_ISREG(state.st_mode):
        return False
    age = time.time() - state.st_mtime
    if age < _YOUNG_S or age > _OLD_S:
        return age > _OLD_S
    file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        return _lock(file) is True
    finally:
        os.close(file)
