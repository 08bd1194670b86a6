"""Folders and files by descriptors, so that no link below a root is ever followed.

Whoever may write to a store could put a symbolic link in the place of a folder or a file, and an operation on a path
would follow it to wherever it leads. Here every step from the root downwards is an ``openat`` that refuses links, and
files are opened, renamed and deleted relative to the folder that was reached. A path that is exchanged meanwhile leads
nowhere else either.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A file that is no regular one, such as a pipe, must not keep whoever opens it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_CANNOT_BE_FLUSHED = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS})
NOT_THERE = (FileNotFoundError, NotADirectoryError)
"""Errors that say that a name, or a folder on the way to it, is not there."""


def on_disk(part: str) -> str:
    """A part of a key as the name of a file: the same bytes, UTF-8, whatever the encoding that Python takes names for,
    which the locale decides.
    """
    return os.fsdecode(part.encode())


def in_key(path: str) -> str:
    """The names of files as parts of a key: the other way round."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


class LinkError(OSError):
    """A symbolic link, or a pipe, a socket or a device, lies where a folder or a file should be."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ELOOP, "it is a symbolic link or no regular file", name)


@contextlib.contextmanager
def below(root: int, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder ``parts`` below another, which ``make`` makes where it is missing.

    Raises:
        LinkError: a part is a symbolic link.
        FileNotFoundError, NotADirectoryError: there is no such folder.
    """
    with contextlib.ExitStack() as opened:
        folder = root
        for part in parts:
            folder = _enter(folder, part, make=make)
            opened.callback(os.close, folder)
        yield folder


def _enter(parent: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    except OSError:
        if is_link(parent, name):
            raise LinkError(name) from None
        raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
        flush(parent)
    return _enter(parent, name, make=False)


def open_root(root: Path, *, make: bool = False) -> int:
    """A descriptor of a root, which may itself be reached by links: its path is the user's own.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder, and it is not to be made.
    """
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        if not make:
            raise
    parent = open_root(root.parent, make=True)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(root.name, dir_fd=parent)
            flush(parent)
    finally:
        os.close(parent)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY)


def open_file(folder: int, name: str) -> int:
    """A descriptor of a regular file, to be read.

    Raises:
        LinkError: it is a symbolic link, or no regular file.
        FileNotFoundError, IsADirectoryError: there is no such file.
    """
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise LinkError(name) from None
        raise
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name) if stat.S_ISDIR(mode) else LinkError(name)


def state_of(folder: int, name: str) -> os.stat_result | None:
    """What is known of a name itself, be it a link; None if it is not there."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except NOT_THERE:
        return None


def is_link(folder: int, name: str) -> bool:
    """Whether a name is there and is a symbolic link."""
    state = state_of(folder, name)
    return state is not None and stat.S_ISLNK(state.st_mode)


def are_one(folder: int, first: str, second: str) -> bool:
    """Whether both names are there and are (hard) links to one file."""
    one, other = state_of(folder, first), state_of(folder, second)
    return one is not None and other is not None and os.path.samestat(one, other)


def flush(folder: int) -> None:
    """Bring a folder's entries to the disk, where its file system can do that: some shares cannot."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_BE_FLUSHED:
            raise


def files_below(folder: int, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All regular files below a folder, in no order, each with its path after ``prefix``; links are left out."""
    for entry in _entries(folder):
        path = f"{prefix}{entry.name}"
        if entry.is_file(follow_symlinks=False):
            yield path, entry
        elif entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(*NOT_THERE, LinkError), below(folder, [entry.name]) as inner:
                yield from files_below(inner, f"{path}/")


def names_in(folder: int) -> Iterator[str]:
    """The names of the regular files and folders in a folder, in no order; links are left out."""
    for entry in _entries(folder):
        if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
            yield entry.name


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def remove_folder(parent: int, name: str) -> None:
    """Remove a folder with all that it holds; nothing happens if there is none. Of links, the links are removed."""
    while (state := state_of(parent, name)) is not None:
        if stat.S_ISLNK(state.st_mode):
            os.unlink(name, dir_fd=parent)
        elif not stat.S_ISDIR(state.st_mode):
            return
        # Another process may delete a file between its listing and its removal here: then try again.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(name, dir_fd=parent)


def remove_empty(root: int, parts: Sequence[str], *, but: str) -> None:
    """Remove the folder ``parts`` below a root if it holds nothing ``but`` a file of this name, and then those above it
    that have become so.
    """
    for length in range(len(parts), 0, -1):
        with below(root, parts[: length - 1]) as parent:
            try:
                with below(parent, parts[length - 1 : length]) as folder:
                    if os.listdir(folder) == [but]:  # noqa: PTH208 - by its descriptor
                        os.unlink(but, dir_fd=folder)
                os.rmdir(parts[length - 1], dir_fd=parent)
            except FileNotFoundError:
                continue  # another process was faster
            except OSError:
                return  # it holds something
