"""Claims on a run as any process reads them from the store.

A claim is a folder of the store: its holder (``holder.json``), the state of the run (``state.json``), the log
(``log.txt``) and a request to stop, if there is one (``cancel.json``). The claim of the highest number counts.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.layout import ClaimLayout, RunLayout
from orchestrator.store import Store

Stop = Literal["now", "drain"]
"""At once, or when the work in progress has ended."""


class RunState(StrEnum):
    """The life of a run.

    RUNNING -> FINISHED: every image has its row. RUNNING -> INTERRUPTED: stopped by the user, the store was away for
    too long, or its driver died. RUNNING -> CANCELLED: by ``cancel``. RUNNING -> SPENT: it has used the machine hours
    that it may use (``resources.hours``). RUNNING -> FAILED: the driver could not go on, for the reason in the record.
    ``resume`` continues any of the last five from where it was; a spent run needs a larger value of that setting.
    """

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    SPENT = "spent"
    FAILED = "failed"


DELETES: Mapping[str, Any] = {"what": "delete"}
"""Stands in place of the machine in the claim of who deletes a run."""


def now() -> str:
    """The time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Holder:
    """A driver that holds, or held, a run. ``boot`` and ``started`` distinguish its process from a
    later one of the same number.
    """

    number: int
    host: str
    pid: int
    boot: str | None
    started: str | None
    since: str
    machine: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The holder's name for people."""
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this machine and its process has ended. For another machine the answer is always no."""
        boot, started = process_of(self.pid)
        if self.host != socket.gethostname() or boot is None or boot != self.boot or started == self.started:
            return False
        try:
            # A system may hide the processes of others, but not their existence.
            os.kill(self.pid, 0)
        except PermissionError:
            return started is not None
        except ProcessLookupError:
            return True
        return True


@dataclass(frozen=True)
class Standing:
    """The state of a run, as its holder reports it. ``beat`` counts its signs of life; the last was ``at``.

    ``stages`` are the counts of its stages (the fields of `orchestrator.run.progress.Stage`), ``waits_for`` what it
    waits for, a line each, and ``usage`` the resources that all its attempts together have used (see
    `orchestrator.schedule.machines`), in hours.
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


_SILENT = Standing(RunState.RUNNING, beat=-1)
"""A holder that has given no sign of life; its first one, of beat 0, is another."""


@dataclass(frozen=True)
class StopRequest:
    """A request that the holder of a claim stop, written at the time ``at``."""

    stop: Stop
    at: str = ""


HOLDERS = RecordFormat("the holder of a claim", Holder, (same_fields,))
"""Format 0: the same fields without a number. The same holds for the next two."""
STANDINGS = RecordFormat("the state of a claim", Standing, (same_fields, same_fields))
"""Format 1: the same fields, but its readers know no run whose hours are spent."""
STOP_REQUESTS = RecordFormat("the request to stop", StopRequest, (same_fields,))


@dataclass(frozen=True)
class Attempt:
    """A claim as another process finds it. A holder that has not yet reported is running.

    A report that cannot be read counts as none, and ``damage`` says why: a holder that lives soon writes another.
    """

    holder: Holder
    standing: Standing
    damage: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody works under this claim, as far as one look can show."""
        return self.standing.state is not RunState.RUNNING or self.holder.is_gone


def process_of(pid: int) -> tuple[str | None, str | None]:
    """The boot of this machine, as this process sees it, and the start time of a process; None where not known."""
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
    """The highest number claimed; 0 if there is none. A folder without a holder is no claim."""
    held = re.compile(re.escape(layout.claims) + r"/(\d{6})/holder\.json")
    return max((int(match[1]) for key in store.keys(layout.claims) if (match := held.fullmatch(key))), default=0)


def last_attempt(store: Store, layout: RunLayout) -> Attempt | None:
    """The claim that counts; None if nobody has ever worked on the run."""
    number = latest(store, layout)
    return None if number == 0 else read_attempt(store, layout.claim(number))


def machines_of(store: Store, layout: RunLayout) -> list[Mapping[str, Any]]:
    """The machines of all that have driven a run, with their versions, oldest first; without those that cannot be
    read."""
    machines: list[Mapping[str, Any]] = []
    for number in range(1, latest(store, layout) + 1):
        with contextlib.suppress(NotFoundError, DamagedError, NewerFormatError):
            machines.append(HOLDERS.read(store, layout.claim(number).holder).machine)
    return machines


def read_log(store: Store, layout: RunLayout, after: int = 0) -> Iterator[str]:
    """The logs of a run's drivers, oldest first, in whole lines. The first line of each names the driver.

    Logs up to the claim of number ``after`` are left out.
    """
    for number in range(after + 1, latest(store, layout) + 1):
        try:
            attempt = read_attempt(store, layout.claim(number))
            name = None if attempt is None else attempt.holder.name
        except (DamagedError, NewerFormatError) as error:
            name = str(error)
        if name is not None:
            log = ""
            try:
                log = store.get(layout.claim(number).log).decode(errors="replace")
            except NotFoundError:
                pass
            except DamagedError as error:
                log = f"{error}\n"
            yield f"-- {name}\n{log}"


def read_attempt(store: Store, keys: ClaimLayout) -> Attempt | None:
    """A claim as the store has it; None if it has no holder.

    The number of a holder is that of its place. The state of a holder that is gone is the last that it has written.
    """
    try:
        holder = replace(HOLDERS.read(store, keys.holder), number=int(keys.root.rpartition("/")[2]))
    except NotFoundError:
        return None
    attempt = _with_standing(store, keys, holder)
    if attempt.standing.state is RunState.RUNNING and holder.is_gone:
        # It may have recorded its end, and ended, between these two looks.
        return _with_standing(store, keys, holder)
    return attempt


def _with_standing(store: Store, keys: ClaimLayout, holder: Holder) -> Attempt:
    try:
        return Attempt(holder, STANDINGS.read(store, keys.state))
    except NotFoundError:
        return Attempt(holder, _SILENT)
    except DamagedError as error:
        return Attempt(holder, _SILENT, str(error))
