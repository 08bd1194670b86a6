"""A user's handle of a run: it shows progress and results, and stops the run. It reads everything from the store."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from orchestrator.drive.following import Followed
from orchestrator.errors import HoursSpentError, NotFoundError, RunCancelledError, RunFailedError, UserMistakeError
from orchestrator.keep.damage import Damage
from orchestrator.keep.delete import delete_run
from orchestrator.keep.export import export_run
from orchestrator.run.attempt import RunState, latest
from orchestrator.run.inputs import InputImage, read_input, read_inputs
from orchestrator.run.layout import Restored, RunLayout
from orchestrator.run.marker import hold_if_marked
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
    """Return the place of a store: the given one, else ``$DIP_STORE``, else ``./dip-store``."""
    return str(given or os.environ.get("DIP_STORE") or "dip-store")


def store_at(place: str | Path | None) -> Store:
    """Open the store at a place; None as in `place_of`.

    Raises:
        UserMistakeError: the place is of a kind that is not supported, or its URL is malformed.
    """
    return open_store(place_of(place))


class Run:
    """A run in a store. Its driver may be this process, another one, or a job on a cluster.

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
        """Make a handle of a run that is known to be in the store.

        Args:
            store: Where it is.
            name: Its name.
            after: The number of the claim that its driver follows; None takes the last driver, whichever it is.
            why_it_ended: Returns the last output of its driver if that has ended, else None.
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
        """Read the run's record from the store.

        It has the ``state`` (a string: running, finished, interrupted, cancelled, spent or failed), the ``reason``, the
        ``stages`` with their counts, the ``seconds``, and the settings that the run was begun with.
        """
        return read_run(self.store, self.name)

    def results(self) -> "pa.Table":
        """Read the results so far: one row per image and arm, with the columns of ``results.parquet``.

        The result is a ``pyarrow.Table``; ``.to_pandas()`` makes a data frame of it where pandas is installed. PSNR is
        in dB, errors are mean squares of images in [0, 1], times are in seconds. An unknown value is null. The table is
        empty while no image is finished. Rows that cannot be read are left out, with a warning that says why.
        """
        return rows_to_table(read_rows(self.store, self._layout, warnings.warn))

    def restored(
        self, image: str, *, arm: str | None = None, which: Literal["best", "pick", "mean", "stack"] = "best"
    ) -> "NDArray[np.float32]":
        """Load a restored image.

        Args:
            image: Its name, as in the column ``image`` of the results.
            arm: The method that restored it; None takes the run's first.
            which: ``best`` for what the arm delivers, which is one of: ``pick``, the network that was chosen; ``mean``,
                the mean of the best few at full size; ``stack``, their combination of least held-out error. A run of an
                earlier version delivers the pick.

        Returns:
            The image (channels, height, width) as float32 on the scale of the given one, where white is 1. It comes
            from the restored file, so it is rounded to that file's bit depth.

        Raises:
            UserMistakeError: the run has no such image, or has not restored it (yet).
        """
        # Imported here: a command that lists runs decodes no images.
        from orchestrator.images import decode  # noqa: PLC0415

        given = self._input(image)
        arm = arm or self._arms()[0]
        try:
            found: Restored = "pick" if which == "best" and not given.is_stacked else which
            data = self.store.get(self._layout.restored(arm, found, given.restored))
        except NotFoundError:
            raise UserMistakeError(
                f"the run {self.name} has no {which} of {printable(image)} by {printable(arm)}; its arms:"
                f" {', '.join(self._arms())}"
            ) from None
        original = decode(read_input(self.store, given.file), rules=given.rules, known=self._known(given))
        return decode(data, like=original.encoding, rules=given.rules).pixels

    def _known(self, image: InputImage) -> "NDArray[np.bool_] | None":
        from orchestrator.images import decode_mask  # noqa: PLC0415 - see above

        if image.mask is None or image.rules == 0 or self.status().simulate:
            return None
        return decode_mask(read_input(self.store, image.mask))

    def _arms(self) -> list[str]:
        # A record holds the arms as sections, already resolved.
        return [str(arm["name"]) for arm in self.status().config["arms"]]

    def _input(self, name: str) -> InputImage:
        inputs = read_inputs(self.store, self._layout)
        for image in () if inputs is None else inputs.images:
            if image.name == name:
                return image
        raise UserMistakeError(f"the run {self.name} has no image {printable(name)!r}; the results name them")

    def follow(self, listener: Listener | None = None) -> RunRecord:
        """Block until nobody works on the run any more, however it ended; return its record then.

        Args:
            listener: Receives the driver's notes (``note``) and the counts of all stages (``update``) every two
                seconds.

        Raises:
            RunFailedError: its driver ended without recording why; the message holds the driver's last output.
            KeyboardInterrupt: the user pressed Ctrl-C; the run goes on.
        """
        # A store that is unmounted for a while has not lost the run.
        hold_if_marked(self.store)
        after = max(0, latest(self.store, self._layout) - 1) if self._after is None else self._after
        return Followed(self.store, self.name, after, self._why_it_ended).until_it_ends(listener or Silent())

    def wait(self, listener: Listener | None = None) -> Self:
        """Block until the run is finished; return the run itself.

        Ctrl-C (KeyboardInterrupt) ends the waiting but not the run; `cancel` stops the run. An image that could not be
        restored raises no error: its row says why.

        Raises:
            RunCancelledError: somebody has cancelled the run.
            HoursSpentError: it has used its machine hours (``resources.hours``).
            RunFailedError: it was interrupted or has failed, or its driver ended without recording why.
        """
        record = self.follow(listener)
        if record.state is RunState.FINISHED:
            return self
        errors = {RunState.CANCELLED: RunCancelledError, RunState.SPENT: HoursSpentError}
        error = errors.get(record.state, RunFailedError)
        reason = "" if record.reason is None else f": {record.reason}"
        raise error(
            f"the run {self.name} is {record.state}{reason}; orchestrator.resume({self.name!r}) goes on with it"
        )

    def cancel(self, *, drain: bool = False) -> RunRecord:
        """Stop the run and wait up to a minute for its driver to stop; finished work stays, and `resume` continues the
        run.

        A run that has ended does not change. With ``drain`` the run starts no new work and finishes the work in
        progress; this method then does not wait. It returns the record; its ``state`` is still running if the driver
        has not answered yet.
        """
        record = cancel_run(self.store, self.name, "drain" if drain else "now")
        asked = time.monotonic()
        while record.state is RunState.RUNNING and not drain and time.monotonic() - asked < _CANCEL_WAIT_S:
            time.sleep(_POLL_S)
            record = self.status()
        return record

    def delete(self) -> None:
        """Delete the run and all that is its own; `orchestrator.prune_store` then deletes what no other run needs.

        A deletion that was interrupted is completed by another call.

        Raises:
            UserMistakeError: the run is under way, or an unfinished run takes its lottery tickets.
        """
        delete_run(self.store, self.name)

    def verify(self, *, repair: bool = False) -> list[Damage]:
        """Read every object of the run and its inputs, and return what is damaged, missing or left over.

        Args:
            repair: Remove what can be made again; `orchestrator.resume` then makes it.

        Raises:
            UserMistakeError: with ``repair``: the run is under way.
            DamagedError, NewerFormatError: with ``repair``: the run's record cannot be read.
        """
        # Imported here: it reads every kind of object, which no other method does.
        from orchestrator.keep.repair import repair_run  # noqa: PLC0415
        from orchestrator.keep.verify import verify_run  # noqa: PLC0415

        damages = verify_run(self.store, self.name).damages
        if repair and any(damage.is_repairable for damage in damages):
            repair_run(self.store, self.name)
        return damages

    def export(self, path: str | Path) -> Path:
        """Write the run with the inputs and banks that it needs, verified, to a place that is not there yet.

        Args:
            path: An archive (``.tar``, ``.tar.gz`` or ``.tar.zst``), or else a folder, which can be opened as a store.

        Returns:
            The path.

        Raises:
            UserMistakeError: the run is under way, or the path is taken or cannot be written.
            DamagedError: an object of the run is damaged.
        """
        export_run(self.store, self.name, Path(path).expanduser())
        return Path(path)
