"""What drivers have left of their claims on a run, as any process reads it.

A claim is a folder of the store: who holds it (``holder.json``), how the run goes (``state.json``), what was said (``log.txt``)
and whether somebody wants it to stop (``cancel.json``). The claim of the highest number counts.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import (
    NotFoundError,
)
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.layout import ClaimLayout, RunLayout
from orchestrator.store import Store

Stop = Literal["now", "drain"]
"""At once, or when the work that is under way has ended."""


class RunState(StrEnum):
    """The life of a run.

    RUNNING -> FINISHED: every image has its row.
    RUNNING -> INTERRUPTED: stopped by the user, the store was away for too long, or its driver died.
    RUNNING -> CANCELLED: by ``cancel``.
    RUNNING -> FAILED: the driver could not go on, for the reason in the record.
    All but the first go on from where they were with ``resume``.
    """

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    FAILED = "failed"


def now() -> str:
    """The time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Holder:
    """A driver that holds, or held, a run: ``boot`` and ``started`` tell its process from a later one of the same number."""

    number: int
    host: str
    pid: int
    boot: str | None
    started: str | None
    since: str
    machine: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The holder for people."""
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this machine and its process is no more; of another machine nothing can be said."""
        boot, started = process_of(self.pid)
        if self.host != socket.gethostname() or boot is None or boot != self.boot or started == self.started:
            return False
        try:
            # A system may hide the processes of others, but not that they are there.
            os.kill(self.pid, 0)
        except PermissionError:
            return started is not None
        except ProcessLookupError:
            return True
        return True


@dataclass(frozen=True)
class Standing:
    """How a run goes, in its holder's words; ``beat`` counts its signs of life, the last of them ``at``.

    ``stages`` are the counts of its stages (the fields of `orchestrator.run.progress.Stage`), ``waits_for`` what it waits for, a
    line each, and ``usage`` what all its attempts together have used (see `orchestrator.schedule.machines`), in hours.
    """

    state: RunState
    beat: int = 0
    at: str = ""
    finished: str | None = None
    seconds: float | None = None
    reason: str | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    waits_for: Sequence[str] = ()
    usage: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Plain JSON."""
        return STANDINGS.to_json(self, indent=2)


@dataclass(frozen=True)
class StopRequest:
    """Somebody's wish that the holder of a claim stops, written at the time ``at``."""

    stop: Stop
    at: str = ""


HOLDERS = RecordFormat("the holder of a claim", Holder, (same_fields,))
"""Format 0: the same fields without a number; so for the two that follow."""
STANDINGS = RecordFormat("the state of a claim", Standing, (same_fields,))
STOP_REQUESTS = RecordFormat("the request to stop", StopRequest, (same_fields,))


@dataclass(frozen=True)
class Attempt:
    """A claim as another process finds it. A holder that has not yet said a word is running."""

    holder: Holder
    standing: Standing

    @property
    def is_over(self) -> bool:
        """Whether nobody works under this claim, as far as one look can tell."""
        return self.standing.state is not RunState.RUNNING or self.holder.is_gone


def process_of(pid: int) -> tuple[str | None, str | None]:
    """The machine's present life, as this process sees it, and when a process began in it; None where not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - pathlib would follow the magic link
    except OSError:
        return None, None
    try:
        # The command's name stands in brackets and may hold anything; the start is the 20th field after it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # A zombie does nothing any more.
        started = None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        started = None
    return f"{boot}/{namespace}", started


def latest(store: Store, layout: RunLayout) -> int:
    """The highest number claimed; 0 if there is none. A folder that nobody came to put a holder into is no claim."""
    held = re.compile(re.escape(layout.claims) + r"/(\d{6})/holder\.json")
    return max((int(match[1]) for key in store.keys(layout.claims) if (match := held.fullmatch(key))), default=0)


def last_attempt(store: Store, layout: RunLayout) -> Attempt | None:
    """The claim that counts; None if nobody has ever worked on the run."""
    number = latest(store, layout)
    return None if number == 0 else read_attempt(store, layout.claim(number))


def read_log(store: Store, layout: RunLayout, after: int = 0) -> Iterator[str]:
    """What each driver of a run has said, oldest first, in whole lines of which the first says who it was.

    Those up to the claim of number ``after`` are left out.
    """
    for number in range(after + 1, latest(store, layout) + 1):
        attempt = read_attempt(store, layout.claim(number))
        if attempt is not None:
            said = ""
            with contextlib.suppress(NotFoundError):
                said = store.get(layout.claim(number).log).decode()
            yield f"-- {attempt.holder.name}\n{said}"


def read_attempt(store: Store, keys: ClaimLayout) -> Attempt | None:
    """What a claim says; None if it has no holder."""
    try:
        holder = HOLDERS.read(store, keys.holder)
    except NotFoundError:
        return None
    try:
        standing = STANDINGS.read(store, keys.state)
    except NotFoundError:
        standing = Standing(RunState.RUNNING)
    return Attempt(holder, standing)
