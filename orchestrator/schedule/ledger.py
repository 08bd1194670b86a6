"""The scheduler's records in the store: fits that failed or were stopped, and images that ended early.

A failure is final: `resume` does not try again. So it is recorded only by a driver that still holds the run, and it
never counts more than what another attempt has come to.
"""

from collections.abc import Callable

from orchestrator.arms.arm import Arm
from orchestrator.collect.collect import mark_cleanup
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys, record_once
from orchestrator.run.context import RunContext
from orchestrator.run.decisions import TILINGS
from orchestrator.run.inputs import InputImage
from orchestrator.run.rows import Row, rows_record
from orchestrator.schedule.actions import EndImage
from orchestrator.schedule.queue import Finished
from workers.tiles import Tiling


class StoreLedger:
    """The ledger of a run. Every record is created once: the first one counts.

    Args:
        context: The run.
        arms: Its methods.
        confirm: Makes sure that this driver holds the run at this moment, or raises.
        cut: Returns the tiles that an image would be cut into on the machines at hand; None where it would not.
    """

    def __init__(
        self,
        context: RunContext,
        arms: tuple[Arm, ...],
        confirm: Callable[[], None],
        cut: Callable[[InputImage], Tiling | None] = lambda image: None,
    ) -> None:
        self._context, self._arms, self._confirm, self._cut = context, arms, confirm, cut

    def tiling(self, image: InputImage) -> Tiling | None:
        """Return the tiles that an image is cut into; None where it is not. The first attempt's count."""
        store, key, wanted = self._context.store, self._context.layout.tiling(image.id), self._cut(image)
        if wanted is not None:
            return TILINGS.create_or_read(store, key, wanted)
        # An earlier attempt may have had machines with less memory.
        return TILINGS.read(store, key) if store.exists(key) else None

    def failed(self, job: FitJob, reason: str) -> bool:
        """Record that a fit has failed for good; return False if another attempt has written a result meanwhile.

        Raises:
            SupersededError: another driver has taken the run over.
        """
        self._confirm()
        record = FitRecord(job.name, job.view, "failed", reason=reason)
        return record_once(self._context.store, fit_keys(self._context, job).result, record).state == "failed"

    def stopped(self, finished: Finished) -> None:
        """Record how far a fit came before its contest stopped it."""
        job = finished.job
        record = FitRecord(
            job.name,
            job.view,
            "paused",
            held_out_error=finished.held_out_error,
            iterations=finished.iteration,
            seconds=round(finished.seconds, 3),
        )
        self._context.store.create(fit_keys(self._context, job).rung(finished.iteration), record.to_json())

    def end(self, ended: EndImage) -> bool:
        """Write the rows of an image that ended early, and delete its fits unless the settings keep them.

        Return False if another attempt has finished the image meanwhile: its rows stand, and so do the fits that they
        were made from.

        Raises:
            SupersededError: another driver has taken the run over.
        """
        self._confirm()
        store, layout = self._context.store, self._context.layout
        rows = [Row(ended.image.name, arm.name, ended.state, reason=ended.reason) for arm in self._arms]
        mark_cleanup(self._context, ended.image.id)
        if not store.create(layout.row(ended.image.id), rows_record(rows)):
            return False
        if self._context.config.keep.fits != "all":
            store.delete_all(layout.fits(ended.image.id))
            store.delete(layout.cleanup(ended.image.id))
        return True
