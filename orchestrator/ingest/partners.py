"""Match references and masks to images by their names and sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.files import ReadFile, files_below, read_files, relative_name
from orchestrator.run.inputs import Rejected
from orchestrator.text import printable

MISTAKES_SHOWN = 5


def without_suffix(name: str) -> str:
    """Return a relative name without the suffix of its file."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _partner_of(image: ReadFile, kind: str, by_name: dict[str, Path], by_stem: dict[str, list[Path]]) -> Path | str:
    """Return the file of the same name, or else of the same name without extension; if there is none, the mistake."""
    if image.name in by_name:
        return by_name[image.name]
    candidates = by_stem.get(without_suffix(image.name), [])
    if len(candidates) == 1:
        return candidates[0]
    return f"{image.name}: " + (f"several {kind}s have this name" if candidates else f"no {kind} has this name")


def match_partners(
    images: Sequence[ReadFile], folder: Path, kind: Literal["reference", "mask"], max_pixels: int, *, scale: int = 1
) -> dict[str, ReadFile]:
    """Find each image's partner in another folder: it has the image's name and ``scale`` times its size.

    A reference must also have the image's channels; a mask may have any.

    Raises:
        UserMistakeError: partners are missing, unreadable or of another size; the message names the first few.
    """
    by_name = {relative_name(path, folder): path for path in files_below(folder)}
    by_stem: dict[str, list[Path]] = {}
    for name, path in by_name.items():
        by_stem.setdefault(without_suffix(name), []).append(path)
    mistakes: list[str] = []
    found: dict[str, Path] = {}
    for image in images:
        match = _partner_of(image, kind, by_name, by_stem)
        if isinstance(match, str):
            mistakes.append(match)
        else:
            found[image.name] = match
    partners: dict[str, ReadFile] = {}
    matched = [image for image in images if image.name in found]
    paths = [found[image.name] for image in matched]
    likes = [image.encoding if kind == "reference" else None for image in matched]
    for image, read in zip(matched, read_files(folder, paths, likes, max_pixels), strict=True):
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
