from typing import Any

import pytest

from orchestrator.errors import FitOutOfMemoryError
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.fit.subject import Subject
from orchestrator.run.context import RunContext
from orchestrator.schedule import trial
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.names import Chain, FitName, PriorName

NETWORK = "deep-decoder-4"
CHAIN = Chain(NETWORK, "imp", 0)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    config = make_config(arms=["lottery-imp"], lottery={"network": NETWORK, "iterations": 3}, fit={"patience": 5})
    return make_bench(config, encoded())


def subject_of(bench: Bench, name: FitName, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Return the subject that a job of this name hands to the function that fits."""
    given: list[Subject] = []

    def fit(context: RunContext, job: FitJob, subject_of: Any, **_: Any) -> FitRecord:
        given.append(subject_of())
        return FitRecord(job.name, job.view, "done")

    monkeypatch.setattr(trial, "run_fit", fit)
    record = trial.run_job(bench.context, FitJob(bench.image, "full", name))
    assert (record.candidate, record.state) == (name, "done")
    (subject,) = given
    return subject


def test_a_prior_is_fitted_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(bench, PriorName(NETWORK), monkeypatch)
    assert (subject.iterations, subject.patience, subject.sparsity, subject.blind) == (6, 5, None, True)


def test_a_round_is_fitted_for_all_its_iterations(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(bench, CHAIN.dense.round(0), monkeypatch)
    assert (subject.iterations, subject.patience, subject.sparsity, subject.blind) == (3, 3, 0.0, True)


def test_a_chain_is_carried_out_as_a_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def chain(context: RunContext, job: FitJob, **_: Any) -> FitRecord:
        return FitRecord(job.name, job.view, "done", seconds=7.0)

    monkeypatch.setattr(trial, "run_chain", chain)
    assert trial.run_job(bench.context, FitJob(bench.image, "full", CHAIN)).seconds == 7.0


def test_several_fits_are_one_trial(bench: Bench) -> None:
    jobs = [FitJob(bench.image, "full", PriorName(name), gpus=0.25) for name in (NETWORK, "deep-decoder-6")]
    records = trial.run_side_by_side(bench.context, jobs)
    assert [(each.candidate, each.state) for each in records if isinstance(each, FitRecord)] == [
        (job.name, "done") for job in jobs
    ]


def test_a_trial_reports_every_record_before_the_first_failure_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [FitJob(bench.image, "full", PriorName(NETWORK), until=until, gpus=0.25) for until in (None, 1, 2)]
    reports: list[dict[str, Any]] = []
    results = [
        FitRecord(jobs[0].name, "full", "done", iterations=9),
        FitOutOfMemoryError("too little"),
        FitRecord(jobs[2].name, "full", "paused", iterations=2),
    ]
    monkeypatch.setattr(trial, "run_side_by_side", lambda *_, **__: results)
    monkeypatch.setattr(trial, "check_code", lambda code: None)
    monkeypatch.setattr(trial.tune, "report", reports.append)
    with pytest.raises(FitOutOfMemoryError, match="too little"):
        trial.fit_trial(jobs, bench.context)
    assert reports == [{"iteration": 9, "fit_states": ["done", None, "paused"]}]
