"""A session of Tune as a Ray task: its limits, its place, and its start in a process that alone imports Tune."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext


@dataclass(frozen=True)
class SessionSpec:
    """The limits of a session, and its place.

    Attributes:
        trials: how many trials it takes before the next session follows.
        at_once: how many trials that have not ended Tune may hold.
        cpus: the CPUs that each trial reserves, in addition to its share of a GPU.
        place: the folder in which Tune's own files have one, on the driver's machine.
    """

    trials: int
    at_once: int
    cpus: float
    place: str

    def resources(self, job: FitJob, all_cpus: float, beside: Sequence[FitJob] = ()) -> dict[str, float]:
        """Return what a trial reserves for a fit and those beside it. A fit that must be alone reserves a whole GPU, or
        without GPUs all CPUs of a machine."""
        if not job.alone:
            return {"cpu": self.cpus, "gpu": sum((each.gpus for each in beside), job.gpus)}
        return {"cpu": self.cpus, "gpu": 1.0} if job.gpus else {"cpu": all_cpus, "gpu": 0.0}


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def session_task(context: RunContext, queue: Any, session: int, spec: SessionSpec) -> None:
    """See `orchestrator.schedule.tune.run_session`. The driver, which starts this task, needs no Tune: its import takes
    a second and a half."""
    from orchestrator.schedule.tune import run_session  # noqa: PLC0415

    run_session(context, queue, session, spec)
