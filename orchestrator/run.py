"""The record of a run: plain JSON in the store, written by its driver."""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orchestrator.errors import NotFoundError, UserMistakeError
from orchestrator.layout import RUNS, RunLayout
from orchestrator.store import Store


class RunState(StrEnum):
    """The life of a run.

    RUNNING -> FINISHED: every image has its row.
    RUNNING -> INTERRUPTED: stopped by the user, or its driver died; what was finished is in the store.
    RUNNING -> FAILED: the driver could not go on, for the reason in the record.
    """

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class RunRecord:
    """What a run is and how it went.

    ``machine`` holds what the figures depend on: versions, CPU, threads per trial, trials at once, device. ``driver`` is the
    host and process that runs it.
    """

    run: str
    state: RunState
    created: str
    images: int
    rejected: int
    simulate: bool
    config: dict[str, Any]
    machine: dict[str, Any]
    driver: dict[str, Any]
    finished: str | None = None
    seconds: float | None = None
    reason: str | None = None

    def to_json(self) -> bytes:
        """Plain JSON."""
        return json.dumps(asdict(self), indent=2, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "RunRecord":
        """The record back."""
        fields = json.loads(data)
        return cls(**{**fields, "state": RunState(fields["state"])})

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


def now() -> str:
    """The time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run_name() -> str:
    """A name that sorts by time: ``20260131-142501-9f3a``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def check_run_name(name: str) -> str:
    """The name itself, if it can be one.

    Raises:
        UserMistakeError: it holds other characters than letters, digits, dot, dash and underscore, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise UserMistakeError(
            f"--run {name!r}: a run's name has letters, digits, dots, dashes and underscores only, at most 80"
        )
    return name


def this_driver() -> dict[str, Any]:
    """This process, as it stands in the record."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _driver_is_gone(record: RunRecord) -> bool:
    """Whether the driver ran on this machine and its process is no more; of another machine nothing can be said."""
    if record.driver.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(record.driver["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def read_run(store: Store, run: str) -> RunRecord:
    """The record of a run; one that claims to run though its driver is gone is shown as interrupted.

    Raises:
        UserMistakeError: there is no such run.
    """
    try:
        record = RunRecord.from_json(store.get(RunLayout(run).record))
    except NotFoundError:
        names = ", ".join(store.children(RUNS)[-5:]) or "none"
        raise UserMistakeError(f"no run {run!r} in the store {store.url}; the latest there: {names}") from None
    if record.state is RunState.RUNNING and _driver_is_gone(record):
        return replace(record, state=RunState.INTERRUPTED, reason="its driver is gone")
    return record


def all_runs(store: Store) -> list[RunRecord]:
    """All runs of a store, oldest first."""

    def records() -> Iterator[RunRecord]:
        for name in store.children(RUNS):
            # A folder without a record is what is left of a run that never began.
            if store.exists(RunLayout(name).record):
                yield read_run(store, name)

    return sorted(records(), key=lambda record: (record.created, record.run))
