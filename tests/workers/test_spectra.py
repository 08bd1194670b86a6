import json
from pathlib import Path

import numpy as np
import pytest

from workers.spectra import METRICS, Transforms, metric, percent_bandwidth, psd, strip


@pytest.mark.parametrize("arrays", ["gray_64x64", "rgb_96x128"])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_agrees_with_the_reference_values(arrays: str, name: str, data: Path) -> None:
    loaded = np.load(data / f"{arrays}.npz")
    expected = json.loads((data / f"{arrays}.json").read_text())["values"]
    # With one channel, the zero frequency after `nodc` is rounding noise, and it sets the histogram's range.
    noisy = arrays == "gray_64x64" and name == "nodc psd db hist emd"
    relative = 1e-2 if noisy else 1e-6
    for output, values in zip(loaded["outputs"], expected, strict=True):
        value = metric(name)(loaded["degraded"], output)
        assert value == pytest.approx(values[name], rel=relative, abs=1e-6 if name.endswith("_bw") else 0)


def test_an_unknown_metric_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="psd db strip mse"):
        metric("psd strip")


def test_only_the_bandwidths_ignore_the_image() -> None:
    assert [name for name in METRICS if not metric(name).uses_image] == [n for n in METRICS if n.endswith("_bw")]


def test_an_image_is_at_no_distance_from_itself() -> None:
    image = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    assert all(metric(name)(image, image) == 0 for name in METRICS if metric(name).uses_image)


def test_the_power_of_a_spectrum_is_the_mean_square_of_the_image() -> None:
    image = np.random.default_rng(1).random((1, 64, 96), dtype=np.float32)
    assert psd(image).sum() == pytest.approx(float(np.square(image).mean()), rel=1e-5)


def test_the_strip_leaves_out_the_middle_and_the_outside() -> None:
    centre = np.zeros((1, 64, 64), dtype=np.float32)
    centre[0, 32, 32] = centre[0, 0, 0] = 1
    assert strip(centre).sum() == 0
    centre[0, 32, 32 + 4] = 1  # r = 4/64
    assert strip(centre).sum() == 1


def test_the_strip_of_a_tiny_spectrum_is_refused() -> None:
    assert strip(np.ones((1, 16, 16), dtype=np.float32)).size == 8
    with pytest.raises(ValueError, match="8x6 px has no frequency in the ring"):
        strip(np.ones((1, 6, 8), dtype=np.float32))


def test_transforms_are_read_left_to_right_and_computed_once() -> None:
    image = np.random.default_rng(3).random((1, 64, 64))
    transforms = Transforms(image)
    np.testing.assert_array_equal(transforms["psd strip"], strip(psd(image.astype(np.float32))))
    assert list(transforms) == ["", "psd", "psd strip"]
    assert transforms["psd"] is transforms["psd"]


@pytest.mark.parametrize("percent", [0.01, 30, 70, 99, 100])
def test_a_bandwidth_is_the_radius_where_the_energy_within_reaches_its_share(percent: float) -> None:
    height, width = 64, 96
    energy = np.random.default_rng(4).random((1, height, width), dtype=np.float32)
    rows, columns = np.arange(height)[:, None] / height - 0.5, np.arange(width) / width - 0.5
    radius = np.hypot(rows, columns) / np.sqrt(0.5)  # 1 in the corner
    disks = [0, *(energy[0, radius < k / 99].sum(dtype=np.float64) for k in range(1, 100))]
    expected = np.interp(percent / 100 * energy.sum(dtype=np.float64), disks, np.arange(100) / 99)
    assert percent_bandwidth(energy, percent) == pytest.approx(expected, abs=2e-6 if percent < 100 else 1e-3)


def test_one_bright_pixel_has_a_histogram_though_its_spectrum_is_flat() -> None:
    star = np.zeros((1, 64, 64), dtype=np.float32)
    star[0, 10, 10] = 1
    noise = np.random.default_rng(5).random((1, 64, 64), dtype=np.float32)
    assert all(np.isfinite(metric(name)(star, noise)) for name in METRICS)


def test_a_flat_image_is_finite_everywhere() -> None:
    flat = np.full((1, 64, 64), 0.5, dtype=np.float32)
    noise = np.random.default_rng(2).random((1, 64, 64), dtype=np.float32)
    assert all(np.isfinite(metric(name)(flat, noise)) for name in METRICS)
    assert percent_bandwidth(psd(flat), 99) < 0.02
