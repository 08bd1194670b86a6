"""Carry out a plan: claim the run, keep its record, write results and report."""

import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.drive.inputs import all_brought, bringing_of, tell_of, without_rejected
from orchestrator.drive.local_ray import interruptible, local_ray, uninterrupted
from orchestrator.drive.study import conclude_study
from orchestrator.errors import (
    DamagedError,
    HoursSpentError,
    ImagesUnavailableError,
    OrchestratorError,
    RayLostError,
    RunCancelledError,
    RunFailedError,
    StoreError,
    StoreUnavailableError,
    SupersededError,
    UserMistakeError,
)
from orchestrator.figures.run import figures_of, write_figures
from orchestrator.fit.generators import put_generators
from orchestrator.plan.plan import Plan
from orchestrator.report.build import write_report
from orchestrator.resources.facts import machine_facts
from orchestrator.resources.share import Resources
from orchestrator.run.attempt import DELETES, RunState, last_attempt, machines_of, now
from orchestrator.run.claim import Claim, take
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import Source, image_ids, read_inputs
from orchestrator.run.layout import SHARED, RunLayout
from orchestrator.run.marker import hold
from orchestrator.run.progress import Listener, Stage
from orchestrator.run.record import RunRecord, read_run
from orchestrator.run.rows import Row, read_rows, write_results
from orchestrator.run.versions import code_version, mixture
from orchestrator.schedule.work import work
from orchestrator.store import Store
from orchestrator.text import counted


@dataclass(frozen=True)
class Outcome:
    """The end of a run: its record and its rows."""

    record: RunRecord
    rows: list[Row]


def begin(store: Store, plan: Plan, machine: dict[str, Any]) -> RunRecord:
    """Create the run's record, which takes the run's name, and its settings; a resumed run keeps its record.

    Raises:
        UserMistakeError: another run has taken the name meanwhile, or something is left of one that was deleted.
    """
    layout = RunLayout(plan.run)
    if plan.continued is not None:
        put_generators(store, layout, plan.config)
        _put_config(store, layout, plan.continued)
        return plan.continued
    record = RunRecord(
        run=plan.run,
        created=now(),
        images=plan.count + len(plan.rejected),
        rejected=len(plan.rejected),
        simulate=plan.simulate,
        config=plan.config.model_dump(mode="json"),
        machine=machine,
        command=plan.command,
        source=asdict(_absolute(plan.source)),
    )
    # Rows and fits of another run would be taken for this one's. Who imports or deletes a run of this name writes
    # something before the record, or keeps something after it, so that one of the two sees the other.
    there = set(store.keys(layout.root))
    if there and layout.record not in there:
        raise _leftovers(store, layout)
    if not store.create(layout.record, record.to_json()):
        raise UserMistakeError(f"--run {plan.run}: the store {store.url} has a run of this name; choose another")
    if _is_kept_busy(store, layout):
        store.delete(layout.record)
        raise _leftovers(store, layout)
    put_generators(store, layout, plan.config)
    _put_config(store, layout, record)
    return record


def _is_kept_busy(store: Store, layout: RunLayout) -> bool:
    """Whether somebody imports or deletes a run of a new run's name.

    Other drivers may have taken up the new run itself, since its record is there.
    """
    if store.exists(layout.reservation):
        return True
    attempt = last_attempt(store, layout)
    return attempt is not None and attempt.holder.machine == DELETES


def _leftovers(store: Store, layout: RunLayout) -> UserMistakeError:
    return UserMistakeError(
        f"--run {layout.run}: {store.show(layout.root)} has what is left of a run, or one is just being imported or"
        f" deleted: choose another name, or `delete {layout.run}` first"
    )


def _put_config(store: Store, layout: RunLayout, record: RunRecord) -> None:
    store.create(layout.config, yaml.safe_dump(record.config, sort_keys=False).encode())


def _absolute(source: Source) -> Source:
    """Make the folders of a source absolute, so that they are found from anywhere on this machine."""

    def place(folder: str | None) -> str | None:
        return None if folder is None else str(Path(folder).expanduser().absolute())

    images = Path(source.images).expanduser().absolute()
    return replace(source, images=str(images), references=place(source.references), masks=place(source.masks))


