from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.fits import FitArrays, fit_keys, read_record, run_fit
from orchestrator.jobs import Evaluation, FitJob, FitRecord
from orchestrator.layout import FitLayout
from orchestrator.problem import load_degraded, load_reference, view_of
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.quality import psnr


class CrashError(Exception):
    """A process that ends in the middle of a fit."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(noise_seed=1), encoded())


def job_of(bench: Bench, view: Any = "crop", candidate: str = CANDIDATES[0]) -> FitJob:
    return FitJob(bench.image, bench.context.config.method, view, candidate)


def arrays_of(bench: Bench, job: FitJob) -> FitArrays:
    return FitArrays.from_bytes(bench.store.get(fit_keys(bench.context, job).arrays))


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever it is looked at."""
    times: Iterator[float] = (step * number for number in count())
    return lambda: next(times)


def still() -> float:
    return 0.0


def files_of(bench: Bench, job: FitJob) -> set[str]:
    root = fit_keys(bench.context, job).root
    return {key.rsplit("/", 1)[1] for key in bench.store.keys(root)}


def test_a_fit_leaves_its_record_and_arrays_in_the_store(bench: Bench) -> None:
    job = job_of(bench)
    seen: list[tuple[int, float]] = []
    record = run_fit(bench.context, job, on_progress=lambda *told: seen.append(told), clock=still)
    assert files_of(bench, job) == {"result.json", "arrays.npz"}
    assert read_record(bench.store, fit_keys(bench.context, job)) == record
    assert (record.candidate, record.view, record.state, record.reason) == (CANDIDATES[0], "crop", "done", None)
    assert record.iterations == 6
    assert record.parameters is not None
    assert record.parameters > 1000
    arrays = arrays_of(bench, job)
    assert arrays.output.shape == (3, 32, 32)
    assert arrays.output.dtype == np.float32
    assert arrays.held_out.shape == arrays.psnr.shape == (6,)
    assert record.held_out_error == arrays.held_out.min()
    assert record.stop_iteration == arrays.held_out.argmin() + 1
    assert [iteration for iteration, _ in seen] == [2, 4, 6]
    assert seen[-1][1] == record.held_out_error


def test_the_evaluation_is_that_of_the_output_against_the_reference(bench: Bench) -> None:
    job = job_of(bench, "full")
    record = run_fit(bench.context, job)
    arrays = arrays_of(bench, job)
    reference = load_reference(bench.context, bench.image)
    assert reference is not None
    assert record.evaluation is not None
    assert record.evaluation.psnr == pytest.approx(psnr(arrays.output, reference))
    assert record.evaluation.psnr_oracle_stop == pytest.approx(arrays.psnr.max())
    assert record.stop_iteration is not None
    assert record.evaluation.psnr == pytest.approx(arrays.psnr[record.stop_iteration - 1], abs=1e-3)


def test_a_fit_at_full_size_gives_the_whole_image_and_its_own_iterations(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(cohort={"iterations": 3}), encoded(35, 41))
    full, crop = (run_fit(bench.context, job_of(bench, view)) for view in ("full", "crop"))
    assert (full.iterations, crop.iterations) == (6, 3)
    assert arrays_of(bench, job_of(bench, "full")).output.shape == (3, 35, 41)


def test_a_finished_fit_is_not_repeated(bench: Bench) -> None:
    job = job_of(bench)
    record = run_fit(bench.context, job)
    keys = fit_keys(bench.context, job)
    bench.store.delete(bench.context.layout.input(bench.image.file))
    before = bench.store.get(keys.arrays)

    def fail(iteration: int, error: float) -> None:
        raise AssertionError("the fit is repeated")

    assert run_fit(bench.context, job, on_progress=fail) == record
    assert bench.store.get(keys.arrays) == before


def test_fits_of_other_views_arms_and_candidates_are_others(bench: Bench) -> None:
    jobs = [
        job_of(bench),
        job_of(bench, "full"),
        job_of(bench, candidate=CANDIDATES[1]),
        replace(job_of(bench), arm="x"),
    ]
    assert len({fit_keys(bench.context, job).root for job in jobs}) == 4
    run_fit(bench.context, jobs[0])
    assert [read_record(bench.store, fit_keys(bench.context, job)) is None for job in jobs] == [False, True, True, True]


def crash_at(iteration: int) -> Callable[[int, float], None]:
    def told(now: int, error: float) -> None:
        if now >= iteration:
            raise CrashError

    return told


