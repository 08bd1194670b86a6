"""Asynchronous successive halving (ASHA, arXiv 1810.05934) with Tune's own scheduler, one contest per image and arm."""

from typing import Any, Self

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from orchestrator.settings import Config


class ContestsOfImages(FIFOScheduler):  # type: ignore[misc]
    """Ends the fits that do worse than others of their contest; held-out errors of different images do not compare.

    At a rung, a trial is compared with the trials that reached the rung before it. So the outcome depends on the order
    of arrival, and no run repeats another. The first rung is after ``first_rung`` iterations, each next one
    ``1 / keep_share`` times further.
    """

    def __init__(self, first_rung: int, keep_share: float, iterations: int) -> None:
        super().__init__()
        self._first_rung, self._keep_share, self._iterations = first_rung, keep_share, iterations
        self._contests: dict[tuple[str, str], AsyncHyperBandScheduler] = {}

    @classmethod
    def of(cls, config: Config) -> Self:
        """The contests of a run; only cohorts on crops have them."""
        return cls(config.first_rung("crop"), config.cohort.keep_share, config.iterations("crop"))

    def _contest_of(self, trial: Any) -> AsyncHyperBandScheduler | None:
        job = trial.config["job"]
        if job.contest is None:
            return None
        key = (job.image.id, job.contest)
        if key not in self._contests:
            self._contests[key] = AsyncHyperBandScheduler(
                time_attr="iteration",
                metric="held_out_error",
                mode="min",
                max_t=max(self._iterations, self._first_rung),
                grace_period=self._first_rung,
                reduction_factor=1 / self._keep_share,
                stop_last_trials=False,
            )
        return self._contests[key]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Enter a fit into its contest."""
        contest = self._contest_of(trial)
        if contest is not None:
            contest.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a fit goes on; a fit that has a result, or is about to leave it, is never ended."""
        contest = self._contest_of(trial)
        # The last rung may be the end itself, which a fit reports before its result is in the store.
        if contest is None or "fit_states" in result or result["iteration"] >= self._iterations:
            return str(self.CONTINUE)
        return str(contest.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take note of a fit that has ended by itself."""
        contest = self._contest_of(trial)
        if contest is not None:
            contest.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Take note of a fit that is gone before its end."""
        contest = self._contest_of(trial)
        if contest is not None:
            contest.on_trial_remove(tune_controller, trial)
