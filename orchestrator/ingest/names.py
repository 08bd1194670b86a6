"""Names of restored files: the image's own relative path, with the suffix of its lossless format."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path, PurePosixPath

from orchestrator.ingest.files import MOST_PART_BYTES, suffix_of
from orchestrator.run.inputs import SPREAD_SUFFIX

_KNOWN = frozenset({"png", "jpg", "jpeg", "jpe", "webp", "tif", "tiff", "bmp", "dib"})


class RestoredNames:
    """Names the restored files of a folder one after the other, in the order of the folder.

    Two images may get the same name, also because a file system ignores case or the composition of accents. They then
    keep their own suffix before the new one, and get numbers if that is not enough.

    Args:
        names: The names of all files of the folder.
        paths: Their paths. Only those are opened whose names differ in nothing but the suffix.
    """

    def __init__(self, names: Sequence[str], paths: Sequence[Path]) -> None:
        stems = Counter(_folded(_stem(name)) for name in names)
        shared = [(name, path) for name, path in zip(names, paths, strict=True) if stems[_folded(_stem(name))] > 1]
        suffixes = [(name, suffix) for name, path in shared if (suffix := suffix_of(path))]
        self._counts = Counter(_folded(_joined(*_parted(name, suffix))) for name, suffix in suffixes)
        # Folders' names are taken too: "scan.jpg" cannot become "scan.png" next to "scan.png/a.png".
        parents = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
        self._folders, self._taken = {_folded(parent) for parent in parents}, set[str]()

    def next(self, name: str, suffix: str) -> str:
        """The relative path of the restored file of the next image, whose format has this suffix."""
        unique = _joined(*_parted(name, suffix))
        if self._counts[_folded(unique)] > 1:
            unique = _joined(name, suffix)
        numbers = count(2)
        while self._is_taken(unique):
            unique = _joined(name, f".{next(numbers)}{suffix}")
        self._taken.add(_folded(unique))
        return unique

    def _is_taken(self, name: str) -> bool:
        folded = _folded(name)
        return folded in self._taken or folded in self._folders or _folded(name + SPREAD_SUFFIX) in self._folders


def is_named_like_an_image(name: str) -> bool:
    """Whether a name has the extension of an image."""
    return name.rpartition(".")[2].lower() in _KNOWN


def _stem(name: str) -> str:
    """The part of a name that its restored file keeps, whatever its format is."""
    stem, _, extension = name.rpartition(".")
    return stem if extension.lower() in _KNOWN and stem.rpartition("/")[2] else name


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
    return (stem if extension.lower() in _KNOWN else name), suffix