def execute(store: Store, plan: Plan, listener: Listener, *, dashboard: bool = True, joined: bool = False) -> Outcome:
    """Carry out a plan on this machine with a Ray of its own, or on the Ray that the caller has ``joined``.

    Raises:
        UserMistakeError: another run has taken the name meanwhile, or another driver holds the run.
        SupersededError: another driver has taken the run over.
        RunCancelledError: somebody has cancelled the run.
        HoursSpentError: the run has used its machine hours (``resources.hours``).
        StoreError: the store failed; the run's record says so if it can still be written.
        RayLostError: Ray is gone; the run is paused.
        ImagesUnavailableError: the folder of the images has vanished; the run is paused.
        RunFailedError: something else failed that is no fault of an image; the run's record says what.
        KeyboardInterrupt: the user stopped the run; finished work is in the store, results and report included.
    """
    started = time.monotonic()
    layout, resources = RunLayout(plan.run), plan.resources
    if resources is None:
        raise ValueError("a plan that is carried out needs its resources")
    machine = machine_facts(resources)
    # From here on a store that vanishes is waited for, and not made anew.
    marker = hold(store)
    record = begin(store, plan, machine)
    context = RunContext(
        store.url,
        plan.run,
        plan.config,
        plan.simulate,
        resources.device,
        resources.threads,
        resources.score_device,
        # One machine has only one version of the code, unless somebody edits it meanwhile.
        code_version() if joined else "",
        marker,
    )
    session = nullcontext() if joined else local_ray(resources, dashboard=dashboard)
    # The claim waits for the store less long than the work does: a driver that ends must not hang.
    with interruptible(), take(store, layout, machine, note=listener.note) as claim:

        def seconds() -> float:
            return round(time.monotonic() - started, 3)

        try:
            with session as dashboard_url, interruptible() as check_signals:
                if dashboard_url:
                    listener.note(f"dashboard: {dashboard_url} (its token is in ~/.ray/auth_token)")
                logged = _LoggedListener(listener, claim)
                if not store.exists(layout.record):
                    raise UserMistakeError(f"the run {plan.run} has been deleted meanwhile")
                mixed = mixture(machines_of(store, layout))
                if mixed:
                    logged.note(mixed)
                _sweep(store, layout, logged)
                plan = _work(context, plan, resources, logged, claim, joined=joined, check_signals=check_signals)
            claim.check(now=True)
            took = seconds()
            ended = replace(read_run(store, plan.run), state=RunState.FINISHED, finished=now(), seconds=took)
            rows = _write_tables(context.store, ended, _all_rows(context.store, layout))
            if plan.command == "study":
                conclude_study(context.store, ended, plan.images)
            # Last: who finds the run finished finds all that it leaves.
            claim.end(RunState.FINISHED, seconds=took)
            record = read_run(store, plan.run)
        except SupersededError:
            # Nothing that this driver writes counts any more.
            raise
        except BaseException as error:
            state, reason = _ending(error)
            with uninterrupted():
                _give_up(store, claim, state, reason, seconds())
            if state is RunState.INTERRUPTED and isinstance(error, OrchestratorError):
                raise type(error)(f"{error}; the run {plan.run} is paused") from None
            if isinstance(error, OrchestratorError) or not isinstance(error, Exception):
                raise
            # The cause stays attached: --debug shows its traceback.
            raise RunFailedError(f"the run {plan.run} failed: {reason}; --debug shows where") from error
    return Outcome(record, rows)


def _ending(error: BaseException) -> tuple[RunState, str]:
    """Map an error to the state that the run ends in and the reason that its record gives."""
    if isinstance(error, KeyboardInterrupt):
        return RunState.INTERRUPTED, "stopped by the user"
    if not isinstance(error, Exception):
        return RunState.INTERRUPTED, "its driver was told to exit"
    if isinstance(error, OrchestratorError):
        return next((state for kind, state in _STATES if isinstance(error, kind)), RunState.FAILED), str(error)
    return RunState.FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


_STATES: tuple[tuple[type[OrchestratorError], RunState], ...] = (
    (RunCancelledError, RunState.CANCELLED),
    (HoursSpentError, RunState.SPENT),
    (StoreUnavailableError, RunState.INTERRUPTED),
    (ImagesUnavailableError, RunState.INTERRUPTED),
    (RayLostError, RunState.INTERRUPTED),
)
"""The states that runs end in by errors that are no failure."""


