"""The folders and files that a user gives for a run, checked before anything dear is imported.

Most mistakes are wrong paths, and nobody should wait for torch to hear of one.
"""

from pathlib import Path

from orchestrator.errors import UserMistakeError
from orchestrator.run.inputs import Source
from orchestrator.settings.files import find_config, read_yaml

_Place = str | Path | None


def source_given(
    images: str | Path,
    references: _Place,
    masks: _Place,
    config: _Place = None,
    *,
    mask_known: str = "white",
    simulate: bool = False,
) -> Source:
    """The folders of a new run. Its file of settings is looked at, too.

    Raises:
        UserMistakeError: a folder or the file is not there or cannot be read, masks are of another colour, or images
            that are clean (``simulate``) have references.
    """
    from orchestrator.ingest.files import folder_of  # noqa: PLC0415 - importing the interface needs no arrays

    if mask_known not in ("white", "black"):
        raise UserMistakeError(f"mask_known: white or black, not {mask_known!r}")
    if simulate and references is not None:
        raise UserMistakeError("simulate: the images are the clean ones then; give no references")
    for option, folder in (("--images", images), ("--references", references), ("--masks", masks)):
        if folder is not None:
            folder_of(folder, option)
    if config is not None:
        read_yaml(find_config(str(config)))
    return _source(images, references, masks, white_is_known=mask_known == "white")


def folders_given(images: _Place, references: _Place, masks: _Place) -> Source | None:
    """The folders of a run to be resumed, which may not be needed; None if none are given.

    Raises:
        UserMistakeError: the folder of its images is missing.
    """
    if images is None and (references is not None or masks is not None):
        raise UserMistakeError("references, masks: they go with images, the folder of the run's images")
    return None if images is None else _source(images, references, masks)


def _source(images: str | Path, references: _Place, masks: _Place, *, white_is_known: bool = True) -> Source:
    clean, holes = (None if place is None else str(place) for place in (references, masks))
    return Source(str(images), clean, holes, white_is_known)
