"""From folders of files to the list of images that a run works on.

Every file that is not hidden gets a row: a file that cannot be read is rejected with its reason, the others go on.
Mistakes that concern the whole run (no folder, references that do not match) are reported before anything is written.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.files import MOST_PART_BYTES, ReadFile, files_below, folder_of, identity, read_files
from orchestrator.ingest.partners import match_partners, size_text
from orchestrator.run.inputs import SPREAD_SUFFIX, InputImage, Rejected
from orchestrator.run.layout import image_id
from orchestrator.text import printable


@dataclass(frozen=True)
class Upload:
    """A file on this machine and the image it becomes."""

    image: InputImage
    path: Path
    reference_path: Path | None
    mask_path: Path | None = None


def _restored_names(images: Sequence[ReadFile]) -> list[str]:
    """Name each restored file: the image's own relative path, with the suffix of its lossless format.

    Two images may get the same name, also because a file system ignores case or the composition of accents. They then
    keep their own suffix before the new one, and get numbers if that is not enough.
    """
    plain = [_joined(*_parted(image.name, image.encoding.suffix)) for image in images]
    counts = Counter(map(_folded, plain))
    # Folders' names are taken too: "scan.jpg" cannot become "scan.png" next to "scan.png/a.png".
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
    """Fold a name so that names are equal if some file system takes them for the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _joined(name: str, ending: str) -> str:
    """Join a name and its ending; shorten the name if file systems could not hold the file or its map of
    disagreement."""
    folder, slash, stem = name.rpartition("/")
    room = MOST_PART_BYTES - len(SPREAD_SUFFIX) - len(ending)
    return folder + slash + stem.encode()[:room].decode(errors="ignore") + ending


def _parted(name: str, suffix: str) -> tuple[str, str]:
    """Split a name into the part that its restored file keeps and the restored file's extension."""
    stem, dot, extension = name.rpartition(".")
    if "/" in extension or not stem.rpartition("/")[2]:
        return name, suffix
    # "scan.tiff" keeps its spelling; a file without an extension gets one.
    if extension.lower() in {".tif": ("tif", "tiff"), ".png": ("png",)}[suffix]:
        return stem, dot + extension
    known = extension.lower() in ("png", "jpg", "jpeg", "jpe", "webp", "tif", "tiff", "bmp", "dib")
    return (stem if known else name), suffix


def _content_file(read: ReadFile) -> str:
    """Name a file's copy in the store by its content and its suffix."""
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
    store: Path | None = None,
) -> tuple[list[Upload], list[Rejected]]:
    """Read a folder: return its images with their references and masks, and the files that cannot be used.

    With ``simulate`` the images are clean and serve as their own references. ``white_is_known`` says which of a mask's
    pixels are known. ``scale`` is how many times larger the restored image is than the degraded one. The folders of
    references and masks, and the run's own ``store``, may lie among the images: their files are none.

    Raises:
        UserMistakeError: a folder is missing, or holds no readable image, or references or masks do not match by name
            and size.
    """
    folder = folder_of(images, "--images")
    reference_folder = None if references is None else folder_of(references, "--references")
    mask_folder = None if masks is None else folder_of(masks, "--masks")
    if store is not None and identity(store) == identity(folder) is not None:
        raise UserMistakeError(
            f"--images {images}: this folder is the store; give one for the images, or another store"
        )
    partners = [path for path in (reference_folder, mask_folder) if path and identity(path) != identity(folder)]
    opened = identity(folder)
    paths = list(files_below(folder, [*partners, *([] if store is None else [store])]))
    if not paths:
        raise UserMistakeError(f"--images {images}: the folder is empty")
    outcomes = list(
        read_files(folder, paths, [None] * len(paths), max_pixels, masked=mask_folder is not None and not simulate)
    )
    if identity(folder) != opened:
        raise UserMistakeError(
            f"--images {images}: the folder has vanished while it was read: mount it, or put it back, and try again"
        )
    read, rejected = [], []
    for outcome in outcomes:
        if isinstance(outcome, ReadFile) and simulate and min(outcome.shape[1:]) < scale:
            rejected.append(
                Rejected(outcome.name, f"{size_text(outcome.shape)}: too small to be made {scale} times smaller")
            )
        elif isinstance(outcome, ReadFile):
            read.append(outcome)
        else:
            rejected.append(outcome)
    if not read:
        raise UserMistakeError(
            f"--images {images}: none of its {len(paths)} files can be restored;"
            f" the first, {printable(rejected[0].name)}: {rejected[0].reason}"
        )
    clean = (
        {} if reference_folder is None else match_partners(read, reference_folder, "reference", max_pixels, scale=scale)
    )
    holes = {} if mask_folder is None else match_partners(read, mask_folder, "mask", max_pixels)
    uploads = []
    ids: dict[str, int] = {}
    for image, restored in zip(read, _restored_names(read), strict=True):
        base = image_id(image.name, image.sha256)
        ids[base.casefold()] = ids.get(base.casefold(), 0) + 1
        # Two copies of the same picture are two images: each has its row and its restored file.
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
            # The store keeps which pixels are known, and that depends on the colour that means known.
            mask=None if mask is None else f"{mask.sha256}-{'white' if white_is_known else 'black'}.png",
        )
        reference_path = None if simulate or reference is None else reference.path
        uploads.append(Upload(record, image.path, reference_path, None if mask is None else mask.path))
    return uploads, rejected
