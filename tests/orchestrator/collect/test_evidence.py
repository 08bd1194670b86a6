import numpy as np
import pytest

from orchestrator.fit.problem import Problem
from orchestrator.run.rows import Row, RowState
from tests.orchestrator.collect.left import A, B, collected, leave, leave_all, pixels, restored
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.noise import Estimate, estimated_psnr, noise_variance
from workers.quality import psnr, psnr_y
from workers.tasks import enlarge


def test_with_a_reference_the_row_has_the_figures_of_what_was_written(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    noisy, clean = encoded(noise_seed=1), encoded()
    bench = make_bench(make_config(), noisy, clean)
    leave_all(bench, evaluated=True)
    row = collected(bench, [B, A])
    truth = pixels(clean).astype(np.float64) / 255
    assert row.psnr_degraded == pytest.approx(psnr(pixels(noisy) / 255, truth), abs=1e-3)
    assert row.psnr == pytest.approx(psnr(np.full_like(truth, 0.25), truth), abs=1e-3)
    assert row.psnr_mean == pytest.approx(psnr(np.full_like(truth, 0.5), truth), abs=1e-3)
    assert row.psnr_oracle_stop == 21.5
    assert row.ssim is not None
    assert 0 <= row.ssim < 0.5


def test_the_estimated_psnr_is_an_interval_where_the_held_out_pixels_allow_one(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    def row_of(task: str, standard_error: float | None, *, mask: bool = False) -> tuple[Row, Bench]:
        known = np.ones((96, 96), dtype=np.bool_) if mask else None
        store = f"{task}-{standard_error}-{mask}"
        bench = make_bench(make_config(task={"name": task}), encoded(96, 96, noise_seed=1), mask=known, store=store)
        leave(bench, "full", A, 0.5, held_out_error=0.5, held_out_standard_error=standard_error)
        return collected(bench, [A]), bench

    row, bench = row_of("denoise", 0.01)
    noise = noise_variance(Problem(bench.context, bench.image).observation.pixels - np.float32(0.5))
    assert (row.psnr_low, row.psnr_high) == estimated_psnr(Estimate(0.5, 0.01), noise)
    row, _ = row_of("inpaint", 0.01)
    assert (row.psnr_low, row.psnr_high) == estimated_psnr(Estimate(0.5, 0.01), None)
    # Too wide; unknown; nothing is measured inside the user's holes; nor where a blur removes it.
    for task, standard_error, mask in (
        ("denoise", 0.2, False),
        ("denoise", None, False),
        ("inpaint", 0.01, True),
        ("deblur", 0.01, False),
        ("super-resolve", 0.01, False),
    ):
        row, _ = row_of(task, standard_error, mask=mask)
        assert (row.state, row.psnr_low, row.psnr_high) == (RowState.RESTORED, None, None)


def test_the_psnr_of_an_inpainted_image_is_measured_where_it_is_known_and_estimated_elsewhere(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    clean = encoded(96, 96)
    bench = make_bench(make_config(task={"name": "inpaint", "missing": 0.25}), clean, simulate=True)
    observation = Problem(bench.context, bench.image).observation
    assert observation.known is not None
    leave(bench, "full", A, 0.5, held_out_error=0.04, held_out_standard_error=0.002)
    row = collected(bench, [A])
    share = observation.known.mean()
    measured = np.square(observation.pixels[:, observation.known] - 0.5).mean()
    whole = Estimate(share * measured + (1 - share) * 0.04, (1 - share) * 0.002)
    assert (row.psnr_low, row.psnr_high) == pytest.approx(estimated_psnr(whole, None))


@pytest.mark.parametrize("simulate", [False, True])
def test_super_resolution_is_compared_with_the_enlarged_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, simulate: bool
) -> None:
    config = make_config(task={"name": "super-resolve", "factor": 2})
    given = encoded(41, 48) if simulate else encoded(20, 24)
    bench = make_bench(config, given, None if simulate else encoded(40, 48), simulate=simulate)
    leave(bench, "full", B, 0.5)
    row = collected(bench, [B])
    assert pixels(restored(bench)).shape == (40, 48, 3)
    clean = Problem(bench.context, bench.image).reference
    assert clean is not None
    before = enlarge(Problem(bench.context, bench.image).observation.pixels, 2)
    assert row.psnr_degraded == pytest.approx(psnr(before, clean))
    assert row.psnr_y == pytest.approx(psnr_y(np.full_like(clean, 0.5), clean))


@pytest.mark.parametrize("keep_known", [True, False])
def test_a_masked_image_is_painted_in_and_was_degraded_by_its_holes(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep_known: bool
) -> None:
    known = np.random.default_rng(0).random((40, 48)) < 0.5
    task = {"name": "inpaint", "keep_known": keep_known}
    bench = make_bench(make_config(task=task), encoded(), encoded(), mask=known)
    leave(bench, "full", B, 0.5)
    row = collected(bench, [B], previews=True)
    assert (pixels(restored(bench))[~known] == 128).all()
    expected = pixels(encoded())[known] if keep_known else 128
    assert (pixels(restored(bench))[known] == expected).all()
    clean = Problem(bench.context, bench.image).reference
    assert clean is not None
    assert row.psnr_degraded == pytest.approx(psnr(clean * known, clean))
    assert row.psnr_y is None
    shown = pixels(bench.store.get(bench.context.layout.preview(bench.image.id, "degraded")))
    assert (shown[~known] == 0).all()
    np.testing.assert_array_equal(shown[known], pixels(encoded())[known])
