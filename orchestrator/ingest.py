"""From folders of files to the list of images a run works on.

Every file that is not hidden gets a row: what cannot be read is rejected with its reason, the others go on. Mistakes that
concern the run as a whole (no folder, references that do not match) are reported before anything is written.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Literal

from orchestrator.cpus import cpu_count
from orchestrator.errors import ImageRejectedError, UserMistakeError
from orchestrator.images import FIRST_BYTES, Encoding, check_format, decode
from orchestrator.layout import image_id
from orchestrator.text import printable

_MISTAKES_SHOWN = 5
_WORTH_PROCESSES = 200
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class InputImage:
    """One image of a run, as a small record; the pixels stay in the store.

    ``name`` is the path relative to the folder given, ``file`` the name of its copy in the store, ``reference`` that of its
    clean reference and ``mask`` that of its mask of known pixels (None without one), ``restored`` the relative path of the
    restored file. ``height`` and ``width`` are those of the degraded image.
    """

    name: str
    id: str
    file: str
    reference: str | None
    restored: str
    height: int
    width: int
    channels: int
    mask: str | None = None

    @property
    def spread(self) -> str:
        """The relative path of the map that shows where fits disagree."""
        return f"{self.restored}.tif"


@dataclass(frozen=True)
class Rejected:
    """A file that cannot be worked on, and why."""

    name: str
    reason: str


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


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted, without hidden ones; links to folders are not followed, so no loop can catch us."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _relative_name(path: Path, folder: Path) -> str:
    # A name that is no valid text on this system is shown with replacement marks; the path itself opens the file.
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def _read(path: Path, like: Encoding | None, folder: Path, max_pixels: int) -> _Read | Rejected:
    name = _relative_name(path, folder)
    try:
        if path.exists() and not path.is_file():
            # A pipe would be read for ever.
            return Rejected(name, "not a regular file")
        with path.open("rb") as file:
            # A film in the folder is not read to its end to learn that it is none of ours.
            check_format(file.read(FIRST_BYTES))
        data = path.read_bytes()
        picture = decode(data, max_pixels=max_pixels, like=like)
    except OSError as error:
        return Rejected(name, f"the file cannot be opened: {error.strerror or error}")
    except MemoryError:
        return Rejected(name, "the file is too large for this machine's memory")
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
    return folder


def _read_all(
    folder: Path, paths: Sequence[Path], likes: Sequence[Encoding | None], max_pixels: int
) -> Iterator[_Read | Rejected]:
    """Decode every file once, so that the plan knows what can be used; only small records are kept.

    ``likes`` are the encodings whose scales references have to share; None for images.
    """
    read = partial(_read, folder=folder, max_pixels=max_pixels)
    if len(paths) < _WORTH_PROCESSES:
        yield from map(read, paths, likes)
        return
    # Processes, not threads: while it decodes, a reader silences warnings for its whole process.
    with ProcessPoolExecutor(min(_MOST_PROCESSES, cpu_count()), mp_context=get_context("spawn")) as pool:
        yield from pool.map(read, paths, likes, chunksize=16)


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

    Two images whose names would meet (in letters' case too, for file systems that ignore it) keep their own suffix before
    the new one, and are numbered where that is not enough.
    """
    plain = [_with_suffix(image.name, image.encoding.suffix) for image in images]
    counts: dict[str, int] = {}
    for name in plain:
        counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
    # A folder's name is taken too: "scan.jpg" cannot become "scan.png" beside "scan.png/a.png".
    folders = (part.as_posix() for name in plain for part in PurePosixPath(name).parents)
    taken = {folder.casefold() for folder in folders}
    names = []
    for image, name in zip(images, plain, strict=True):
        unique = name if counts[name.casefold()] == 1 else image.name + image.encoding.suffix
        number = 2
        while unique.casefold() in taken:
            unique = f"{image.name}.{number}{image.encoding.suffix}"
            number += 1
        taken.add(unique.casefold())
        names.append(unique)
    return names


def _with_suffix(name: str, suffix: str) -> str:
    folder, slash, file = name.rpartition("/")
    stem, dot, extension = file.rpartition(".")
    # "scan.tiff" keeps its spelling; a file without an extension gets one.
    same = {".tif": ("tif", "tiff"), ".png": ("png",)}[suffix]
    if stem and dot and extension.lower() in same:
        return name
    known = dot and stem and extension.lower() in ("png", "jpg", "jpeg", "jpe", "webp", "tif", "tiff", "bmp", "dib")
    return folder + slash + (stem if known else file) + suffix


def _store_suffix(path: Path) -> str:
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix := path.suffix.lower()) else ""


def read_folder(
    images: str | Path,
    *,
    references: str | Path | None = None,
    masks: str | Path | None = None,
    simulate: bool = False,
    scale: int = 1,
    max_pixels: int,
) -> tuple[list[Upload], list[Rejected]]:
    """The images of a folder with what is known of them, and the files that cannot be used.

    With ``simulate`` the images are clean and serve as their own references. ``scale`` is how many times larger than the
    degraded image the restored one is.

    Raises:
        UserMistakeError: a folder is missing or holds no readable image, or references or masks do not match by name and
            size.
    """
    folder = _folder(images, "--images")
    reference_folder = None if references is None else _folder(references, "--references")
    mask_folder = None if masks is None else _folder(masks, "--masks")
    paths = list(_files(folder))
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
        file = own_id + _store_suffix(image.path)
        reference = image if simulate else clean.get(image.name)
        mask = holes.get(image.name)
        channels, height, width = image.shape
        shrunk = scale if simulate else 1
        record = InputImage(
            name=image.name,
            id=own_id,
            file=file,
            reference=None if reference is None else (file if simulate else own_id + _store_suffix(reference.path)),
            restored=restored,
            height=height // shrunk,
            width=width // shrunk,
            channels=channels,
            mask=None if mask is None else f"{own_id}.png",
        )
        reference_path = None if simulate or reference is None else reference.path
        uploads.append(Upload(record, image.path, reference_path, None if mask is None else mask.path))
    return uploads, rejected
