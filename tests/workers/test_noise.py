import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.data import camera
from skimage.transform import resize

from workers.correlation import CORRELATED, residual_correlation
from workers.noise import (
    Estimate,
    estimated_psnr,
    held_out_estimate,
    measured_weights,
    noise_variance,
)

SIGMA = 25 / 255


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SIGMA, shape)


def photograph(side: int) -> np.ndarray:
    scaled: np.ndarray = resize(camera() / 255, (side, side), anti_aliasing=True)[None]
    return scaled


def test_the_variance_of_plain_noise_lies_within_its_standard_errors() -> None:
    estimates = [noise_variance(normal(1, 96, 80, seed=seed)) for seed in range(40)]
    z = np.array([(estimate.value - SIGMA**2) / estimate.standard_error for estimate in estimates if estimate])
    assert len(z) == 40
    assert (abs(z) < 1.96).mean() >= 0.9
    # Neither does the standard error claim far too little.
    assert z.std() > 0.5
    assert abs(z.mean()) < 0.5


def test_structure_hardly_counts_as_noise() -> None:
    ramp, edge = np.mgrid[0:96, 0:96][1][None] / 96, np.zeros((1, 96, 96))
    edge[:, :, 41:] = 0.8
    for structure in (ramp, edge, np.concatenate([ramp, edge])):
        estimate = noise_variance(structure + normal(*structure.shape))
        assert estimate is not None
        assert estimate.value == pytest.approx(SIGMA**2, rel=0.08)


def test_a_photograph_raises_the_estimate_and_what_a_fit_leaves_of_it_does_not() -> None:
    clean, noise = photograph(256), normal(1, 256, 256)
    plain, whole, residual = (
        noise_variance(noise + structure) for structure in (0, clean, 0.3 * (clean - gaussian_filter(clean, (0, 1, 1))))
    )
    assert plain is not None
    assert whole is not None
    assert residual is not None
    assert whole.value == pytest.approx(SIGMA**2, rel=0.15)
    assert whole.value > residual.value
    assert whole.standard_error > plain.standard_error
    assert abs(residual.value - SIGMA**2) < 2 * residual.standard_error


def test_noise_that_depends_on_the_signal_has_a_wide_error() -> None:
    strength = np.linspace(0.5, 1.3, 128)[None, :, None]
    estimate = noise_variance(strength * normal(1, 128, 128))
    assert estimate is not None
    assert estimate.value == pytest.approx(SIGMA**2 * (strength**2).mean(), rel=0.2)
    assert estimate.standard_error > 0.3 * estimate.value


@pytest.mark.parametrize("sigma", [1.0, 1.4, 2.0, 3.0])
def test_weak_noise_in_eight_bits_does_not_jump_with_the_levels(sigma: float) -> None:
    levels = np.round(128 + np.random.default_rng(0).normal(0, sigma, (1, 256, 256)))
    estimate = noise_variance(levels / 255)
    assert estimate is not None
    assert estimate.value * 255**2 == pytest.approx(levels.var(), rel=0.15)


def test_a_flat_image_has_no_noise() -> None:
    assert noise_variance(np.full((3, 40, 40), 0.3, dtype=np.float32)) == Estimate(0.0, 0.0)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
def test_any_size_has_an_answer(channels: int, height: int, width: int) -> None:
    x = normal(channels, height, width).astype(np.float32)
    estimate = noise_variance(x)
    assert (estimate is None) == (min(height, width) < 2)
    if estimate is not None:
        assert 0 < estimate.value < math.inf
        assert 0 < estimate.standard_error < math.inf
    correlation = residual_correlation(x)
    assert (correlation is None) == (max((height - 1) * (width - 2), (height - 2) * (width - 1)) < 1000)


def test_the_held_out_estimate_is_over_hidden_pixels_and_not_over_their_channels() -> None:
    output, pixels = normal(1, 30, 30), normal(1, 30, 30, seed=1)
    hidden = np.random.default_rng(2).random((30, 30)) < 0.2
    estimate = held_out_estimate(output, pixels, hidden)
    errors = (output - pixels)[0, hidden] ** 2
    assert estimate == Estimate(
        pytest.approx(errors.mean()), pytest.approx(errors.std(ddof=1) / math.sqrt(hidden.sum()))
    )
    again = held_out_estimate(np.repeat(output, 3, axis=0), np.repeat(pixels, 3, axis=0), hidden)
    assert again is not None
    assert again.standard_error == pytest.approx(estimate.standard_error)


