"""The files of a user's folder: list them, check them and decode each."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator.errors import ImageRejectedError, ImagesUnavailableError, UserMistakeError
from orchestrator.images import FIRST_BYTES, Encoding, check_format, container_suffix, decode, decode_mask
from orchestrator.images.isolated import isolated_map
from orchestrator.run.inputs import Rejected
from orchestrator.run.layout import CLAIMS, RECORD, RUNS
from orchestrator.text import printable

_DECODING_BYTES_PER_PIXEL = 128  # five 64-bit samples, three times over
_DECODING_BYTES = 1 << 30  # memory of codecs in addition to the pixels
_DECODING_SECONDS = 300
_CRASHED = f"its decoder crashed, or did not end within {_DECODING_SECONDS} s"
_ONE_CRASHED = f"its decoder, or that of its reference or mask, crashed, or did not end within {_DECODING_SECONDS} s"
_LEFT_BY_SYSTEMS = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
MOST_PART_BYTES = 255  # the limit of common file systems for a name between two slashes
_MOST_PATH_BYTES = 800  # an object store's keys have at most 1,024 bytes; the run and the arm take some of them


@dataclass(frozen=True)
class ReadFile:
    """A decoded image file.

    Attributes:
        path: its path.
        name: its name in the folder.
        sha256: the digest of its bytes.
        encoding: the encoding of its samples.
        shape: (channels, height, width).
    """

    path: Path
    name: str
    sha256: str
    encoding: Encoding
    shape: tuple[int, int, int]


def files_below(folder: Path, leave_out: Collection[Path] = ()) -> Iterator[Path]:
    """Yield all files below a folder, sorted, without those that are no user's images.

    These are hidden files, what systems leave in folders (`_LEFT_BY_SYSTEMS`), everything in a store, and everything in
    the folders ``leave_out``, by whatever path or link they are named. Links to folders are not followed, so there is
    no loop. A folder that cannot be opened is yielded like a file.
    """
    # Paths have many spellings (links, "..", case), so folders are told by what the system says they are.
    others = {same for path in leave_out if (same := identity(path)) is not None}
    # os.walk is recursive, and folders may be nested more deeply than Python's limit on recursion.
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if identity(place) in others or (place != folder and _is_store(place)):
            continue
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            yield place
            continue
        shown = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.casefold() not in _LEFT_BY_SYSTEMS
        ]
        for entry in shown:
            if not (entry.is_dir(follow_symlinks=False) or os.path.isdir(entry)):  # noqa: PTH112 - Path.is_dir may raise
                yield Path(entry)
        waiting += [Path(entry) for entry in reversed(shown) if entry.is_dir(follow_symlinks=False)]


def identity(path: Path) -> tuple[int, int] | None:
    """What makes a folder the same under all its names; None if it does not exist or cannot be asked."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat raises for what os.stat only refuses
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_folder(folder: Path) -> None:
    """Make sure that a folder with a file that cannot be read is there: of one that has been unmounted, every file
    would be missing.

    Raises:
        ImagesUnavailableError: it is not there, is out of reach, or holds nothing at all.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        if next(entries, None) is not None:
            return
    raise ImagesUnavailableError(
        f"the folder {printable(str(folder))} has vanished before all its images were read: mount it, or put it back,"
        " and give it again"
    )


def _is_store(folder: Path) -> bool:
    """Whether a folder is a store, of this run or another, or a run's folder: a run has a record and claims."""
    if _is_run(folder):
        return True
    try:
        with os.scandir(folder / RUNS) as runs:
            return any(_is_run(Path(run)) for run in runs)
    except OSError:
        return False


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / RECORD) and os.path.isdir(folder / CLAIMS)  # noqa: PTH112, PTH113 - they never raise


def relative_name(path: Path, folder: Path) -> str:
    """Return a path's name below the folder as text; bytes that are not text are written as in URLs, ``%E9``."""
    text = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", text)


def check_path(path: Path, name: str) -> None:
    """Raise ImageRejectedError if a path cannot or must not be read."""
    folders = name.encode().split(b"/")[:-1]
    # If the file's own name is too long, the name of its restored file is shortened.
    if len(name.encode()) > _MOST_PATH_BYTES or any(len(part) > MOST_PART_BYTES for part in folders):
        raise ImageRejectedError(
            f"its path has {len(name.encode())} bytes below the folder given; a store holds {_MOST_PATH_BYTES} at most,"
            f" and {MOST_PART_BYTES} for the name of a folder"
        )
    if path.is_dir():
        raise ImageRejectedError("the folder cannot be opened")
    if path.exists() and not path.is_file():
        # Reading a pipe might never end.
        raise ImageRejectedError("not a regular file")


