"""Folders beside given masks or references that hold pictures of the same images, such as ``gt`` beside ``masks``."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from orchestrator.ingest.partners import loosely
from orchestrator.text import printable

_SHOWN = 3


def folders_beside(
    images: Path, given: Iterable[Path | None], names: Sequence[str], lacking: Collection[str]
) -> list[str]:
    """The folders below that of the images whose files are no images of their own.

    Data sets are often laid out as ``a.png``, ``masks/a.png``, ``gt/a.png``. Where one of the inner folders is given,
    the files of another beside it are what belongs to the images, too: each has the name of an image and lacks what the
    images have. Where a single file is otherwise, the folder holds images.

    Args:
        images: The folder of the images.
        given: The folders of masks and references.
        names: The names of all files below ``images`` that may be images, without those in ``given``.
        lacking: The names of those that have no mask, or no reference, though these are given.

    Returns:
        The names of the folders below ``images``, sorted.
    """
    known = {loosely(name) for name in names}
    found: dict[str, bool] = {}
    for place in {_place(images, folder) for folder in given if folder is not None} - {None}:
        for name in names:
            folder, slash, file = name.removeprefix(str(place)).partition("/")
            if slash and name.startswith(str(place)):
                belongs = name in lacking and loosely(f"{place}{file}") in known
                found[f"{place}{folder}"] = found.get(f"{place}{folder}", True) and belongs
    return sorted(folder for folder, belongs in found.items() if belongs)


def left_out(folders: Sequence[str]) -> str:
    """Such folders for a message, the first few by name."""
    shown = ", ".join(f"{printable(folder)}/" for folder in folders[:_SHOWN])
    return shown if len(folders) <= _SHOWN else f"{shown} and {len(folders) - _SHOWN} more"


def _place(images: Path, folder: Path) -> str | None:
    """What the names of a folder's neighbours begin with; None if it is not below that of the images."""
    inner, outer = os.path.realpath(folder), os.path.realpath(images)
    if os.path.commonpath([inner, outer]) != outer or inner == outer:
        return None
    parent = Path(inner).parent.relative_to(outer).as_posix()
    return "" if parent == "." else f"{parent}/"
