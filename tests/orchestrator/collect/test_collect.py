from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from orchestrator.arms.resolve import arms_of
from orchestrator.collect.collect import (
    CURVE_POINTS,
    Chosen,
    Fitted,
    collect,
    let_go_of_the_rest,
    mean_weights,
    pack,
    picked_network,
    thin,
)
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import Evaluation, FitRecord, fit_keys
from orchestrator.pick.decide import Decision
from orchestrator.run.layout import image_key
from orchestrator.run.rows import NOT_BLIND, Row, RowState, rows_from_json
from orchestrator.score.score import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig, Reads
from workers.names import PriorName, parse_name
from workers.noise import Estimate, estimated_psnr, noise_variance
from workers.quality import psnr, psnr_y
from workers.tasks import enlarge

A, B, C = CANDIDATES
SHORTLIST = [Scored(PriorName(A), 1.0), Scored(PriorName(B), 2.0), Scored(PriorName(C), 3.0)]
DECISION = Decision("held-out", [B, A], {C: "the fit diverged"})


def leave(bench: Bench, view: Any, candidate: str, output: float | NDArray[np.float32] | None, **known: Any) -> None:
    """A fit in the store: a finished one with this output, if it is a number everywhere the same, or a failed one.

    Where its outputs varied least it has half of that.
    """
    keys = fit_keys(bench.context, FitJob(bench.image, view, parse_name(candidate)))
    if output is None:
        record = FitRecord(candidate, view, "failed", reason="the fit diverged", seconds=1.0)
    else:
        scale = bench.context.config.task.scale
        sides = (scale * bench.image.height, scale * bench.image.width) if view == "full" else (32, 32)
        pixels = np.broadcast_to(np.float32(output), (bench.image.channels, *sides))
        curve = np.array([0.3, 0.2, 0.25], dtype=np.float32)
        seen = curve if known.get("evaluation") else curve[:0]
        bench.store.put(keys.arrays("x"), FitArrays(pixels, pixels / 2, curve, seen).to_bytes())
        record = FitRecord(candidate, view, "done", None, 0.2, 0.1, 2, 1, 3, 0.125, 1234, seconds=10.0, arrays="x")
        record = replace(record, **known)
    bench.store.put(keys.result, record.to_json())


def leave_all(bench: Bench, *, evaluated: bool = False) -> None:
    """A cohort of two and a failure, and two fits at full size."""
    evaluation = Evaluation(20.0, 19.0, 21.5) if evaluated else None
    for view, candidate, value in (
        ("crop", A, 0.1),
        ("crop", B, 0.2),
        ("crop", C, None),
        ("full", B, 0.25),
        ("full", A, 0.75),
    ):
        leave(bench, view, candidate, value, evaluation=evaluation)


def chosen(
    bench: Bench, full: Sequence[str], decision: Decision = DECISION, ended: Mapping[str, int] | None = None
) -> list[Chosen]:
    """What every arm of the run has chosen: the same."""
    return [Chosen(arm, SHORTLIST, decision, full, ended or {}) for arm in arms_of(bench.context.config)]


def collected(bench: Bench, full: Sequence[str], decision: Decision = DECISION, *, previews: bool = False) -> Row:
    """The row of the run's one arm."""
    rows = collect(bench.context, bench.image, chosen(bench, full, decision), previews=previews)
    (row,) = rows
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    return row


def restored(bench: Bench, which: Any = "pick", arm: str = "isnas-dip-blind") -> bytes:
    name = bench.image.spread if which == "spread" else bench.image.restored
    return bench.store.get(bench.context.layout.restored(arm, which, name))


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(data)))


