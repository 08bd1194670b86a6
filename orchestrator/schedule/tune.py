"""Fits as Ray Tune trials.

A queue (an actor) holds the fits that may start. Tune asks it for work through a `Searcher`, so fits are handed out as
they become known, without a barrier between images. A *session* is one Tuner in a Ray task of its own. After some
hundreds of trials it takes no more, and the next session starts while it drains, so no experiment grows without limit.

The store knows what is finished; Tune's own state is never read back. Tune does not retry a crashed trial: the driver
gets the reason and decides (`orchestrator.schedule.crashes`).
"""

import logging
import os
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.fit.job import FitJob
from orchestrator.resources.scratch import scratch, sweep
from orchestrator.run.context import RunContext
from orchestrator.schedule.asha import ContestsOfImages
from orchestrator.schedule.crashes import Crash, crash_of
from orchestrator.schedule.queue import Finished
from orchestrator.schedule.session import SessionSpec


def most_cpus() -> float:
    """Return the CPUs of the machine that has most of them in the Ray at hand."""
    return max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=1.0)


class QueueSearcher(Searcher):  # type: ignore[misc]
    """Hands Tune the queue's fits, up to a number of trials."""

    def __init__(self, queue: Any, session: int, trials: int) -> None:
        super().__init__(metric="iteration", mode="max")
        self._queue, self._session, self._left = queue, session, trials

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's settings; None while there is no work; FINISHED when this session takes no more."""
        answer = ray.get(self._queue.take.remote(self._session)) if self._left else "leave"
        if answer == "leave":
            ray.get(self._queue.leave.remote(self._session))
            return str(Searcher.FINISHED)
        if answer == "wait":
            return None
        self._left -= 1
        job = cast(FitJob, answer)
        # Only fits on GPUs have others beside them, so nobody else asks.
        beside = ray.get(self._queue.take_beside.remote(self._session, job)) if job.gpus else ()
        return {"job": job, "beside": beside}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the search learns nothing from a trial, and the callback reports it to the queue."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the queue and the store know everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: nothing was saved."""


class ReportToQueue(tune.Callback):  # type: ignore[misc]
    """Reports to the queue which trials have begun and ended."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that the trial has its resources."""
        for job in _jobs_of(trial.config):
            ray.get(self._queue.begin.remote(job))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that the trial's function returned, or that its contest stopped it."""
        for finished in ended(trial.config, trial.last_result):
            ray.get(self._queue.finish.remote(finished))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that the trial crashed."""
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace") if trial.error_file else ""
        for finished in ended(trial.config, trial.last_result or {}, crash_of(text)):
            ray.get(self._queue.finish.remote(finished))


def _jobs_of(config: dict[str, Any]) -> list[FitJob]:
    """The jobs of a trial."""
    return [config["job"], *config["beside"]]


def ended(config: dict[str, Any], last: dict[str, Any], crash: Crash | None = None) -> list[Finished]:
    """Return what became of the jobs of a trial, by its last report and, if its function raised, its crash.

    A trial that ended by itself has reported the state of every fit that has a record. What has none has crashed, or
    its contest stopped it.
    """
    jobs = _jobs_of(config)
    states = last.get("fit_states", [None] * len(jobs))
    return [
        Finished(
            job,
            state or ("stopped" if crash is None else "failed"),
            crash=None if state else crash,
            iteration=last.get("iteration", 0),
            held_out_error=last.get("held_out_error"),
            seconds=last.get("time_total_s", 0.0),
        )
        for job, state in zip(jobs, states, strict=True)
    ]


def fit_trial(config: dict[str, Any], context: RunContext) -> None:
    """Do one job, or several side by side; this is the trainable."""
    # Imported here: the queue and the sessions run in processes of their own that do not need torch.
    from orchestrator.schedule import trial  # noqa: PLC0415

    trial.fit_trial(_jobs_of(config), context)


def run_session(context: RunContext, queue: Any, session: int, spec: SessionSpec) -> None:
    """Run trials from the queue until it is closed and empty, or ``spec.trials`` have been taken."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # Nobody needs snapshots of Tune's state, because a run resumes from the store. So there are few.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable = tune.with_parameters(fit_trial, context=context)
    # Tune registers trainables by name for the whole cluster; two runs must not share one.
    trainable.__name__ = f"fit-{context.run}-{session}"
    sweep(Path(spec.place))
    with scratch("session", Path(spec.place)) as folder:
        tune.Tuner(
            tune.with_resources(
                trainable,
                lambda config: spec.resources(config["job"], max(spec.cpus, most_cpus()), config["beside"]),
            ),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, session, spec.trials),
                scheduler=ContestsOfImages.of(context.config),
                num_samples=-1,
                # The trials' reservations limit how many run at once; the queue limits how many wait.
                max_concurrent_trials=spec.at_once,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"{context.run}-{session}",
                storage_path=str(folder),
                verbose=0,
                callbacks=[ReportToQueue(queue)],
            ),
        ).fit()
