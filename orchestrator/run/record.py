"""The record of a run: plain JSON in the store."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.errors import NotFoundError, OrchestratorError, StoreUnavailableError, UserMistakeError
from orchestrator.run.attempt import RunState, Stop, last_attempt, latest
from orchestrator.run.claim import request_stop, take
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.layout import RUNS, RunLayout
from orchestrator.store import Store
from orchestrator.text import printable

_SILENT = timedelta(minutes=5)


@dataclass(frozen=True)
class RunRecord:
    """The definition of a run and its state.

    The definition is in ``run.json``, created once: the settings, ``command`` (submit or study), and ``source``, the
    folders and options that its images came from. The state is in the last claim (`orchestrator.run.claim`): ``state``
    and the fields after it. ``machine`` holds everything that the figures depend on: versions, CPU, threads per trial,
    trials at once, device. ``usage`` is the cost so far: hours of machines, of their CPUs and GPUs, and of the shares
    of GPUs that fits held.
    """

    run: str
    created: str
    images: int
    rejected: int
    simulate: bool
    config: dict[str, Any]
    machine: dict[str, Any]
    command: str = "submit"
    source: dict[str, Any] = field(default_factory=dict)
    state: RunState = RunState.INTERRUPTED
    finished: str | None = None
    seconds: float | None = None
    reason: str | None = None
    driver: str | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    waits_for: Sequence[str] = ()
    usage: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The definition of the run, as plain JSON."""
        return RUN_RECORDS.to_json(self, indent=2)

    @classmethod
    def from_json(cls, data: bytes) -> "RunRecord":
        """The definition of a run; its state is not part of the JSON.

        Raises:
            NewerFormatError: a newer version has written it.
            ValueError: this is no record of a run.
        """
        return RUN_RECORDS.from_json(data)

    def summary(self) -> dict[str, Any]:
        """The line of a list of runs."""
        return {
            "run": self.run,
            "state": str(self.state),
            "images": self.images,
            "created": self.created,
            "finished": self.finished,
            "seconds": self.seconds,
        }

    @property
    def cost(self) -> float | None:
        """The price of the machine hours so far, by the price that the run was begun with; None without a price."""
        price = self.config.get("resources", {}).get("price_per_hour")
        return None if price is None else self.usage.get("machine_hours", 0.0) * price

    def standing(self) -> dict[str, Any]:
        """Everything known about the run's state."""
        return {
            **self.summary(),
            "rejected": self.rejected,
            "reason": self.reason,
            "driver": self.driver,
            "stages": [dict(stage) for stage in self.stages],
            "waits_for": list(self.waits_for),
            "usage": dict(self.usage),
            "cost": self.cost,
        }


_STANDING = frozenset({"state", "finished", "seconds", "reason", "driver", "stages", "waits_for", "usage"})

RUN_RECORDS = RecordFormat("the record of the run", RunRecord, (same_fields,), leave_out=_STANDING)
"""Format 0: the same fields without a number."""


def new_run_name() -> str:
    """A name that sorts by time: ``20260131-142501-9f3a``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def is_run_name(name: str) -> bool:
    """Whether a run can have this name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name) is not None


def check_run_name(name: str) -> str:
    """The name itself, if it is valid.

    Raises:
        UserMistakeError: it holds other characters than letters, digits, dot, dash and underscore, or is too long.
    """
    if not is_run_name(name):
        raise UserMistakeError(
            f"{name!r} cannot be a run's name, which has letters, digits, dots, dashes and underscores only, at most 80"
        )
    return name


def no_such_run(store: Store, run: str) -> UserMistakeError:
    """The mistake of naming a run that a store does not have."""
    names = ", ".join(store.children(RUNS)[-5:]) or "none"
    return UserMistakeError(f"no run {run!r} in the store {store.url}; the latest there: {names}")