class _LoggedListener:
    """A listener that also keeps its notes in the run's log."""

    def __init__(self, listener: Listener, claim: Claim) -> None:
        self._listener, self._claim = listener, claim

    def note(self, message: str) -> None:
        self._claim.log(message)
        self._listener.note(message)

    def update(self, stages: Sequence[Stage]) -> None:
        self._listener.update(stages)


def _sweep(store: Store, layout: RunLayout, listener: Listener) -> None:
    """Remove what killed writers of this run, and of what all runs share, have left in the store."""
    # Nothing depends on it; a store in trouble is met, and reported, by the run's own work.
    with contextlib.suppress(StoreError):
        swept = sum(store.sweep(prefix) for prefix in (*SHARED, layout.root))
        if swept:
            listener.note(f"removed {counted(swept, 'file')} that killed processes had left in the store")


def _work(
    context: RunContext,
    plan: Plan,
    resources: Resources,
    listener: Listener,
    claim: Claim,
    *,
    joined: bool,
    check_signals: Callable[[], None],
) -> Plan:
    """Take a plan's images to their rows while they are brought to the store; return the plan with those brought."""

    def check(coming: int) -> None:
        check_signals()
        claim.check_stop()

    if not plan.coming:
        plan = without_rejected(context, plan, resources, listener)
        tell_of(plan, resources, listener)
        work(context, plan, resources, listener, claim, joined=joined, check_signals=check_signals)
        return plan
    tell_of(plan, resources, listener)
    looked_at = nullcontext() if plan.rest is None else contextlib.closing(plan.rest)
    with looked_at, bringing_of(context, plan, resources, claim, listener) as bringing:
        if plan.config.lottery.together:
            # A search on all images together begins with all of them.
            plan = all_brought(plan, bringing, check)
        arrivals = bringing if plan.coming else None
        work(context, plan, resources, listener, claim, joined=joined, arrivals=arrivals, check_signals=check_signals)
        # On a resumed run all images may have rows before the last of them is in the store.
        return all_brought(plan, bringing, check)


def _give_up(store: Store, claim: Claim, state: RunState, reason: str, seconds: float) -> None:
    """Try to write the table and the page of what is there, and record how the run ended, whatever else fails.

    The run is held until then: another driver may go on at once, and its tables count.
    """
    with contextlib.suppress(Exception):
        claim.check(now=True)
        record = read_run(store, claim.run)
        _write_tables(store, replace(record, state=state, reason=reason, finished=now(), seconds=seconds))
        try:
            claim.check(now=True)
        except SupersededError:
            _write_again(store, RunLayout(claim.run))
    with contextlib.suppress(Exception):
        claim.end(state, seconds=seconds, reason=reason)


def _write_again(store: Store, layout: RunLayout) -> None:
    """Write the tables of a run that another driver has taken over, while this one was held up in writing them.

    It may have written over those of the other. It ends with a look that shows the rows that it has written: what the
    other adds after that, the other writes itself.
    """
    written: list[Row] | None = None
    while written != read_rows(store, layout, known=_all_rows(store, layout)):
        written = _write_tables(store, read_run(store, layout.run), _all_rows(store, layout))


def _all_rows(store: Store, layout: RunLayout) -> list[str]:
    """The keys of all rows that a run has at its end. Some services list late what was written last."""
    inputs = read_inputs(store, layout)
    if inputs is None:
        return []
    rejected = map(layout.rejected_row, range(len(inputs.rejected)))
    return [*(layout.row(image.id) for image in inputs.images), *rejected]


def _write_tables(store: Store, record: RunRecord, known: Sequence[str] = ()) -> list[Row]:
    """Write the tables and the page of what is there; return the rows. ``known`` are keys of rows that no listing
    may show yet.

    Raises:
        DamagedError: rows of some images cannot be read; the tables and the page have the others.
    """
    layout = RunLayout(record.run)
    unreadable: list[str] = []
    rows = read_rows(store, layout, unreadable.append, known)
    write_results(store, layout, rows)
    left_out = list(unreadable)
    # Without the list of inputs the rows still count: only the pictures have no place.
    figures = figures_of(rows, image_ids(store, layout, left_out.append))
    write_figures(store, layout, figures)
    write_report(store, record, rows, figures, left_out)
    if unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise DamagedError(f"{unreadable[0]}{more}")
    return rows