def test_the_picks_output_becomes_a_file_of_the_images_size_and_format(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(40, 48))
    leave_all(bench)
    row = collected(bench, [B, A])
    picture = Image.open(BytesIO(restored(bench)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (48, 40))
    assert (pixels(restored(bench)) == 64).all()  # 0.25 * 255
    assert (pixels(restored(bench, "mean")) == 128).all()
    assert row == Row(
        "a.png",
        "isnas-dip-blind",
        RowState.RESTORED,
        candidate=B,
        rule="held-out",
        stopping="held-out",
        stop_iteration=2,
        held_out_error=0.2,
        iterations=12,
        seconds=41.0,
        parameters=1234,
    )


def test_a_deep_tiff_stays_one(make_bench: MakeBench, make_config: MakeConfig) -> None:
    file = BytesIO()
    samples = np.linspace(0, 65535, 36 * 40).reshape(36, 40).astype(np.uint16)
    tifffile.imwrite(file, samples, photometric="minisblack", metadata=None)
    bench = make_bench(make_config(), file.getvalue(), name="a.tif")
    leave(bench, "full", B, 0.5)
    collected(bench, [B])
    again = tifffile.imread(BytesIO(restored(bench)))
    assert (again.dtype, again.shape) == (np.uint16, (36, 40))
    assert (again == 32768).all()
    assert bench.image.restored == "a.tif"


def test_a_jpeg_becomes_a_png(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(33, 34, kind="JPEG"), name="a.jpg")
    leave(bench, "full", B, 0.5)
    collected(bench, [B])
    assert Image.open(BytesIO(restored(bench))).format == "PNG"
    assert bench.store.exists(bench.context.layout.restored("isnas-dip-blind", "pick", "a.png"))


def test_transparency_is_kept_as_it_was(make_bench: MakeBench, make_config: MakeConfig) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (36, 40, 4), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    bench = make_bench(make_config(), file.getvalue())
    assert bench.image.channels == 3
    leave(bench, "full", B, 0.5)
    leave(bench, "full", A, 0.25)
    collected(bench, [B, A])
    for which in ("pick", "mean"):
        again = pixels(restored(bench, which))
        assert again.shape == (36, 40, 4)
        np.testing.assert_array_equal(again[..., 3], samples[..., 3])
    assert (pixels(restored(bench))[..., :3] == 128).all()


def test_a_single_full_fit_has_no_mean(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(), encoded())
    leave_all(bench, evaluated=True)
    row = collected(bench, [B], previews=True)
    layout = bench.context.layout
    assert not bench.store.exists(layout.restored("isnas-dip-blind", "mean", bench.image.restored))
    assert not bench.store.exists(layout.restored("isnas-dip-blind", "spread", bench.image.spread))
    assert not bench.store.exists(layout.preview(bench.image.id, "mean", "isnas-dip-blind"))
    assert row.psnr_mean is None
    assert row.psnr is not None


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


def test_the_pick_is_the_first_full_fit_that_came_to_an_end(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave(bench, "full", B, None)
    leave(bench, "full", A, 0.5)
    row = collected(bench, [B, A])
    assert row.candidate == A
    assert (pixels(restored(bench)) == 128).all()
    assert row.seconds == 11.0


def test_where_nothing_was_fitted_the_row_says_why_and_no_file_is_written(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(), encoded())
    leave(bench, "crop", A, None)
    nothing = Decision("held-out", [], {A: "the fit diverged", B: "no result"})
    row = collected(bench, [], nothing, previews=True)
    assert row.state is RowState.FAILED
    assert row.reason == "no fit came to an end; the last reason: no result"
    assert row.seconds == 1.0
    assert row.psnr is None
    assert list(bench.store.keys(f"{bench.context.layout.root}/restored")) == []
    # Only what all arms have in common.
    folder = f"{bench.context.layout.root}/previews/{bench.image.id}"
    assert {key.removeprefix(f"{folder}/") for key in bench.store.keys(folder)} == {"degraded.png", "reference.png"}


def test_the_reason_is_that_of_the_full_size_fits_where_there_are_some(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave(bench, "full", B, None)
    row = collected(bench, [B])
    assert (row.state, row.reason) == (RowState.FAILED, "no fit came to an end; the last reason: the fit diverged")


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("none", set()),
        ("full", {("full", A), ("full", B)}),
        ("all", {("crop", A), ("crop", B), ("crop", C), ("full", A), ("full", B)}),
    ],
)
def test_only_the_fits_that_are_wanted_are_kept(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str, left: set[tuple[str, str]]
) -> None:
    bench = make_bench(make_config(keep={"fits": keep}), encoded())
    leave_all(bench)
    other = Bench(bench.context, replace(bench.image, id="other"))
    leave(other, "crop", A, 0.5)
    collected(bench, [B, A])
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == left
    assert len(list(bench.store.keys(bench.context.layout.fits("other")))) == 2


def test_of_a_cohort_at_full_size_the_picks_are_kept_and_every_second_is_counted_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(cohort={"view": "full"}, pick={"full_fits": 1}), encoded())
    leave(bench, "full", A, 0.5)
    leave(bench, "full", B, 0.25)
    leave(bench, "full", C, None)
    row = collected(bench, [B])
    assert row.seconds == 21.0
    kept = {key.split("/")[-2] for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {B}
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id)))
    assert table["candidate"].to_pylist() == [A, B, C]


