"""What a driver does about the inputs of a run: they are brought while it works, and what is rejected has its rows."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from orchestrator.ingest.beside import left_out
from orchestrator.ingest.bring import Bringing, write_rejected
from orchestrator.ingest.folder import Upload
from orchestrator.plan.plan import Plan
from orchestrator.resources.share import Resources
from orchestrator.resources.tiling import too_large
from orchestrator.run.claim import Claim
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage, Inputs, Rejected
from orchestrator.run.progress import Listener
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.text import counted


def files_of(plan: Plan) -> Iterator[Upload | Rejected]:
    """The files that a plan brings to the store."""
    return chain(plan.uploads, () if plan.rest is None else plan.rest)


def bringing_of(context: RunContext, plan: Plan, resources: Resources, claim: Claim, listener: Listener) -> Bringing:
    """What brings the images of a plan to the store, once it is entered."""

    def refuse(image: InputImage) -> str | None:
        return too_large(plan.config, [image], resources).get(image.id)

    return Bringing(
        context.store,
        context.layout,
        files_of(plan),
        plan.coming,
        plan.rejected,
        config=plan.config,
        white_is_known=plan.source.white_is_known,
        refuse=refuse,
        # Claims ask the store with little patience; here the driver has that of the run's work.
        confirm=partial(claim.check, now=True, through=context.store),
        note=listener.note,
        check_stop=claim.check_stop,
    )


def tell_of(plan: Plan, resources: Resources, listener: Listener) -> None:
    """Tell what a run will do."""
    for reject in plan.rejected:
        listener.note(f"{reject.name}: rejected: {reject.reason}")
    if plan.beside:
        listener.note(f"{left_out(plan.beside)}: what belongs to the images, and none of them")
    scored = f", {counted(plan.candidates, 'candidate')}" if plan.candidates else ""
    listener.note(
        f"run {plan.run}: {counted(plan.count, 'image')}{scored}, at most {counted(plan.trials, 'fit')};"
        f" {resources.parallel} at a time on {resources.device}, {counted(resources.threads, 'thread')} each"
    )


def all_brought(plan: Plan, bringing: Bringing, check: Callable[[int], None]) -> Plan:
    """Wait until all images of a plan are in the store; return the plan with those. ``check`` may raise to stop."""
    return replace(plan, inputs=bringing.wait(check), uploads=(), rest=None)


def without_rejected(context: RunContext, plan: Plan, resources: Resources, listener: Listener) -> Plan:
    """Record the images of the store that are rejected; return the plan without those."""
    store, layout = context.store, context.layout
    write_rejected(store, layout, plan.config, plan.rejected)
    # A run that was planned elsewhere learns only here how much memory the machines have.
    reasons = too_large(plan.config, plan.images, resources)
    for image in plan.images:
        if image.id in reasons:
            rows = [Row(image.name, arm.name, RowState.REJECTED, reason=reasons[image.id]) for arm in plan.arms]
            if store.create(layout.row(image.id), rows_record(rows)):
                listener.note(f"{image.name}: rejected: {reasons[image.id]}")
    fitting = [image for image in plan.images if image.id not in reasons]
    return replace(plan, inputs=Inputs(fitting, plan.rejected))
