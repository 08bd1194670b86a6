from dataclasses import replace
from typing import Any

import pytest

from orchestrator.fit import step as module
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import STEP_RECORDS, StepRecord, fit_keys
from orchestrator.fit.step import step_of
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import PriorName
from workers.networks import Network, prior_of
from workers.networks.steps import Step


@pytest.fixture
def network() -> Network:
    return prior_of(CANDIDATES[0]).build(3, 16, input_channels=3)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was tried; the clock says CONTIGUOUS first and WINOGRAD from then on."""
    tried: list[Any] = []

    def fastest(network: Network, height: int, width: int) -> Step:
        tried.append((height, width))
        return Step.CONTIGUOUS if len(tried) == 1 else Step.WINOGRAD

    monkeypatch.setattr(module, "fastest_step", fastest)
    monkeypatch.setattr(module, "is_worth_a_trial", lambda network, height, width: True)
    monkeypatch.setattr(module, "_found", {})
    return tried


@pytest.fixture
def bench_and_job(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> tuple[Bench, FitJob]:
    bench = make_bench(make_config(), encoded(noise_seed=1), encoded())
    return bench, FitJob(bench.image, "full", PriorName(CANDIDATES[0]))


def test_the_first_answer_counts_for_all_attempts_at_a_fit(
    bench_and_job: tuple[Bench, FitJob], network: Network, trials: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, job = bench_and_job
    assert step_of(bench.context, job, network, 100) is Step.CONTIGUOUS
    # Another process, or another machine, has found nothing yet and would find another way.
    monkeypatch.setattr(module, "_found", {})
    assert step_of(bench.context, job, network, 100) is Step.CONTIGUOUS
    assert len(trials) == 1


def test_of_two_attempts_at_once_the_first_writer_wins(
    bench_and_job: tuple[Bench, FitJob], network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, job = bench_and_job

    def meanwhile(network: Network, height: int, width: int) -> Step:
        STEP_RECORDS.create_or_read(bench.store, fit_keys(bench.context, job).step, StepRecord("winograd"))
        return Step.CONTIGUOUS

    monkeypatch.setattr(module, "fastest_step", meanwhile)
    monkeypatch.setattr(module, "is_worth_a_trial", lambda network, height, width: True)
    monkeypatch.setattr(module, "_found", {})
    assert step_of(bench.context, job, network, 100) is Step.WINOGRAD


def test_an_equal_network_at_an_equal_size_is_tried_once_in_a_process(
    bench_and_job: tuple[Bench, FitJob], network: Network, trials: list[Any]
) -> None:
    bench, job = bench_and_job
    other = replace(job, image=replace(job.image, id="b-01234567"))
    assert step_of(bench.context, job, network, 100) is step_of(bench.context, other, network, 100)
    assert len(trials) == 1
    larger = replace(job, image=replace(job.image, id="c-01234567", height=100))
    assert step_of(bench.context, larger, network, 100) is Step.WINOGRAD
    assert len(trials) == 2


def test_nothing_is_tried_where_it_would_not_pay_or_may_not_matter(
    bench_and_job: tuple[Bench, FitJob], network: Network, trials: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, job = bench_and_job
    older = replace(job, image=replace(job.image, rules=3))
    assert step_of(bench.context, older, network, 100) is Step.TORCH
    gpu = replace(bench.context, device="cuda")
    assert step_of(gpu, job, network, 100) is Step.GRAPH
    assert step_of(gpu, replace(job, image=replace(job.image, rules=4)), network, 100) is Step.TORCH
    assert step_of(bench.context, job, network, 99) is Step.CHANNELS_LAST
    monkeypatch.undo()
    assert step_of(bench.context, job, network, 100) is Step.CHANNELS_LAST
    assert trials == []
    assert not bench.store.exists(fit_keys(bench.context, job).step)


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.GRAPH])
def test_the_settings_have_the_last_word(
    bench_and_job: tuple[Bench, FitJob], network: Network, trials: list[Any], step: Step
) -> None:
    bench, job = bench_and_job
    config = bench.context.config
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"step": step.value})})
    assert step_of(replace(bench.context, config=config), job, network, 100) is step
    assert trials == []
