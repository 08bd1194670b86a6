"""From folders of files to the list of images a run works on.

Every file that is not hidden gets a row: what cannot be read is rejected with its reason, the others go on. Mistakes that
concern the run as a whole (no folder, references that do not match) are reported before anything is written.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

from orchestrator.errors import ImageRejectedError, UserMistakeError
from orchestrator.images import FIRST_BYTES, Encoding, check_format, decode
from orchestrator.images.isolated import isolated_map
from orchestrator.run.inputs import SPREAD_SUFFIX, InputImage, Rejected
from orchestrator.run.layout import image_id
from orchestrator.text import printable

_MISTAKES_SHOWN = 5
_DECODING_BYTES_PER_PIXEL = 128  # five 64-bit samples, three times over
_DECODING_BYTES = 1 << 30  # what codecs take beside the pixels
_DECODING_SECONDS = 300
_MOST_PART_BYTES = 255  # of a name between two slashes, on every common file system
_MOST_PATH_BYTES = 800  # an object store's keys have 1,024 at most, of which the run and the arm take some
_CRASHED = f"its decoder crashed, or came to no end within {_DECODING_SECONDS} s"


@dataclass(frozen=True)
class Upload:
    """A file on this machine and the image it becomes."""

    image: InputImage
    path: Path
    reference_path: Path | None
    mask_path: Path | None = None


@dataclass(frozen=True)
class _Read:
    path: Path
    name: str
    sha256: str
    encoding: Encoding
    shape: tuple[int, int, int]


def _files(folder: Path, leave_out: Path | None = None) -> Iterator[Path]:
    """All files below a folder, sorted, without hidden ones; links to folders are not followed, so no loop can catch us.

    A folder that cannot be opened is given like a file. Of the folder to ``leave_out`` nothing is.
    """
    # Not os.walk, which calls itself for each folder in a folder: there may be more of them than Python lets it.
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if place.absolute() == leave_out:
            continue
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            yield place
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in shown:
            if not (entry.is_dir(follow_symlinks=False) or os.path.isdir(entry)):  # noqa: PTH112 - Path.is_dir may raise
                yield Path(entry)
        waiting += [Path(entry) for entry in reversed(shown) if entry.is_dir(follow_symlinks=False)]


def _relative_name(path: Path, folder: Path) -> str:
    """The name below the folder, as text everywhere: bytes that are none are spelled as in web addresses, ``%E9``."""
    text = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", text)


def _check_path(path: Path, name: str) -> None:
    """Raise ImageRejectedError for what is not to be read."""
    folders = name.encode().split(b"/")[:-1]
    # A long name of the file itself is shortened where it is restored.
    if len(name.encode()) > _MOST_PATH_BYTES or any(len(part) > _MOST_PART_BYTES for part in folders):
        raise ImageRejectedError(
            f"its path has {len(name.encode())} bytes below the folder given; a store holds {_MOST_PATH_BYTES} at most,"
            f" and {_MOST_PART_BYTES} for the name of a folder"
        )
    if path.is_dir():
        raise ImageRejectedError("the folder cannot be opened")
    if path.exists() and not path.is_file():
        # A pipe would be read for ever.
        raise ImageRejectedError("not a regular file")


def _read(path: Path, like: Encoding | None, folder: Path, max_pixels: int) -> _Read | Rejected:
    name = _relative_name(path, folder)
    try:
        _check_path(path, name)
        with path.open("rb") as file:
            # A film in the folder is not read to its end to learn that it is none of ours.
            check_format(file.read(FIRST_BYTES))
        data = path.read_bytes()
        picture = decode(data, max_pixels=max_pixels, like=like)
    except OSError as error:
        return Rejected(name, f"the file cannot be opened: {error.strerror or error}")
    except MemoryError:
        return Rejected(name, "reading it takes more memory than it may have")
    except ImageRejectedError as error:
        return Rejected(name, str(error))
    channels, height, width = picture.pixels.shape
    shape = (channels, height, width)
    # Of the encoding only the scale is wanted later, for a reference; a profile may be large.
    scale = replace(picture.encoding, icc_profile=None)
    return _Read(path, name, hashlib.sha256(data).hexdigest(), scale, shape)


def _folder(text: str | Path, option: str) -> Path:
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib raises for a home that does not exist
    if not os.path.exists(folder):  # noqa: PTH110 - and for a name that is too long
        raise UserMistakeError(f"{option} {text}: there is no such folder")
    if not folder.is_dir():
        raise UserMistakeError(f"{option} {text}: this is a file; give the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserMistakeError(f"{option} {text}: the folder cannot be opened: permission denied")
    return folder


def _read_all(
    folder: Path, paths: Sequence[Path], likes: Sequence[Encoding | None], max_pixels: int
) -> Iterator[_Read | Rejected]:
    """Decode every file once, so that the plan knows what can be used; only small records are kept.

    ``likes`` are the encodings whose scales references have to share; None for images. Files are decoded in processes of
    their own, however few they are: a process is there sooner than a user notices, and a decoder that crashes ends it alone.
    """
    read = partial(_read, folder=folder, max_pixels=max_pixels)
    memory = _DECODING_BYTES + _DECODING_BYTES_PER_PIXEL * max_pixels
    outcomes = isolated_map(read, paths, likes, memory=memory, seconds=_DECODING_SECONDS)
    for path, outcome in zip(paths, outcomes, strict=True):
        yield outcome or Rejected(_relative_name(path, folder), _CRASHED)


def _without_suffix(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _partner_of(image: _Read, kind: str, by_name: dict[str, Path], by_stem: dict[str, list[Path]]) -> Path | str:
    """The file of the same name, or else of the same name up to the extension; or what is wrong."""
    if image.name in by_name:
        return by_name[image.name]
    candidates = by_stem.get(_without_suffix(image.name), [])
    if len(candidates) == 1:
        return candidates[0]
    return f"{image.name}: " + (f"several {kind}s have this name" if candidates else f"no {kind} has this name")


def _match(
    images: Sequence[_Read], folder: Path, kind: Literal["reference", "mask"], max_pixels: int, *, scale: int = 1
) -> dict[str, _Read]:
    """Each image's partner in another folder: of its name, and ``scale`` times its size.

    A reference has the image's channels too; a mask may have any.

    Raises:
        UserMistakeError: a partner is missing, unreadable or of another size; it names the first few.
    """
    by_name = {_relative_name(path, folder): path for path in _files(folder)}
    by_stem: dict[str, list[Path]] = {}
    for name, path in by_name.items():
        by_stem.setdefault(_without_suffix(name), []).append(path)
    mistakes: list[str] = []
    found: dict[str, Path] = {}
    for image in images:
        match = _partner_of(image, kind, by_name, by_stem)
        if isinstance(match, str):
            mistakes.append(match)
        else:
            found[image.name] = match
    partners: dict[str, _Read] = {}
    wanted = [image for image in images if image.name in found]
    paths = [found[image.name] for image in wanted]
    likes = [image.encoding if kind == "reference" else None for image in wanted]
    for image, read in zip(wanted, _read_all(folder, paths, likes, max_pixels), strict=True):
        if isinstance(read, Rejected):
            mistakes.append(f"{image.name}: its {kind} cannot be used: {read.reason}")
            continue
        channels, height, width = image.shape
        shape = (channels if kind == "reference" else read.shape[0], scale * height, scale * width)
        if read.shape != shape:
            times = f", and restored {scale} times as high and wide" if scale > 1 else ""
            mistakes.append(f"{image.name}: {_size(image.shape)}{times}, but its {kind} {_size(read.shape)}")
        else:
            partners[image.name] = read
    if mistakes:
        more = f"; and {len(mistakes) - _MISTAKES_SHOWN} more" if len(mistakes) > _MISTAKES_SHOWN else ""
        raise UserMistakeError(
            f"--{kind}s {folder}: a {kind} needs its image's name and size: "
            + printable("; ".join(mistakes[:_MISTAKES_SHOWN]))
            + more
        )
    return partners


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"is {width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


def _restored_names(images: Sequence[_Read]) -> list[str]:
    """Where each restored file goes: the image's own relative path, with the suffix of its lossless format.

    Two images whose names would meet (also where a file system ignores letters' case, or how accents are composed) keep
    their own suffix before the new one, and are numbered where that is not enough.
    """
    plain = [_joined(*_parted(image.name, image.encoding.suffix)) for image in images]
    counts = Counter(map(_folded, plain))
    # A folder's name is taken too: "scan.jpg" cannot become "scan.png" beside "scan.png/a.png".
    folders = {_folded(parent.as_posix()) for name in plain for parent in PurePosixPath(name).parents}
    taken: set[str] = set()
    names = []
    for image, name in zip(images, plain, strict=True):
        suffix = image.encoding.suffix
        unique = name if counts[_folded(name)] == 1 else _joined(image.name, suffix)
        numbers = count(2)
        while _folded(unique) in taken | folders or _folded(unique + SPREAD_SUFFIX) in folders:
            unique = _joined(image.name, f".{next(numbers)}{suffix}")
        taken.add(_folded(unique))
        names.append(unique)
    return names


def _folded(name: str) -> str:
    """Equal for names that are one name to some file system."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _joined(name: str, ending: str) -> str:
    """The name with the ending, shortened before it where file systems could not hold it, or the map that goes with it."""
    folder, slash, stem = name.rpartition("/")
    room = _MOST_PART_BYTES - len(SPREAD_SUFFIX) - len(ending)
    return folder + slash + stem.encode()[:room].decode(errors="ignore") + ending


def _parted(name: str, suffix: str) -> tuple[str, str]:
    """A name without the extension that its restored file does not keep, and the one that it has."""
    stem, dot, extension = name.rpartition(".")
    if "/" in extension or not stem.rpartition("/")[2]:
        return name, suffix
    # "scan.tiff" keeps its spelling; a file without an extension gets one.
    if extension.lower() in {".tif": ("tif", "tiff"), ".png": ("png",)}[suffix]:
        return stem, dot + extension
    known = extension.lower() in ("png", "jpg", "jpeg", "jpe", "webp", "tif", "tiff", "bmp", "dib")
    return (stem if known else name), suffix


def _content_file(read: _Read) -> str:
    """The name of a file's copy in the store: its content, and what kind of file it is."""
    return read.sha256 + _store_suffix(read.path)


def _store_suffix(path: Path) -> str:
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix := path.suffix.lower()) else ""


