"""What a run works on, brought to the store once; from then on the store's list counts, whatever becomes of the folders."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

from orchestrator.arms import arms_of
from orchestrator.config import Config
from orchestrator.errors import NotFoundError
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest import InputImage, Rejected, Upload
from orchestrator.layout import RunLayout, image_key
from orchestrator.results import Row, RowState, rows_to_json
from orchestrator.store import Store, create_or_read

_AT_ONCE = 16
"""Files that are brought side by side: to a distant store each takes a few round trips."""
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
    tell: Callable[[int], None] = lambda done: None,
) -> Inputs:
    """Bring files to the store, those whose content it has already excepted; the list of what came of it.

    A file that has vanished or changed meanwhile is rejected. ``heed`` is called again and again, and may raise to stop;
    ``tell`` hears how many are done.
    """
    bring_one = partial(_bring_one, store, max_pixels=max_pixels, white_is_known=white_is_known)
    images, rejected = [], list(planned.rejected)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(uploads), _AT_ONCE):
            heed()
            some = uploads[start : start + _AT_ONCE]
            for upload, why_not in zip(some, pool.map(bring_one, some), strict=True):
                if why_not is None:
                    images.append(upload.image)
                else:
                    rejected.append(Rejected(upload.image.name, why_not))
            tell(start + len(some))
    return write_inputs(store, layout, Inputs(images, rejected))


def _bring_one(store: Store, upload: Upload, *, max_pixels: int, white_is_known: bool) -> str | None:
    """Bring an image with what belongs to it; why it cannot be used, or None."""
    image = upload.image
    files = [(upload.path, image.file), (upload.reference_path, image.reference), (upload.mask_path, image.mask)]
    for path, file in files:
        if path is None or file is None or store.exists(image_key(file)):
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            return f"the file can no longer be read: {error.strerror or error}"
        if not file.startswith(hashlib.sha256(data).hexdigest()):
            return "the file has changed since it was first looked at"
        if file == image.mask:
            known = decode_mask(data, max_pixels=max_pixels, white_is_known=white_is_known)
            if not known.any():
                return _NOTHING_KNOWN
            data = encode_mask(known)
        store.put(image_key(file), data)
    return None


def write_rejected(store: Store, layout: RunLayout, config: Config, rejected: Sequence[Rejected]) -> None:
    """The rows of the files that cannot be worked on."""
    for number, reject in enumerate(rejected):
        rows = [Row(reject.name, arm.name, RowState.REJECTED, reason=reject.reason) for arm in arms_of(config)]
        store.put(layout.row(f"rejected-{number:06}"), rows_to_json(rows).encode())
