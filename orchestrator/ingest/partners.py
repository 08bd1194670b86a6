"""Match references and masks to images by their names and sizes."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.files import ReadFile, files_below, relative_name
from orchestrator.run.inputs import Rejected
from orchestrator.text import counted, printable

Kind = Literal["reference", "mask"]
_MISTAKES_SHOWN = 5


def _folded(name: str) -> str:
    """A name as file systems see it that ignore case and how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def without_suffix(name: str) -> str:
    """Return a relative name without the suffix of its file."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def loosely(name: str) -> str:
    """What of a name must at least be equal: all but its suffix, whatever the case and the accents' form."""
    return without_suffix(_folded(name))


_LIKENESSES: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    without_suffix,
    _folded,
    loosely,
)
"""What of a name must be equal: all of it; all but its suffix; both again, whatever the case and the accents' form."""
_FOLDED = 2
_NEAR = 0.7  # difflib's ratio of names: "scan-001" and "scan-001_mask" are near, "a" and "b" are not


class Partners:
    """The files of a folder of references or masks, and the images that they belong to by their names.

    The suffix may differ, and so may the case and the form of accents (composed or not) where only one file fits.

    Args:
        folder: The folder.
        kind: What its files are.
        images: The names of all images.

    Attributes:
        found: The file of each image that has one.
        lacking: Why the others have none.
    """

    def __init__(self, folder: Path, kind: Kind, images: Iterable[str]) -> None:
        self._folder, self._kind = folder, kind
        # What an image's name may find files with, from the strictest to the most lenient.
        self._by: list[dict[str, list[tuple[str, Path]]]] = [{} for _ in _LIKENESSES]
        for path in files_below(folder):
            name = relative_name(path, folder)
            for likeness, found in zip(_LIKENESSES, self._by, strict=True):
                found.setdefault(likeness(name), []).append((name, path))
        self.found: dict[str, Path] = {}
        self.lacking: dict[str, str] = {}
        loosely: dict[str, Path] = {}
        for name in images:
            match = self._of(name)
            if isinstance(match, str):
                self.lacking[name] = match
            elif match[1]:
                self.found[name] = match[0]
            else:
                loosely[name] = match[0]
        wanted = Counter([*self.found.values(), *loosely.values()])
        for name, path in loosely.items():
            if wanted[path] == 1:
                self.found[name] = path
            else:
                other = relative_name(path, folder)
                self.lacking[name] = f"{name}: no {kind} has this name, and {other} fits several images"

    def _of(self, name: str) -> tuple[Path, bool] | str:
        """The one file that an image's name finds first, and whether the names' spelling agrees; or the mistake."""
        for level, (likeness, found) in enumerate(zip(_LIKENESSES, self._by, strict=True)):
            candidates = found.get(likeness(name), [])
            if len(candidates) == 1:
                return candidates[0][1], level < _FOLDED
            if candidates:
                names = ", ".join(other for other, _ in candidates[:_MISTAKES_SHOWN])
                return f"{name}: several {self._kind}s have this name: {names}"
        return f"{name}: no {self._kind} has this name"

    def _nearest(self, name: str) -> str:
        """The name that is most like an image's, for a message; empty where none is."""
        by_stem = self._by[-1]
        near = difflib.get_close_matches(_LIKENESSES[-1](name), by_stem, n=1, cutoff=_NEAR)
        return f" (the nearest: {by_stem[near[0]][0][0]})" if near else ""

    def check(self, lacking: Sequence[str], mistakes: Sequence[str]) -> None:
        """Check that nothing is wrong with the files of those images that were looked at.

        Args:
            lacking: The names of images that have none.
            mistakes: What else is wrong.

        Raises:
            UserMistakeError: something is wrong; the message names the first few.
        """
        # To look for a name that is alike takes long where there are many, so only what is shown is looked for.
        shown = [
            self.lacking[name] + (self._nearest(name) if " several " not in self.lacking[name] else "")
            for name in lacking[:_MISTAKES_SHOWN]
        ]
        shown += mistakes[: _MISTAKES_SHOWN - len(shown)]
        if shown:
            left = len(lacking) + len(mistakes) - len(shown)
            raise UserMistakeError(
                f"--{self._kind}s {self._folder}: a {self._kind} needs its image's name and size: "
                + printable("; ".join(shown))
                + (f"; and {left} more" if left else "")
            )


def partner_mistake(image: ReadFile, partner: ReadFile | Rejected, kind: Kind, scale: int = 1) -> str | None:
    """Why a file is no reference, or mask, of an image; None if it is. It has ``scale`` times its image's size.

    A reference must also have the image's channels; a mask may have any.
    """
    if isinstance(partner, Rejected):
        return f"its {kind} cannot be used: {partner.reason}"
    channels, height, width = image.shape
    shape = (channels if kind == "reference" else partner.shape[0], scale * height, scale * width)
    if partner.shape == shape:
        return None
    times = f", and restored {scale} times as high and wide" if scale > 1 else ""
    return f"{size_text(image.shape)}{times}, but its {kind} {size_text(partner.shape)}"


def size_text(shape: tuple[int, int, int]) -> str:
    """Write a shape (channels, height, width) for a message."""
    channels, height, width = shape
    return f"is {width}x{height} with {counted(channels, 'channel')}"
