"""Bring a run's inputs to the store, once, while its first images are already worked on.

The list of inputs is written last. From then on it counts, whatever happens to the folders. A run that was interrupted
before looks at its folders anew, and brings what the store lacks.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from orchestrator.arms.resolve import arms_of
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest.files import check_folder
from orchestrator.ingest.folder import Upload
from orchestrator.run.inputs import InputImage, Inputs, Rejected, is_brought, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.run.upkeep import wait_for_prune
from orchestrator.settings import Config
from orchestrator.store import Store
from orchestrator.text import counted

_AT_ONCE = 16
"""Files that are uploaded at the same time: each takes a few round trips to a distant store. No more are in memory."""
_WAIT_S = 1.0
_NOTHING_KNOWN = "its mask leaves no pixel known; --mask-known says whether white or black is"

Arrival = InputImage | Rejected
"""An image that is in the store now, or a file that cannot be used."""


class Bringing:
    """The images of a run on their way to the store: a context manager, in which threads bring one after the other.

    Args:
        store: Where they go.
        layout: The run.
        files: The images that can be used, with their files, and the files that cannot. One thread at a time asks for
            the next.
        count: How many these are.
        rejected: Files that are known to be of no use.
        config: The run's settings.
        white_is_known: Which pixels of a mask are known.
        refuse: Says why an image cannot be worked on, or None.
        confirm: Makes sure that this process may still say what the run's inputs are, or raises.
        note: Is told when all images are in the store.
        check_stop: Is called again and again while inputs are pruned, and may raise to stop.

    Attributes:
        coming: How many files have not been taken yet.
    """

    def __init__(
        self,
        store: Store,
        layout: RunLayout,
        files: Iterator[Upload | Rejected],
        count: int,
        rejected: Sequence[Rejected] = (),
        *,
        config: Config,
        white_is_known: bool,
        refuse: Callable[[InputImage], str | None] = lambda image: None,
        confirm: Callable[[], None] = lambda: None,
        note: Callable[[str], None] = lambda message: None,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._layout, self._config, self._white_is_known = store, layout, config, white_is_known
        self._refuse, self._confirm, self._note = refuse, confirm, note
        # The run has its record by now, so whoever begins to prune later sees it.
        wait_for_prune(store, check_stop=check_stop)
        self.coming, self._rejected, self._images = count, list(rejected), list[InputImage]()
        self._inputs: Inputs | None = None
        self._files, self._begun, self._ended = files, 0, 0
        self._asking, self._posting = threading.Lock(), threading.Lock()
        self._outcomes: dict[int, Arrival] = {}
        self._arrived: list[Arrival] = []
        self._failure: BaseException | None = None
        self._news, self._stopped = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._bring, name="bring") for _ in range(min(_AT_ONCE, count))]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def take(self, seconds: float = 0.0) -> list[Arrival]:
        """What has arrived since the last call, in the order of the folder; waits at most so long for the first.

        Raises:
            StoreError: the store failed.
            ImagesUnavailableError: not a file has vanished, but the folder that it lay in.
            SupersededError: as ``confirm`` has it.
        """
        if self.coming and seconds:
            self._news.wait(seconds)
        with self._posting:
            self._news.clear()
            arrived, self._arrived = self._arrived, []
            failure = self._failure
        if failure is not None:
            self._news.set()
            raise failure
        for each in arrived:
            if isinstance(each, Rejected):
                self._rejected.append(each)
            else:
                self._images.append(each)
        self.coming -= len(arrived)
        if not self.coming and self._inputs is None:
            self._inputs = self._complete()
        return arrived

    def wait(self, on_progress: Callable[[int], None] = lambda coming: None) -> Inputs:
        """Wait until all images have arrived; return the list of the run's inputs.

        ``on_progress`` is called again and again with the number of files that are still to come, and may raise to
        stop. The errors are those of `take`.
        """
        while self._inputs is None:
            self.take(_WAIT_S)
            on_progress(self.coming)
        return self._inputs

    def _complete(self) -> Inputs:
        self._confirm()
        inputs = write_inputs(self._store, self._layout, Inputs(self._images, self._rejected))
        write_rejected(self._store, self._layout, self._config, inputs.rejected)
        self._note(
            f"everything is in the store ({counted(len(inputs.images), 'image')}): the folders are no longer needed"
        )
        return inputs

    def _bring(self) -> None:
        """Bring one image after the other, until none is left or it is time to stop."""
        try:
            while not self._stopped.is_set():
                with self._asking:
                    file = next(self._files, None)
                    number = self._begun
                    self._begun += 1
                if file is None:
                    return
                self._post(number, self._arrival(file))
        except BaseException as error:
            # Raised again where the images are waited for.
            self._stopped.set()
            with self._posting:
                self._failure = error
            self._news.set()

    def _arrival(self, file: Upload | Rejected) -> Arrival:
        if isinstance(file, Rejected):
            return file
        why_not = self._refuse(file.image) or bring_one(
            self._store, file, max_pixels=self._config.ingest.max_pixels, white_is_known=self._white_is_known
        )
        return file.image if why_not is None else Rejected(file.image.name, why_not)

    def _post(self, number: int, arrival: Arrival) -> None:
        """Let images arrive in the order of the folder: so a run that is resumed numbers them alike."""
        with self._posting:
            self._outcomes[number] = arrival
            while self._ended in self._outcomes:
                self._arrived.append(self._outcomes.pop(self._ended))
                self._ended += 1
            if self._arrived:
                self._news.set()


def bring_one(store: Store, upload: Upload, *, max_pixels: int, white_is_known: bool) -> str | None:
    """Bring an image with its reference and mask; return the reason if it cannot be used, else None.

    What the store has damaged is replaced. Until the image is listed in a run's inputs, a prune may delete it.

    Raises:
        ImagesUnavailableError: not a file has vanished, but the folder that it lay in.
    """
    image = upload.image
    files = [(upload.path, image.file), (upload.reference_path, image.reference), (upload.mask_path, image.mask)]
    for path, file in files:
        if path is None or file is None or is_brought(store, file):
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