def test_one_hidden_pixel_tells_nothing_of_its_error_and_none_tells_nothing() -> None:
    hidden = np.zeros((4, 4), dtype=np.bool_)
    assert held_out_estimate(normal(1, 4, 4), normal(1, 4, 4), hidden) is None
    hidden[1, 2] = True
    estimate = held_out_estimate(normal(1, 4, 4), normal(1, 4, 4, seed=1), hidden)
    assert estimate is not None
    assert estimate.standard_error == math.inf
    assert estimated_psnr(estimate, None) is None


def test_the_interval_is_of_the_excess_over_the_noise() -> None:
    interval = estimated_psnr(Estimate(0.011, 3e-5), Estimate(0.010, 4e-5))
    assert interval == pytest.approx((-10 * math.log10(1.098e-3), -10 * math.log10(0.902e-3)))


def test_without_noise_the_whole_held_out_error_counts() -> None:
    assert estimated_psnr(Estimate(1e-3, 0), None) == pytest.approx((30, 30))


@pytest.mark.parametrize(
    ("held_out", "noise", "widest_db"),
    [
        (Estimate(0.010, 1e-5), Estimate(0.010, 0), 99.0),  # not above zero with confidence
        (Estimate(0.009, 1e-5), Estimate(0.010, 0), 99.0),
        (Estimate(0.011, 1e-4), Estimate(0.010, 0), 1.0),  # 1.7 dB wide
    ],
)
def test_an_interval_that_says_nothing_is_none(held_out: Estimate, noise: Estimate, widest_db: float) -> None:
    assert estimated_psnr(held_out, noise, widest_db) is None


def test_the_interval_covers_the_true_psnr() -> None:
    side, cases = 160, 40
    clean = gaussian_filter(photograph(side), (0, 2, 2))
    covered, told = 0, 0
    for seed in range(cases):
        random = np.random.default_rng(seed)
        pixels = clean + random.normal(0, 10 / 255, clean.shape)
        error = gaussian_filter(random.normal(0, 1, clean.shape), (0, 1.5, 1.5))
        error *= 0.025 / error.std()
        held_out = held_out_estimate(clean + error, pixels, random.random((side, side)) < 0.2)
        assert held_out is not None
        interval = estimated_psnr(held_out, noise_variance(pixels), widest_db=6)
        if interval is not None:
            told += 1
            covered += interval[0] <= -10 * math.log10((error**2).mean()) <= interval[1]
    assert told == cases
    assert covered >= 35


def on_a_rim(value: float, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A noisy measurement, exactly constant outside a field of view, and the residual of a fit that ripples there."""
    noise = normal(1, *inside.shape)
    measured = np.where(inside, 0.5 + noise, value)
    ripples = 1e-4 * gaussian_filter(normal(1, *inside.shape, seed=1), (0, 2, 2))
    return measured, np.where(inside, noise, ripples)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.sampled_from([0.0, 1.0, 0.25]), st.integers(30, 60), st.integers(-30, 30))
def test_exact_constants_are_no_sample_of_the_noise(value: float, radius: int, shift: int) -> None:
    y, x = np.mgrid[:128, :128]
    measured, residual = on_a_rim(value, (y - 64) ** 2 + (x - 64 - shift) ** 2 < radius**2)
    weights = measured_weights(measured)
    assert weights is not None
    correlation, variance = residual_correlation(residual, weights), noise_variance(residual, weights)
    assert correlation is not None
    assert correlation < CORRELATED
    assert variance is not None
    assert variance.value == pytest.approx(SIGMA**2, rel=0.25)
    # Counted in, the rim passes for correlated noise, and for an image with hardly any.
    with_rim = residual_correlation(residual)
    assert with_rim is not None
    assert with_rim > correlation


def test_all_of_a_noisy_image_counts_and_nothing_of_a_constant_one() -> None:
    levels = np.rint((0.3 + normal(3, 96, 96) / 5) * 255) / 255
    assert measured_weights(levels) is None
    assert measured_weights(np.clip(normal(1, 96, 96), 0, 1)) is None  # half of the values are exactly 0
    known = np.arange(96) > 10
    rows = np.broadcast_to(known[:, None], (96, 96))
    found = measured_weights(levels, rows)
    assert found is not None
    np.testing.assert_array_equal(found, rows)
    nothing = measured_weights(np.full((1, 20, 20), 0.5))
    assert nothing is not None
    assert not nothing.any()
    assert noise_variance(np.zeros((1, 20, 20)), nothing) is None
    assert measured_weights(np.zeros((1, 3, 3))) is None


def test_the_noise_of_a_photograph_takes_little_memory() -> None:
    pixels = np.random.default_rng(0).random((3, 768, 512), dtype=np.float32)
    tracemalloc.start()
    noise_variance(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All details at once, in float64, would be eleven photographs in float32.
    assert peak < 5 * pixels.nbytes