@pytest.mark.parametrize(("crash", "resumed"), [(2, [2, 4, 6]), (4, [4, 6]), (6, [6])])
def test_a_fit_that_crashed_goes_on_from_its_checkpoint_and_ends_byte_equal(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, crash: int, resumed: list[int]
) -> None:
    calm, broken = (
        make_bench(make_config(), encoded(noise_seed=1), encoded(), store=name) for name in ("calm", "broken")
    )
    job = job_of(calm)
    undisturbed = run_fit(calm.context, job, clock=still)
    with pytest.raises(CrashError):
        run_fit(broken.context, job, on_progress=crash_at(crash), clock=ticking(100))
    assert files_of(broken, job) == (set() if crash == 2 else {"checkpoint.pt"})
    iterations: list[int] = []
    torch.manual_seed(123)
    record = run_fit(broken.context, job, on_progress=lambda now, _: iterations.append(now), clock=still)
    assert iterations == resumed
    assert replace(record, seconds=0) == replace(undisturbed, seconds=0)
    assert files_of(broken, job) == {"result.json", "arrays.npz"}
    ours, theirs = arrays_of(broken, job), arrays_of(calm, job)
    for name in ("output", "held_out", "psnr"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


def test_a_fit_that_crashes_again_and_again_still_ends_byte_equal(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(fit={"block": 1})
    calm, broken = (make_bench(config, encoded(noise_seed=1), store=name) for name in ("calm", "broken"))
    job = job_of(calm)
    run_fit(calm.context, job)
    for crash in range(2, 7):
        with pytest.raises(CrashError):
            run_fit(broken.context, job, on_progress=crash_at(crash), clock=ticking(100))
    run_fit(broken.context, job)
    assert broken.store.get(fit_keys(broken.context, job).arrays) == calm.store.get(fit_keys(calm.context, job).arrays)


def test_checkpoints_are_as_far_apart_as_is_set(bench: Bench) -> None:
    job = job_of(bench)
    with pytest.raises(CrashError):
        run_fit(bench.context, job, on_progress=crash_at(6), clock=ticking(20))
    assert files_of(bench, job) == set()  # 20 s and 40 s of 60 had gone by
    config = bench.context.config
    often = replace(
        bench.context, config=config.model_copy(update={"fit": config.fit.model_copy(update={"checkpoint_s": 30.0})})
    )
    with pytest.raises(CrashError):
        run_fit(often, job, on_progress=crash_at(6), clock=ticking(20))
    assert files_of(bench, job) == {"checkpoint.pt"}


def test_the_seconds_of_all_attempts_are_counted(bench: Bench) -> None:
    job = job_of(bench)
    with pytest.raises(CrashError):
        run_fit(bench.context, job, on_progress=crash_at(6), clock=ticking(100))
    # The first attempt's last checkpoint was at its second look at the clock, 200 s after the first. Of the second
    # attempt, three looks: at the beginning, after its only block, at the end.
    assert run_fit(bench.context, job, clock=ticking(7)).seconds == 200 + 14


def test_a_fit_that_leaves_the_numbers_is_recorded_as_failed_with_the_reason(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(fit={"input_noise": 3e38}), encoded())
    job = job_of(bench)
    record = run_fit(bench.context, job, clock=ticking(1))
    assert record.state == "failed"
    assert record.reason is not None
    assert record.reason.startswith("the fit diverged: ")
    assert record.held_out_error is None
    assert record.seconds == 1
    assert files_of(bench, job) == {"result.json"}
    assert run_fit(bench.context, job) == record


def test_neither_a_reference_nor_a_wrong_one_changes_a_fit(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    wrong = encoded(noise_seed=7)
    outcomes = []
    for number, reference in enumerate((None, encoded(), wrong)):
        bench = make_bench(make_config(), encoded(noise_seed=1), reference, store=str(number))
        record = run_fit(bench.context, job_of(bench), clock=still)
        outcomes.append((record, arrays_of(bench, job_of(bench))))
    blind, right, misled = outcomes
    assert blind[0].evaluation is None
    assert blind[1].psnr.size == 0
    assert right[0].evaluation != misled[0].evaluation
    for record, arrays in (right, misled):
        assert replace(record, evaluation=None) == blind[0]
        assert arrays.output.tobytes() == blind[1].output.tobytes()
        assert arrays.held_out.tobytes() == blind[1].held_out.tobytes()


def test_the_crop_of_a_fit_does_not_follow_the_reference(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(64, 70, noise_seed=1), encoded(64, 70))
    job = job_of(bench)
    record = run_fit(bench.context, job)
    reference = load_reference(bench.context, bench.image)
    assert reference is not None
    view = view_of("crop", load_degraded(bench.context, bench.image), bench.context.config)
    assert record.evaluation is not None
    assert record.evaluation.psnr == pytest.approx(psnr(arrays_of(bench, job).output, view.take(reference)))


def test_the_runs_seed_changes_a_fit_and_the_block_does_not(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    outputs = []
    for number, changes in enumerate(({}, {"fit": {"block": 5}}, {"seed": 1})):
        bench = make_bench(make_config(**changes), encoded(noise_seed=1), store=str(number))
        run_fit(bench.context, job_of(bench))
        outputs.append(arrays_of(bench, job_of(bench)).output)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_in_a_simulation_the_given_image_is_degraded_and_is_the_reference(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(task={"sigma": 25}), encoded())
    context = replace(bench.context, simulate=True)
    image = replace(bench.image, reference=bench.image.file)
    record = run_fit(context, FitJob(image, context.config.method, "crop", CANDIDATES[0]))
    plain = run_fit(bench.context, replace(job_of(bench), arm="plain"))
    assert record.evaluation is not None
    assert record.held_out_error is not None
    assert plain.held_out_error is not None
    assert plain.evaluation is None
    assert record.held_out_error > plain.held_out_error


def test_arrays_and_records_come_back_as_they_were() -> None:
    arrays = FitArrays(np.ones((3, 4, 5), np.float32), np.arange(3, dtype=np.float32), np.zeros(0, np.float32))
    again = FitArrays.from_bytes(arrays.to_bytes())
    for name in ("output", "held_out", "psnr"):
        np.testing.assert_array_equal(getattr(again, name), getattr(arrays, name))
    for record in (
        FitRecord("a", "crop", "failed", reason="why"),
        FitRecord("a", "full", "done", None, 0.1, 5, 6, 7, 8.5, Evaluation(1.5, 2.5)),
    ):
        assert FitRecord.from_json(record.to_json()) == record


def test_a_fit_without_a_record_is_not_finished(bench: Bench) -> None:
    assert read_record(bench.store, FitLayout("runs/test/fits/x")) is None
