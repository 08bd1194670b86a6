"""What would do where a run takes longer than a day on this machine: a smaller effort, or a cluster."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.plan.estimate import Estimate, estimate, most_seconds
from orchestrator.plan.make import Resolve, resolve_here
from orchestrator.plan.plan import Plan
from orchestrator.plan.request import NewRun, Request
from orchestrator.settings.effort import EFFORTS, Effort
from orchestrator.text import duration

DAY_S = 86_400.0


@dataclass(frozen=True)
class Advice:
    """A run that takes longer than a day.

    Attributes:
        seconds: how long it takes on this machine at most.
        effort: the largest smaller effort that takes a day at most, else the smallest there is; None where the sizes
            are the smallest already, or no effort decides them.
        effort_seconds: how long it takes with that effort.
        machines: how many machines like this one take a day at most; None where no number of them would, because the
            fits of one image wait for each other.
    """

    seconds: float
    effort: Effort | None
    effort_seconds: float
    machines: int | None

    @property
    def is_effort_enough(self) -> bool:
        """Whether the run takes a day at most with that effort."""
        return self.effort_seconds <= DAY_S

    @property
    def sentence(self) -> str:
        """How long it takes, and what would do instead."""
        ways = []
        if self.effort is not None:
            within = "" if self.is_effort_enough else "still "
            ways.append(f"--effort {self.effort} takes {within}at most {duration(self.effort_seconds)}")
        if self.machines is not None:
            ways.append(f"{self.machines} machines like this one take at most a day (docs/clusters.md)")
        if not ways:
            ways.append("faster machines would do, such as those with a GPU, or smaller sizes (docs/tasks.md)")
        return f"this takes at most {duration(self.seconds)} on this machine: {'; '.join(ways)}"


def advise(here: Estimate, smaller: Iterator[tuple[Effort, Estimate]]) -> Advice | None:
    """Say what would do instead of a run that takes longer than a day; None if it does not.

    ``smaller`` are smaller efforts with their estimates, the largest first; no more are asked for than needed.
    """
    if here.seconds <= DAY_S:
        return None
    effort, seconds = None, here.seconds
    for name, expected in smaller:
        if expected.seconds < seconds:
            effort, seconds = name, expected.seconds
        if seconds <= DAY_S:
            break
    machines = math.ceil(here.seconds / DAY_S) if here.longest_seconds <= DAY_S else None
    return Advice(here.seconds, effort, seconds, machines)


def advice_for(request: Request, plan: Plan, here: Estimate, resolve: Resolve = resolve_here) -> Advice | None:
    """Say what would do instead of a request's plan, whose estimate is known. Other efforts are timed only if needed.

    Raises:
        UserMistakeError: as `orchestrator.plan.request.NewRun.plan`.
    """
    smaller = _smaller(request, plan, resolve) if isinstance(request, NewRun) else iter(())
    return advise(here, smaller)


def advice_at_start(request: Request, plan: Plan) -> Advice | None:
    """The advice for a run that is about to begin on this machine. Nothing is timed where counting shows that the run
    takes a day at most on any.
    """
    # What is resumed has been begun in spite of advice, and is partly done.
    if not isinstance(request, NewRun) or plan.continued is not None or not plan.images:
        return None
    if most_seconds(plan) <= DAY_S:
        return None
    return advice_for(request, plan, estimate(plan, request.store))


def _smaller(request: NewRun, plan: Plan, resolve: Resolve) -> Iterator[tuple[Effort, Estimate]]:
    now = None if plan.sizing is None else plan.sizing.effort
    # A file of settings may hold any sizes. The largest effort is no advice for a run that takes too long.
    names = EFFORTS[: EFFORTS.index(now)] if now is not None else EFFORTS[:-1]
    for name in reversed(names):
        config = request.wanted.resolve(name)
        yield name, estimate(replace(plan, config=config, resources=resolve(config)), request.store)