def folder_of(text: str | Path, option: str) -> Path:
    """Return the folder that an option names.

    Raises:
        UserMistakeError: it does not exist, is not a folder, or cannot be read.
    """
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib raises for a home that does not exist
    if not os.path.exists(folder):  # noqa: PTH110 - and for a name that is too long
        raise UserMistakeError(f"{option} {text}: there is no such folder")
    if not folder.is_dir():
        raise UserMistakeError(f"{option} {text}: this is a file; give the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserMistakeError(f"{option} {text}: the folder cannot be opened: permission denied")
    return folder


def _read(
    path: Path, like: Encoding | None, *, folder: Path, max_pixels: int, is_mask: bool, masked: bool
) -> ReadFile | Rejected:
    name = relative_name(path, folder)
    try:
        check_path(path, name)
        with path.open("rb") as file:
            # The first bytes show the format, so a film in the folder is not read to its end.
            check_format(file.read(FIRST_BYTES))
        data = path.read_bytes()
        if is_mask:
            decode_mask(data, max_pixels=max_pixels)
        picture = decode(data, max_pixels=max_pixels, like=like, finite=not masked)
    except OSError as error:
        return Rejected(name, f"the file cannot be opened: {error.strerror or error}")
    except MemoryError:
        return Rejected(name, "reading it takes more memory than it may have")
    except ImageRejectedError as error:
        return Rejected(name, str(error))
    channels, height, width = picture.pixels.shape
    shape = (channels, height, width)
    # Only the scale of the encoding is needed later, for a reference; the profile is dropped because it may be large.
    scale = replace(picture.encoding, icc_profile=None)
    return ReadFile(path, name, hashlib.sha256(data).hexdigest(), scale, shape)


def read_files(
    folder: Path, paths: Sequence[Path], max_pixels: int, *, masked: bool = False
) -> Iterator[ReadFile | Rejected]:
    """Decode every file once, so that it is known which ones can be used; only small records are kept.

    ``masked`` images have masks: values that are not finite may lie in their holes.
    Files are always decoded in processes of their own, even if there are few: a process starts quickly, and a decoder
    that crashes ends only its own process. A few are decoded before their records are taken.
    """
    read = partial(_read, like=None, folder=folder, max_pixels=max_pixels, is_mask=False, masked=masked)
    outcomes = isolated_map(read, paths, memory=_memory(max_pixels), seconds=_DECODING_SECONDS)
    for path, outcome in zip(paths, outcomes, strict=True):
        yield outcome or Rejected(relative_name(path, folder), _CRASHED)


@dataclass(frozen=True)
class Together:
    """An image that was read, and its reference and its mask, as far as it has these and can be used."""

    image: ReadFile | Rejected
    reference: ReadFile | Rejected | None = None
    mask: ReadFile | Rejected | None = None


def read_together(
    folder: Path,
    paths: Sequence[Path],
    references: Sequence[Path | None],
    masks: Sequence[Path | None],
    max_pixels: int,
    *,
    masked: bool,
) -> Generator[Together, None, None]:
    """Decode images with their references, which share the images' scales, and their masks, as `read_files` does.

    A mask must say what is known.
    """
    read = partial(_read, folder=folder, max_pixels=max_pixels)
    outcomes = isolated_map(
        partial(_read_together, read, masked),
        *(paths, references, masks),
        memory=_memory(max_pixels),
        seconds=_DECODING_SECONDS,
    )
    for path, reference, mask, outcome in zip(paths, references, masks, outcomes, strict=True):
        crashed = _CRASHED if (reference, mask) == (None, None) else _ONE_CRASHED
        yield outcome or Together(Rejected(relative_name(path, folder), crashed))


def _read_together(
    read: Callable[..., ReadFile | Rejected], masked: bool, path: Path, reference: Path | None, mask: Path | None
) -> Together:
    image = read(path, None, is_mask=False, masked=masked)
    if isinstance(image, Rejected):
        return Together(image)
    clean, holes = None, None
    if reference is not None:
        clean = read(reference, image.encoding, folder=reference.parent, is_mask=False, masked=False)
    if mask is not None:
        holes = read(mask, None, folder=mask.parent, is_mask=True, masked=False)
    return Together(image, clean, holes)


def _memory(max_pixels: int) -> int:
    return _DECODING_BYTES + _DECODING_BYTES_PER_PIXEL * max_pixels


def suffix_of(path: Path) -> str:
    """The suffix of the restored file by the first bytes of an image; "" if it is none, or cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return container_suffix(file.read(FIRST_BYTES))
    except (OSError, ImageRejectedError):
        return ""
