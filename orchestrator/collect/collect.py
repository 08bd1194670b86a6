"""Collect an image whose fits are finished: write its restored files, its rows and its packed record, then clean up."""

from collections.abc import Container, Sequence

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Chosen, Fits
from orchestrator.collect.packed import pack
from orchestrator.collect.rows import arm_row, round_rows
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.rows import Row, rows_from_json, rows_record
from orchestrator.store import create_or_read


def collect(context: RunContext, image: InputImage, chosen: Sequence[Chosen], *, previews: bool) -> list[Row]:
    """Write an image's restored files, packed record and rows; then delete the fits that the settings do not keep.

    With ``previews``, also write small pictures for the report.
    """
    store, layout = context.store, context.layout
    fits = Fits(context, image)
    if store.exists(layout.row(image.id)):
        # An earlier attempt came this far and may have deleted the fits that the rows were made from.
        _delete_fits(context, image, chosen)
        return rows_from_json(store.get(layout.row(image.id)))
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
    rows = rows_from_json(create_or_read(store, layout.row(image.id), rows_record(rows)))
    _delete_fits(context, image, chosen)
    return rows


def delete_leftovers(context: RunContext, ended: Container[str]) -> None:
    """Delete the leftovers of finished images whose driver died before it cleaned up.

    Unless ``keep.fits`` is ``none``, all fits at full size stay, also those that were not among the best.
    """
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    for key in list(store.keys(layout.all_fits)):
        image, view, *_ = key.removeprefix(f"{layout.all_fits}/").split("/")
        if image in ended and (view != "full" or config.keep.fits == "none"):
            store.delete(key)


def _delete_fits(context: RunContext, image: InputImage, chosen: Sequence[Chosen]) -> None:
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    kept = {layout.fit(image.id, "full", name).root for choice in chosen for name in choice.full}
    if config.keep.fits == "none":
        kept = set()
    roots = {key.rsplit("/", 1)[0] for key in store.keys(layout.fits(image.id))}
    for root in sorted(roots - kept):
        store.delete_all(root)
