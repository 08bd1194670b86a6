from typing import Any

import pytest

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
