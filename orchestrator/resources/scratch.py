"""Folders that are needed for a while: only their owner's user may enter them, and none stays behind.

The process that makes a folder holds a lock on a file in it as long as it lives. So a folder whose file nobody has
locked was left behind by a process that was killed, and the next run removes it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OWNER = ".owner"
"""The file that a folder's owner has locked. Nothing without it is ever removed."""
_MARK = b"dip-orchestrator: a folder for a while; it may be deleted when nobody has locked this file\n"
_PREFIX = "dip-"
_YOUNG_S = 10.0
"""A folder that is younger than this is left alone."""
_GOING_S = 3.0
"""How long processes that are ending may go on writing to a folder that is removed."""
_LOOK_AGAIN_S = 0.1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@contextlib.contextmanager
def scratch(purpose: str, place: Path) -> Iterator[Path]:
    """Make a folder ``dip-PURPOSE-xxxxxxxx`` of mode 0700 in a place, and remove it with all that is in it.

    Raises:
        OSError: it cannot be made there.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-", dir=place))
    owner = _own(folder)
    try:
        yield folder
    finally:
        deadline = time.monotonic() + _GOING_S
        while not _removed(folder) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)
        os.close(owner)


def sweep(place: Path) -> int:
    """Remove the folders in a place that killed processes of this user have left behind; return how many.

    No link is followed, and nothing is removed that belongs to somebody else.
    """
    swept = 0
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in list(entries):
            # What vanishes meanwhile, or cannot be entered, is none of ours.
            with contextlib.suppress(OSError):
                if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                    swept += _sweep(Path(entry.path))
    return swept


def _own(folder: Path) -> int:
    """Mark a folder as this process's, and return the file that holds the lock.

    The file gets its name when it is locked: nobody ever sees it unlocked while its owner lives.
    """
    new = folder / f"{OWNER}.new"
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    _locked(file)
    os.write(file, _MARK)
    new.rename(folder / OWNER)
    return file


def _sweep(folder: Path) -> bool:
    """Remove a folder if its owner is dead; return whether it is gone."""
    inside = os.open(folder, _FOLDER | os.O_NOFOLLOW)
    try:
        if os.fstat(inside).st_uid != os.geteuid():
            return False
        owner = os.open(OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
        try:
            return _is_left_behind(owner) and _removed(folder)
        finally:
            os.close(owner)
    finally:
        os.close(inside)


def _is_left_behind(owner: int) -> bool:
    state = os.fstat(owner)
    ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid() and os.read(owner, len(_MARK)) == _MARK
    return ours and time.time() - state.st_mtime >= _YOUNG_S and _locked(owner)


def _locked(file: int) -> bool:
    """Lock a file for this process; return False if another has locked it, or the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _removed(folder: Path) -> bool:
    """Remove a folder with all that is in it; return whether it is gone.

    The owner's file goes last, so that what could not be removed is swept later.
    """
    try:
        inside = os.open(folder, _FOLDER | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        with os.scandir(inside) as entries:
            listed = [entry for entry in entries if entry.name != OWNER]
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, ignore_errors=True, dir_fd=inside)
            else:
                os.unlink(entry.name, dir_fd=inside)
        if os.listdir(inside) not in ([], [OWNER]):  # noqa: PTH208 - it is an open folder
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(OWNER, dir_fd=inside)
        folder.rmdir()
    except OSError:
        return False
    finally:
        os.close(inside)
    return True
