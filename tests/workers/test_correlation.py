"""Correlated noise is told from independent noise, whatever its direction, and an image's structure from both."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.data import camera
from skimage.transform import resize

from benchmarks.images import PARTS
from benchmarks.noise import KINDS
from workers.correlation import CORRELATED, banding, residual_correlation
from workers.noise import measured_weights, noise_variance

SIGMA = 25 / 255


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SIGMA, shape)


def photograph(side: int) -> np.ndarray:
    scaled: np.ndarray = resize(camera() / 255, (side, side), anti_aliasing=True)[None]
    return scaled


def coloured(name: str, side: int) -> np.ndarray:
    scaled: np.ndarray = resize(PARTS[name](), (side, side), anti_aliasing=True).transpose(2, 0, 1)
    return scaled


def left_over(clean: np.ndarray) -> np.ndarray:
    """What a fit leaves of an image: a third of its fine structure."""
    fine: np.ndarray = (clean - gaussian_filter(clean, (0, 1, 1))) / 3
    return fine


def found(residual: np.ndarray) -> float:
    value = residual_correlation(residual)
    assert value is not None
    return value


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("name", PARTS)
def test_a_pictures_structure_is_no_correlated_noise(name: str, side: int) -> None:
    structure = left_over(coloured(name, side))
    for sigma in (5, 15, 50):
        for seed in range(3):
            assert found(structure + sigma / 25 * normal(*structure.shape, seed=seed)) < CORRELATED


def test_no_picture_has_banding() -> None:
    pictures = [coloured(name, side) for name in PARTS for side in (64, 128)]
    pictures += [picture()[None, :256, :256] / 255 for picture in (data.brick, data.camera, data.coins, data.page)]
    for picture in pictures:
        for noise in (0.0, 0.2, 1.0):
            assert max(each.share for each in banding(picture + noise * normal(*picture.shape))) < 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"independent", "rows, 30 %"}])
@pytest.mark.parametrize("name", PARTS)
def test_noise_that_is_not_independent_is_found(kind: str, name: str) -> None:
    structure = left_over(coloured(name, 64))
    for seed in range(3):
        noise = KINDS[kind](structure.shape, np.random.default_rng(seed)) * SIGMA
        assert found(structure + noise) > CORRELATED


def test_banding_is_found_beside_exact_constants_and_masked_pixels() -> None:
    y, x = np.mgrid[:128, :128]
    inside = (y - 64) ** 2 + (x - 64) ** 2 < 60**2
    rows = KINDS["rows, 90 % of the variance"]((3, 128, 128), np.random.default_rng(0)) * SIGMA
    along_rows, along_columns = banding(np.where(inside, rows, 5.0), measured_weights(np.where(inside, rows, 5.0)))
    assert along_rows.share > 0.5
    assert along_columns.share == 0


def test_the_variance_counts_what_is_constant_along_rows() -> None:
    for kind in ("rows, 90 % of the variance", "rows, 50 %", "columns, 50 %"):
        ratios = []
        for seed in range(10):
            estimate = noise_variance(KINDS[kind]((3, 96, 96), np.random.default_rng(seed)) * SIGMA)
            assert estimate is not None
            assert abs(estimate.value - SIGMA**2) < 4 * estimate.standard_error
            ratios.append(estimate.value / SIGMA**2)
        assert 0.85 < np.median(ratios) < 1.15


def test_where_runs_began_before_neighbours_alone_count() -> None:
    residual = KINDS["rows, 90 % of the variance"]((1, 96, 96), np.random.default_rng(0)) * SIGMA
    before = residual_correlation(residual, neighbours_only=True)
    assert before is not None
    assert before < CORRELATED < found(residual)


@pytest.mark.parametrize("seed", range(5))
def test_independent_noise_is_told_from_correlated_noise_beside_structure_left_over(seed: int) -> None:
    clean = photograph(96)
    left_over = 0.3 * (clean - gaussian_filter(clean, (0, 1, 1)))
    noise = normal(1, 96, 96, seed=seed)
    blurred = gaussian_filter(noise, (0, 0.7, 0.7))
    enlarged = resize(normal(1, 64, 64, seed=seed), (1, 96, 96), order=1)
    independent = residual_correlation(noise + left_over)
    assert independent is not None
    assert independent < 0.7 * CORRELATED
    for correlated in (blurred, enlarged):
        found = residual_correlation(correlated + left_over)
        assert found is not None
        assert found > 2 * CORRELATED


def test_blurred_noise_departs_by_what_theory_says() -> None:
    blurred = gaussian_filter(normal(3, 256, 256), (0, 0.7, 0.7), mode="wrap")
    power = np.abs(np.fft.fft2(blurred - np.roll(blurred, 1, 1) - np.roll(blurred - np.roll(blurred, 1, 1), 1, 2))) ** 2
    autocorrelation = np.fft.ifft2(power).real.sum(axis=0)
    autocorrelation /= autocorrelation[0, 0]
    lags = {(0, 1): -0.5, (1, 0): -0.5, (1, 1): 0.25, (1, -1): 0.25, (0, 2): 0.0, (2, 0): 0.0}
    expected = max(abs(autocorrelation[lag] - independent) for lag, independent in lags.items())
    assert residual_correlation(blurred, neighbours_only=True) == pytest.approx(expected, abs=0.03)


def test_each_direction_counts() -> None:
    noise = normal(1, 128, 128)
    for kernel in ((0, 0.8, 0), (0, 0, 0.8)):
        found = residual_correlation(gaussian_filter(noise, kernel))
        assert found is not None
        assert found > 2 * CORRELATED


def test_pixels_without_weight_do_not_count() -> None:
    residual, weights = normal(2, 96, 96), np.ones((96, 96), dtype=np.bool_)
    weights[:, 40:] = False
    weights[5, 7] = False
    expected = residual_correlation(residual, weights)
    residual[:, ~weights] = 1e3 * gaussian_filter(residual, (0, 2, 2))[:, ~weights]
    assert residual_correlation(residual, weights) == expected
    found = residual_correlation(residual)
    assert found is not None
    assert expected is not None
    assert expected < CORRELATED < found


def test_too_few_pairs_tell_nothing() -> None:
    sparse = np.random.default_rng(0).random((64, 64)) < 0.05
    assert residual_correlation(normal(1, 64, 64), sparse) is None
    assert residual_correlation(np.zeros((1, 64, 64))) is None


def test_correlated_noise_is_found_beside_exact_constants() -> None:
    y, x = np.mgrid[:128, :128]
    inside = (y - 64) ** 2 + (x - 64) ** 2 < 48**2
    residual = gaussian_filter(normal(1, 128, 128), (0, 0.7, 0.7))
    weights = measured_weights(np.where(inside, residual, 0))
    found = residual_correlation(np.where(inside, residual, 0), weights)
    assert found is not None
    assert found > 2 * CORRELATED
