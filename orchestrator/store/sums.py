"""The SHA-256 of a folder's objects in a file beside them, which every copy of the folder takes along.

An extended attribute belongs to its file alone, but ``cp -r``, ``tar`` and most network file systems lose it. So every
writer also appends a line to ``.sha256sums`` before its object appears. The lines are those of the program `sha256sum`.

Writers of several processes and machines append at once. A line is a single write, and begins with a line break, so
that one that a crash has torn spoils no other. Lines are never removed: of an object that was written anew there are
several, and its content must be that of one of them. An object without a line is not verified, so a line that was lost
harms nobody. Where an object is replaced, the new line is on the disk before the object is.
"""

import contextlib
import errno
import os
import re
import stat
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.store.folders import LinkError, open_file

SUMS = ".sha256sums"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_LINE = re.compile(rb"^\\?([0-9a-f]{64})  ([^\n]+)\n", re.MULTILINE)
_FOLDERS_KNOWN = 64


@dataclass
class _Lines:
    """What was read of a file: the digests by name, and how many bytes that was."""

    end: int = 0
    digests: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))


_known: OrderedDict[tuple[int, int], _Lines] = OrderedDict()
"""What was read last, by device and number of the file."""
_knowing = Lock()


def add_sum(folder: int, name: str, sha256: str, *, flushed: bool) -> None:
    """Append the line of an object that is about to appear in a folder; ``flushed`` brings it to the disk."""
    line = b"\n%s%s  %s\n" % (b"\\" if _escaped(name) != name.encode() else b"", sha256.encode(), _escaped(name))
    file = _opened(folder)
    try:
        if os.write(file, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), SUMS)
        if flushed:
            os.fsync(file)
    finally:
        os.close(file)


def _opened(folder: int) -> int:
    """The file to append to. What lies in its place and is no regular file is replaced, as objects are."""
    for _ in range(2):
        try:
            file = os.open(SUMS, _APPEND, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
        else:
            if stat.S_ISREG(os.fstat(file).st_mode):
                return file
            os.close(file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SUMS, dir_fd=folder)
    raise LinkError(SUMS)


def contradicts(folder: int, name: str, sha256: str) -> bool:
    """Whether a folder has lines of an object, and none of them is of this content."""
    try:
        file = open_file(folder, SUMS)
    except (FileNotFoundError, IsADirectoryError, LinkError):
        return False
    try:
        with _knowing:
            lines = _read_on(file)
            if sha256.encode() not in lines.digests.get(_escaped(name), {sha256.encode()}):
                # The number of a file that was deleted may be given to another, so all is read once more.
                state = os.fstat(file)
                del _known[state.st_dev, state.st_ino]
                lines = _read_on(file)
            return sha256.encode() not in lines.digests.get(_escaped(name), {sha256.encode()})
    finally:
        os.close(file)


def _read_on(file: int) -> _Lines:
    """The lines of a file; what was read before is not read again."""
    state = os.fstat(file)
    lines = _known.pop((state.st_dev, state.st_ino), _Lines())
    if lines.end > state.st_size:
        lines = _Lines()
    parts: list[bytes] = []
    while part := os.pread(file, 1 << 20, lines.end + sum(map(len, parts))):
        parts.append(part)
    data = b"".join(parts)
    data = data[: data.rfind(b"\n") + 1]
    for digest, name in _LINE.findall(data):
        lines.digests[name].add(digest)
    lines.end += len(data)
    _known[state.st_dev, state.st_ino] = lines
    while len(_known) > _FOLDERS_KNOWN:
        _known.popitem(last=False)
    return lines


def _escaped(name: str) -> bytes:
    """A name as `sha256sum` writes it, on one line."""
    return name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").encode()
