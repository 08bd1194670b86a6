"""Bring a run's inputs to the store, once. From then on the store's list counts, whatever happens to the folders."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orchestrator.arms.resolve import arms_of
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest.files import check_folder
from orchestrator.ingest.folder import Upload
from orchestrator.run.inputs import Inputs, Rejected, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.run.upkeep import wait_for_prune
from orchestrator.settings import Config
from orchestrator.store import Store

_AT_ONCE = 16
"""Files that are uploaded at the same time: each takes a few round trips to a distant store."""
_NOTHING_KNOWN = "its mask leaves no pixel known; --mask-known says whether white or black is"


def bring(
    store: Store,
    layout: RunLayout,
    planned: Inputs,
    uploads: Sequence[Upload],
    *,
    max_pixels: int,
    white_is_known: bool,
    check_stop: Callable[[], None] = lambda: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Inputs:
    """Bring the files to the store whose content it lacks; write and return the list of the run's inputs.

    A file that has vanished or changed meanwhile is rejected. ``check_stop`` is called again and again and may raise to
    stop; ``on_progress`` is called with the number of files that are done.

    Raises:
        ImagesUnavailableError: not a file has vanished, but the folder that it lay in.
    """
    # The run has its record by now, so whoever begins to prune later sees it.
    wait_for_prune(store, check_stop=check_stop)
    bring_each = partial(bring_one, store, max_pixels=max_pixels, white_is_known=white_is_known)
    images, rejected = [], list(planned.rejected)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(uploads), _AT_ONCE):
            check_stop()
            some = uploads[start : start + _AT_ONCE]
            for upload, why_not in zip(some, pool.map(bring_each, some), strict=True):
                if why_not is None:
                    images.append(upload.image)
                else:
                    rejected.append(Rejected(upload.image.name, why_not))
            on_progress(start + len(some))
    return write_inputs(store, layout, Inputs(images, rejected))


def bring_one(store: Store, upload: Upload, *, max_pixels: int, white_is_known: bool) -> str | None:
    """Bring an image with its reference and mask; return the reason if it cannot be used, else None.

    Until the image is listed in a run's inputs, a prune may delete it.
    """
    image = upload.image
    files = [(upload.path, image.file), (upload.reference_path, image.reference), (upload.mask_path, image.mask)]
    for path, file in files:
        if path is None or file is None or store.exists(image_key(file)):
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            check_folder(path.parent)
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
    """Write the rows of the files that cannot be worked on, unless an earlier attempt has."""
    there = set(store.keys(layout.rows)) if rejected else set()
    for number, reject in enumerate(rejected):
        key = layout.rejected_row(number)
        if key in there:
            continue
        rows = [Row(reject.name, arm.name, RowState.REJECTED, reason=reject.reason) for arm in arms_of(config)]
        store.create(key, rows_record(rows))
