from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import ImageRejectedError
from orchestrator.fit import fit
from orchestrator.fit.arrays import FitArrays, read_arrays
from orchestrator.fit.assemble import assemble, check_tiles
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.fit.subject import prior_subject
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import PriorName
from workers.quality import psnr
from workers.tiles import Tiling, tiling_of

NAME = PriorName(CANDIDATES[0])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(40, 80, noise_seed=1), encoded(40, 80))


def tiling(bench: Bench, side: int = 48) -> Tiling:
    reach = bench.context.config.task.make().operator.reach
    return tiling_of(bench.image.height, bench.image.width, side, max(8, 2 * reach + 2), reach)


def run_fit(bench: Bench, job: FitJob, **how: Any) -> FitRecord:
    assert isinstance(job.name, PriorName)
    return fit.run_fit(
        bench.context, job, partial(prior_subject, bench.context, bench.image, job.view, job.name), **how
    )


def fit_tiles(bench: Bench, cut: Tiling, until: int | None = None) -> list[FitRecord]:
    return [run_fit(bench, FitJob(bench.image, "full", NAME, until, tile=tile)) for tile in cut.tiles]


def whole(bench: Bench) -> tuple[FitRecord, FitArrays]:
    keys = fit_keys(bench.context, FitJob(bench.image, "full", NAME))
    record = read_record(bench.store, keys)
    assert record is not None
    return record, read_arrays(bench.store, keys, record)


def test_tiles_become_one_fit_of_the_whole_image(bench: Bench) -> None:
    cut = tiling(bench)
    assert len(cut.tiles) == 2
    records = fit_tiles(bench, cut)
    assert assemble(bench.context, bench.image, cut, NAME, None) == "done"
    record, arrays = whole(bench)
    assert arrays.output.shape == arrays.steady.shape == arrays.revealed.shape == (3, 40, 80)
    # Where only one tile lies, the image is its.
    first = read_arrays(
        bench.store, fit_keys(bench.context, FitJob(bench.image, "full", NAME, tile=cut.tiles[0])), records[0]
    )
    np.testing.assert_array_equal(arrays.output[:, :, :32], first.output[:, :, :32])
    assert record.iterations == sum(each.iterations or 0 for each in records)
    assert record.multiply_adds == sum(each.multiply_adds or 0 for each in records)
    problem = Problem(bench.context, bench.image)
    hidden = problem.measurement(problem.view("full")).held_out
    error = np.square(arrays.output - problem.observation.pixels)[:, hidden].mean()
    assert record.held_out_error == pytest.approx(error, rel=1e-5)
    assert record.evaluation is not None
    assert problem.reference is not None
    assert record.evaluation.psnr == psnr(arrays.output, problem.reference)
    assert record.evaluation.psnr_revealed == psnr(arrays.revealed, problem.reference)
    assert len(arrays.psnr) == len(arrays.held_out) == max(each.iterations or 0 for each in records)
    assert min(each.evaluation.psnr for each in records if each.evaluation) < arrays.psnr.max() + 3


def test_what_is_hidden_from_one_tile_is_hidden_from_all(bench: Bench) -> None:
    cut, problem = tiling(bench), Problem(bench.context, bench.image)
    hidden = problem.measurement(problem.view("full")).held_out
    for tile in cut.tiles:
        measured = problem.tile_measurement(tile)
        assert measured.known is None
        np.testing.assert_array_equal(measured.held_out, hidden[tile.slices])
        np.testing.assert_array_equal(measured.pixels, problem.observation.pixels[:, *tile.slices])


@pytest.mark.parametrize(
    "task",
    [
        {"name": "super-resolve", "factor": 2},
        {"name": "deblur", "kernel": "motion 5 30"},
        {"name": "inpaint", "missing": 0.3},
    ],
    ids=lambda task: str(task["name"]),
)
def test_every_task_has_tiles(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: dict[str, Any]
) -> None:
    scale = task.get("factor", 1)
    bench = make_bench(make_config(task=task), encoded(40 * scale, 80 * scale), simulate=True)
    cut = tiling(bench)
    check_tiles(bench.context, bench.image, cut)
    if cut.reach:
        # Beyond an edge within the image the measurement comes from pixels that the tile does not have.
        measured = Problem(bench.context, bench.image).tile_measurement(cut.tiles[0])
        assert measured.known is not None
        assert not measured.known[:, -cut.reach :].any()
        assert measured.known[:, : -cut.reach].all()
    fit_tiles(bench, cut)
    assert assemble(bench.context, bench.image, cut, NAME, None) == "done"
    record, arrays = whole(bench)
    assert arrays.output.shape == (3, scale * 40, scale * 80)
    assert np.isfinite(arrays.output).all()
    assert record.held_out_error is not None
    assert record.evaluation is not None


