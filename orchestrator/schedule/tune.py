"""Fits as Ray Tune trials.

A queue (an actor) holds the fits that may start. Tune asks it for work through a `Searcher`, so fits are handed out as
they become known, with no barrier between images. A *session* is one Tuner in a Ray task of its own; after some hundreds
of trials it takes no more and the next session carries on while it drains, so that no experiment grows without bound.

The store knows what is finished; nothing of Tune's own state is ever read back. A trial that crashed is not Tune's to try
again: the driver is told why, and decides (`orchestrator.schedule.crashes`).
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.schedule.asha import ContestsOfImages
from orchestrator.schedule.crashes import crash_of
from orchestrator.schedule.queue import Finished


@dataclass(frozen=True)
class SessionSpec:
    """What a session may use.

    ``trials`` is how many it takes before the next session follows; ``at_once`` how many of them Tune may hold that have not
    ended; ``cpus`` what each reserves, beside its share of a GPU.
    """

    trials: int
    at_once: int
    cpus: float

    def resources(self, job: FitJob, all_cpus: float) -> dict[str, float]:
        """What a fit reserves; one that must be alone a whole GPU, or where there is none all CPUs of a machine."""
        if not job.alone:
            return {"cpu": self.cpus, "gpu": job.gpus}
        return {"cpu": self.cpus, "gpu": 1.0} if job.gpus else {"cpu": all_cpus, "gpu": 0.0}


def most_cpus() -> float:
    """CPUs of the machine in the Ray at hand that has most of them."""
    return max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=1.0)


class QueueSearcher(Searcher):  # type: ignore[misc]
    """Hands Tune the queue's fits, up to a number of trials."""

    def __init__(self, queue: Any, session: int, trials: int) -> None:
        super().__init__(metric="iteration", mode="max")
        self._queue, self._session, self._left = queue, session, trials

    def suggest(self, trial_id: str) -> dict[str, FitJob] | str | None:
        """The next trial's settings; None while there is no work; FINISHED when this session takes no more."""
        answer = ray.get(self._queue.take.remote(self._session)) if self._left else "leave"
        if answer == "leave":
            ray.get(self._queue.leave.remote(self._session))
            return str(Searcher.FINISHED)
        if answer == "wait":
            return None
        self._left -= 1
        return {"job": cast(FitJob, answer)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing is learnt from a trial here; the callback tells the driver."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: the queue and the store know everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class TellTheQueue(tune.Callback):  # type: ignore[misc]
    """Tells the queue which trials ended."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial has its resources."""
        ray.get(self._queue.begin.remote(trial.config["job"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's function returned."""
        last = trial.last_result
        # Without a last word of its own, the scheduler has ended it.
        finished = Finished(
            trial.config["job"],
            last.get("fit_state", "stopped"),
            iteration=last.get("iteration", 0),
            held_out_error=last.get("held_out_error"),
            seconds=last.get("time_total_s", 0.0),
        )
        ray.get(self._queue.finish.remote(finished))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial crashed."""
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace") if trial.error_file else ""
        ray.get(self._queue.finish.remote(Finished(trial.config["job"], "failed", crash=crash_of(text))))


def fit_trial(config: dict[str, FitJob], context: RunContext) -> None:
    """The trainable: one job."""
    # Imported here: the queue and the sessions run in processes of their own that have no use for torch.
    from orchestrator.schedule import trial  # noqa: PLC0415

    trial.fit_trial(config["job"], context)


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def run_session(context: RunContext, queue: Any, session: int, spec: SessionSpec) -> None:
    """Run trials from the queue until it is closed and empty, or ``spec.trials`` have been taken."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # A snapshot of Tune's state is of no use to anyone (the store is what resumes), so there are few.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    cohort = context.config.cohort
    trainable = tune.with_parameters(fit_trial, context=context)
    # Tune registers trainables by name for the whole cluster; two runs must not share one.
    trainable.__name__ = f"fit-{context.run}-{session}"
    with tempfile.TemporaryDirectory(prefix="dip-session-") as scratch:
        tune.Tuner(
            tune.with_resources(trainable, lambda config: spec.resources(config["job"], max(spec.cpus, most_cpus()))),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, session, spec.trials),
                scheduler=ContestsOfImages(cohort, cohort.iterations or context.config.fit.iterations),
                num_samples=-1,
                # What runs at once is bounded by what each trial reserves, and what waits by the queue.
                max_concurrent_trials=spec.at_once,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"{context.run}-{session}",
                storage_path=scratch,
                verbose=0,
                callbacks=[TellTheQueue(queue)],
            ),
        ).fit()
