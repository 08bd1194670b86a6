import tracemalloc
from io import BytesIO

import numpy as np
import tifffile
from PIL import Image

from orchestrator.collect.restored import mean_and_spread
from orchestrator.run.rows import Row, RowState
from tests.orchestrator.collect.left import A, B, collected, leave, leave_all, pixels, restored
from tests.orchestrator.conftest import Encoded, MakeBench, MakeConfig


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
        delivered=row.delivered,
        held_out_pick=row.held_out_pick,
        held_out_mean=row.held_out_mean,
        held_out_stack=row.held_out_stack,
        held_out_stack_standard_error=row.held_out_stack_standard_error,
        stack_weights=row.stack_weights,
        multiply_adds=2400,
        gain_over_degraded=row.gain_over_degraded,
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
        f"{own}/stack.png",
        "reference.png",
    ]
    shown = {name: pixels(bench.store.get(f"{folder}/{bench.image.id}/{name}")) for name in names}
    np.testing.assert_array_equal(shown["degraded.png"], pixels(encoded(noise_seed=1)))
    np.testing.assert_array_equal(shown["reference.png"], pixels(encoded()))
    assert (shown[f"{own}/restored.png"] == 64).all()
    # The map is shown from nothing to its own maximum.
    assert (shown[f"{own}/spread.png"] == 255).all()


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
    # No noise is estimated from a blurred image: weights 3/4 and 1/4.
    assert (pixels(restored(bench, "mean"))[:, :24] == (153, 153, 0)).all()
    assert (pixels(restored(bench, "mean"))[:, 24:] == 0).all()
    spread = tifffile.imread(BytesIO(restored(bench, "spread")))
    assert (spread.dtype, spread.shape) == (np.float32, (40, 48))
    # Standard deviation over the fits, 0.4 in two channels of three.
    np.testing.assert_allclose(spread[:, :24], 0.8 / 3, rtol=1e-6)
    assert (spread[:, 24:] == 0).all()
    assert bench.store.exists(bench.context.layout.restored("isnas-dip-blind", "spread", "a.png.tif"))


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
    # The given image next to it is shown as large.
    key = bench.context.layout.preview(bench.image.id, "degraded")
    assert pixels(bench.store.get(key)).shape == (40, 48, 3)


def test_the_mean_of_photographs_takes_little_memory_and_is_numpys() -> None:
    random = np.random.default_rng(0)
    outputs = [random.random((3, 1100, 200), dtype=np.float32) for _ in range(3)]
    weights = np.array([0.2, 0.3, 0.5])
    tracemalloc.start()
    mean, spread = mean_and_spread(outputs, weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mean.tobytes() == np.average(outputs, axis=0, weights=weights).astype(np.float32).tobytes()
    assert spread.tobytes() == np.std(outputs, axis=0, dtype=np.float64).mean(axis=0).astype(np.float32).tobytes()
    # All of them at once, in float64, would be fourteen photographs in float32.
    assert peak < 6 * mean.nbytes
