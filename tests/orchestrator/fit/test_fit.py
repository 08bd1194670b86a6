import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from io import BytesIO
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.errors import FitOutOfMemoryError, NewerFormatError, NodeLeavingError
from orchestrator.fit import fit
from orchestrator.fit.arrays import FitArrays, read_arrays
from orchestrator.fit.fit import stopping_of
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.fit.subject import prior_subject
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import RULES
from orchestrator.run.layout import image_key
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig, Reads
from workers.names import PriorName, parse_name
from workers.networks.cost import prior_multiply_adds
from workers.networks.steps import Step
from workers.quality import psnr


class CrashError(Exception):
    """A process that ends in the middle of a fit."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(noise_seed=1), encoded())


def job_of(bench: Bench, view: Any = "crop", candidate: str = CANDIDATES[0], until: int | None = None) -> FitJob:
    return FitJob(bench.image, view, parse_name(candidate), until)


def run_fit(context: RunContext, job: FitJob, **how: Any) -> FitRecord:
    """The fit of a prior."""
    assert isinstance(job.name, PriorName)
    return fit.run_fit(context, job, partial(prior_subject, context, job.image, job.view, job.name), **how)


def arrays_of(bench: Bench, job: FitJob) -> FitArrays:
    keys = fit_keys(bench.context, job)
    record = read_record(bench.store, keys)
    assert record is not None
    return read_arrays(bench.store, keys, record)


def ticking(step: float) -> Callable[[], float]:
    """A clock that advances by ``step`` seconds whenever it is read."""
    times: Iterator[float] = (step * number for number in count())
    return lambda: next(times)


def assert_equal_arrays(ours: FitArrays, theirs: FitArrays) -> None:
    """Byte for byte."""
    for name, array in asdict(ours).items():
        assert array.tobytes() == getattr(theirs, name).tobytes()


def fail(iteration: int, error: float) -> None:
    raise AssertionError("the fit is repeated")


def still() -> float:
    return 0.0


def files_of(bench: Bench, job: FitJob) -> set[str]:
    """Their names, without the digest that distinguishes the arrays of two attempts."""
    root = fit_keys(bench.context, job).root
    names = (key.rsplit("/", 1)[1] for key in bench.store.keys(root))
    return {re.sub(r"^arrays-[0-9a-f]{16}", "arrays", name) for name in names}


def test_a_fit_leaves_its_record_and_arrays_in_the_store(bench: Bench) -> None:
    job = job_of(bench)
    seen: list[tuple[int, float]] = []
    record = run_fit(bench.context, job, on_progress=lambda *told: seen.append(told), clock=still)
    assert files_of(bench, job) == {"result.json", "arrays.npz"}
    assert read_record(bench.store, fit_keys(bench.context, job)) == record
    assert (record.candidate, record.view, record.state, record.reason) == (job.name, "crop", "done", None)
    assert record.iterations == 6
    assert record.parameters is not None
    assert record.parameters > 1000
    arrays = arrays_of(bench, job)
    assert arrays.output.shape == (3, 32, 32)
    assert arrays.output.dtype == arrays.steady.dtype == np.float32
    assert arrays.steady.shape == arrays.output.shape
    assert arrays.held_out.shape == arrays.psnr.shape == (6,)
    assert record.held_out_error == arrays.held_out.min()
    assert record.stop_iteration == arrays.held_out.argmin() + 1
    assert record.held_out_standard_error is not None
    assert 0 < record.held_out_standard_error < record.held_out_error
    # After so few iterations the outputs cannot be compared.
    assert record.steady_iteration == record.stop_iteration
    assert record.residual_correlation is None
    assert [iteration for iteration, _ in seen] == [2, 4, 6]
    assert seen[-1][1] == record.held_out_error


def test_a_fit_counts_what_its_iterations_cost_at_the_size_of_its_view(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(cohort={"crop_px": 64}), encoded(100, 70))
    network = bench.context.config.network
    smallest = prior_multiply_adds(CANDIDATES[0], 3, network.width, network.input_depth(3))
    crop, full = (run_fit(bench.context, job_of(bench, view)) for view in ("crop", "full"))
    assert crop.iterations is not None
    assert full.iterations is not None
    assert crop.multiply_adds == crop.iterations * smallest
    # Both sides are padded to multiples of 32.
    assert full.multiply_adds == (full.iterations + (full.revealed or 0)) * smallest * (128 * 96) // 64**2


def test_the_evaluation_is_that_of_the_output_against_the_reference(bench: Bench) -> None:
    job = job_of(bench, "full")
    record = run_fit(bench.context, job)
    arrays = arrays_of(bench, job)
    reference = Problem(bench.context, bench.image).reference
    assert reference is not None
    assert record.evaluation is not None
    assert record.evaluation.psnr == pytest.approx(psnr(arrays.output, reference))
    assert record.evaluation.psnr_oracle_stop == pytest.approx(arrays.psnr.max())
    assert record.evaluation.psnr_last == pytest.approx(arrays.psnr[-1])
    assert record.stop_iteration is not None
    assert record.evaluation.psnr_steady == pytest.approx(psnr(arrays.steady, reference))
    assert record.evaluation.psnr == pytest.approx(arrays.psnr[record.stop_iteration - 1], abs=1e-3)


def test_a_fit_at_full_size_gives_the_whole_image_and_its_own_iterations(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(cohort={"iterations": 3}), encoded(35, 41))
    full, crop = (run_fit(bench.context, job_of(bench, view)) for view in ("full", "crop"))
    assert (full.iterations, crop.iterations) == (6, 3)
    assert arrays_of(bench, job_of(bench, "full")).output.shape == (3, 35, 41)


def test_a_run_of_an_older_version_keeps_the_average_that_its_fits_began_with(bench: Bench) -> None:
    older = replace(bench, image=replace(bench.image, rules=1))
    interrupted = job_of(older, candidate=CANDIDATES[1], until=4)
    run_fit(bench.context, interrupted)
    told: list[int] = []
    run_fit(bench.context, replace(interrupted, until=None), on_progress=lambda at, _: told.append(at))
    assert told == [6]
    curves = []
    # Later rules have other weights.
    for image in (older.image, replace(bench.image, rules=2)):
        job = FitJob(image, "full", parse_name(CANDIDATES[1]))
        run_fit(bench.context, job)
        curves.append(arrays_of(bench, job).held_out)
        bench.store.delete_all(fit_keys(bench.context, job).root)
    # The average of one output is that output; that of two is not the same.
    assert curves[0][0] == curves[1][0]
    assert curves[0][1] != curves[1][1]


def test_a_fit_at_full_size_ends_with_all_pixels_and_one_that_only_chooses_does_not(bench: Bench) -> None:
    told: list[tuple[int, float]] = []
    record = run_fit(bench.context, job_of(bench, "full"), on_progress=lambda *each: told.append(each))
    arrays = arrays_of(bench, job_of(bench, "full"))
    assert record.stop_iteration is not None
    assert record.revealed == math.ceil(record.stop_iteration / 4)
    assert record.iterations == 6
    assert arrays.revealed.shape == arrays.output.shape
    assert not np.array_equal(arrays.revealed, arrays.output)
    # A contest hears no iteration twice, and the error is still that on hidden pixels.
    assert [iteration for iteration, _ in told] == [2, 4, 6, 6]
    assert record.held_out_error == arrays.held_out.min()
    reference = Problem(bench.context, bench.image).reference
    assert reference is not None
    assert record.evaluation is not None
    assert record.evaluation.psnr_revealed == pytest.approx(psnr(arrays.revealed, reference))
    crop = run_fit(bench.context, job_of(bench, "crop"))
    assert (crop.revealed, arrays_of(bench, job_of(bench, "crop")).revealed.size) == (None, 0)
    assert crop.evaluation is not None
    assert crop.evaluation.psnr_revealed is None


@pytest.mark.parametrize("fit", [{"reveal": 0}, {"stopping": "es-emv"}], ids=["not asked for", "not stopped by them"])
def test_a_fit_that_hidden_pixels_do_not_stop_hides_them_to_the_end(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, fit: dict[str, Any]
) -> None:
    hiding, revealing = (
        make_bench(make_config(fit=each), encoded(noise_seed=1), store=name)
        for name, each in {"hiding": fit, "revealing": {**fit, "reveal": 0.5}}.items()
    )
    job = job_of(hiding, "full")
    assert run_fit(hiding.context, job).revealed is None
    # Up to the stop both are the same.
    run_fit(revealing.context, job)
    assert arrays_of(hiding, job).output.tobytes() == arrays_of(revealing, job).output.tobytes()


def test_a_run_of_an_older_version_hides_pixels_to_the_end_as_its_other_fits_have(bench: Bench) -> None:
    older = replace(bench, image=replace(bench.image, rules=2))
    assert run_fit(older.context, job_of(older, "full")).revealed is None


@pytest.mark.parametrize(("rules", "step"), [(3, Step.TORCH), (RULES, Step.CHANNELS_LAST)])
def test_a_run_of_an_older_version_computes_its_steps_as_its_other_fits_have(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, rules: int, step: Step
) -> None:
    steps: list[Step] = []

    def noted(*given: Any, **named: Any) -> Any:
        steps.append(given[3].step)
        raise CrashError

    monkeypatch.setattr(fit, "Fit", noted)
    with pytest.raises(CrashError):
        run_fit(bench.context, job_of(replace(bench, image=replace(bench.image, rules=rules))))
    assert steps == [step]


def test_a_fit_that_crashed_while_it_saw_all_pixels_ends_byte_equal(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(fit={"reveal": 1.0, "block": 1})
    calm, broken = (make_bench(config, encoded(noise_seed=1), encoded(), store=name) for name in ("calm", "broken"))
    job = job_of(calm, "full")
    undisturbed = run_fit(calm.context, job, clock=still)
    assert undisturbed.revealed is not None
    assert undisturbed.revealed >= 3
    told: list[int] = []

    def crash(iteration: int, error: float) -> None:
        told.append(iteration)
        if told.count(6) == 4:
            raise CrashError

    with pytest.raises(CrashError):
        run_fit(broken.context, job, on_progress=crash, clock=ticking(100))
    assert files_of(broken, job) == {"checkpoint.pt", "reveal.pt"}
    told.clear()
    record = run_fit(broken.context, job, on_progress=lambda now, _: told.append(now), clock=still)
    # What was done before its last checkpoint is not done again.
    assert len(told) < 6 + undisturbed.revealed
    assert replace(record, seconds=0) == replace(undisturbed, seconds=0)
    assert files_of(broken, job) == {"result.json", "arrays.npz"}
    assert_equal_arrays(arrays_of(broken, job), arrays_of(calm, job))


def test_a_finished_fit_is_not_repeated(bench: Bench) -> None:
    job = job_of(bench)
    record = run_fit(bench.context, job)
    keys = fit_keys(bench.context, job)
    bench.store.delete(image_key(bench.image.file))
    before = {key: bench.store.get(key) for key in bench.store.keys(keys.root)}
    assert run_fit(bench.context, job, on_progress=fail) == record
    assert {key: bench.store.get(key) for key in bench.store.keys(keys.root)} == before


def test_fits_of_other_views_and_candidates_are_others_and_a_fit_is_that_of_its_rungs(bench: Bench) -> None:
    jobs = [job_of(bench), job_of(bench, "full"), job_of(bench, candidate=CANDIDATES[1])]
    assert len({fit_keys(bench.context, job).root for job in jobs}) == 3
    assert fit_keys(bench.context, replace(jobs[0], until=3)) == fit_keys(bench.context, jobs[0])
    run_fit(bench.context, jobs[0])
    assert [read_record(bench.store, fit_keys(bench.context, job)) is None for job in jobs] == [False, True, True]


def test_a_draw_of_a_network_begins_with_other_weights(bench: Bench) -> None:
    records = [run_fit(bench.context, job_of(bench, "full", name)) for name in ("dip", "dip-draw-2")]
    assert records[0].parameters == records[1].parameters
    outputs = [arrays_of(bench, job_of(bench, "full", name)).output for name in ("dip", "dip-draw-2")]
    assert not np.array_equal(outputs[0], outputs[1])


def test_networks_by_name_are_fitted_as_candidates_are(bench: Bench) -> None:
    names = ["dip", "deep-decoder-4", f"nas-dip-{CANDIDATES[0]}", CANDIDATES[0]]
    parameters = [run_fit(bench.context, job_of(bench, candidate=name)).parameters for name in names]
    assert len(set(parameters)) == 4
    # NAS-DIP's network has an input of 32 channels where the candidate has the image's three.
    assert None not in parameters
    assert parameters[2] > parameters[3]


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
    assert_equal_arrays(arrays_of(broken, job), arrays_of(calm, job))


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
    records = [read_record(each.store, fit_keys(each.context, job)) for each in (calm, broken)]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].arrays == records[1].arrays  # the hash of their bytes


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
    seen: list[int] = []

    def told(iteration: int, error: float) -> None:
        seen.append(iteration)
        if seen == [2, 4, 6]:
            raise CrashError

    with pytest.raises(CrashError):
        run_fit(bench.context, job, on_progress=told, clock=lambda: 100.0 * len(seen))
    # The first attempt's last checkpoint was after its second block; the second attempt has one block to go.
    record = run_fit(bench.context, job, on_progress=told, clock=lambda: 7.0 * len(seen))
    assert seen == [2, 4, 6, 6]
    assert record.seconds == 200 + 7


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
        assert replace(record, evaluation=None, arrays=blind[0].arrays) == blind[0]
        assert arrays.output.tobytes() == blind[1].output.tobytes()
        assert arrays.held_out.tobytes() == blind[1].held_out.tobytes()


def test_the_crop_of_a_fit_does_not_follow_the_reference(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(64, 70, noise_seed=1), encoded(64, 70))
    job = job_of(bench)
    record = run_fit(bench.context, job)
    reference = Problem(bench.context, bench.image).reference
    assert reference is not None
    view = Problem(bench.context, bench.image).view("crop")
    assert record.evaluation is not None
    assert record.evaluation.psnr == pytest.approx(psnr(arrays_of(bench, job).output, view.take(reference)[0]))


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
    simulated = make_bench(make_config(task={"sigma": 25}), encoded(), simulate=True, store="simulated")
    plain = make_bench(make_config(), encoded(), store="plain")
    records = [run_fit(bench.context, job_of(bench)) for bench in (simulated, plain)]
    assert records[0].evaluation is not None
    assert records[1].evaluation is None
    assert records[0].held_out_error is not None
    assert records[1].held_out_error is not None
    assert records[0].held_out_error > records[1].held_out_error


@pytest.mark.parametrize("view", ["crop", "downscale", "full"])
def test_super_resolution_restores_more_pixels_than_it_is_given(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, view: str
) -> None:
    config = make_config(task={"name": "super-resolve", "factor": 2}, cohort={"downscale_px": 48})
    bench = make_bench(config, encoded(40, 48), encoded(80, 96))
    record = run_fit(bench.context, job_of(bench, view))
    output = arrays_of(bench, job_of(bench, view)).output
    assert output.shape == {"crop": (3, 32, 32), "downscale": (3, 48, 58), "full": (3, 80, 96)}[view]
    reference = Problem(bench.context, bench.image).reference
    assert reference is not None
    of_view = Problem(bench.context, bench.image).view(record.view).of_restored(2)
    assert record.evaluation is not None
    assert record.evaluation.psnr == pytest.approx(psnr(output, of_view.take(reference)[0]))


@pytest.mark.parametrize(
    "task",
    [
        {"name": "inpaint"},
        {"name": "deblur", "kernel": "motion 5 30"},
        {"name": "deblur", "kernel": "gaussian 1.0"},
        {"name": "jpeg"},
        {"name": "denoise", "noise": "poisson"},
    ],
    ids=lambda task: " ".join(task.values()),
)
def test_a_fit_of_every_task_has_a_result(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: dict[str, Any]
) -> None:
    bench = make_bench(make_config(task=task), encoded(), simulate=True)
    record = run_fit(bench.context, job_of(bench, "full"))
    assert record.state == "done"
    assert record.held_out_error is not None
    assert record.evaluation is not None
    assert arrays_of(bench, job_of(bench, "full")).output.shape == (3, 40, 48)


def test_what_lies_in_the_holes_of_a_mask_changes_no_fit(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    random = np.random.default_rng(0)
    known = random.random((40, 48)) < 0.5
    outcomes = []
    for number in range(2):
        picture = np.where(known[..., None], 100, random.integers(0, 256, (40, 48, 3))).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        config = make_config(task={"name": "inpaint"})
        bench = make_bench(config, file.getvalue(), mask=known, store=str(number))
        outcomes.append((run_fit(bench.context, job_of(bench), clock=still), arrays_of(bench, job_of(bench))))
    assert outcomes[0][0] == outcomes[1][0]
    assert_equal_arrays(outcomes[0][1], outcomes[1][1])


@pytest.mark.parametrize(
    ("task", "wish", "rule"),
    [
        ("denoise", "auto", "held-out"),
        ("super-resolve", "auto", "held-out"),
        ("jpeg", "auto", "es-emv"),
        ("jpeg", "held-out", "held-out"),
        ("denoise", "es-wmv", "es-wmv"),
    ],
)
def test_a_run_stops_by_held_out_pixels_but_where_they_mislead(
    make_config: MakeConfig, task: str, wish: str, rule: str
) -> None:
    assert stopping_of(make_config(task={"name": task}, fit={"stopping": wish})).name == rule


def test_a_fit_stopped_by_the_variance_of_its_outputs_says_where(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    fit = {"stopping": "es-emv", "iterations": 40, "patience": 40, "block": 20}
    bench = make_bench(make_config(fit=fit), encoded(noise_seed=1), encoded())
    record = run_fit(bench.context, job_of(bench))
    arrays = arrays_of(bench, job_of(bench))
    assert record.stop_iteration is not None
    assert record.stop_iteration > 30
    assert record.steady_iteration == record.stop_iteration
    assert record.held_out_error == arrays.held_out[record.stop_iteration - 1]
    np.testing.assert_array_equal(arrays.steady, arrays.output)


def test_a_fit_pauses_at_its_rungs_and_ends_byte_equal_to_one_that_does_not(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    calm, halved = (
        make_bench(make_config(fit={"block": 4}), encoded(noise_seed=1), encoded(), store=name)
        for name in ("calm", "halved")
    )
    whole = run_fit(calm.context, job_of(calm), clock=ticking(10))
    seen: list[int] = []
    paused = []
    for until in (2, 5):
        job = job_of(halved, until=until)
        paused.append(
            run_fit(halved.context, job, on_progress=lambda now, _: seen.append(now), clock=lambda: 10.0 * len(seen))
        )
        assert read_record(halved.store, fit_keys(halved.context, job), until) == paused[-1]
        assert read_record(halved.store, fit_keys(halved.context, job)) is None
    assert files_of(halved, job_of(halved)) == {"checkpoint.pt", "rung-2.json", "rung-5.json"}
    assert [(record.state, record.iterations) for record in paused] == [("paused", 2), ("paused", 5)]
    assert [record.evaluation for record in paused] == [None, None]
    curve = arrays_of(calm, job_of(calm)).held_out
    assert [record.held_out_error for record in paused] == [curve[:2].min(), curve[:5].min()]
    assert [record.seconds for record in paused] == [10, 20]
    torch.manual_seed(123)
    record = run_fit(
        halved.context, job_of(halved), on_progress=lambda now, _: seen.append(now), clock=lambda: 10.0 * len(seen)
    )
    assert seen == [2, 5, 6]
    assert replace(record, seconds=0) == replace(whole, seconds=0)
    assert record.seconds == 30
    assert_equal_arrays(arrays_of(halved, job_of(halved)), arrays_of(calm, job_of(calm)))
    assert "checkpoint.pt" not in files_of(halved, job_of(halved))


def test_a_rung_that_was_reached_is_not_fitted_again(bench: Bench) -> None:
    job = job_of(bench, until=2)
    paused = run_fit(bench.context, job)
    assert run_fit(bench.context, job, on_progress=fail) == paused


def test_a_checkpoint_that_is_beyond_a_rung_tells_of_the_rung_only(bench: Bench) -> None:
    beyond = run_fit(bench.context, job_of(bench, until=5))
    record = run_fit(bench.context, job_of(bench, until=2))
    run_fit(bench.context, job_of(bench))
    curve = arrays_of(bench, job_of(bench)).held_out
    assert (record.state, record.iterations, record.held_out_error) == ("paused", 2, curve[:2].min())
    assert beyond.held_out_error == curve[:5].min()


def test_a_finished_fit_answers_for_any_rung(bench: Bench) -> None:
    record = run_fit(bench.context, job_of(bench))
    for until in (2, 5, 6, 100):
        assert run_fit(bench.context, job_of(bench, until=until), on_progress=fail) == record
    assert files_of(bench, job_of(bench)) == {"result.json", "arrays.npz"}


def test_a_fit_that_its_rule_stops_before_the_rung_is_finished(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    fit = {"iterations": 200, "patience": 1, "learning_rate": 0.5}
    bench = make_bench(make_config(fit=fit), encoded(noise_seed=1))
    record = run_fit(bench.context, job_of(bench, until=150))
    assert record.state == "done"
    assert record.iterations is not None
    assert record.iterations < 150
    assert files_of(bench, job_of(bench)) == {"result.json", "arrays.npz"}


def test_a_record_of_a_newer_version_ends_the_fit_and_stays_as_it_is(bench: Bench) -> None:
    job = job_of(bench)
    key = fit_keys(bench.context, job).result
    bench.store.put(key, b'{"format": 2, "state": "done"}')
    with pytest.raises(NewerFormatError, match=r"the record of a fit .*result\.json has format 2"):
        run_fit(bench.context, job)
    assert bench.store.get(key) == b'{"format": 2, "state": "done"}'


def test_a_checkpoint_that_lacks_something_is_begun_anew_and_the_fit_is_done(bench: Bench) -> None:
    job = job_of(bench)
    with pytest.raises(CrashError):
        run_fit(bench.context, job, on_progress=crash_at(4), clock=ticking(100))
    key = fit_keys(bench.context, job).checkpoint
    saved = torch.load(BytesIO(bench.store.get(key)), weights_only=True)
    del saved["fit"]["steady"]
    file = BytesIO()
    torch.save(saved, file)
    bench.store.put(key, file.getvalue())
    seen: list[int] = []
    record = run_fit(bench.context, job, on_progress=lambda iteration, _: seen.append(iteration))
    assert seen == [2, 4, 6]
    assert record.state == "done"
    assert files_of(bench, job) == {"result.json", "arrays.npz"}


def test_a_fit_whose_machine_is_about_to_go_leaves_its_checkpoint_at_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    calm, moved = (make_bench(make_config(), encoded(noise_seed=1), store=name) for name in ("calm", "moved"))
    job = job_of(calm)
    expected = run_fit(calm.context, job, clock=still)
    seen: list[int] = []
    with pytest.raises(NodeLeavingError, match="at iteration 4"):
        run_fit(
            moved.context,
            job,
            on_progress=lambda iteration, _: seen.append(iteration),
            must_leave=lambda: seen[-1] >= 4,
            clock=still,
        )
    assert files_of(moved, job) == {"checkpoint.pt"}
    record = run_fit(moved.context, job, on_progress=lambda iteration, _: seen.append(iteration), clock=still)
    assert seen == [2, 4, 6]
    assert record == expected


def test_a_fit_that_has_come_to_its_end_need_not_leave(bench: Bench) -> None:
    seen: list[int] = []
    record = run_fit(
        bench.context,
        job_of(bench),
        on_progress=lambda iteration, _: seen.append(iteration),
        must_leave=lambda: seen[-1] == 6,
    )
    assert record.state == "done"


def test_of_two_attempts_the_first_that_ends_counts_and_the_other_takes_over_its_record(bench: Bench) -> None:
    job = job_of(bench)
    keys = fit_keys(bench.context, job)
    first: list[FitRecord] = []

    def overtaken(iteration: int, value: float) -> None:
        if iteration == 4:
            # Another driver's worker, on the same fit, with seconds of its own.
            first.append(run_fit(bench.context, job, clock=ticking(7)))

    second = run_fit(bench.context, job, on_progress=overtaken, clock=still)
    assert first[0].seconds > 0
    assert second == first[0] == read_record(bench.store, keys)
    assert files_of(bench, job) == {"result.json", "arrays.npz"}


def test_want_of_memory_is_an_error_of_the_fit(bench: Bench) -> None:
    def full(iteration: int, value: float) -> None:
        raise MemoryError

    with pytest.raises(FitOutOfMemoryError):
        run_fit(bench.context, job_of(bench), on_progress=full)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "other", "cut"])
def test_a_checkpoint_that_the_store_finds_damaged_is_begun_anew(bench: Bench, damage: bytes | None) -> None:
    job = job_of(bench)
    with pytest.raises(CrashError):
        run_fit(bench.context, job, on_progress=crash_at(4), clock=ticking(100))
    path = bench.store.local_path(fit_keys(bench.context, job).checkpoint)
    os.truncate(path, path.stat().st_size // 2)
    if damage is not None:
        with path.open("wb") as file:  # in place: the store's metadata of the object stays
            file.write(damage)
    seen: list[int] = []
    record = run_fit(bench.context, job, on_progress=lambda iteration, _: seen.append(iteration))
    assert seen == [2, 4, 6]
    assert record.state == "done"


def test_a_fit_whose_arrays_somebody_has_removed_is_made_again(bench: Bench) -> None:
    job = job_of(bench)
    first = run_fit(bench.context, job, clock=still)
    keys = fit_keys(bench.context, job)
    bench.store.delete(keys.arrays(str(first.arrays)))
    assert run_fit(bench.context, job, clock=still) == first
    assert files_of(bench, job) == {"result.json", "arrays.npz"}


def test_a_fit_on_a_gpu_is_deterministic_if_asked(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MadeError(Exception):
        pass

    made: list[bool] = []

    def make(*given: Any, **_: Any) -> None:
        made.append(given[3].deterministic)
        raise MadeError

    monkeypatch.setattr("orchestrator.fit.fit.Fit", make)
    for asked in (False, True):
        bench = make_bench(make_config(fit={"deterministic": asked}), encoded(noise_seed=1))
        for device in ("cpu", "cuda"):
            with pytest.raises(MadeError):
                run_fit(replace(bench.context, device=device), job_of(bench))
    assert made == [False, False, False, True]


@pytest.mark.parametrize("simulate", [True, False])
def test_a_fit_reads_every_input_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, read: Reads, simulate: bool
) -> None:
    bench = make_bench(make_config(), encoded(), None if simulate else encoded(noise_seed=1), simulate=simulate)
    keys = read(bench)
    assert run_fit(bench.context, job_of(bench)).evaluation is not None
    inputs = ["a-0123abcd.png"] if simulate else ["a-0123abcd.png", "a-0123abcd.ref"]
    assert keys == [image_key(name) for name in inputs]


def fitting(bench: Bench, job: FitJob, **how: Any) -> fit.Fitting:
    assert isinstance(job.name, PriorName)
    subject_of = partial(prior_subject, bench.context, job.image, job.view, job.name)
    return fit.fit_in_blocks(bench.context, job, subject_of, clock=still, **how)


def test_fits_side_by_side_are_as_each_alone_and_the_failure_of_one_is_its_own(
    bench: Bench, make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    jobs = [job_of(bench, candidate=candidate) for candidate in CANDIDATES[:2]]
    order: list[int] = []

    def crash(iteration: int, error: float) -> None:
        raise MemoryError

    def fittings(of: Bench) -> list[fit.Fitting]:
        both = [
            fitting(of, job, on_progress=lambda *_, place=place: order.append(place)) for place, job in enumerate(jobs)
        ]
        return [both[0], fitting(of, job_of(of, candidate=CANDIDATES[2]), on_progress=crash), both[1]]

    first, failed, second = fit.side_by_side(fittings(bench))
    assert isinstance(failed, FitOutOfMemoryError)
    # Each does a block in turn.
    assert order[:4] == [0, 1, 0, 1]
    other = make_bench(make_config(), encoded(noise_seed=1), encoded())
    for job, record in zip(jobs, (first, second), strict=True):
        assert replace(run_fit(other.context, job, clock=still), arrays=None) == replace(record, arrays=None)
        assert_equal_arrays(arrays_of(bench, job), arrays_of(other, job))


def test_fits_side_by_side_resume_one_by_one(bench: Bench) -> None:
    jobs = [job_of(bench, candidate=candidate) for candidate in CANDIDATES[:2]]
    left = fit.side_by_side([fitting(bench, job, must_leave=lambda: True) for job in jobs])
    assert all(isinstance(each, NodeLeavingError) for each in left)
    assert all(bench.store.exists(fit_keys(bench.context, job).checkpoint) for job in jobs)
    begun: list[int] = []
    record = run_fit(bench.context, jobs[0], on_progress=lambda iteration, error: begun.append(iteration), clock=still)
    assert record.state == "done"
    assert min(begun) > bench.context.config.fit.block
