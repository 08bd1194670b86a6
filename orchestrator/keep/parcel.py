"""A run outside of a store: a folder, or an archive (.tar, .tar.gz, .tar.zst), with a list of its objects.

Both have a store's layout: an exported folder can be opened as a store. The list, ``export.json``, comes last and has
the SHA-256 of every object, so what was not written to its end is never taken for an export.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from orchestrator.errors import DamagedError, OrchestratorError, UserMistakeError
from orchestrator.keep.names import input_keys
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.inputs import INPUTS, check_content
from orchestrator.run.layout import RUNS, SHARED, RunLayout
from orchestrator.run.record import RUN_RECORDS, check_run_name
from orchestrator.store import LocalStore, check_key
from orchestrator.store.partial import PREFIX
from orchestrator.text import printable

LIST = "export.json"
MOST_BYTES = 4 << 30
"""The most that one object of an archive may have; each is held in memory."""
Add = Callable[[str, bytes], None]
"""Adds an object by its key."""
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")


@dataclass(frozen=True)
class Packed:
    """An object of an export."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Export:
    """The list of an export: the run, the version that wrote it, and all objects."""

    run: str
    version: str
    objects: Sequence[Packed]


EXPORTS = RecordFormat("the list of an export", Export, (same_fields,))


def is_archive(path: Path) -> bool:
    """Whether a path names an archive; any other is a folder."""
    return path.name.endswith(_SUFFIXES)


