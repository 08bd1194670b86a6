"""The list of a run's inputs in the store. Once it is there it counts, whatever happens to the folders."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.layout import IMAGES, RunLayout, image_key
from orchestrator.store import Store
from orchestrator.text import printable

SPREAD_SUFFIX = ".tif"
RULES = 5
"""The present rules by which files become pixels (docs/images.md) and pixels are fitted. Rules 0 are those of the first
version.

A run keeps the rules that it was begun with, so that its fits compare and its restored files agree. By rules 2
the running average of a fit does not begin at the untrained output. By rules 3 a picture whose red, green and blue are
equal has one channel, metadata are kept, noise is examined in all directions (docs/tasks.md), fits at full size end
with all pixels (`workers.reveal`) and are stacked (`workers.stacking`), initial weights do not depend on the view, and
hidden pixels have the shape of the holes in a user's mask. By rules 4 steps on a CPU are computed in a quicker way
(`workers.networks.steps`), with other roundings. By rules 5 steps on a GPU are recorded and replayed.
"""

_OF_CONTENT = re.compile(rf"(?s:.*/)?{IMAGES}/[0-9a-f]{{2}}/([0-9a-f]{{64}})(?:\.[a-z0-9]{{1,8}})?")


@dataclass(frozen=True)
class InputImage:
    """One image of a run, as a small record; the pixels stay in the store.

    ``name`` is the path relative to the folder given, ``file`` the name of its copy in the store, ``reference`` that of
    its clean reference and ``mask`` that of its mask of known pixels (None without one). These three begin with the
    SHA-256 of the file they were made from. ``restored`` is the relative path of the restored file; ``height`` and
    ``width`` are those of the degraded image. ``rules`` are those by which its files are read and fitted.
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
    rules: int = RULES

    @property
    def is_stacked(self) -> bool:
        """Whether its fits at full size end with all pixels and are stacked, and the best of it is delivered."""
        return self.rules >= 3

    @property
    def spread(self) -> str:
        """The relative path of the map that shows where fits disagree."""
        return self.restored + SPREAD_SUFFIX


@dataclass(frozen=True)
class Rejected:
    """A file that cannot be used, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Where a run's inputs come from, as its record keeps it: absolute paths on the machine that submitted it."""

    images: str
    references: str | None = None
    masks: str | None = None
    white_is_known: bool = True


@dataclass(frozen=True)
class Inputs:
    """The images of a run, and the files that cannot be used."""

    images: Sequence[InputImage]
    rejected: Sequence[Rejected]


def _first_rules(value: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew one way to read a file."""
    return {**value, "images": [{**image, "rules": 0} for image in value["images"]]}


INPUTS = RecordFormat("the list of inputs", Inputs, (same_fields, _first_rules, *(same_fields,) * 4))
"""Format 0: the fields of format 1 without a number. Format 1: without the rules by which files are read. Formats 2 to
5: the same fields, but their readers know no rules above 1, 2, 3 and 4.
"""


def read_inputs(store: Store, layout: RunLayout) -> Inputs | None:
    """The list of a run's inputs; None until all of them have been brought."""
    try:
        return INPUTS.read(store, layout.inputs)
    except NotFoundError:
        return None


def write_inputs(store: Store, layout: RunLayout, inputs: Inputs) -> Inputs:
    """Write the list to the store, once everything on it is there; returns the list that counts, which is the first."""
    return INPUTS.create_or_read(store, layout.inputs, inputs)


def read_input(store: Store, file: str) -> bytes:
    """The content of an image, a reference or a mask; where its name is its content's SHA-256, the two are compared.

    Raises:
        NotFoundError: the store does not hold it.
        DamagedError: it is damaged.
    """
    data = store.get(image_key(file))
    check_content(store.show(image_key(file)), hashlib.sha256(data).hexdigest())
    return data


def is_brought(store: Store, file: str) -> bool:
    """Whether a store has an image, a reference or a mask whole, as far as it can tell cheaply; what it has damaged is
    brought again.
    """
    found = store.checksum(key := image_key(file))
    named = _OF_CONTENT.fullmatch(key)
    return bool(found) and (named is None or named[1] == found)


def check_content(place: str, sha256: str) -> None:
    """Compare the content of an input with its name at the end of a key, or of a path.

    A mask is named by the file that it was made from, and says so after the SHA-256: it is not compared.

    Raises:
        DamagedError: they differ.
    """
    named = _OF_CONTENT.fullmatch(place)
    if named is not None and named[1] != sha256:
        raise DamagedError(
            f"{printable(place)} is damaged: its content is not the one that its name says (SHA-256); put back a good"
            " copy, or submit the image again"
        )


def image_ids(store: Store, layout: RunLayout, skip: Callable[[str], None] | None = None) -> dict[str, str]:
    """The id of each image of a run by its name, in the order of the run; empty until the list of inputs is there.

    Args:
        store: The store.
        layout: The run.
        skip: Is told if the list cannot be read, in a line; the result is empty then. None raises instead.

    Raises:
        StoreError: the store cannot be read; without ``skip`` also: the list is damaged, or of a newer version.
    """
    try:
        inputs = read_inputs(store, layout)
    except (DamagedError, NewerFormatError) as error:
        if skip is None:
            raise
        skip(str(error))
        return {}
    return {} if inputs is None else {image.name: image.id for image in inputs.images}
