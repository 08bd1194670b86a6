"""What a user asks of a store besides runs: that a run be brought in, and that what no run names be deleted."""

from datetime import timedelta
from pathlib import Path

from orchestrator.drive.handle import Run, store_at
from orchestrator.keep import bring_in
from orchestrator.keep.prune import Pruned, prune


def import_run(path: str | Path, *, store: str | Path | None = None) -> Run:
    """Bring a run in from the folder or archive that `Run.export` has written.

    Everything is verified before anything is written, and the run is not listed before all of it is there. An import
    that was interrupted is completed by another call.

    Args:
        path: The folder or archive.
        store: A folder or ``s3://bucket/prefix``; None means ``$DIP_STORE``, else ``./dip-store``.

    Returns:
        The run.

    Raises:
        UserMistakeError: there is no such export, or the store has another run of its name.
        DamagedError: the export is damaged, or not whole.
    """
    opened = store_at(store)
    return Run.of(opened, bring_in.import_run(opened, Path(path).expanduser()))


def prune_store(
    store: str | Path | None = None,
    *,
    keep: int | None = None,
    older_than: timedelta | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Delete what no run of a store names: inputs, banks of fingerprints, and what killed processes have left.

    Args:
        store: A folder or ``s3://bucket/prefix``; None means ``$DIP_STORE``, else ``./dip-store``.
        keep: Delete also all runs but this many, the newest. Runs that are under way or cannot be read, and runs whose
            lottery tickets a kept run takes, are kept.
        older_than: Delete only what was written longer ago than this (None: a day), and with ``keep`` only runs that
            ended longer ago (None: all).
        dry_run: Delete nothing.

    Returns:
        What was deleted, or with ``dry_run`` would be.

    Raises:
        UserMistakeError: another process prunes the store or imports a run.
    """
    seconds = None if older_than is None else older_than.total_seconds()
    return prune(store_at(store), keep=keep, older_than_s=seconds, dry_run=dry_run)