def read_run(store: Store, run: str) -> RunRecord:
    """The record of a run. A run that is recorded as running is shown as interrupted if its driver is
    gone or silent for minutes.

    Raises:
        UserMistakeError: there is no such run, or its folder has another run's name.
        NewerFormatError: a newer version has written its record.
        DamagedError: the object in its place is no record of a run, or nothing says who has claimed it.
    """
    layout = RunLayout(check_run_name(run))
    try:
        record = RUN_RECORDS.read(store, layout.record)
    except NotFoundError:
        raise no_such_run(store, run) from None
    if record.run != run:
        # A copy would write into the original, whose name its record has.
        raise UserMistakeError(
            f"{store.show(layout.root)} has the record of the run {printable(record.run)}: the folder of a run cannot"
            f" be renamed or copied; call it {printable(record.run)} again, or delete it if that run is there too"
        )
    attempt = last_attempt(store, layout)
    if attempt is None:
        return replace(record, reason="no driver has begun it yet")
    standing = attempt.standing
    record = replace(
        record,
        machine=dict(attempt.holder.machine),
        state=standing.state,
        finished=standing.finished,
        seconds=standing.seconds,
        reason=standing.reason,
        driver=attempt.holder.name,
        stages=tuple(standing.stages),
        waits_for=tuple(standing.waits_for),
        usage=standing.usage,
    )
    if standing.state is not RunState.RUNNING:
        return record
    if attempt.damage is not None:
        # A driver that lives writes its next report within seconds.
        return replace(record, state=RunState.INTERRUPTED, reason=attempt.damage)
    if attempt.holder.is_gone:
        return replace(record, state=RunState.INTERRUPTED, reason="its driver is gone")
    # For people only: a driver that takes a run over uses its own clock (`orchestrator.run.claim.take`).
    if standing.at and datetime.now(UTC) - datetime.fromisoformat(standing.at) > _SILENT:
        return replace(
            record, state=RunState.INTERRUPTED, reason=f"no sign of life from its driver since {standing.at}"
        )
    return record


def cancel_run(store: Store, run: str, stop: Stop) -> RunRecord:
    """Stop a run: its driver is asked to stop, and a run without one is cancelled at once. A run that
    has ended stays as it is.

    Returns the run's record as it is then; a driver that was asked takes some seconds.

    Raises:
        UserMistakeError: there is no such run.
    """
    record, layout = read_run(store, run), RunLayout(run)
    if record.state not in (RunState.RUNNING, RunState.INTERRUPTED):
        return record
    attempt = last_attempt(store, layout)
    if attempt is not None and not attempt.is_over:
        # A silent driver is asked too: this machine's clock may be wrong. Who takes the run over meanwhile is asked as
        # well, since a request reaches one driver only.
        asked = 0
        while (number := latest(store, layout)) != asked:
            request_stop(store, layout, number, stop)
            asked = number
        if record.state is RunState.RUNNING:
            return record
    try:
        with take(store, layout, record.machine) as claim:
            claim.end(RunState.CANCELLED, reason="cancelled")
    except UserMistakeError:
        return replace(record, state=RunState.RUNNING)  # it is alive after all, and has been asked
    return read_run(store, run)


@dataclass(frozen=True)
class UnreadableRun:
    """A run that cannot be shown, and the reason, on one line."""

    run: str
    reason: str

    def summary(self) -> dict[str, Any]:
        """The line of a list of runs, with what is known."""
        unknown = dict.fromkeys(("images", "created", "finished", "seconds"))
        return {"run": self.run, "state": "unreadable", **unknown, "reason": self.reason}


def list_runs(store: Store) -> tuple[list[RunRecord], list[UnreadableRun]]:
    """All runs of a store, oldest first, and those that cannot be read: damaged, of a newer version, or renamed.

    Raises:
        StoreUnavailableError: the store is in trouble.
    """
    records: list[RunRecord] = []
    unreadable: list[UnreadableRun] = []
    for name in store.children(RUNS):
        # A folder of another name is none of ours.
        if is_run_name(name):
            try:
                # A folder without a record is left over from a run that never began.
                if store.exists(RunLayout(name).record):
                    records.append(read_run(store, name))
            except StoreUnavailableError:
                raise
            except OrchestratorError as error:
                unreadable.append(UnreadableRun(name, str(error)))
    return sorted(records, key=lambda record: (record.created, record.run)), unreadable