def test_a_tile_that_was_killed_goes_on_and_the_image_is_the_same(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(fit={"checkpoint_s": 1e-6})
    calm, killed = (make_bench(config, encoded(40, 80, noise_seed=1), store=name) for name in ("calm", "killed"))
    cut = tiling(calm)
    fit_tiles(calm, cut)

    class DiedError(Exception):
        pass

    def die(iteration: int, error: float) -> None:
        if iteration >= 4:
            raise DiedError

    job = FitJob(killed.image, "full", NAME, tile=cut.tiles[1])
    with pytest.raises(DiedError):
        run_fit(killed, job, on_progress=die)
    assert killed.store.exists(fit_keys(killed.context, job).checkpoint)
    fit_tiles(killed, cut)
    for bench in (calm, killed):
        assert assemble(bench.context, bench.image, cut, NAME, None) == "done"
    assert whole(calm)[0].arrays == whole(killed)[0].arrays


def test_what_was_assembled_stands_when_its_tiles_are_gone(bench: Bench) -> None:
    cut = tiling(bench)
    fit_tiles(bench, cut)
    assert assemble(bench.context, bench.image, cut, NAME, None) == "done"
    before = whole(bench)[0]
    for tile in cut.tiles:
        bench.store.delete_all(
            fit_keys(bench.context, FitJob(bench.image, "full", NAME, tile=tile)).result.rpartition("/")[0]
        )
    assert assemble(bench.context, bench.image, cut, NAME, None) == "done"
    assert fit_tiles(bench, cut) == [before] * len(cut.tiles)


def test_a_tile_without_a_result_fails_the_fit(bench: Bench) -> None:
    cut = tiling(bench)
    run_fit(bench, FitJob(bench.image, "full", NAME, tile=cut.tiles[0]))
    failed = FitRecord(NAME, "full", "failed", reason="it crashed")
    bench.store.put(
        fit_keys(bench.context, FitJob(bench.image, "full", NAME, tile=cut.tiles[1])).result, failed.to_json()
    )
    assert assemble(bench.context, bench.image, cut, NAME, None) == "failed"
    record = read_record(bench.store, fit_keys(bench.context, FitJob(bench.image, "full", NAME)))
    assert record is not None
    assert record.reason == f"the tile at {cut.tiles[1]}: it crashed"


def test_tiles_that_pause_at_a_rung_are_a_fit_that_pauses(bench: Bench) -> None:
    cut = tiling(bench)
    records = fit_tiles(bench, cut, until=2)
    assert assemble(bench.context, bench.image, cut, NAME, 2) == "paused"
    record = read_record(bench.store, fit_keys(bench.context, FitJob(bench.image, "full", NAME)), 2)
    assert record is not None
    assert (record.state, record.iterations) == ("paused", 4)
    assert record.held_out_error == pytest.approx(np.mean([each.held_out_error for each in records]))  # type: ignore[arg-type]
    fit_tiles(bench, cut)
    assert assemble(bench.context, bench.image, cut, NAME, None) == "done"


@pytest.mark.parametrize("hole", [None, 20, 60])
def test_a_hole_as_large_as_a_tile_is_refused(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, hole: int | None
) -> None:
    mask = np.ones((40, 80), np.bool_)
    if hole is not None:
        mask[:, :hole] = False
    bench = make_bench(make_config(task={"name": "inpaint"}), encoded(40, 80), mask=mask)
    check: Callable[[], None] = partial(check_tiles, bench.context, bench.image, tiling(bench))
    if hole != 60:
        check()
        return
    with pytest.raises(
        ImageRejectedError, match=r"a hole is as large as a tile: .* at 0,0 only 0 pixels are known; give"
    ):
        check()


def test_a_tile_reserves_what_it_needs(bench: Bench) -> None:
    job = FitJob(bench.image, "full", NAME)
    tile = tiling(bench).tiles[1]
    assert replace(job, tile=tile).place == f"full-0-{tile.left}-40x48"
    assert (replace(job, tile=tile).fitted.width, job.fitted) == (48, bench.image)
