"""Match references and masks to images by their names and sizes."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.files import ReadFile, files_below, read_files, relative_name
from orchestrator.run.inputs import Rejected
from orchestrator.text import printable

MISTAKES_SHOWN = 5


def _folded(name: str) -> str:
    """A name as file systems see it that ignore case and how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def without_suffix(name: str) -> str:
    """Return a relative name without the suffix of its file."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


_LIKENESSES: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    without_suffix,
    _folded,
    lambda name: without_suffix(_folded(name)),
)
"""What of a name must be equal: all of it; all but its suffix; both again, whatever the case and the accents' form."""
_FOLDED = 2
_NEAR = 0.7  # difflib's ratio of names: "scan-001" and "scan-001_mask" are near, "a" and "b" are not


class _Partners:
    """The files of a folder by what an image's name may find them with, from the strictest to the most lenient."""

    def __init__(self, paths: Iterable[Path], folder: Path, kind: str) -> None:
        self._kind = kind
        self._by: list[dict[str, list[tuple[str, Path]]]] = [{} for _ in _LIKENESSES]
        for path in paths:
            name = relative_name(path, folder)
            for likeness, found in zip(_LIKENESSES, self._by, strict=True):
                found.setdefault(likeness(name), []).append((name, path))

    def of(self, name: str) -> tuple[Path, bool] | str:
        """The one file that an image's name finds first, and whether the names' spelling agrees; or the mistake."""
        for level, (likeness, found) in enumerate(zip(_LIKENESSES, self._by, strict=True)):
            candidates = found.get(likeness(name), [])
            if len(candidates) == 1:
                return candidates[0][1], level < _FOLDED
            if candidates:
                names = ", ".join(other for other, _ in candidates[:MISTAKES_SHOWN])
                return f"{name}: several {self._kind}s have this name: {names}"
        return f"{name}: no {self._kind} has this name"

    def nearest(self, name: str) -> str:
        """The name that is most like an image's, for a message; empty where none is."""
        by_stem = self._by[-1]
        near = difflib.get_close_matches(_LIKENESSES[-1](name), by_stem, n=1, cutoff=_NEAR)
        return f" (the nearest: {by_stem[near[0]][0][0]})" if near else ""


def match_partners(
    images: Sequence[ReadFile], folder: Path, kind: Literal["reference", "mask"], max_pixels: int, *, scale: int = 1
) -> dict[str, ReadFile]:
    """Find each image's partner in another folder: it has the image's name and ``scale`` times its size.

    The suffix may differ, and so may the case and the form of accents (composed or not) where only one file fits.

    A reference must also have the image's channels; a mask may have any.

    Raises:
        UserMistakeError: partners are missing, unreadable or of another size; the message names the first few.
    """
    partner_files = _Partners(files_below(folder), folder, kind)
    mistakes: list[str] = []
    found: dict[str, Path] = {}
    loosely: dict[str, Path] = {}
    for image in images:
        match = partner_files.of(image.name)
        if isinstance(match, str):
            # To look for a name that is alike takes long where there are many, so only what is shown is looked for.
            mistakes.append(match + (partner_files.nearest(image.name) if len(mistakes) < MISTAKES_SHOWN else ""))
        elif match[1]:
            found[image.name] = match[0]
        else:
            loosely[image.name] = match[0]
    wanted = Counter([*found.values(), *loosely.values()])
    for name, path in loosely.items():
        if wanted[path] == 1:
            found[name] = path
        else:
            mistakes.append(f"{name}: no {kind} has this name, and {relative_name(path, folder)} fits several images")
    partners: dict[str, ReadFile] = {}
    matched = [image for image in images if image.name in found]
    paths = [found[image.name] for image in matched]
    likes = [image.encoding if kind == "reference" else None for image in matched]
    outcomes = read_files(folder, paths, likes, max_pixels, are_masks=kind == "mask")
    for image, read in zip(matched, outcomes, strict=True):
        if isinstance(read, Rejected):
            mistakes.append(f"{image.name}: its {kind} cannot be used: {read.reason}")
            continue
        channels, height, width = image.shape
        shape = (channels if kind == "reference" else read.shape[0], scale * height, scale * width)
        if read.shape != shape:
            times = f", and restored {scale} times as high and wide" if scale > 1 else ""
            mistakes.append(f"{image.name}: {size_text(image.shape)}{times}, but its {kind} {size_text(read.shape)}")
        else:
            partners[image.name] = read
    if mistakes:
        more = f"; and {len(mistakes) - MISTAKES_SHOWN} more" if len(mistakes) > MISTAKES_SHOWN else ""
        raise UserMistakeError(
            f"--{kind}s {folder}: a {kind} needs its image's name and size: "
            + printable("; ".join(mistakes[:MISTAKES_SHOWN]))
            + more
        )
    return partners


def size_text(shape: tuple[int, int, int]) -> str:
    """Write a shape (channels, height, width) for a message."""
    channels, height, width = shape
    return f"is {width}x{height} with {channels} channel{'s' if channels > 1 else ''}"
