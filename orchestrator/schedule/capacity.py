"""Limits on work in progress: images, fits that wait for machines, and sessions of Tune. Pure decisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import RunFailedError
from orchestrator.resources.share import Machine, Resources
from orchestrator.text import counted

MOST_AT_ONCE = 1000
"""Trials that Tune may hold on a cluster that grows."""
SESSIONS_THAT_MAY_FAIL = 3
_LEAST_DEMAND = 8
"""At least this many fits may wait for machines that have not joined yet."""


@dataclass(frozen=True)
class Capacity:
    """``slots`` is how many trials run at the same time; ``bound`` is how many unfinished fits Tune may hold."""

    slots: int
    bound: int

    @property
    def images(self) -> int:
        """How many images may be in progress: enough that a slot that becomes free always finds a fit waiting."""
        return max(4, 2 * self.slots)


def alone(resources: Resources) -> Capacity:
    """Compute the capacity of this machine, whose Ray runs nobody else's work."""
    return Capacity(resources.parallel, 2 * resources.parallel)


def on_cluster(resources: Resources, machines: Sequence[Machine], parallel: int | None) -> Capacity:
    """Compute the capacity of a cluster, whose machines come and go.

    Args:
        resources: what a trial may use.
        machines: the machines that are there now.
        parallel: how many trials the settings allow at the same time; None: as many as there is room for.
    """
    slots = sum(resources.slots(machine) for machine in machines)
    # An autoscaler starts machines only if fits wait for them, so more fits are handed out than there is room for. Not
    # all are, because the order of fits that are handed out can no longer change.
    return Capacity(slots, parallel or min(2 * slots + max(_LEAST_DEMAND, slots), MOST_AT_ONCE))


class Sessions:
    """The sessions of Tune that a run has started, one after the other; the last one takes the fits.

    NONE -> LIVE: fits wait and no session takes them. LIVE -> LIVE: a session has taken all its trials; the next one
    starts while it drains. LIVE -> NONE: all have ended. A session that fails is replaced, a few times.
    """

    def __init__(self) -> None:
        self.started = 0
        self.live = 0
        self._failed = 0

    def start(self) -> int:
        """Count a new session; return its number."""
        self.started += 1
        self.live += 1
        return self.started - 1

    def end(self, failure: str | None) -> None:
        """Take note that a session has ended; ``failure`` is the reason if Tune failed.

        Raises:
            RunFailedError: Tune has failed too often.
        """
        self.live -= 1
        self._failed += failure is not None
        if self._failed > SESSIONS_THAT_MAY_FAIL:
            raise RunFailedError(f"Tune failed {self._failed} times; the last time: {failure}")

    def may_idle(self, *, banks_complete: bool) -> bool:
        """Whether a session without work may wait for more and keep its CPUs.

        If parts of a bank are still to be computed, or an older session retries a fit, each would wait for the other.
        """
        return self.live <= 1 and banks_complete


def waits_for(
    pending: Mapping[float, int],
    resources: Resources,
    machines: Sequence[Machine] | None,
    *,
    scoring: bool,
    running: int,
    autoscaler: Callable[[], Sequence[str]] = tuple,
) -> list[str]:
    """List what a run waits for, one line each.

    Args:
        pending: how many fits wait for a machine, by the share of a GPU that each needs.
        resources: what a trial may use.
        machines: the cluster's machines; None without a cluster, where waiting fits are not listed while others run.
        scoring: whether scoring waits too.
        running: how many fits run.
        autoscaler: returns the lines of the cluster's autoscaler.
    """
    lines = []
    cpus = counted(resources.threads, "CPU")

    def with_gpus(gpus: float) -> str:
        return f"{cpus} and {gpus:g} GPU" if gpus else cpus

    if machines is not None or not running:
        for gpus, fits in pending.items():
            wait, each = ("1 fit waits", "") if fits == 1 else (f"{fits} fits wait", " each")
            lines.append(f"{wait} for a machine with {with_gpus(gpus)}{each}")
    if scoring:
        lines.append(f"scoring waits for a machine with {with_gpus(resources.score_gpus)}")
    if lines and machines is not None:
        has = f"{counted(sum(m.cpus for m in machines), 'CPU')} and {counted(sum(m.gpus for m in machines), 'GPU')}"
        count = "there is 1 machine" if len(machines) == 1 else f"there are {len(machines)} machines"
        lines += [f"{count} with {has}", *(f"autoscaler: {line}" for line in autoscaler())]
    return lines
