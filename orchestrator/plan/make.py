"""Make the plan of a run, a new one or one that goes on. Nothing is written."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import UserMistakeError
from orchestrator.ingest.folder import read_folder
from orchestrator.plan.checks import (
    check_lotteries,
    check_mask_colour,
    check_masks,
    check_same_inputs,
    check_together,
    check_unchanged,
)
from orchestrator.plan.plan import Plan, config_of
from orchestrator.prune.moved import check_tickets
from orchestrator.resources.share import Resources, resolve_resources, this_machine, too_large
from orchestrator.run.inputs import Inputs, Rejected, Source, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import check_run_name, new_run_name, read_run
from orchestrator.settings import Config, change
from orchestrator.store import Store
from orchestrator.text import printable

Resolve = Callable[[Config], Resources]


def resolve_here(config: Config) -> Resources:
    """Resolve what the settings ask for on this machine alone."""
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
) -> Plan:
    """Look at everything that a run needs, and write nothing.

    ``resolve`` knows the machines; None where they are not known yet.

    Raises:
        UserMistakeError: something cannot be done as asked.
    """
    name = new_run_name() if run is None else check_run_name(run)
    check_masks(config, given=source.masks is not None, simulate=simulate)
    check_lotteries(config, references=simulate or source.references is not None)
    resources = None if resolve is None else resolve(config)
    continued = read_run(store, name) if store.exists(RunLayout(name).record) else None
    if continued is not None:
        check_unchanged(continued, config, resources, simulate=simulate, command=command)
        check_mask_colour(continued, source)
    uploads, rejected = read_folder(
        source.images,
        references=source.references,
        masks=source.masks,
        white_is_known=source.white_is_known,
        simulate=simulate,
        scale=config.task.scale,
        max_pixels=config.ingest.max_pixels,
        leave_out=None if "://" in store.url else Path(store.url),
    )
    reasons = {} if resources is None else too_large(config, [upload.image for upload in uploads], resources)
    fitting = [upload for upload in uploads if upload.image.id not in reasons]
    refused = [
        Rejected(upload.image.name, reasons[upload.image.id]) for upload in uploads if upload.image.id in reasons
    ]
    inputs = Inputs([upload.image for upload in fitting], [*rejected, *refused])
    check_together(config, inputs.images, resources)
    check_tickets(config, store, inputs.images)
    there = None if continued is None else read_inputs(store, RunLayout(name))
    if there is not None:
        check_same_inputs(name, there, inputs)
        inputs, fitting = there, []
    elif not fitting:
        raise UserMistakeError(f"--images {source.images}: {printable(refused[0].name)} is {refused[0].reason}")
    return Plan(name, config, resources, simulate, inputs, source, fitting, command, continued)


def resume_plan(
    store: Store, run: str, assignments: Sequence[str] = (), *, resolve: Resolve | None = resolve_here
) -> Plan:
    """Plan what is left of a run, from its record alone.

    ``assignments`` are settings of the form ``a.b=value``, of those that change no result; for ``resolve`` see `make_plan`.

    Raises:
        UserMistakeError: there is no such run, it cannot go on here, or a setting would change its results.
    """
    record = read_run(store, run)
    config = change(config_of(record), assignments)
    there = read_inputs(store, RunLayout(run))
    source = Source(**record.source)
    if there is None:
        # It ended before its inputs were all in the store, so they are brought from where they were.
        return make_plan(
            store, config, source, simulate=record.simulate, run=run, command=record.command, resolve=resolve
        )
    if not all(re.match(r"[0-9a-f]{64}", image.file) for image in there.images):
        raise UserMistakeError(
            f"the run {run} was begun by an earlier version, which kept its images elsewhere; submit them anew"
        )
    resources = None if resolve is None else resolve(config)
    check_unchanged(record, config, resources, simulate=record.simulate, command=record.command)
    return Plan(run, config, resources, record.simulate, there, source, (), record.command, record)
