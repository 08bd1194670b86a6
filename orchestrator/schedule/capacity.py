"""How much work may be under way: images, fits that wait for machines, and sessions of Tune. Pure decisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import RunFailedError
from orchestrator.resources.share import Machine, Resources

MOST_AT_ONCE = 1000
"""Trials that Tune may hold on a cluster that grows."""
SESSIONS_THAT_MAY_FAIL = 3
_LEAST_DEMAND = 8
"""How many fits at least may wait for machines that are not there yet."""


@dataclass(frozen=True)
class Capacity:
    """How many trials run at the same time (``slots``), and how many fits may be handed out that have not ended (``bound``)."""

    slots: int
    bound: int

    @property
    def images(self) -> int:
        """How many images may be under way: enough that a trial that ends always finds another fit waiting."""
        return max(4, 2 * self.slots)


def alone(resources: Resources) -> Capacity:
    """The capacity of this machine, whose Ray holds nobody else's work."""
    return Capacity(resources.parallel, 2 * resources.parallel)


def on_cluster(resources: Resources, machines: Sequence[Machine], parallel: int | None) -> Capacity:
    """The capacity of a cluster, whose machines come and go.

    Args:
        resources: what a trial may use.
        machines: those that are there.
        parallel: how many trials the settings allow at the same time; None: as many as there is room for.
    """
    slots = sum(resources.slots(machine) for machine in machines)
    # What waits for machines is what makes an autoscaler start some: twice as much as there is room for, and more. Not all
    # there is, because its order is settled then.
    return Capacity(slots, parallel or min(2 * slots + max(_LEAST_DEMAND, slots), MOST_AT_ONCE))


class Sessions:
    """The sessions of Tune that a run has started, one after the other; the last takes the fits.

    NONE -> LIVE: fits wait and no session takes them. LIVE -> LIVE: a session has taken its trials, the next one overlaps it
    while it drains. LIVE -> NONE: all have ended. A session that fails is replaced, a few times.
    """

    def __init__(self) -> None:
        self.started = 0
        self.live = 0
        self._failed = 0

    def start(self) -> int:
        """A session is started; its number."""
        self.started += 1
        self.live += 1
        return self.started - 1

    def end(self, failure: str | None) -> None:
        """A session has ended; ``failure`` is the reason if Tune failed.

        Raises:
            RunFailedError: Tune has failed too often.
        """
        self.live -= 1
        self._failed += failure is not None
        if self._failed > SESSIONS_THAT_MAY_FAIL:
            raise RunFailedError(f"Tune failed {self._failed} times; the last time: {failure}")

    def may_idle(self, *, banks_complete: bool) -> bool:
        """Whether a session without work may wait for more, and hold on to its CPUs.

        With parts of a bank still to compute, or an older session that retries a fit, each would wait for the other.
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
    """What a run waits for, a line each.

    Args:
        pending: how many fits wait for a machine, by the share of a GPU that each needs.
        resources: what a trial may use.
        machines: those of the cluster; None on this machine alone, where nothing is said while fits run.
        scoring: whether scoring waits too.
        running: how many fits run.
        autoscaler: asks the cluster's autoscaler what it has to say.
    """
    lines = []
    cpus = f"{resources.threads} CPU{'s' if resources.threads > 1 else ''}"

    def with_gpus(gpus: float) -> str:
        return f"{cpus} and {gpus:g} GPU" if gpus else cpus

    if machines is not None or not running:
        lines += [f"{count} fits wait for a machine with {with_gpus(gpus)} each" for gpus, count in pending.items()]
    if scoring:
        lines.append(f"scoring waits for a machine with {with_gpus(resources.score_gpus)}")
    if lines and machines is not None:
        has = f"{sum(m.cpus for m in machines)} CPUs and {sum(m.gpus for m in machines)} GPUs"
        there = "there is 1 machine" if len(machines) == 1 else f"there are {len(machines)} machines"
        lines += [f"{there} with {has}", *(f"autoscaler: {said}" for said in autoscaler())]
    return lines