def test_previews_are_left_where_they_are_wanted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(keep={"fits": "all"}), encoded(noise_seed=1), encoded())
    leave_all(bench, evaluated=True)
    collected(bench, [B, A])
    folder = f"{bench.context.layout.root}/previews"
    assert list(bench.store.keys(folder)) == []
    bench.store.delete_all(bench.context.layout.rows)
    collected(bench, [B, A], previews=True)
    own = "isnas-dip-blind"
    names = [key.removeprefix(f"{folder}/{bench.image.id}/") for key in bench.store.keys(folder)]
    assert sorted(names) == [
        "degraded.png",
        f"{own}/mean.png",
        f"{own}/restored.png",
        f"{own}/spread.png",
        "reference.png",
    ]
    shown = {name: pixels(bench.store.get(f"{folder}/{bench.image.id}/{name}")) for name in names}
    np.testing.assert_array_equal(shown["degraded.png"], pixels(encoded(noise_seed=1)))
    np.testing.assert_array_equal(shown["reference.png"], pixels(encoded()))
    assert (shown[f"{own}/restored.png"] == 64).all()
    # The map is shown from nothing to its own maximum.
    assert (shown[f"{own}/spread.png"] == 255).all()


def test_the_packed_record_has_a_row_for_every_fit(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(keep={"fits": "none"}), encoded(), encoded())
    leave_all(bench, evaluated=True)
    collected(bench, [B, A])
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    assert [(row["view"], row["candidate"]) for row in table] == [
        ("full", B),
        ("full", A),
        ("crop", A),
        ("crop", B),
        ("crop", C),
    ]
    first, failed = table[0], table[-1]
    assert {name: first[name] for name in first if not name.startswith(("psnr", "curve"))} == {
        "candidate": B,
        "view": "full",
        "state": "done",
        "reason": None,
        "held_out_error": 0.2,
        "held_out_standard_error": 0.1,
        "stop_iteration": 2,
        "steady_iteration": 1,
        "iterations": 3,
        "residual_correlation": 0.125,
        "parameters": 1234,
        "sparsity": None,
        "blind": True,
        "seconds": 10.0,
    }
    assert (first["psnr"], first["psnr_steady"], first["psnr_oracle_stop"]) == (20.0, 19.0, 21.5)
    assert first["curve_iteration"] == [1, 2, 3]
    assert first["curve_held_out"] == pytest.approx([0.3, 0.2, 0.25])
    assert first["curve_psnr"] == pytest.approx([0.3, 0.2, 0.25])
    assert (failed["state"], failed["reason"], failed["psnr"]) == ("failed", "the fit diverged", None)
    assert (failed["curve_iteration"], failed["curve_held_out"], failed["curve_psnr"]) == ([], [], None)


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_its_stop() -> None:
    length, stop = 3000, 1234
    curve = np.linspace(1, 0, length, dtype=np.float32)
    record = FitRecord(A, "crop", "done", held_out_error=0.1, stop_iteration=stop, iterations=length)
    (row,) = pq.read_table(BytesIO(pack([Fitted(record, curve, curve[:0])]))).to_pylist()
    iterations = row["curve_iteration"]
    assert len(iterations) <= CURVE_POINTS + 1
    assert {1, stop, length} <= set(iterations)
    assert iterations == sorted(set(iterations))
    assert row["curve_held_out"] == [float(curve[iteration - 1]) for iteration in iterations]
    assert row["curve_psnr"] is None


@pytest.mark.parametrize(
    ("length", "keep"), [(0, None), (1, 0), (2, 1), (199, 3), (200, None), (201, 100), (5000, 4999)]
)
def test_thinning_keeps_short_curves_whole_and_is_evenly_spread(length: int, keep: int | None) -> None:
    at = thin(length, keep)
    if length <= CURVE_POINTS:
        assert at.tolist() == list(range(length))
        return
    assert CURVE_POINTS <= len(at) <= CURVE_POINTS + 1
    assert np.diff(at).max() <= np.ceil(length / (CURVE_POINTS - 1))


def test_collecting_again_after_a_crash_keeps_the_row_that_is_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(keep={"fits": "none"}), encoded(noise_seed=1), encoded())
    leave_all(bench, evaluated=True)
    first = collected(bench, [B, A])
    assert list(bench.store.keys(f"{bench.context.layout.root}/fits")) == []
    before = {key: bench.store.get(key) for key in bench.store.keys(bench.context.layout.root)}
    assert collected(bench, [B, A]) == first
    assert {key: bench.store.get(key) for key in bench.store.keys(bench.context.layout.root)} == before


