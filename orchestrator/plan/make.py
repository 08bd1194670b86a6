"""Plan a run, new or resumed, without writing anything."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.folder import Looking
from orchestrator.plan.checks import (
    check_hours,
    check_lotteries,
    check_mask_colour,
    check_masks,
    check_measured,
    check_same_inputs,
    check_together,
    check_unchanged,
    folders_to_read,
)
from orchestrator.plan.plan import Plan, config_of
from orchestrator.prune.moved import check_tickets
from orchestrator.resources.share import Resources, resolve_resources, this_machine
from orchestrator.resources.tiling import too_large
from orchestrator.run.inputs import Inputs, Rejected, Source, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import check_run_name, new_run_name, read_run
from orchestrator.settings import Config, change
from orchestrator.store import Store
from orchestrator.text import printable

Resolve = Callable[[Config], Resources]
AHEAD = 64
"""How many files are looked at before a run begins; mistakes with their references and masks are told at once."""


def resolve_here(config: Config) -> Resources:
    """Resolve the settings to resources of this machine alone."""
    return resolve_resources(config, [this_machine()])


def make_plan(
    store: Store,
    config: Config,
    source: Source,
    *,
    simulate: bool = False,
    run: str | None = None,
    command: str = "submit",
    resolve: Resolve | None = resolve_here,
    ahead: int | None = None,
) -> Plan:
    """Plan a run: check everything that it needs and write nothing.

    ``resolve`` resolves the settings to resources of the machines; it is None if the machines are not known yet.
    ``ahead`` is how many files are looked at; None looks at all. What concerns all images of a run looks at all, too.

    Raises:
        UserMistakeError: something cannot be done as asked.
    """
    name = new_run_name() if run is None else check_run_name(run)
    check_masks(config, given=source.masks is not None, simulate=simulate)
    check_measured(config, simulate=simulate)
    check_lotteries(config, references=simulate or source.references is not None)
    resources = None if resolve is None else resolve(config)
    continued = read_run(store, name) if store.exists(RunLayout(name).record) else None
    if continued is not None:
        check_unchanged(continued, config, resources, simulate=simulate, command=command)
        check_mask_colour(continued, source)
        check_hours(continued, config)
    recorded = None if continued is None else read_inputs(store, RunLayout(name))
    looking = Looking(
        source.images,
        references=source.references,
        masks=source.masks,
        white_is_known=source.white_is_known,
        simulate=config.task.make() if simulate else None,
        scale=config.task.scale,
        max_pixels=config.ingest.max_pixels,
        store=None if "://" in store.url else Path(store.url),
    )
    together = config.lottery.together or config.lottery.tickets is not None
    uploads, rejected = looking.ahead(None if together or recorded is not None else ahead)
    reasons = {} if resources is None else too_large(config, [upload.image for upload in uploads], resources)
    fitting = [upload for upload in uploads if upload.image.id not in reasons]
    refused = [
        Rejected(upload.image.name, reasons[upload.image.id]) for upload in uploads if upload.image.id in reasons
    ]
    inputs = Inputs([upload.image for upload in fitting], [*rejected, *refused])
    check_together(config, inputs.images, resources)
    check_tickets(config, store, inputs.images)
    if recorded is not None:
        check_same_inputs(name, recorded, inputs)
        inputs, fitting = recorded, []
    elif not fitting and not looking.left:
        raise UserMistakeError(f"--images {source.images}: {printable(refused[0].name)} is {refused[0].reason}")
    rest = looking if looking.left else None
    return Plan(
        name, config, resources, simulate, inputs, source, fitting, command, continued, rest=rest, beside=looking.beside
    )


def resume_plan(
    store: Store,
    run: str,
    assignments: Sequence[str] = (),
    *,
    source: Source | None = None,
    trust: bool = False,
    resolve: Resolve | None = resolve_here,
    ahead: int | None = None,
) -> Plan:
    """Plan the rest of a run, from its record alone.

    Args:
        store: Where the run is.
        run: Its name.
        assignments: Settings of the form ``a.b=value`` that do not change results.
        source: The folders of its images, which are read if the store lacks some of them.
        trust: Whether the record may name code to be imported, and the folders.
        resolve, ahead: As in `make_plan`.

    Raises:
        UserMistakeError: there is no such run, it cannot be resumed here, or a setting would change its results. Or the
            record names code or folders that this user has not given.
    """
    record = read_run(store, run)
    config = change(config_of(record), assignments, trust=trust)
    recorded = read_inputs(store, RunLayout(run))
    if recorded is None:
        # The run ended before all its inputs were in the store, so they are uploaded from the original folders.
        source = folders_to_read(record, source, trust=trust)
        return make_plan(
            store,
            config,
            source,
            simulate=record.simulate,
            run=run,
            command=record.command,
            resolve=resolve,
            ahead=ahead,
        )
    if not all(re.match(r"[0-9a-f]{64}", image.file) for image in recorded.images):
        raise UserMistakeError(
            f"the run {run} was begun by an earlier version, which kept its images elsewhere; submit them anew"
        )
    resources = None if resolve is None else resolve(config)
    check_unchanged(record, config, resources, simulate=record.simulate, command=record.command)
    check_hours(record, config)
    return Plan(run, config, resources, record.simulate, recorded, Source(images=""), (), record.command, record)
