"""What a run works on, brought to the store once; from then on the store's list counts, whatever becomes of the folders."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from orchestrator.arms import arms_of
from orchestrator.config import Config
from orchestrator.errors import NotFoundError
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest import InputImage, Rejected, Upload
from orchestrator.layout import RunLayout
from orchestrator.results import Row, RowState, rows_to_json
from orchestrator.store import Store, create_or_read

_NOTHING_KNOWN = "its mask leaves no pixel known; --mask-known says whether white or black is"


@dataclass(frozen=True)
class Source:
    """Where a run's inputs come from, as its record keeps it: absolute paths on the machine that submitted it."""

    images: str
    references: str | None = None
    masks: str | None = None
    white_is_known: bool = True


@dataclass(frozen=True)
class Inputs:
    """The images of a run, and the files that cannot be worked on."""

    images: Sequence[InputImage]
    rejected: Sequence[Rejected]


def read_inputs(store: Store, layout: RunLayout) -> Inputs | None:
    """The list of a run's inputs; None while they have not all been brought."""
    try:
        return _from_json(store.get(layout.inputs))
    except NotFoundError:
        return None


def write_inputs(store: Store, layout: RunLayout, inputs: Inputs) -> Inputs:
    """Leave the list in the store, when everything on it is there; the list that counts, which is the first."""
    return _from_json(create_or_read(store, layout.inputs, json.dumps(asdict(inputs)).encode()))


def _from_json(data: bytes) -> Inputs:
    listed = json.loads(data)
    return Inputs(
        [InputImage(**image) for image in listed["images"]], [Rejected(**reject) for reject in listed["rejected"]]
    )


def bring(
    store: Store,
    layout: RunLayout,
    planned: Inputs,
    uploads: Sequence[Upload],
    *,
    max_pixels: int,
    white_is_known: bool,
    heed: Callable[[], None] = lambda: None,
) -> Inputs:
    """Bring files to the store, those that are there already excepted; the list of what came of it.

    A file that has vanished meanwhile is rejected. ``heed`` is called before each, and may raise to stop.
    """
    there = {key for prefix in layout.uploaded for key in store.keys(prefix)}

    def put(key: str, data: bytes) -> None:
        # Names hold a part of their content's hash, so what is there is the same.
        if key not in there:
            store.put(key, data)

    images, rejected = [], list(planned.rejected)
    for upload in uploads:
        heed()
        image = upload.image
        try:
            data = upload.path.read_bytes()
            reference = None if upload.reference_path is None else upload.reference_path.read_bytes()
            mask = None if upload.mask_path is None else upload.mask_path.read_bytes()
        except OSError as error:
            rejected.append(Rejected(image.name, f"the file can no longer be read: {error.strerror or error}"))
            continue
        put(layout.input(image.file), data)
        if reference is not None and image.reference is not None:
            put(layout.reference(image.reference), reference)
        if mask is not None and image.mask is not None:
            known = decode_mask(mask, max_pixels=max_pixels, white_is_known=white_is_known)
            if not known.any():
                rejected.append(Rejected(image.name, _NOTHING_KNOWN))
                continue
            put(layout.mask(image.mask), encode_mask(known))
        images.append(image)
    return write_inputs(store, layout, Inputs(images, rejected))


def write_rejected(store: Store, layout: RunLayout, config: Config, rejected: Sequence[Rejected]) -> None:
    """The rows of the files that cannot be worked on."""
    for number, reject in enumerate(rejected):
        rows = [Row(reject.name, arm.name, RowState.REJECTED, reason=reject.reason) for arm in arms_of(config)]
        store.put(layout.row(f"rejected-{number:06}"), rows_to_json(rows).encode())
