"""Give the images of a run that have no result another try: set aside what makes their failure final.

A failed image is final by its rows. They are kept below ``retried/``, for people; nothing reads them. Then the records
of its failed fits go, with the decisions of the arms that have no result, and the rows go last. From then on the image
is unfinished like any other, and `resume` does it: what other arms have decided and fitted stands. So an interruption
leaves an image that has failed as before, or one that is to be done. Crashes are counted by each driver anew.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.fit.record import FIT_RECORDS
from orchestrator.ingest.bring import bring_one
from orchestrator.ingest.folder import Upload, read_folder
from orchestrator.plan.plan import config_of
from orchestrator.run.attempt import RunState
from orchestrator.run.claim import take
from orchestrator.run.inputs import INPUTS, InputImage, Inputs, Rejected, Source, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.marker import hold
from orchestrator.run.places import Kind, place_of
from orchestrator.run.record import RunRecord, read_run
from orchestrator.run.rows import ROWS, Row, RowState
from orchestrator.run.upkeep import upkeep
from orchestrator.store import Store
from orchestrator.text import counted

Note = Callable[[str], None]
_COLLISION = "its name, or that of its restored file, is another image's now; submit it in a run of its own"


@dataclass(frozen=True)
class Retried:
    """How many images are to be tried again, and how many rejected files can be used now."""

    images: int
    files: int


def arms_without_result(rows: Iterable[Row]) -> set[str]:
    """The arms that have no result for an image."""
    return {row.arm for row in rows if row.picked and row.state is not RowState.RESTORED}


def in_the_way(layout: RunLayout, keys: Iterable[str], arms: Set[str], failed_fits: Set[str]) -> list[str]:
    """The objects of an image that would make it fail again, its rows last.

    Args:
        layout: The run.
        keys: All objects of the image.
        arms: The arms without a result: their decisions knew only what had not failed.
        failed_fits: The records of fits that failed.
    """
    found: list[str] = []
    rows: list[str] = []
    for key in keys:
        place = place_of(layout, key)
        if place.kind is Kind.ROWS:
            rows.append(key)
        elif (
            key in failed_fits
            # The first packed record counts, and it would lack the new fits.
            or place.kind is Kind.COHORT
            or (place.kind in (Kind.PICK, Kind.RUNG) and place.arm in arms)
        ):
            found.append(key)
    return [*found, *rows]


def merged(
    recorded: Inputs, uploads: Sequence[Upload], rejected: Sequence[Rejected]
) -> tuple[list[Upload], list[Rejected]]:
    """The rejected files of a run that can be used now, and those that still cannot, in their order.

    Images that the run has stay as they are, whatever lies in the folder now.
    """
    usable = {upload.image.name: upload for upload in uploads}
    reasons = {each.name: each for each in rejected}
    taken = {word for image in recorded.images for word in _words(image)}
    now, still = [], []
    for each in recorded.rejected:
        upload = usable.get(each.name)
        if upload is None:
            still.append(reasons.get(each.name, each))
        elif taken & _words(upload.image):
            still.append(Rejected(each.name, _COLLISION))
        else:
            now.append(upload)
            taken |= _words(upload.image)
    return now, still


def _words(image: InputImage) -> set[str]:
    """What no two images of a run may have in common."""
    return {f"id {image.id.casefold()}", *(f"file {name.casefold()}" for name in (image.restored, image.spread))}


def set_aside(store: Store, run: str, source: Source | None, *, note: Note = lambda message: None) -> Retried:
    """Make all images without a result unfinished again, and use rejected files that can be read now.

    It can be interrupted at any time and repeated. `resume` then does these images.

    Args:
        store: Where the run is.
        run: Its name.
        source: The folders to look for rejected files in; None does not look.
        note: Hears what is going on.

    Raises:
        UserMistakeError: a driver works on the run, or another process looks after the store.
        SupersededError: a driver has taken the run over.
    """
    hold(store)
    layout, record = RunLayout(run), read_run(store, run)
    inputs = read_inputs(store, layout)
    if inputs is None:
        return Retried(0, 0)
    files: list[Upload] = []
    still: Sequence[Rejected] = inputs.rejected
    if source is not None and inputs.rejected:
        files, still = merged(inputs, *_looked_again(store, record, source))
    stems = [image.id for image in inputs.images]
    failed = dict(_without_result(store, layout, stems, note))
    if not failed and not files:
        return Retried(0, 0)
    with take(store, layout, record.machine, note=note) as claim:
        # A driver may have done some of them until just now.
        failed = dict(_without_result(store, layout, list(failed), note))
        for image, rows in failed.items():
            claim.check(now=True)
            _set_image_aside(store, layout, image, rows)
        if files:
            claim.check(now=True)
            files = _take_in(store, record, inputs, files, still)
        count = len(failed) + len(files)
        claim.end(RunState.INTERRUPTED, seconds=record.seconds, reason=f"another try for {counted(count, 'image')}")
    return Retried(len(failed), len(files))


def _without_result(
    store: Store, layout: RunLayout, images: Sequence[str], note: Note
) -> Iterable[tuple[str, Sequence[Row]]]:
    there = set(store.keys(layout.rows))
    for image in images:
        if (key := layout.row(image)) not in there:
            continue
        try:
            rows = ROWS.read(store, key).rows
        except NotFoundError:
            continue
        except (DamagedError, NewerFormatError) as error:
            note(f"not tried again: {error}")
            continue
        if arms_without_result(rows):
            yield image, rows


def _set_image_aside(store: Store, layout: RunLayout, image: str, rows: Sequence[Row]) -> None:
    _keep_rows(store, layout, image)
    prefixes = (layout.fits(image), layout.picks(image), layout.rungs(image))
    keys = [key for prefix in prefixes for key in store.keys(prefix)] + [layout.cohort(image), layout.row(image)]
    records = [key for key in keys if place_of(layout, key).kind is Kind.FIT]
    failed_fits = {key for key in records if _has_failed(store, key)}
    store.delete_many(in_the_way(layout, keys, arms_without_result(rows), failed_fits))


def _has_failed(store: Store, key: str) -> bool:
    try:
        return FIT_RECORDS.read(store, key).state == "failed"
    except NotFoundError:
        return False


def _keep_rows(store: Store, layout: RunLayout, stem: str) -> None:
    """Keep rows for people, once each: an attempt that was interrupted has kept them already."""
    data = store.get(layout.row(stem))
    earlier = list(store.keys(layout.retried(stem)))
    if not earlier or store.get(earlier[-1]) != data:
        store.create(f"{layout.retried(stem)}/{len(earlier) + 1:03}.json", data)


def _looked_again(store: Store, record: RunRecord, source: Source) -> tuple[Sequence[Upload], Sequence[Rejected]]:
    config = config_of(record)
    return read_folder(
        source.images,
        references=source.references,
        masks=source.masks,
        white_is_known=source.white_is_known,
        simulate=config.task.make() if record.simulate else None,
        scale=config.task.scale,
        max_pixels=config.ingest.max_pixels,
        store=None if "://" in store.url else Path(store.url),
    )


def _take_in(
    store: Store, record: RunRecord, inputs: Inputs, files: Sequence[Upload], still: Sequence[Rejected]
) -> list[Upload]:
    """Bring files to the store and list them among the run's inputs; returns those that could be brought.

    The rows of rejected files are numbered by their place in the list, so all of them go before the list changes, and
    the next driver writes them anew. Nobody prunes meanwhile: a prune knows only what is listed.
    """
    layout = RunLayout(record.run)
    with upkeep(store, "retry"):
        max_pixels = config_of(record).ingest.max_pixels
        white_is_known = bool(record.source.get("white_is_known", True))
        reasons: dict[str, str] = {}
        for file in files:
            reason = bring_one(store, file, max_pixels=max_pixels, white_is_known=white_is_known)
            if reason is not None:
                reasons[file.image.name] = reason
        brought = [file for file in files if file.image.name not in reasons]
        more = [Rejected(name, reason) for name, reason in reasons.items()]
        stems = [f"rejected-{number:06}" for number in range(len(inputs.rejected))]
        there = [stem for stem in stems if store.exists(layout.row(stem))]
        for stem in there:
            _keep_rows(store, layout, stem)
        store.delete_many([layout.row(stem) for stem in there])
        listed = replace(inputs, images=[*inputs.images, *(file.image for file in brought)], rejected=[*still, *more])
        store.put(layout.inputs, INPUTS.to_json(listed))
    return brought
