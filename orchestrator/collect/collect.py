"""Collect an image whose fits are finished: write its restored files, its rows and its packed record, then clean up."""

from collections.abc import Callable, Container, Sequence

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Chosen, Fits
from orchestrator.collect.packed import pack
from orchestrator.collect.rows import arm_row, round_rows
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.rows import Row, rows_of, rows_record


def collect(context: RunContext, image: InputImage, chosen: Sequence[Chosen], *, previews: bool) -> list[Row]:
    """Write an image's restored files, packed record and rows; then delete the fits that the settings do not keep.

    With ``previews``, also write small pictures for the report.
    """
    store, layout = context.store, context.layout
    fits = Fits(context, image, chosen)
    if store.exists(layout.row(image.id)):
        # Another attempt came this far and may have deleted the fits that the rows were made from.
        return _rows_of_another(context, image)
    evidence = Evidence(context, image)
    rows = []
    for choice in chosen:
        row = arm_row(choice, fits, evidence, previews=previews)
        rows.append(row)
        if choice.arm.is_lottery:
            rows += round_rows(choice, row, fits, evidence, previews=previews)
    if previews:
        evidence.show()
    # The first attempt counts: a later one may find fits deleted that the first one had.
    store.create(layout.cohort(image.id), pack(fits.all()))
    mark_cleanup(context, image.id)
    if not store.create(layout.row(image.id), rows_record(rows)):
        return _rows_of_another(context, image)
    kept = {layout.fit(image.id, "full", name).root for choice in chosen for name in choice.full}
    _delete_fits(context, image, lambda root: root in kept)
    return rows


def _rows_of_another(context: RunContext, image: InputImage) -> list[Row]:
    """Return the rows that count, which another attempt has written, and delete what no attempt's rows name."""
    store, layout = context.store, context.layout
    rows = rows_of(store, layout.row(image.id))
    # Which fits at full size that attempt has chosen is not known here.
    _delete_fits(context, image, lambda root: root.startswith(f"{layout.fits(image.id)}/full/"))
    return rows


def mark_cleanup(context: RunContext, image: str) -> None:
    """Mark an image that is about to have its rows, so that whoever resumes the run looks for left fits only there."""
    if context.config.keep.fits != "all":
        context.store.put(context.layout.cleanup(image), b"")


def delete_leftovers(context: RunContext, ended: Container[str]) -> None:
    """Delete the leftovers of finished images whose driver died before it cleaned up.

    Unless ``keep.fits`` is ``none``, all fits at full size stay, also those that were not among the best. Only the fits
    of marked images are listed: a run that is nearly finished has few of them.
    """
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    for mark in list(store.keys(layout.cleanups)):
        image = mark.removeprefix(f"{layout.cleanups}/")
        if image not in ended:
            continue
        for key in list(store.keys(layout.fits(image))):
            view, *_ = key.removeprefix(f"{layout.fits(image)}/").split("/")
            if view != "full" or config.keep.fits == "none":
                store.delete(key)
        store.delete(mark)


def _delete_fits(context: RunContext, image: InputImage, is_kept: Callable[[str], bool]) -> None:
    """Delete the fits of a finished image, except those whose prefix ``is_kept`` if the settings keep any."""
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    for root in sorted({key.rsplit("/", 1)[0] for key in store.keys(layout.fits(image.id))}):
        if config.keep.fits == "none" or not is_kept(root):
            store.delete_all(root)
    store.delete(layout.cleanup(image.id))
