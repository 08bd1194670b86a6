"""The SHA-256 of a folder's objects in a file beside them, which every copy of the folder takes along.

An extended attribute belongs to its file alone, but ``cp -r``, ``tar`` and most network file systems lose it. So every
writer also appends a line to ``.sha256sums`` before its object appears. The lines are those of the program `sha256sum`.

Writers of several processes and machines append at once. A line is a single write, and begins with a line break, so
that one that a crash has torn spoils no other. Of an object that was written anew there are several, and its content
must be that of one of them; only where they become many (a sign of life every few seconds) the oldest are left out. An
object without a line is not verified, so a line that was lost harms nobody. Where an object is replaced, the new line
is on the disk before the object is.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.store.folders import LinkError, open_file
from orchestrator.store.partial import PREFIX, removed_on_error, written

SUMS = ".sha256sums"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_LINE = re.compile(rb"^\\?([0-9a-f]{64})  ([^\n]+)\n", re.MULTILINE)
_FOLDERS_KNOWN = 64
_TRIES = 4
_LONG_BYTES = 256 << 10
_KEPT = 4
"""Of so many lines of one object the newest are kept: several writers may be replacing it at once."""


@dataclass
class _Lines:
    """What was read of a file: the digests by name, how many bytes and lines that was, and how many lines would do."""

    end: int = 0
    count: int = 0
    enough: int = 0
    digests: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))


_known: OrderedDict[tuple[int, int], _Lines] = OrderedDict()
"""What was read last, by device and number of the file."""
_knowing = Lock()


def add_sum(folder: int, name: str, sha256: str, *, flushed: bool) -> None:
    """Append the line of an object that is about to appear in a folder; ``flushed`` brings it to the disk."""
    line = b"\n%s%s  %s\n" % (b"\\" if _escaped(name) != os.fsencode(name) else b"", sha256.encode(), _escaped(name))
    for _ in range(_TRIES):
        state = _append(folder, line, flushed=flushed)
        # Without a name it has been shortened meanwhile, or removed with the last object, and the line may be lost.
        if state.st_nlink > 0:
            break
    if flushed and state.st_size > _LONG_BYTES:
        with contextlib.suppress(FileNotFoundError, LinkError):
            _shorten(folder)


def _append(folder: int, lines: bytes, *, flushed: bool) -> os.stat_result:
    """Append by a single write; returns what is known of the file then."""
    file = _opened(folder)
    try:
        if os.write(file, lines) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), SUMS)
        if flushed:
            os.fsync(file)
        return os.fstat(file)
    finally:
        os.close(file)


def _shorten(folder: int) -> None:
    """Replace the file by one without the oldest of many lines of an object, if that halves it.

    One process does that at a time, where the file system knows locks. Who appends to the old file meanwhile does so
    before the last look at it, or sees that its name is gone.
    """
    file = open_file(folder, SUMS)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        with _knowing:
            known = _read_on(file)
            if known.count < 2 * known.enough:
                return
        data = _whole_lines(_read_from(file, 0))
        newest: dict[bytes, list[bytes]] = defaultdict(list)
        for match in _LINE.finditer(data):
            newest[match[2]].append(match[0])
        kept = b"".join(line for lines in newest.values() for line in lines[-_KEPT:])
        partial = f"{PREFIX}{uuid.uuid4().hex}"
        with written(folder, partial, kept), removed_on_error(folder, partial):
            if os.fstat(file).st_nlink == 0:
                os.unlink(partial, dir_fd=folder)
                return
            os.replace(partial, SUMS, src_dir_fd=folder, dst_dir_fd=folder)
        if late := _read_from(file, len(data)):
            _append(folder, late, flushed=True)
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
    data = _whole_lines(_read_from(file, lines.end))
    for digest, name in _LINE.findall(data):
        digests = lines.digests[name]
        before = len(digests)
        digests.add(digest)
        lines.count += 1
        lines.enough += before < len(digests) <= _KEPT
    lines.end += len(data)
    _known[state.st_dev, state.st_ino] = lines
    while len(_known) > _FOLDERS_KNOWN:
        _known.popitem(last=False)
    return lines


def _read_from(file: int, start: int) -> bytes:
    """The bytes of a file from a place on."""
    data = bytearray()
    while part := os.pread(file, 1 << 20, start + len(data)):
        data += part
    return bytes(data)


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _escaped(name: str) -> bytes:
    """A name as `sha256sum` writes it, on one line."""
    return os.fsencode(name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r"))
