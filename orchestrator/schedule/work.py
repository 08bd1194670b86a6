"""Connect the scheduler, the loop and Ray for one run: from a plan to rows."""

from collections.abc import Callable, Container, Sequence
from functools import partial

from ray.exceptions import RayError

from orchestrator.arms.candidates import candidates_of
from orchestrator.collect.collect import delete_leftovers
from orchestrator.errors import RayLostError
from orchestrator.plan.plan import Plan
from orchestrator.resources.share import Resources
from orchestrator.resources.tiling import tilings
from orchestrator.run.claim import Claim
from orchestrator.run.context import RunContext
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Listener
from orchestrator.schedule.answers import cause
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.crew import RayCrew
from orchestrator.schedule.ledger import StoreLedger
from orchestrator.schedule.loop import Loop
from orchestrator.schedule.machines import Watch
from orchestrator.schedule.ports import Arrivals, Crew, Share
from orchestrator.schedule.scheduler import Scheduler
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.telemetry import Gauges
from orchestrator.score.bank import BankPart, bank_of, bank_parts, missing_parts
from workers.fingerprints import BankSpec


def work(
    context: RunContext,
    plan: Plan,
    resources: Resources,
    listener: Listener,
    claim: Claim,
    *,
    joined: bool,
    arrivals: Arrivals | None = None,
    check_signals: Callable[[], None] = lambda: None,
) -> None:
    """Take a plan's images from the store's inputs to rows of results, on the Ray at hand.

    Args:
        context, plan, resources: the run.
        listener, claim: receive the run's progress.
        joined: whether the Ray is a cluster's, and not this run's own.
        arrivals: the images on their way to the store; None if all are there.
        check_signals: is called often and may raise KeyboardInterrupt.

    Raises:
        RayLostError: Ray is gone.
        StoreError, RunFailedError, SupersededError, RunCancelledError, HoursSpentError: see `Loop.run`.
    """
    try:
        crew = RayCrew(context, resources, joined=joined)
        loop = loop_of(
            context,
            plan,
            Share(resources),
            listener=listener,
            claim=claim,
            crew=crew,
            watch=Watch(context, trusted=[crew.node]),
            gauges=Gauges(context.run),
            joined=joined,
            arrivals=arrivals,
        )
        loop.run(check_signals)
    except RayError as error:
        raise RayLostError(f"Ray was lost ({cause(error)})") from error


def loop_of(
    context: RunContext,
    plan: Plan,
    share: Share,
    *,
    listener: Listener,
    claim: Claim,
    crew: Crew,
    watch: Watch,
    gauges: Gauges,
    joined: bool,
    arrivals: Arrivals | None = None,
) -> Loop:
    """Return the loop that takes the images of a plan that have no rows yet to their rows; clean up after others."""
    config, tally = context.config, Tally()
    # An image that an earlier attempt has finished has its rows.
    rows = set(context.store.keys(context.layout.rows))
    ended = _Ended(context.layout, rows)
    if plan.continued is not None:
        delete_leftovers(context, ended)
    # All images arrive, or all are there.
    images = [image for image in plan.images if image.id not in ended] if arrivals is None else []
    # Claims ask the store with little patience; a driver in mid-run has that of the run's work.
    ledger = StoreLedger(
        context,
        plan.arms,
        partial(claim.check, now=True, through=context.store),
        lambda image: tilings(config, [image], share.resources).get(image.id),
    )
    banks = _banks(context, plan, [bank_of(config, image) for image in images], tally)
    return Loop(
        scheduler=Scheduler(
            plan,
            images,
            banks,
            ledger,
            coming=0 if arrivals is None else arrivals.coming,
            ended=ended,
            gpu_share=lambda image, key: share.resources.gpu_share(config, image, *key),
            tally=tally,
        ),
        banks=banks,
        tally=tally,
        crew=crew,
        ledger=ledger,
        listener=listener,
        claim=claim,
        gauges=gauges,
        watch=watch,
        share=share,
        parallel=config.resources.parallel,
        hours=config.resources.hours,
        joined=joined,
        arrivals=arrivals,
    )


class _Ended(Container[str]):
    """The ids of the images of a run that have their rows."""

    def __init__(self, layout: RunLayout, rows: Container[str]) -> None:
        self._layout, self._rows = layout, rows

    def __contains__(self, image: object) -> bool:
        return self._layout.row(str(image)) in self._rows


def _banks(context: RunContext, plan: Plan, specs: list[BankSpec | None], tally: Tally) -> Banks:
    config, candidates = plan.config, candidates_of(plan.config)
    needed = dict.fromkeys(spec for spec in specs if spec is not None)

    def find(spec: BankSpec) -> tuple[Sequence[BankPart], Sequence[BankPart]]:
        return bank_parts(config, spec, candidates), missing_parts(context.store, config, spec, candidates)

    found = {spec: find(spec) for spec in needed}
    return Banks(
        {spec: parts for spec, (parts, _) in found.items()},
        {spec: missing for spec, (_, missing) in found.items()},
        retries=config.resources.retries,
        tally=tally,
        find=find,
    )
