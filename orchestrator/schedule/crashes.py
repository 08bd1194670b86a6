"""The failure policy decides whether a crashed trial is retried. Pure decisions; a crash is read from Tune's error
text."""

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
"""How often a fit may lose its machine before it counts as failed."""


@dataclass(frozen=True)
class Crash:
    """A trial that left no record. The cause is the store, memory, the loss of its machine, or its own worker."""

    cause: Cause
    reason: str


@dataclass(frozen=True)
class History:
    """How often the trials of a fit have crashed by their own fault, and how often they have lost their machine."""

    crashes: int = 0
    losses: int = 0


@dataclass(frozen=True)
class Retry:
    """Retry the fit: as before, or ``alone`` on a machine or GPU."""

    history: History
    alone: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Retry no more: the fit counts as failed."""

    history: History


def decide(crash: Crash, history: History, *, alone: bool, retries: int) -> Retry | GiveUp:
    """Decide what becomes of a fit whose trial crashed.

    Args:
        crash: the crash.
        history: the fit's earlier crashes.
        alone: whether the trial had a machine, or a GPU, for itself.
        retries: how often a fit that crashes by its own fault is retried.

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
    """Find out why a trial crashed from the text that Tune kept: a traceback that ends with the exception, or a message
    of Ray."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    last = lines[-1] if lines else ""
    name, _, message = last.partition(": ")
    if name in _NAMED:
        return Crash(_NAMED[name], message)
    if "running low on memory" in text:
        return Crash("memory", "its worker was ended because the machine ran low on memory")
    if "worker process has died" in text or not last:
        return Crash("worker", "its worker process died: it crashed or was killed, perhaps because memory ran out")
    if "its node has died" in text or "is unavailable" in last:
        return Crash("node", "its machine was lost")
    return Crash("worker", last[:300])
