from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from orchestrator.collecting import CURVE_POINTS, Fitted, collect, pack, thin
from orchestrator.fits import FitArrays, fit_keys
from orchestrator.jobs import Evaluation, FitJob, FitRecord
from orchestrator.picking import Decision
from orchestrator.results import Row, RowState, rows_from_json
from orchestrator.scoring import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.quality import psnr

A, B, C = CANDIDATES
SHORTLIST = [Scored(A, 1.0), Scored(B, 2.0), Scored(C, 3.0)]
DECISION = Decision("held-out", [B, A], {C: "the fit diverged"})


def leave(bench: Bench, view: Any, candidate: str, value: float | None, *, evaluated: bool = False) -> None:
    """A finished fit in the store: a flat output of this value, or a failure."""
    keys = fit_keys(bench.context, FitJob(bench.image, bench.context.config.method, view, candidate))
    if value is None:
        record = FitRecord(candidate, view, "failed", reason="the fit diverged", seconds=1.0)
    else:
        sides = (bench.image.height, bench.image.width) if view == "full" else (32, 32)
        output = np.full((bench.image.channels, *sides), value, dtype=np.float32)
        curve = np.array([0.3, 0.2, 0.25], dtype=np.float32)
        bench.store.put(keys.arrays, FitArrays(output, curve, curve if evaluated else curve[:0]).to_bytes())
        evaluation = Evaluation(20.0, 21.5) if evaluated else None
        record = FitRecord(candidate, view, "done", None, 0.2, 2, 3, 1234, 10.0, evaluation)
    bench.store.put(keys.result, record.to_json())


def leave_all(bench: Bench, *, evaluated: bool = False) -> None:
    """A cohort of two and a failure, and two fits at full size."""
    for view, candidate, value in (
        ("crop", A, 0.1),
        ("crop", B, 0.2),
        ("crop", C, None),
        ("full", B, 0.25),
        ("full", A, 0.75),
    ):
        leave(bench, view, candidate, value, evaluated=evaluated)


def collected(bench: Bench, full: list[str], *, previews: bool = False) -> Row:
    rows = collect(bench.context, bench.image, SHORTLIST, DECISION, full, previews=previews)
    (row,) = rows
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    return row


def restored(bench: Bench, which: Any = "pick") -> bytes:
    key = bench.context.layout.restored(bench.context.config.method, which, bench.image.restored)
    return bench.store.get(key)


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
        stop_iteration=2,
        held_out_error=0.2,
        seconds=41.0,
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
    assert not bench.store.exists(layout.preview(bench.image.id, "mean"))
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
    (row,) = collect(bench.context, bench.image, SHORTLIST, nothing, [], previews=True)
    assert row.state is RowState.FAILED
    assert row.reason == "no fit came to an end; the last reason: no result"
    assert row.seconds == 1.0
    assert row.psnr is None
    assert list(bench.store.keys(f"{bench.context.layout.root}/restored")) == []
    assert list(bench.store.keys(f"{bench.context.layout.root}/previews")) == []


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
    names = [key.rsplit("/", 1)[1] for key in bench.store.keys(folder)]
    assert names == ["degraded.png", "mean.png", "reference.png", "restored.png"]
    shown = {name: pixels(bench.store.get(f"{folder}/{bench.image.id}/{name}")) for name in names}
    np.testing.assert_array_equal(shown["degraded.png"], pixels(encoded(noise_seed=1)))
    np.testing.assert_array_equal(shown["reference.png"], pixels(encoded()))
    assert (shown["restored.png"] == 64).all()


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
    assert (first["score"], first["held_out_error"], first["stop_iteration"], first["parameters"]) == (
        2.0,
        0.2,
        2,
        1234,
    )
    assert (first["psnr"], first["psnr_oracle_stop"]) == (20.0, 21.5)
    assert first["curve_iteration"] == [1, 2, 3]
    assert first["curve_held_out"] == pytest.approx([0.3, 0.2, 0.25])
    assert first["curve_psnr"] == pytest.approx([0.3, 0.2, 0.25])
    assert (failed["state"], failed["reason"], failed["psnr"]) == ("failed", "the fit diverged", None)
    assert (failed["curve_iteration"], failed["curve_held_out"], failed["curve_psnr"]) == ([], [], None)


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_its_stop() -> None:
    length, stop = 3000, 1234
    curve = np.linspace(1, 0, length, dtype=np.float32)
    record = FitRecord(A, "crop", "done", None, 0.1, stop, length, 1, 1.0)
    arrays = FitArrays(np.zeros((1, 2, 2), np.float32), curve, curve[:0])
    (row,) = pq.read_table(BytesIO(pack([Fitted(record, arrays)], {}))).to_pylist()
    iterations = row["curve_iteration"]
    assert len(iterations) <= CURVE_POINTS + 1
    assert {1, stop, length} <= set(iterations)
    assert iterations == sorted(set(iterations))
    assert row["curve_held_out"] == [float(curve[iteration - 1]) for iteration in iterations]
    assert row["score"] is None
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
    assert collected(bench, [B, A]) == first
