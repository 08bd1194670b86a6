"""The failure policy: whether a trial that crashed is tried again. Pure decisions, and how a crash is read from Tune's words."""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.errors import (
    DamagedError,
    FitOutOfMemoryError,
    NewerFormatError,
    NodeLeavingError,
    StoreError,
    StoreUnavailableError,
)

Cause = Literal["store", "store unavailable", "memory", "node", "worker"]

MACHINES_THAT_MAY_BE_LOST = 20
"""How often a fit may lose its machine, which is no fault of its own, before it counts as failed."""


@dataclass(frozen=True)
class Crash:
    """A trial that left no record. The cause is the store, memory, its machine's end, or its own worker."""

    cause: Cause
    reason: str


@dataclass(frozen=True)
class History:
    """How often the trials of a fit have crashed by their own fault, and lost their machine."""

    crashes: int = 0
    losses: int = 0


@dataclass(frozen=True)
class Retry:
    """The fit is tried again: as before, or ``alone`` on a machine or GPU."""

    history: History
    alone: bool = False


@dataclass(frozen=True)
class GiveUp:
    """The fit has had its chances and counts as failed."""

    history: History


def decide(crash: Crash, history: History, *, alone: bool, retries: int) -> Retry | GiveUp:
    """What becomes of a fit whose trial crashed.

    Args:
        crash: what happened.
        history: what happened to the fit before.
        alone: whether the trial had a machine, or a GPU, for itself.
        retries: how often a fit may crash by its own fault and be tried again.

    Raises:
        StoreError: the store failed, which is no fault of the fit.
    """
    if crash.cause == "store":
        raise StoreError(crash.reason)
    if crash.cause == "store unavailable":
        raise StoreUnavailableError(crash.reason)
    if crash.cause == "memory":
        return GiveUp(history) if alone else Retry(history, alone=True)
    if crash.cause == "node":
        history = replace(history, losses=history.losses + 1)
        return (Retry if history.losses <= MACHINES_THAT_MAY_BE_LOST else GiveUp)(history)
    history = replace(history, crashes=history.crashes + 1)
    return (Retry if history.crashes <= retries else GiveUp)(history)


_CAUSES: dict[type[Exception], Cause] = {
    StoreUnavailableError: "store unavailable",
    StoreError: "store",
    DamagedError: "store",
    NewerFormatError: "store",
    FitOutOfMemoryError: "memory",
    NodeLeavingError: "node",
}
_NAMED: dict[str, Cause] = {f"{kind.__module__}.{kind.__qualname__}": cause for kind, cause in _CAUSES.items()}


def crash_of(text: str) -> Crash:
    """Why a trial crashed, by what Tune wrote down: a traceback whose last line names the exception, or what Ray saw."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    last = lines[-1] if lines else ""
    name, _, said = last.partition(": ")
    if name in _NAMED:
        return Crash(_NAMED[name], said)
    if "running low on memory" in text:
        return Crash("memory", "its worker was ended because the machine ran low on memory")
    if "worker process has died" in text or not last:
        return Crash("worker", "its worker process died: it crashed, or was killed, for want of memory perhaps")
    if "its node has died" in text or "is unavailable" in last:
        return Crash("node", "its machine was lost")
    return Crash("worker", last[:300])
