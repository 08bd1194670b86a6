"""Start a run: drive it in this process, in a process of its own, or as a job on a cluster."""

from dataclasses import dataclass

from orchestrator.drive.background import BackgroundDriver, drive_in_background
from orchestrator.drive.cluster import joined_ray, resolve_on_cluster
from orchestrator.drive.driver import Outcome, execute
from orchestrator.drive.handover import Cluster, Job, bring_over, check_reachable_from_machines, hand_over
from orchestrator.errors import UserMistakeError
from orchestrator.plan.advice import advice_at_start
from orchestrator.plan.make import resolve_here
from orchestrator.plan.plan import Plan
from orchestrator.plan.request import Request
from orchestrator.resources.place import why_no_ray
from orchestrator.run.attempt import latest
from orchestrator.run.claim import wait_until_free
from orchestrator.run.layout import RunLayout, probe_key
from orchestrator.run.marker import hold, hold_if_marked
from orchestrator.run.progress import Listener
from orchestrator.store import Store, check_store
from orchestrator.text import counted


@dataclass(frozen=True)
class Begun:
    """A run that is driven elsewhere; ``after`` is the number of the last claim before the driver's own."""

    driver: BackgroundDriver | tuple[Cluster, Job]
    after: int

    def why_it_ended(self) -> str | None:
        """Return the last output of its driver if that has ended; None while it runs."""
        if isinstance(self.driver, BackgroundDriver):
            return self.driver.why_it_ended()
        cluster, job = self.driver
        return cluster.why_it_ended(job)


def drive_here(request: Request, listener: Listener, *, address: str | None, dashboard: bool) -> Outcome:
    """Drive a run in this process until it ends: with a Ray of its own, or on the cluster at ``address``.

    Raises:
        UserMistakeError: something cannot be done as asked.
        KeyboardInterrupt: the user stopped the run. `orchestrator.drive.driver.execute` lists the other errors.
    """
    hold_if_marked(request.store)
    if address is None:
        _check_ray()
        plan = request.plan()
        # Before anything starts, make sure that the store can do all that a run needs.
        check_store(request.store, probe_key())
        _note_sizing(plan, listener)
        _note_length(request, plan, listener)
        listener.note("starting Ray ...")
        return execute(request.store, plan, listener, dashboard=dashboard)
    with joined_ray(address):
        plan = request.plan(resolve_on_cluster)
        check_store(request.store, probe_key())
        _note_sizing(plan, listener)
        listener.note(f"joining Ray at {address} ...")
        return execute(request.store, plan, listener, joined=True)


def begin_in_background(request: Request, listener: Listener, *, address: str | None, dashboard: bool) -> Begun:
    """Bring a run to the store and start its driver as a process of its own on this machine.

    Raises:
        UserMistakeError: something cannot be done as asked, or the run is in progress.
    """
    hold_if_marked(request.store)
    if address is None:
        _check_ray()
    # Only the driver joins the cluster, so its machines are not known here.
    plan = request.plan(resolve_here if address is None else None)
    after = _make_ready(request.store, plan, listener)
    if address is None:
        _note_length(request, plan, listener)
    bring_over(request.store, plan, listener)
    driver = drive_in_background(
        request.store, plan.run, plan.driver_settings, after=after, address=address, dashboard=dashboard
    )
    return Begun(driver, after)


def begin_on_cluster(request: Request, listener: Listener, *, address: str, ship_code: bool) -> Begun:
    """Bring a run to the store and start its driver as a job on the cluster whose dashboard is at ``address``.

    Raises:
        UserMistakeError: something cannot be done as asked, the run is in progress, or the cluster cannot be reached.
    """
    check_reachable_from_machines(request.store)
    hold_if_marked(request.store)
    cluster = Cluster(address)
    plan = request.plan(None)
    after = _make_ready(request.store, plan, listener)
    job = hand_over(request.store, plan, cluster, listener, ship_code=ship_code)
    listener.note(f"its driver is the job {job.id} of {job.cluster}")
    return Begun((cluster, job), after)


def _check_ray() -> None:
    """Check that a Ray can be started here, before anything is begun.

    Raises:
        UserMistakeError: it cannot; the message says what to do.
    """
    wrong = why_no_ray()
    if wrong is not None:
        raise UserMistakeError("; ".join(wrong))


def _make_ready(store: Store, plan: Plan, listener: Listener) -> int:
    """Make sure that a run can be handed to another driver; return the number of its last claim."""
    check_store(store, probe_key())
    hold(store)
    # Time is taken by our own clock: the last driver's machine may have died without recording anything.
    wait_until_free(store, RunLayout(plan.run), note=listener.note)
    listener.note(f"run {plan.run}: bringing {counted(plan.coming, 'image')} to {store.url}")
    _note_sizing(plan, listener)
    return latest(store, RunLayout(plan.run))


def _note_sizing(plan: Plan, listener: Listener) -> None:
    if plan.sizing is not None and plan.sizing.effort is not None:
        listener.note(f"effort {plan.sizing.effort}: {plan.sizing.why}")


def _note_length(request: Request, plan: Plan, listener: Listener) -> None:
    """Say what would do instead of a run that takes longer than a day on this machine."""
    advice = advice_at_start(request, plan)
    if advice is not None:
        listener.note(advice.sentence)
