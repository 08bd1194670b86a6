import json
from pathlib import Path

import numpy as np
import pytest

from workers.spectra import METRICS, metric, percent_bandwidth, psd, strip


@pytest.mark.parametrize("arrays", ["gray_64x64", "rgb_96x128"])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_agrees_with_the_reference_values(arrays: str, name: str, data: Path) -> None:
    loaded = np.load(data / f"{arrays}.npz")
    expected = json.loads((data / f"{arrays}.json").read_text())["values"]
    # Of one channel, the zero frequency after `nodc` is rounding noise, and it sets the histogram's range.
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


def test_a_flat_image_is_finite_everywhere() -> None:
    flat = np.full((1, 64, 64), 0.5, dtype=np.float32)
    noise = np.random.default_rng(2).random((1, 64, 64), dtype=np.float32)
    assert all(np.isfinite(metric(name)(flat, noise)) for name in METRICS)
    assert percent_bandwidth(psd(flat), 99) < 0.02
