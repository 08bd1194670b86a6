"""From folders of files to the list of images that a run works on.

Every file that is not hidden gets a row: a file that cannot be read is rejected with its reason, the others go on.
All files are named before anything is written, and only some are looked at: mistakes of names (no folder, no reference
of this name), and what is wrong with the references and masks of the first files, concern the whole run. What is wrong
with a later file concerns that file: it is looked at while the first ones are worked on.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ImagesUnavailableError, UserMistakeError
from orchestrator.ingest.beside import folders_beside
from orchestrator.ingest.files import (
    ReadFile,
    Together,
    check_folder,
    files_below,
    folder_of,
    identity,
    read_files,
    read_together,
    relative_name,
    suffix_of,
)
from orchestrator.ingest.names import RestoredNames, is_named_like_an_image
from orchestrator.ingest.partners import Kind, Partners, partner_mistake, size_text
from orchestrator.run.inputs import InputImage, Rejected
from orchestrator.run.layout import image_id
from orchestrator.text import counted, printable
from workers.tasks.task import Task

_KINDS: tuple[Kind, ...] = ("reference", "mask")


@dataclass(frozen=True)
class Upload:
    """A file on this machine and the image it becomes."""

    image: InputImage
    path: Path
    reference_path: Path | None
    mask_path: Path | None = None


def _content_file(read: ReadFile) -> str:
    """Name a file's copy in the store by its content and its suffix."""
    return read.sha256 + _store_suffix(read.path)


def _store_suffix(path: Path) -> str:
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix := path.suffix.lower()) else ""


@dataclass(frozen=True)
class _Mistaken:
    """An image whose reference or mask is wrong, or that lacks one."""

    name: str
    kind: Kind
    reason: str


