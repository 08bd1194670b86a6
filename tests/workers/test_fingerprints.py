import numpy as np
import pytest

from workers.fingerprints import (
    FINGERPRINT_METRICS,
    BankSpec,
    compute_bank,
    fingerprint_dtype,
    image_fingerprint,
    native_size,
    random_scores,
    score_bank,
    square_size,
    untrained_output,
)
from workers.space import sample_candidates
from workers.spectra import metric

SPEC = BankSpec(height=64, width=64, channels=3, input_channels=3, network_width=8, draws=2, seed=5)


@pytest.mark.parametrize("name", FINGERPRINT_METRICS)
def test_a_bank_gives_what_the_metric_gives_on_the_outputs_averaged_over_draws(name: str) -> None:
    candidates = sample_candidates(4, seed=1, width=8)
    image = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    expected = [
        np.mean([metric(name)(image, untrained_output(candidate, SPEC, draw)) for draw in range(SPEC.draws)])
        for candidate in candidates
    ]
    scores = score_bank(compute_bank(candidates, SPEC), image_fingerprint(image, 64, 64), name)
    np.testing.assert_allclose(scores, expected, rtol=2e-5)


def test_a_fingerprint_does_not_depend_on_the_others_in_the_bank() -> None:
    candidates = sample_candidates(3, seed=2, width=8)
    np.testing.assert_array_equal(compute_bank(candidates, SPEC)[1:2], compute_bank(candidates[1:2], SPEC))


def test_a_metric_that_a_bank_does_not_hold_is_refused() -> None:
    bank = np.zeros(1, dtype=fingerprint_dtype(SPEC))
    with pytest.raises(ValueError, match="psd db mse"):
        score_bank(bank, image_fingerprint(np.ones((3, 64, 64), dtype=np.float32), 64, 64), "psd db mse")


def test_a_bank_of_1000_candidates_at_512_px_rgb_is_under_100_mb() -> None:
    spec = BankSpec(height=512, width=512, channels=3, input_channels=3, network_width=128, draws=3, seed=0)
    assert 1000 * fingerprint_dtype(spec).itemsize < 100e6


@pytest.mark.parametrize(
    ("size", "square"),
    [((1, 1), 64), ((96, 400), 64), ((97, 400), 128), ((224, 320), 128), ((225, 320), 256), ((4000, 3000), 256)],
)
def test_images_of_all_sizes_share_three_squares(size: tuple[int, int], square: int) -> None:
    assert square_size(*size) == (square, square)


def test_native_scoring_uses_the_padded_image() -> None:
    assert native_size(100, 512) == (128, 512)


def test_the_spectrum_of_a_larger_image_is_an_average_over_tiles_that_cover_it() -> None:
    image = np.random.default_rng(0).random((1, 192, 320), dtype=np.float32)
    one_tile = image_fingerprint(image[:, :64, :64], 64, 64)
    averaged = image_fingerprint(image, 64, 64)
    # Averaging the tiles of white noise brings every frequency near the same level.
    assert averaged.strip.std() < one_tile.strip.std() / 3
    flat = image.copy()
    flat[:, -1, -1] += 100  # only the last tile sees it
    assert not np.array_equal(image_fingerprint(flat, 64, 64).strip, averaged.strip)


def test_random_scores_are_a_function_of_words_and_candidate() -> None:
    candidates = sample_candidates(50, seed=0)
    scores = random_scores(candidates, 1, "image")
    np.testing.assert_array_equal(scores[10:], random_scores(candidates[10:], 1, "image"))
    assert not np.array_equal(scores, random_scores(candidates, 1, "other image"))
    assert 0.3 < scores.mean() < 0.7