@contextlib.contextmanager
def written_parcel(path: Path) -> Iterator[Add]:
    """Write a folder or an archive at an unused path: under a name of its own, which becomes ``path`` at the end.

    Gives the function that adds objects. What was written is read again before it gets its name. If anything fails,
    nothing is left; a process that is killed leaves ``.<name>.<hex>.partial`` beside the path.

    Raises:
        UserMistakeError: the path is taken, or cannot be written.
        DamagedError: what is read is not what was written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        if path.exists() or path.is_symlink():
            raise UserMistakeError(f"{printable(str(path))} is there already; name a place that is not")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_archive(path):
            with _tar_to(partial, path.name) as add:
                yield add
        else:
            partial.mkdir()
            yield LocalStore(partial).put
        verified(path, partial)
        partial.rename(path)
    except OSError as error:
        raise UserMistakeError(f"cannot write {printable(str(path))}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _tar_to(place: Path, name: str) -> Iterator[Add]:
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(place.open("xb"))
        mode, file = "w|gz" if name.endswith("gz") else "w|", cast(IO[bytes], plain)
        if name.endswith(".zst"):
            import pyarrow as pa  # noqa: PLC0415 - it takes a while to import

            file = stack.enter_context(pa.CompressedOutputStream(pa.PythonFile(plain, mode="w"), "zstd"))
        archive = stack.enter_context(_opened(mode, file))

        def add(key: str, data: bytes) -> None:
            member = tarfile.TarInfo(key)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        yield add
    with place.open("rb") as written:  # closing the compression has closed the file
        os.fsync(written.fileno())


def _opened(mode: str, file: IO[bytes]) -> tarfile.TarFile:
    opening: Any = tarfile.open  # its modes are literal types
    archive: tarfile.TarFile = opening(mode=mode, fileobj=file, format=tarfile.PAX_FORMAT)
    return archive


def verified(path: Path, place: Path | None = None) -> Export:
    """The list of an export whose objects were all read and compared with it; `read_parcel` has the arguments.

    Raises:
        UserMistakeError: there is no such folder or archive, or a newer version has written it.
        DamagedError: it is not whole, or has what no export has.
    """
    found: dict[str, Packed] = {}
    definition: dict[str, bytes] = {}
    export: Export | None = None
    for key, data in read_parcel(path, place):
        if export is not None or key in found:
            raise DamagedError(f"{printable(str(path))} is refused: it has {printable(key)} twice, or after its end")
        if key == LIST:
            export = EXPORTS.from_store(data, printable(str(path)))
        else:
            found[key] = Packed(key, len(data), hashlib.sha256(data).hexdigest())
            check_content(key, found[key].sha256)
            if re.fullmatch(rf"{RUNS}/[^/]+/(run|inputs)\.json", key):
                definition[key] = data
    if export is None or list(found.values()) != list(export.objects):
        raise DamagedError(f"{printable(str(path))} is no whole export: its objects are not those of its {LIST}")
    check_run_name(export.run)
    for key in found:
        _check_place(key, export.run, path)
    _check_definition(RunLayout(export.run), definition, found, path)
    return export


def _check_definition(
    layout: RunLayout, definition: Mapping[str, bytes], found: Mapping[str, Packed], path: Path
) -> None:
    """Make sure that a run can be shown and resumed from its objects.

    Raises:
        DamagedError: its record or an input is missing, or the record is that of another run.
        NewerFormatError: a newer version has written it.
    """
    place = printable(str(path))
    if not definition.keys() >= {layout.record, layout.inputs}:
        raise DamagedError(f"{place} is no export: it lacks {layout.record} or {layout.inputs}")
    record = RUN_RECORDS.from_store(definition[layout.record], f"{place}: {layout.record}")
    inputs = INPUTS.from_store(definition[layout.inputs], f"{place}: {layout.inputs}")
    if record.run != layout.run:
        raise DamagedError(f"{place} is no export: its record is of the run {printable(record.run)}, not {layout.run}")
    for key in input_keys(inputs):
        if key not in found:
            raise DamagedError(f"{place} is no whole export: it lacks {printable(key)}")


def _check_place(key: str, run: str, path: Path) -> None:
    """Make sure that an object belongs to the run, or to what runs share.

    Raises:
        DamagedError: it does not.
    """
    top, *rest = check_key(key).split("/")
    shared = top in SHARED and len(rest) == 2
    own = top == RUNS and len(rest) > 1 and rest[0] == run
    if not (shared or own) or any(part.startswith(PREFIX) for part in rest):
        raise DamagedError(f"{printable(str(path))} is refused: {printable(key)} is no object of the run {run}")


def read_parcel(path: Path, place: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """The objects of a folder or an archive, each by its key, the list last.

    Nothing is extracted. What is no regular file or has a name that is no key is refused. Of a folder only the objects
    of its list are read.

    Args:
        path: The folder or archive.
        place: Where it lies for the time being, if not there.

    Raises:
        UserMistakeError: there is no such folder or archive.
        DamagedError: it is no export, or was not written to its end.
    """
    shown = printable(str(path))
    try:
        yield from (_of_tar if is_archive(path) else _of_folder)(place or path, path.name, shown)
    except FileNotFoundError:
        raise UserMistakeError(f"there is no {shown}") from None
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedError(f"{shown} is no whole export: {printable(str(error)) or 'it ends too soon'}") from error


def _of_folder(place: Path, _: str, shown: str) -> Iterator[tuple[str, bytes]]:
    if not place.is_dir():
        raise UserMistakeError(f"{shown} is no folder, and no archive ({', '.join(_SUFFIXES)})")
    store = LocalStore(place)
    if not store.exists(LIST):
        raise UserMistakeError(f"{shown} is no export: it has no {LIST}")
    listed = store.get(LIST)
    for packed in EXPORTS.from_store(listed, f"{shown}/{LIST}").objects:
        try:
            yield packed.key, store.get(packed.key)
        except OrchestratorError as error:
            raise DamagedError(f"{shown} is no whole export: {error}") from None
    yield LIST, listed


def _of_tar(place: Path, name: str, shown: str) -> Iterator[tuple[str, bytes]]:
    with contextlib.ExitStack() as stack:
        file = cast(IO[bytes], stack.enter_context(place.open("rb")))
        if name.endswith(".zst"):
            import pyarrow as pa  # noqa: PLC0415 - see above

            file = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
        archive = stack.enter_context(_opened("r|gz" if name.endswith("gz") else "r|", file))
        while (member := archive.next()) is not None:
            if not member.isreg() or member.size > MOST_BYTES:
                raise DamagedError(
                    f"{shown} is refused: {printable(member.name)} is no plain file, or larger than any object"
                )
            content = archive.extractfile(member)
            data = b"" if content is None else content.read()
            cast(Any, archive).members = []  # tarfile keeps all that it has seen
            yield check_key(member.name), data