def test_collecting_again_lets_go_of_what_a_crash_has_left(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave_all(bench)
    first = collected(bench, [B, A])
    leave(bench, "crop", A, 0.1)
    assert collected(bench, [B, A]) == first
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {("full", A), ("full", B)}


@pytest.mark.parametrize(("keep", "left"), [("all", {"crop", "full"}), ("full", {"full"}), ("none", set())])
def test_what_a_killed_driver_left_of_an_ended_image_goes_and_that_of_others_stays(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str, left: set[str]
) -> None:
    bench = make_bench(make_config(keep={"fits": keep}), encoded())
    leave_all(bench)
    layout = bench.context.layout
    other = layout.fit("other", "crop", PriorName(A)).checkpoint
    bench.store.put(other, b"")
    let_go_of_the_rest(bench.context, {bench.image.id})
    assert {key.split("/")[-3] for key in bench.store.keys(layout.fits(bench.image.id))} == left
    assert bench.store.exists(other)


@pytest.mark.parametrize(
    ("errors", "noise", "weights"),
    [
        # True errors 0.1 and 0.3.
        ([0.3, 0.5], 0.2, [0.75, 0.25]),
        ([0.3, 0.3, 0.3], 0.2, [1 / 3, 1 / 3, 1 / 3]),
        # At most nine tenths of the least error are noise: 0.01 and 0.03 are left.
        ([0.1, 0.12], 0.5, [0.75, 0.25]),
        ([0.1, 0.3], 0.0, [0.75, 0.25]),
        ([0.1, None], 0.05, [0.5, 0.5]),
        ([0.4], 0.1, [1.0]),
        ([0.0, 0.1], 0.05, [1.0, 0.0]),
    ],
)
def test_a_fit_weighs_in_the_mean_as_one_over_its_estimated_error(
    errors: list[float | None], noise: float, weights: list[float]
) -> None:
    assert mean_weights(errors, noise) == pytest.approx(weights, abs=1e-9)


@hypothesis_settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 1))
def test_weights_sum_to_one_and_less_error_weighs_no_less(errors: list[float], noise: float) -> None:
    weights = mean_weights(errors, noise)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(errors)]) <= 1e-12).all()


def test_the_mean_is_weighted_and_the_map_shows_where_fits_disagree(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(task={"name": "deblur"}), encoded(40, 48))
    left = np.zeros((3, 40, 48), dtype=np.float32)
    left[:2, :, :24] = 0.8
    leave(bench, "full", A, left, held_out_error=0.1)
    leave(bench, "full", B, 0.0, held_out_error=0.3)
    row = collected(bench, [B, A])
    assert row.candidate == A
    # No noise is told from a blurred image: weights 3/4 and 1/4.
    assert (pixels(restored(bench, "mean"))[:, :24] == (153, 153, 0)).all()
    assert (pixels(restored(bench, "mean"))[:, 24:] == 0).all()
    spread = tifffile.imread(BytesIO(restored(bench, "spread")))
    assert (spread.dtype, spread.shape) == (np.float32, (40, 48))
    # Standard deviation over the fits, 0.4 in two channels of three.
    np.testing.assert_allclose(spread[:, :24], 0.8 / 3, rtol=1e-6)
    assert (spread[:, 24:] == 0).all()
    assert bench.store.exists(bench.context.layout.restored("isnas-dip-blind", "spread", "a.png.tif"))


def test_the_least_held_out_error_at_full_size_is_the_pick_but_for_rules_that_look_for_consensus(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    for rule, pick in (("held-out", A), ("consensus", B)):
        bench = make_bench(make_config(pick={"rule": rule}), encoded(), store=rule)
        leave(bench, "full", A, 0.25, held_out_error=0.1)
        leave(bench, "full", B, 0.75, held_out_error=0.3)
        row = collected(bench, [B, A], replace(DECISION, rule=rule))
        assert (row.candidate, row.rule) == (pick, rule)


def test_where_noise_is_correlated_the_steadiest_outputs_are_the_result_and_the_row_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(noise_seed=1), encoded())
    leave(bench, "full", B, 0.5, held_out_error=0.3, held_out_standard_error=0.001)
    leave(bench, "full", A, 1.0, held_out_error=0.1)
    decision = Decision("consensus", [B, A, C], {}, correlated=True, residual_correlation=0.456)
    row = collected(bench, [B, A], decision)
    assert (row.candidate, row.rule, row.stopping, row.stop_iteration) == (B, "consensus", "es-emv", 1)
    assert (pixels(restored(bench)) == 64).all()
    # Held-out errors weigh nothing then: the plain mean of 0.25 and 0.5.
    assert (pixels(restored(bench, "mean")) == 96).all()
    assert row.note is not None
    assert "correlated" in row.note
    assert "(0.46)" in row.note
    assert row.psnr_low is None
    assert row.psnr is not None


