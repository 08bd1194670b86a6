from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.arms.candidates import candidates_of
from orchestrator.plan.estimate import Estimate, estimate
from orchestrator.plan.make import make_plan
from orchestrator.resources.cpus import cpu_count
from orchestrator.run.inputs import Source
from orchestrator.score.bank import bank_of, bank_parts, compute_part
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import CANDIDATES, MakeConfig


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed steps vary with the machine's other work, and take long."""
    monkeypatch.setattr(
        "orchestrator.plan.estimate._seconds_per_iteration", lambda plan, name, side, device: side**2 / 1e6
    )


@pytest.fixture
def small(make_config: MakeConfig) -> Config:
    return make_config(score={"candidates": [CANDIDATES[0]]}, resources={"parallel": 1})


def with_iterations(config: Config, iterations: int) -> Config:
    return config.model_copy(update={"fit": config.fit.model_copy(update={"iterations": iterations})})


def test_the_time_grows_with_the_iterations_and_is_more_than_nothing(
    store: LocalStore, folder: Path, small: Config
) -> None:
    # A hundred times the work: no noise of a timed step can hide that.
    few, many = (estimate(make_plan(store, with_iterations(small, n), Source(str(folder))), store) for n in (10, 1000))
    assert 0 < few.fit_seconds < many.fit_seconds
    assert few.score_seconds > 0
    assert few.seconds > few.fit_seconds
    assert not Path(store.url).exists()


@pytest.mark.usefixtures("_untimed")
def test_a_cohorts_own_iterations_count(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    config = with_iterations(make_config(score={"candidates": list(CANDIDATES[:2])}), 10)
    long = config.model_copy(update={"cohort": config.cohort.model_copy(update={"iterations": 2000})})
    short_seconds, long_seconds = (
        estimate(make_plan(store, wanted, Source(str(folder))), store).fit_seconds for wanted in (config, long)
    )
    assert long_seconds > 2 * short_seconds


@pytest.mark.usefixtures("_untimed")
def test_iterations_with_all_pixels_are_of_fits_at_full_size(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    seconds = []
    for view, share in (("full", 0.0), ("full", 0.5), ("crop", 0.0), ("crop", 0.5)):
        cohort = {"view": view, "iterations": 40, "size": 3}
        config = make_config(fit={"reveal": share, "iterations": 40}, cohort=cohort, pick={"full_fits": 1})
        seconds.append(estimate(make_plan(store, config, Source(str(folder))), store).fit_seconds)
    assert seconds[1] == pytest.approx(1.5 * seconds[0])
    # One fit of the four is at full size, which takes longer than a crop.
    assert 1.1 * seconds[2] < seconds[3] < 1.5 * seconds[2]


@pytest.mark.usefixtures("_untimed")
@pytest.mark.parametrize("view", ["crop", "downscale", "full"])
def test_every_view_has_an_estimate(store: LocalStore, folder: Path, small: Config, view: str) -> None:
    config = small.model_copy(update={"cohort": small.cohort.model_copy(update={"view": view})})
    assert estimate(make_plan(store, config, Source(str(folder))), store).fit_seconds > 0


@pytest.mark.usefixtures("_untimed")
def test_a_bank_that_is_there_costs_nothing(store: LocalStore, folder: Path, small: Config) -> None:
    plan = make_plan(store, small, Source(str(folder)))
    spec = bank_of(small, plan.images[0])
    assert spec is not None
    for part in bank_parts(small, spec, candidates_of(small)):
        compute_part(store, part, small, "cpu")
    assert estimate(plan, store).score_seconds == 0


@pytest.mark.usefixtures("_untimed")
def test_random_scores_cost_nothing(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    config = make_config(score={"metric": "random", "candidates": [CANDIDATES[0]]})
    assert estimate(make_plan(store, config, Source(str(folder))), store).score_seconds == 0


def test_arms_of_named_networks_have_an_estimate_too(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    expected = estimate(make_plan(store, make_config(arms=["dip", "deep-decoder"]), Source(str(folder))), store)
    assert expected.score_seconds == 0
    assert expected.fit_seconds > 0


@pytest.mark.usefixtures("_untimed")
def test_every_arm_and_a_larger_result_take_their_time(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    one = make_config(fit={"iterations": 10})
    many = make_config(fit={"iterations": 10}, arms=[{"name": f"arm-{n}"} for n in range(20)])
    large = make_config(fit={"iterations": 10}, task={"name": "super-resolve", "factor": 8})
    seconds = [
        estimate(make_plan(store, config, Source(str(folder))), store).fit_seconds for config in (one, many, large)
    ]
    assert seconds[1] == pytest.approx(20 * seconds[0])
    assert seconds[2] > 4 * seconds[0]


def test_trials_at_the_same_time_share_the_work() -> None:
    assert Estimate(score_seconds=10, fit_seconds=50, parallel=4).seconds == 15


@pytest.mark.usefixtures("_untimed")
def test_as_many_trials_as_are_set_run_at_a_time(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    config = make_config(score={"candidates": [CANDIDATES[0]]}, resources={"parallel": 7})
    assert estimate(make_plan(store, config, Source(str(folder))), store).parallel == 7
    greedy = make_config(score={"candidates": [CANDIDATES[0]]}, resources={"threads": cpu_count()})
    assert estimate(make_plan(store, greedy, Source(str(folder))), store).parallel == 1