def read_folder(
    images: str | Path,
    *,
    references: str | Path | None = None,
    masks: str | Path | None = None,
    white_is_known: bool = True,
    simulate: bool = False,
    scale: int = 1,
    max_pixels: int,
    leave_out: Path | None = None,
) -> tuple[list[Upload], list[Rejected]]:
    """The images of a folder with what is known of them, and the files that cannot be used.

    With ``simulate`` the images are clean and serve as their own references. ``white_is_known`` says which of a mask's pixels
    are known. ``scale`` is how many times larger than the
    degraded image the restored one is. What lies in the folder to ``leave_out``, a store perhaps, is no image of the user's.

    Raises:
        UserMistakeError: a folder is missing or holds no readable image, or references or masks do not match by name and
            size.
    """
    folder = _folder(images, "--images")
    reference_folder = None if references is None else _folder(references, "--references")
    mask_folder = None if masks is None else _folder(masks, "--masks")
    paths = list(_files(folder, leave_out))
    if not paths:
        raise UserMistakeError(f"--images {images}: the folder is empty")
    outcomes = list(_read_all(folder, paths, [None] * len(paths), max_pixels))
    read, rejected = [], []
    for outcome in outcomes:
        if isinstance(outcome, _Read) and simulate and min(outcome.shape[1:]) < scale:
            rejected.append(
                Rejected(outcome.name, f"{_size(outcome.shape)}: too small to be made {scale} times smaller")
            )
        elif isinstance(outcome, _Read):
            read.append(outcome)
        else:
            rejected.append(outcome)
    if not read:
        raise UserMistakeError(
            f"--images {images}: none of its {len(paths)} files can be restored;"
            f" the first, {printable(rejected[0].name)}: {rejected[0].reason}"
        )
    clean = {} if reference_folder is None else _match(read, reference_folder, "reference", max_pixels, scale=scale)
    holes = {} if mask_folder is None else _match(read, mask_folder, "mask", max_pixels)
    uploads = []
    ids: dict[str, int] = {}
    for image, restored in zip(read, _restored_names(read), strict=True):
        base = image_id(image.name, image.sha256)
        ids[base.casefold()] = ids.get(base.casefold(), 0) + 1
        # The same picture twice is two images: each has its row and its restored file.
        own_id = base if ids[base.casefold()] == 1 else f"{base}-{ids[base.casefold()]}"
        file = _content_file(image)
        reference = image if simulate else clean.get(image.name)
        mask = holes.get(image.name)
        channels, height, width = image.shape
        shrunk = scale if simulate else 1
        record = InputImage(
            name=image.name,
            id=own_id,
            file=file,
            reference=None if reference is None else file if simulate else _content_file(reference),
            restored=restored,
            height=height // shrunk,
            width=width // shrunk,
            channels=channels,
            # A mask is kept as what it says of the pixels, which depends on the colour that means known.
            mask=None if mask is None else f"{mask.sha256}-{'white' if white_is_known else 'black'}.png",
        )
        reference_path = None if simulate or reference is None else reference.path
        uploads.append(Upload(record, image.path, reference_path, None if mask is None else mask.path))
    return uploads, rejected
