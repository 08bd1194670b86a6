"""A run as its user holds it: how it goes, what came out, and how it is stopped. All of it is read from the store."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from orchestrator.drive.following import Followed
from orchestrator.errors import NotFoundError, RunCancelledError, RunFailedError, UserMistakeError
from orchestrator.run.attempt import RunState, latest
from orchestrator.run.inputs import InputImage, read_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.progress import Listener, Stage
from orchestrator.run.record import RunRecord, cancel_run, read_run
from orchestrator.run.rows import read_rows, rows_to_table
from orchestrator.store import Store, open_store
from orchestrator.text import printable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_CANCEL_WAIT_S = 60.0
_POLL_S = 0.5


class Silent:
    """A listener that shows nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def update(self, stages: Sequence[Stage]) -> None:
        """Do nothing."""


def place_of(given: str | Path | None) -> str:
    """The place of a store; where none is given, ``$DIP_STORE``, else ``./dip-store``."""
    return str(given or os.environ.get("DIP_STORE") or "dip-store")


def store_at(place: str | Path | None) -> Store:
    """Open the store at a place; None as in `place_of`.

    Raises:
        UserMistakeError: the place is of a kind that is not supported, or its URL is malformed.
    """
    return open_store(place_of(place))


class Run:
    """A run in a store, whoever drives it: this process, another one, or a job on a cluster.

    Every method reads the store anew, so a `Run` can be made at any time, in any process that can read the store.

    Args:
        name: The run's name, as `orchestrator.runs` lists it.
        store: A folder or ``s3://bucket/prefix``; None means ``$DIP_STORE``, else ``./dip-store``.

    Raises:
        UserMistakeError: there is no such run, or no such kind of store.
        StoreError: the store cannot be read. Every method may raise it.
    """

    def __init__(self, name: str, store: str | Path | None = None) -> None:
        opened = store_at(store)
        self._open(opened, read_run(opened, name).run)

    @classmethod
    def of(
        cls,
        store: Store,
        name: str,
        *,
        after: int | None = None,
        why_it_ended: Callable[[], str | None] = lambda: None,
    ) -> Self:
        """The run of this name, which is known to be there.

        Args:
            store: Where it is.
            name: Its name.
            after: The number of the claim that its driver follows; None takes the last driver, whoever it is.
            why_it_ended: What its driver said last, if that has come to an end.
        """
        run = cls.__new__(cls)
        run._open(store, name, after, why_it_ended)
        return run

    def _open(
        self,
        store: Store,
        name: str,
        after: int | None = None,
        why_it_ended: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.store, self.name = store, name
        self._layout, self._after, self._why_it_ended = RunLayout(name), after, why_it_ended

    def __repr__(self) -> str:
        return f"Run({self.name!r}, store={self.store.url!r})"

    def status(self) -> RunRecord:
        """How the run goes: ``state`` (a string: running, finished, interrupted, cancelled or failed), ``reason``, ``stages``
        with their counts, ``seconds``, and what it was begun with.
        """
        return read_run(self.store, self.name)

    def results(self) -> "pa.Table":
        """The table of results so far: one row per image and arm, with the columns of ``results.parquet``.

        A ``pyarrow.Table``; ``.to_pandas()`` makes a data frame of it where pandas is installed. PSNR is in dB, errors are mean
        squares of images in [0, 1], times are in seconds; a value that is not known is null. Empty while no image is done.
        """
        return rows_to_table(read_rows(self.store, self._layout))

    def restored(
        self, image: str, *, arm: str | None = None, which: Literal["pick", "mean"] = "pick"
    ) -> "NDArray[np.float32]":
        """Load a restored image.

        Args:
            image: Its name, as in the column ``image`` of the results.
            arm: The method that restored it; None takes the run's first.
            which: ``pick``, or ``mean`` for the mean of the best few networks at full size.

        Returns:
            The image (channels, height, width) as float32 on the scale of the given one, on which white is 1. It was read from
            the restored file, so it is rounded to that file's bit depth.

        Raises:
            UserMistakeError: the run has no such image, or has not restored it (yet).
        """
        # Imported here: what lists runs decodes no images.
        from orchestrator.images import decode  # noqa: PLC0415

        given = self._input(image)
        arm = arm or self._arms()[0]
        try:
            data = self.store.get(self._layout.restored(arm, which, given.restored))
        except NotFoundError:
            raise UserMistakeError(
                f"the run {self.name} has no {which} of {printable(image)} by {printable(arm)}; its arms:"
                f" {', '.join(self._arms())}"
            ) from None
        original = decode(self.store.get(image_key(given.file)))
        return decode(data, like=original.encoding).pixels

    def _arms(self) -> list[str]:
        # In a record arms have been resolved to sections.
        return [str(arm["name"]) for arm in self.status().config["arms"]]

    def _input(self, name: str) -> InputImage:
        inputs = read_inputs(self.store, self._layout)
        for image in () if inputs is None else inputs.images:
            if image.name == name:
                return image
        raise UserMistakeError(f"the run {self.name} has no image {printable(name)!r}; the results name them")

    def follow(self, listener: Listener | None = None) -> RunRecord:
        """Block until nobody works on the run any more; the record as it is then, however it ended.

        Args:
            listener: Hears what the driver notes (``note``), and the counts of all stages (``update``), every two seconds.

        Raises:
            RunFailedError: its driver ended without a word to the store; the message is what it printed last.
            KeyboardInterrupt: the user has seen enough; the run goes on.
        """
        after = max(0, latest(self.store, self._layout) - 1) if self._after is None else self._after
        return Followed(self.store, self.name, after, self._why_it_ended).until_it_ends(listener or Silent())

    def wait(self, listener: Listener | None = None) -> Self:
        """Block until the run is finished, whoever drives it; returns the run itself.

        Ctrl-C (KeyboardInterrupt) ends the waiting and leaves the run alone: `cancel` stops it. An image that could not be
        restored raises nothing: its row says why.

        Raises:
            RunCancelledError: somebody has cancelled the run.
            RunFailedError: it was interrupted or has failed, or its driver ended without a word.
        """
        record = self.follow(listener)
        if record.state is RunState.FINISHED:
            return self
        error = RunCancelledError if record.state is RunState.CANCELLED else RunFailedError
        reason = "" if record.reason is None else f": {record.reason}"
        raise error(
            f"the run {self.name} is {record.state}{reason}; orchestrator.resume({self.name!r}) goes on with it"
        )

    def cancel(self, *, drain: bool = False) -> RunRecord:
        """Stop the run, and wait up to a minute until its driver has; what is finished stays, and `resume` goes on with it.

        A run that has ended stays as it is. With ``drain`` no new work is started, what is under way goes on to its end, and
        nobody waits for that. Returns the record as it is then; ``state`` is still running where the driver has not answered.
        """
        record = cancel_run(self.store, self.name, "drain" if drain else "now")
        asked = time.monotonic()
        while record.state is RunState.RUNNING and not drain and time.monotonic() - asked < _CANCEL_WAIT_S:
            time.sleep(_POLL_S)
            record = self.status()
        return record