class Looking:
    """The files of a run's folders, which are named at once and looked at one after the other, in their order.

    It is an iterator over the images that can be used, with their references and masks, and the files that cannot.

    Args:
        images: The folder of the images.
        references, masks: The folders of their references and masks. They, and the run's own ``store``, may lie among
            the images: their files are none.
        white_is_known: Which of a mask's pixels are known.
        simulate: The task that degrades the images, which are clean then and serve as their own references; None where
            they are degraded.
        scale: How many times larger the restored image is than the degraded one.
        max_pixels: The size of the largest image that is decoded.
        store: The folder of the run's store, if it is one.

    Attributes:
        left: How many files are still to be looked at.
        beside: Folders among the images that hold what belongs to them and is not asked for, such as ``gt`` where
            only masks are given. Their files are no images either.

    Raises:
        UserMistakeError: a folder is missing or empty.
    """

    def __init__(
        self,
        images: str | Path,
        *,
        references: str | Path | None = None,
        masks: str | Path | None = None,
        white_is_known: bool = True,
        simulate: Task | None = None,
        scale: int = 1,
        max_pixels: int,
        store: Path | None = None,
    ) -> None:
        self._given, self._folder = images, folder_of(images, "--images")
        reference_folder = None if references is None else folder_of(references, "--references")
        mask_folder = None if masks is None else folder_of(masks, "--masks")
        self._opened = identity(self._folder)
        if store is not None and identity(store) == self._opened is not None:
            raise UserMistakeError(
                f"--images {images}: this folder is the store; give one for the images, or another store"
            )
        others = [path for path in (reference_folder, mask_folder) if path and identity(path) != self._opened]
        self._paths = list(files_below(self._folder, [*others, *([] if store is None else [store])]))
        if not self._paths:
            raise UserMistakeError(f"--images {images}: the folder is empty")
        self._names = [relative_name(path, self._folder) for path in self._paths]
        given = (reference_folder, mask_folder)
        self._partners = self._found_partners(given)
        lacking = {name for partners in self._partners.values() for name in partners.lacking}
        self.beside = folders_beside(self._folder, given, self._images(), lacking) if lacking else []
        if self.beside:
            inside = tuple(f"{folder}/" for folder in self.beside)
            self._paths = [path for path, name in self._named() if not name.startswith(inside)]
            self._names = [relative_name(path, self._folder) for path in self._paths]
            self._partners = self._found_partners(given)
        self._white_is_known, self._simulate, self._scale = white_is_known, simulate, scale
        self._max_pixels, self._masked = max_pixels, mask_folder is not None and simulate is None
        self._restored, self._ids = RestoredNames(self._names, self._paths), dict[str, int]()
        self._seen = 0
        clean, holes = (
            [found.get(name) for name in self._names]
            for found in (self._partners[kind].found if kind in self._partners else {} for kind in _KINDS)
        )
        # It knows nothing of this object: so it ends, with its processes, as soon as nobody holds this one.
        self._read = read_together(self._folder, self._paths, clean, holes, self._max_pixels, masked=self._masked)

    def _named(self) -> Iterator[tuple[Path, str]]:
        return zip(self._paths, self._names, strict=True)

    def _images(self) -> list[str]:
        """The names of files that may be images."""
        return [name for path, name in self._named() if is_named_like_an_image(name) or suffix_of(path)]

    def _found_partners(self, given: Sequence[Path | None]) -> dict[Kind, Partners]:
        """The references and masks of the images, as far as their folders are given."""
        folders = zip(_KINDS, given, strict=True)
        return {kind: Partners(folder, kind, self._images()) for kind, folder in folders if folder is not None}

    @property
    def left(self) -> int:
        """How many files have not been looked at."""
        return len(self._paths) - self._seen

    def ahead(self, number: int | None = None) -> tuple[list[Upload], list[Rejected]]:
        """Look at the first so many files, or at all, and at as many more until one of them can be used.

        Raises:
            UserMistakeError: none of the files can be restored; or one of these has no reference or mask that fits, or
                any file has none that fits by name; or the folder vanishes meanwhile.
        """
        uploads: list[Upload] = []
        rejected: list[Rejected] = []
        mistaken: list[_Mistaken] = []
        try:
            while self.left and (not (uploads or mistaken) or number is None or self._seen < number):
                outcome = self._next()
                if isinstance(outcome, Upload):
                    uploads.append(outcome)
                elif isinstance(outcome, Rejected):
                    rejected.append(outcome)
                else:
                    mistaken.append(outcome)
        except ImagesUnavailableError as error:
            raise UserMistakeError(f"--images {self._given}: {error}") from None
        for kind, partners in self._partners.items():
            lacking = [each.name for each in mistaken if each.kind == kind and each.name in partners.lacking]
            wrong = [each for each in mistaken if each.kind == kind and each.name not in partners.lacking]
            partners.check([*lacking, *self._lacking(partners)], [f"{each.name}: {each.reason}" for each in wrong])
        if not uploads:
            raise UserMistakeError(
                f"--images {self._given}: it holds {counted(len(self._paths), 'file')}, and none can be restored;"
                f" the first, {printable(rejected[0].name)}: {rejected[0].reason}"
            )
        return uploads, rejected

    def _lacking(self, partners: Partners) -> Iterator[str]:
        """The images beyond those looked at that have no reference, or mask, by name."""
        later = [
            path
            for path, name in zip(self._paths[self._seen :], self._names[self._seen :], strict=True)
            if name in partners.lacking
        ]
        for read in read_files(self._folder, later, self._max_pixels, masked=self._masked):
            if isinstance(read, ReadFile):
                yield read.name

    def __iter__(self) -> Iterator[Upload | Rejected]:
        return self

    def __next__(self) -> Upload | Rejected:
        """Look at the next file.

        Raises:
            ImagesUnavailableError: not a file has vanished, but the folder that it lay in.
        """
        if not self.left:
            raise StopIteration
        outcome = self._next()
        return Rejected(outcome.name, outcome.reason) if isinstance(outcome, _Mistaken) else outcome

    def close(self) -> None:
        """End the processes that decode files."""
        self._read.close()

    def _next(self) -> Upload | Rejected | _Mistaken:
        path = self._paths[self._seen]
        self._seen += 1
        outcome = self._used(path, next(self._read))
        if not self.left:
            self.close()
        return outcome

    def _used(self, path: Path, together: Together) -> Upload | Rejected | _Mistaken:
        """What becomes of a file that was read."""
        image = together.image
        if isinstance(image, Rejected):
            self._check_folder(path)
            return image
        if self._simulate is not None and (reason := self._simulate.why_not(image.shape)) is not None:
            return Rejected(image.name, f"{size_text(image.shape)}: {reason}")
        for kind, partners in self._partners.items():
            partner = together.reference if kind == "reference" else together.mask
            if partner is None:
                return _Mistaken(image.name, kind, partners.lacking[image.name])
            if isinstance(partner, Rejected):
                self._check_folder(partners.found[image.name])
            reason = partner_mistake(image, partner, kind, self._scale if kind == "reference" else 1)
            if reason is not None:
                return _Mistaken(image.name, kind, reason)
        reference = together.reference if isinstance(together.reference, ReadFile) else None
        return self._upload(image, reference, together.mask if isinstance(together.mask, ReadFile) else None)

    def _check_folder(self, path: Path) -> None:
        """Make sure that a file that cannot be read is no sign of a folder that has vanished."""
        if identity(self._folder) != self._opened:
            raise ImagesUnavailableError(
                "the folder has vanished while it was read: mount it, or put it back, and try again"
            )
        if not os.path.lexists(path):
            check_folder(path.parent)

    def _upload(self, image: ReadFile, reference: ReadFile | None, mask: ReadFile | None) -> Upload:
        base = image_id(image.name, image.sha256)
        number = self._ids[base.casefold()] = self._ids.get(base.casefold(), 0) + 1
        file = _content_file(image)
        channels, height, width = image.shape
        shrunk = self._scale if self._simulate else 1
        known = "white" if self._white_is_known else "black"
        record = InputImage(
            name=image.name,
            # Two copies of the same picture are two images: each has its row and its restored file.
            id=base if number == 1 else f"{base}-{number}",
            file=file,
            reference=file if self._simulate else None if reference is None else _content_file(reference),
            restored=self._restored.next(image.name, image.encoding.suffix),
            height=height // shrunk,
            width=width // shrunk,
            channels=channels,
            # The store keeps which pixels are known, and that depends on the colour that means known.
            mask=None if mask is None else f"{mask.sha256}-{known}.png",
        )
        reference_path = None if self._simulate or reference is None else reference.path
        return Upload(record, image.path, reference_path, None if mask is None else mask.path)


def read_folder(images: str | Path, **options: Any) -> tuple[list[Upload], list[Rejected]]:
    """Look at all files of a folder: return its images with their references and masks, and the files that cannot be
    used. The arguments and errors are those of `Looking` and `Looking.ahead`."""
    looking = Looking(images, **options)
    return looking.ahead()