@pytest.mark.parametrize(
    ("changes", "correlation"),
    [({"task": {"name": "jpeg"}}, 0.3), ({"fit": {"stopping": "es-emv"}, "pick": {"noise": "correlated"}}, None)],
)
def test_what_was_asked_for_needs_no_note(
    make_bench: MakeBench,
    make_config: MakeConfig,
    encoded: Encoded,
    changes: dict[str, Any],
    correlation: float | None,
) -> None:
    bench = make_bench(make_config(**changes), encoded())
    leave_all(bench)
    decision = Decision("consensus", [B, A], {}, correlated=True, residual_correlation=correlation)
    row = collected(bench, [B, A], decision)
    assert (row.stopping, row.note) == ("es-emv", None)


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
    # Too wide; unknown; inside the user's holes nothing is measured; nor what a blur takes away.
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


def test_every_arm_has_its_row_and_files_and_is_charged_for_the_fits_that_it_shares(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(
        arms=["isnas-dip-blind", "random", {"name": "one", "networks": [A]}, "isnas-dip"], cohort={"downscale_px": 32}
    )
    bench = make_bench(config, encoded())
    leave_all(bench)
    leave(bench, "downscale", A, 0.1)
    blind, random, one, published = arms_of(config)
    chosen = [
        Chosen(blind, SHORTLIST, DECISION, [B, A], {}),
        Chosen(random, SHORTLIST[:2], Decision("held-out", [A, B], {}), [A, B], {}),
        Chosen(one, [Scored(PriorName(A), 0.0)], Decision("held-out", [A], {}), [A], {}),
        Chosen(published, SHORTLIST[:1], Decision("weighted-mean", [A], {}), [A], {}),
    ]
    rows = collect(bench.context, bench.image, chosen, previews=True)
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    assert [row.arm for row in rows] == ["isnas-dip-blind", "random", "one", "isnas-dip"]
    assert [row.candidate for row in rows] == [B, A, A, A]
    assert [row.rule for row in rows] == ["held-out"] * 3 + ["weighted-mean"]
    # Two full fits and a cohort of two and a failure; of two; none but the one at full size; one of each.
    assert [row.iterations for row in rows] == [12, 12, 3, 6]
    assert [row.seconds for row in rows] == [41.0, 40.0, 10.0, 20.0]
    values = [int(pixels(restored(bench, arm=row.arm))[0, 0, 0]) for row in rows]
    assert values == [64, 191, 191, 191]
    shown = list(bench.store.keys(f"{bench.context.layout.root}/previews/{bench.image.id}"))
    assert sum(key.endswith("/degraded.png") for key in shown) == 1
    assert sum(key.endswith("/restored.png") for key in shown) == 4
    # In the packed record every fit is there once.
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    fits = [(row["view"], row["candidate"]) for row in table]
    assert len(fits) == len(set(fits)) == 6
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {("full", A), ("full", B)}


def test_one_arm_may_fail_and_another_not(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    config = make_config(arms=["isnas-dip-blind", "random"])
    bench = make_bench(config, encoded())
    leave(bench, "full", A, 0.5)
    leave(bench, "full", B, None)
    chosen = [
        Chosen(arm, SHORTLIST, Decision("held-out", [candidate], {}), [candidate], {})
        for arm, candidate in zip(arms_of(config), (A, B), strict=True)
    ]
    rows = collect(bench.context, bench.image, chosen, previews=False)
    assert [row.state for row in rows] == [RowState.RESTORED, RowState.FAILED]


def test_an_arm_that_halves_is_charged_up_to_the_rung_whoever_went_on(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    cohort = {"halving": "synchronous", "first_rung": 2}
    arms = ["isnas-dip-blind", {"name": "whole", "halving": "none"}]
    bench = make_bench(make_config(arms=arms, cohort=cohort), encoded())
    leave(bench, "crop", A, 0.1, iterations=8)
    # Ended at the rung by the first arm, brought to its end by the second.
    leave(bench, "crop", B, 0.1, iterations=8)
    # Paused for good.
    keys = fit_keys(bench.context, FitJob(bench.image, "crop", PriorName(C)))
    for rung in (2, 4):
        record = FitRecord(C, "crop", "paused", held_out_error=0.4, stop_iteration=rung, iterations=rung, seconds=rung)
        bench.store.put(keys.rung(rung), record.to_json())
    leave(bench, "full", A, 0.5, iterations=20)
    halving, whole = arms_of(bench.context.config)
    chosen = [
        Chosen(halving, SHORTLIST, Decision("held-out", [A], {}), [A], {B: 2, C: 4}),
        Chosen(whole, SHORTLIST[:2], Decision("held-out", [A, B], {}), [A], {}),
    ]
    rows = collect(bench.context, bench.image, chosen, previews=False)
    assert [row.iterations for row in rows] == [20 + 8 + 2 + 4, 20 + 8 + 8]
    assert [row.seconds for row in rows] == [10 + 10 + 2.5 + 4, 30]
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    last = table[-1]
    assert (last["candidate"], last["state"], last["iterations"]) == (C, "paused", 4)
    assert (last["curve_iteration"], last["psnr"]) == ([], None)


def test_an_image_may_be_called_like_a_rung(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(), name="rung-1.png")
    leave(bench, "full", A, 0.5)
    keys = fit_keys(bench.context, FitJob(bench.image, "crop", PriorName(B)))
    bench.store.put(keys.checkpoint, b"\xff not a record")
    assert collected(bench, [A]).state is RowState.RESTORED


def test_super_resolution_writes_a_larger_image_with_its_alpha(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    config = make_config(task={"name": "super-resolve", "factor": 2})
    bench = make_bench(config, file.getvalue())
    leave(bench, "full", B, 0.5)
    leave(bench, "full", A, 0.25)
    collected(bench, [B, A], previews=True)
    for which in ("pick", "mean"):
        again = pixels(restored(bench, which))
        assert again.shape == (40, 48, 4)
        np.testing.assert_array_equal(again[..., 3], samples[..., 3].repeat(2, axis=0).repeat(2, axis=1))
    assert (pixels(restored(bench))[..., :3] == 128).all()
    assert tifffile.imread(BytesIO(restored(bench, "spread"))).shape == (40, 48)
    # Beside it the given image is shown as large.
    key = bench.context.layout.preview(bench.image.id, "degraded")
    assert pixels(bench.store.get(key)).shape == (40, 48, 3)


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


# Lotteries: a row for every round and initialisation.

ROUNDS = {
    "dip.dense.0.r00": (0.5, 0.0),
    "dip.dense.1.r00": (0.25, 0.0),
    "dip.imp.0.r01": (0.75, 0.2),
    "dip.imp.0.r02": (0.1, 0.36),
    "dip.imp.1.r01": (0.2, 0.2),
    "dip.imp.1.r02": (None, 0.36),
}
"""Outputs of rounds (the last has none), and how sparse they are."""


def lottery_bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, **changes: Any) -> Bench:
    """A run in which two chains of two rounds have been fitted."""
    lottery = {"initialisations": 2, "rounds": 2} | changes.pop("lottery", {})
    config = make_config(arms=["lottery-imp"], lottery=lottery, **changes)
    bench = make_bench(config, encoded(noise_seed=1), encoded())
    for name, (output, sparsity) in ROUNDS.items():
        evaluation = Evaluation(20.0, 19.0, 21.5, 18.0)
        leave(
            bench, "full", name, output, evaluation=evaluation, sparsity=sparsity, parameters=int(1000 * (1 - sparsity))
        )
    return bench


def search(bench: Bench, chain: str, iterations: int, seconds: float, **known: Any) -> None:
    """The record of a chain."""
    record = FitRecord(chain, "full", "done", iterations=iterations, seconds=seconds)
    keys = fit_keys(bench.context, FitJob(bench.image, "full", parse_name(chain)))
    bench.store.put(keys.result, replace(record, **known).to_json())


def lottery_rows(
    bench: Bench, order: Sequence[str] | None = None, failed: Mapping[str, str] | None = None, *, previews: bool = False
) -> list[Row]:
    """The rows of a lottery whose rounds a rule has put into this order."""
    (arm,) = arms_of(bench.context.config)
    best = ["dip.imp.0.r01", *(name for name in ROUNDS if name != "dip.imp.0.r01")] if order is None else order
    cohort = [Scored(parse_name(name), 0.0) for name in ROUNDS]
    decision = Decision("held-out", list(best), dict(failed or {}))
    choice = Chosen(arm, cohort, decision, best[: arm.full_fits], {})
    rows = collect(bench.context, bench.image, [choice], previews=previews)
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    return rows


def test_a_lottery_has_a_row_for_every_round_and_one_of_them_is_picked(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    rows = lottery_rows(bench, failed={"dip.imp.1.r02": "the fit diverged"})
    assert [row.candidate for row in rows] == ["dip.imp.0.r01", *(name for name in ROUNDS if name != "dip.imp.0.r01")]
    assert [row.picked for row in rows] == [True] + [False] * 5
    assert {(row.image, row.arm, row.rule, row.stopping) for row in rows} == {
        ("a.png", "lottery-imp", "held-out", "held-out")
    }
    told = {
        str(row.candidate): (row.initialisation, row.round, row.sparsity, row.parameters, row.psnr_last) for row in rows
    }
    assert told == {
        "dip.imp.0.r01": (0, 1, 0.2, 800, 18.0),
        "dip.dense.0.r00": (0, 0, 0.0, 1000, 18.0),
        "dip.dense.1.r00": (1, 0, 0.0, 1000, 18.0),
        "dip.imp.0.r02": (0, 2, 0.36, 640, 18.0),
        "dip.imp.1.r01": (1, 1, 0.2, 800, 18.0),
        "dip.imp.1.r02": (1, 2, None, None, None),
    }
    truth = pixels(encoded()).astype(np.float64) / 255
    for row in rows[:-1]:
        output = ROUNDS[str(row.candidate)][0]
        assert output is not None
        assert row.state is RowState.RESTORED
        assert row.psnr == pytest.approx(psnr(np.full_like(truth, output), truth), abs=1e-3)
        assert (row.held_out_error, row.stop_iteration, row.psnr_oracle_stop, row.source) == (0.2, 2, 21.5, None)
    failed = rows[-1]
    assert (failed.state, failed.reason, failed.psnr) == (RowState.FAILED, "the fit diverged", None)
    # One image is written.
    assert (pixels(restored(bench, arm="lottery-imp")) == 191).all()
    written = list(bench.store.keys(f"{bench.context.layout.root}/restored"))
    assert {key.split("/")[-2] for key in written} == {"pick", "mean", "spread"}


def test_a_lottery_s_arm_is_charged_for_all_rounds_and_the_search_and_a_round_for_itself(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    search(bench, "dip.imp.0", 100, 7.0)
    search(bench, "dip.imp.1", 20, 2.5)
    search(bench, "dip.dense.0", 0, 0.0)
    search(bench, "dip.oes.0", 999, 999.0)
    picked, *others = lottery_rows(bench)
    # Five rounds of 3 iterations and 10 s, one that failed within a second.
    assert (picked.iterations, picked.seconds) == (5 * 3 + 120, 51.0 + 9.5)
    assert [(row.iterations, row.seconds) for row in others] == [(3, 10.0)] * 4 + [(None, None)]


def test_a_round_that_was_never_begun_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    for name in ("dip.imp.0.r02", "dip.imp.1.r01"):
        bench.store.delete_all(fit_keys(bench.context, FitJob(bench.image, "full", parse_name(name))).root)
    rows = {row.candidate: row for row in lottery_rows(bench, failed={"dip.imp.0.r02": "no ticket"})}
    lost = rows["dip.imp.0.r02"]
    assert (lost.state, lost.reason, lost.round, lost.initialisation) == (RowState.FAILED, "no ticket", 2, 0)
    assert rows["dip.imp.1.r02"].reason == "the fit diverged"
    # Of what nothing is known nothing is said.
    assert (rows["dip.imp.1.r01"].state, rows["dip.imp.1.r01"].reason) == (RowState.FAILED, None)


def test_where_all_rounds_failed_there_is_a_row_for_the_image_and_for_each_of_them(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    for name in ROUNDS:
        leave(bench, "full", name, None)
    first, *others = lottery_rows(bench, [], dict.fromkeys(ROUNDS, "the fit diverged"), previews=True)
    assert (first.picked, first.state, first.candidate) == (True, RowState.FAILED, None)
    assert first.reason == "no fit came to an end; the last reason: the fit diverged"
    assert [(row.candidate, row.state, row.picked) for row in others] == [
        (name, RowState.FAILED, False) for name in ROUNDS
    ]
    assert {row.reason for row in others} == {"the fit diverged"}


@pytest.mark.parametrize("previews", [True, False])
def test_rounds_of_the_first_initialisation_are_shown_where_previews_are_wanted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, previews: bool
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    lottery_rows(bench, previews=previews)
    folder = f"{bench.context.layout.root}/previews/{bench.image.id}/lottery-imp"
    shown = {key.removeprefix(f"{folder}/"): bench.store.get(key) for key in bench.store.keys(folder)}
    rounds = {name: int(pixels(data)[0, 0, 0]) for name, data in shown.items() if name.startswith("round")}
    # Also that of the pick.
    assert rounds == ({"round-00.png": 128, "round-01.png": 191, "round-02.png": 26} if previews else {})
    assert ("restored.png" in shown) is previews


def test_of_correlated_noise_every_round_is_told_where_its_outputs_varied_least(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    (arm,) = arms_of(bench.context.config)
    decision = Decision("consensus", list(ROUNDS)[:-1], {}, correlated=True, residual_correlation=0.5)
    choice = Chosen(arm, [Scored(parse_name(name), 0.0) for name in ROUNDS], decision, [next(iter(ROUNDS))], {})
    rows = collect(bench.context, bench.image, [choice], previews=True)
    truth = pixels(encoded()).astype(np.float64) / 255
    assert len({row.note for row in rows}) == 1
    assert "correlated" in str(rows[0].note)
    for row in rows[:-1]:
        # Half of the output where it was stopped, see `leave`.
        half = (ROUNDS[str(row.candidate)][0] or 0) / 2
        assert row.psnr == pytest.approx(psnr(np.full_like(truth, half), truth), abs=1e-3)
        assert (row.stop_iteration, row.stopping) == (1, "es-emv")


@pytest.mark.parametrize("blind", [True, False])
def test_masks_that_were_found_on_a_clean_image_are_told_in_every_row(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, blind: bool
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    leave(bench, "full", "dip.imp.1.r02", 0.3, blind=blind)
    rows = lottery_rows(bench)
    assert [row.note for row in rows] == [None if blind else NOT_BLIND] * 6
    assert [row.blind for row in rows] == [blind] * 6


def test_a_ticket_from_elsewhere_is_told_with_its_source(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    moved = {"name": "moved", "like": "lottery-imp", "source": "f16-5fb2ac1e"}
    bench = make_bench(make_config(arms=[moved], lottery={"tickets": "earlier"}), encoded())
    names = [f"dip.imp.{number}.f16-5fb2ac1e.r01" for number in (0, 1)]
    leave(bench, "full", names[0], 0.5)
    leave(bench, "full", names[1], None)
    (arm,) = arms_of(bench.context.config)
    choice = Chosen(
        arm, [Scored(parse_name(name), 0.0) for name in names], Decision("held-out", names[:1], {}), names[:1], {}
    )
    rows = collect(bench.context, bench.image, [choice], previews=False)
    assert [(row.arm, row.source, row.round, row.initialisation) for row in rows] == [
        ("moved", "f16-5fb2ac1e", 1, 0),
        ("moved", "f16-5fb2ac1e", 1, 1),
    ]


def test_other_arms_have_one_row_that_is_picked_and_no_rounds(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(arms=["dip"]), encoded())
    leave(bench, "full", "dip", 0.5)
    (arm,) = arms_of(bench.context.config)
    choice = Chosen(arm, [Scored(PriorName("dip"), 0.0)], Decision("held-out", ["dip"], {}), ["dip"], {})
    (row,) = collect(bench.context, bench.image, [choice], previews=False)
    assert (row.picked, row.round, row.initialisation, row.sparsity, row.source) == (True, None, None, None, None)
    assert row.parameters == 1234


def test_the_network_that_an_arm_has_picked_is_the_first_in_its_final_order_that_came_to_an_end(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    (choice,) = chosen(bench, [B, A])
    assert picked_network(bench.context, bench.image, choice) is None
    leave(bench, "full", B, None)
    assert picked_network(bench.context, bench.image, choice) is None
    leave(bench, "full", A, 0.5)
    assert picked_network(bench.context, bench.image, choice) == A
    # At full size the held-out errors have the last word.
    leave(bench, "full", B, 0.5, held_out_error=0.1)
    assert picked_network(bench.context, bench.image, choice) == B
    leave(bench, "full", B, 0.5, held_out_error=0.3)
    assert picked_network(bench.context, bench.image, choice) == A


@pytest.mark.parametrize("simulate", [True, False])
def test_collecting_reads_every_input_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, read: Reads, simulate: bool
) -> None:
    bench = make_bench(make_config(), encoded(), None if simulate else encoded(noise_seed=1), simulate=simulate)
    leave(bench, "full", B, 0.5)
    keys = read(bench)
    assert collected(bench, [B], previews=True).psnr is not None
    inputs = ["a-0123abcd.png"] if simulate else ["a-0123abcd.png", "a-0123abcd.ref"]
    assert keys == [image_key(name) for name in inputs]
