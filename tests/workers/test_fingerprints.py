from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.fingerprints import (
    CHEAP_METRICS,
    BankSpec,
    bank_metrics,
    compute_bank,
    fingerprint_dtype,
    image_fingerprint,
    native_size,
    random_scores,
    score_bank,
    square_size,
    untrained_output,
)
from workers.metrics import RANDOM, TASK_LOSS, resolve_metric, uses_image
from workers.operators import Downsample, Identity, Operator
from workers.space import sample_candidates
from workers.spectra import LOW_PASS_METRICS, METRICS, Array


def largest_gap(degraded: Array, output: Array) -> float:
    """A user's metric, neither symmetric nor additive; it writes into its arguments."""
    degraded -= 0.3 * output
    return float(np.abs(degraded).max())


OWN = f"{__name__}:largest_gap"
ALL = bank_metrics([*METRICS, TASK_LOSS, OWN])
SPEC = BankSpec(64, 96, channels=3, input_channels=3, network_width=8, draws=2, seed=5, metrics=ALL)
SCALED = replace(SPEC, operator="lanczos2 x4", scale=4)
CANDIDATES = sample_candidates(3, seed=1, width=8)


def image_of(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


# All metrics look at the same outputs. Some write into them, so they get copies.
output_of = cache(untrained_output)


@pytest.fixture(scope="module")
def banks() -> dict[BankSpec, np.ndarray]:
    return {
        SPEC: compute_bank(CANDIDATES, SPEC, Identity()),
        SCALED: compute_bank(CANDIDATES, SCALED, Downsample(4)),
    }


@pytest.mark.parametrize(("spec", "operator"), [(SPEC, Identity()), (SCALED, Downsample(4))], ids=["x1", "x4"])
@pytest.mark.parametrize("name", ALL)
def test_a_bank_gives_what_the_metric_gives_on_the_outputs_averaged_over_draws(
    name: str, spec: BankSpec, operator: Operator, banks: dict[BankSpec, np.ndarray]
) -> None:
    image = image_of(*spec.measurement)
    metric = resolve_metric(name)

    def measured(candidate_at: int, draw: int) -> Array:
        output = torch.from_numpy(output_of(CANDIDATES[candidate_at], spec, draw).copy())
        return operator(output[None])[0].numpy()

    expected = [
        np.mean([metric(image.copy(), measured(at, draw)) for draw in range(spec.draws)])
        for at in range(len(CANDIDATES))
    ]
    scores = score_bank(banks[spec], image_fingerprint(image, spec), name)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_leaving_out_the_zero_frequency_changes_nothing_in_the_ring() -> None:
    with_zero, without = resolve_metric("psd db strip mse"), resolve_metric("nodc psd db strip mse")
    for at, candidate in enumerate(CANDIDATES):
        image, output = image_of(3, 64, 96, seed=at), untrained_output(candidate, SPEC, 0)
        assert without(image, output) == pytest.approx(with_zero(image, output), rel=1e-5)


def test_metrics_that_need_the_same_share_it() -> None:
    one, two = (fingerprint_dtype(replace(SPEC, metrics=names)) for names in (CHEAP_METRICS[:1], CHEAP_METRICS[:2]))
    assert CHEAP_METRICS[:2] == ("psd db strip mse", "nodc psd db strip mse")
    assert one == two


def test_a_fingerprint_does_not_depend_on_the_others_in_the_bank() -> None:
    spec = replace(SPEC, metrics=bank_metrics(()))
    bank = compute_bank(CANDIDATES, spec, Identity())
    np.testing.assert_array_equal(bank[1:2], compute_bank(CANDIDATES[1:2], spec, Identity()))
    assert [record["candidate"].decode() for record in bank] == [candidate.id for candidate in CANDIDATES]


def test_a_bank_holds_the_cheap_metrics_and_those_asked_for_in_one_order() -> None:
    assert bank_metrics([]) == bank_metrics([RANDOM, "psd db strip mse"]) == CHEAP_METRICS
    wanted = (TASK_LOSS, "psd db mse", OWN, "psd db mse")
    assert bank_metrics(wanted) == bank_metrics(reversed(wanted)) == (*CHEAP_METRICS, "psd db mse", TASK_LOSS, OWN)


def test_a_metric_that_a_bank_does_not_hold_is_refused() -> None:
    spec = replace(SPEC, metrics=bank_metrics(()))
    bank = np.zeros(1, dtype=fingerprint_dtype(spec))
    with pytest.raises(ValueError, match="cannot give 'psd db mse'; it holds: psd db strip, "):
        score_bank(bank, image_fingerprint(image_of(3, 64, 96), spec), "psd db mse")


def test_a_bank_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'task loss'"):
        compute_bank(CANDIDATES, replace(SPEC, metrics=("task los",)), Identity())


def test_a_bank_of_another_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="a bank of 'lanczos2 x4' cannot be made with 'lanczos2 x2'"):
        compute_bank(CANDIDATES, SCALED, Downsample(2))


def test_a_measurement_without_frequencies_in_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="8x8 px has no frequency in the ring"):
        fingerprint_dtype(replace(SPEC, height=64, width=64, scale=8))


def test_a_bank_of_1000_candidates_at_512_px_rgb_is_under_100_mb() -> None:
    spec = BankSpec(512, 512, 3, input_channels=3, network_width=128, draws=3, seed=0, metrics=bank_metrics(()))
    assert 1000 * fingerprint_dtype(spec).itemsize < 100e6


def test_a_bank_on_disk_scores_as_one_in_memory(banks: dict[BankSpec, np.ndarray], tmp_path: Path) -> None:
    np.save(tmp_path / "bank.npy", banks[SPEC])
    mapped = np.load(tmp_path / "bank.npy", mmap_mode="r", allow_pickle=False)
    fingerprint = image_fingerprint(image_of(3, 64, 96), SPEC)
    for name in ALL:
        np.testing.assert_array_equal(score_bank(mapped, fingerprint, name), score_bank(banks[SPEC], fingerprint, name))


@pytest.mark.parametrize(
    ("size", "square"),
    [((1, 1), 64), ((96, 400), 64), ((97, 400), 128), ((224, 320), 128), ((225, 320), 256), ((4000, 3000), 256)],
)
def test_images_of_all_sizes_share_three_squares(size: tuple[int, int], square: int) -> None:
    assert square_size(*size) == (square, square)


@pytest.mark.parametrize(
    ("scale", "squares"),
    [(2, {64, 128, 256}), (3, {96, 192, 288}), (4, {64, 128, 256}), (5, {160, 320}), (7, {224, 448})],
)
def test_squares_are_the_next_multiples_of_the_scale(scale: int, squares: set[int]) -> None:
    assert {square_size(side, side, scale)[0] for side in range(1, 400)} == squares


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 8))
def test_native_scoring_uses_the_smallest_output_that_holds_the_measurement(
    height: int, width: int, scale: int
) -> None:
    for side, outer in zip((height, width), native_size(height, width, scale), strict=True):
        fits = (p for p in range(max(side, 16), side + 64) if p * scale % 32 == 0 and p * scale >= 64)
        assert outer == next(fits) * scale


def test_a_tiny_measurement_is_padded_until_its_spectrum_has_a_ring() -> None:
    height, width = square_size(8, 3, 8)
    spec = replace(SCALED, height=height, width=width, scale=8, operator="lanczos2 x8")
    fingerprint = image_fingerprint(image_of(3, 8, 3), spec)
    assert [tile.shape for tile in fingerprint.tiles] == [(3, 16, 16)]


def test_a_measurement_is_padded_to_the_bank() -> None:
    height, width = native_size(11, 30, 4)
    assert (height, width) == (64, 128)
    spec = replace(SCALED, height=height, width=width)
    fingerprint = image_fingerprint(image_of(3, 11, 30), spec)
    assert [tile.shape for tile in fingerprint.tiles] == [(3, 16, 32)]


def test_the_spectrum_of_a_larger_image_is_an_average_over_tiles_that_cover_it() -> None:
    spec = replace(SPEC, width=64, channels=1, metrics=("psd db strip mse",))

    def ring(image: Array) -> Array:
        return image_fingerprint(image, spec).fields["psd db strip"]

    image = image_of(1, 192, 320)
    # Averaging the tiles of white noise brings every frequency near the same level.
    assert ring(image).std() < ring(image[:, :64, :64]).std() / 3
    bright = image.copy()
    bright[:, -1, -1] += 100  # only the last tile sees it
    assert not np.array_equal(ring(bright), ring(image))


@pytest.mark.parametrize("name", [name for name in ALL if name.endswith("mse") or name == TASK_LOSS])
def test_a_squared_distance_is_its_mean_over_the_tiles_but_for_a_constant(
    name: str, banks: dict[BankSpec, np.ndarray]
) -> None:
    image = image_of(3, 96, 96)
    tiles = [image[:, :64], image[:, 32:]]
    means = np.mean([score_bank(banks[SPEC], image_fingerprint(tile, SPEC), name) for tile in tiles], axis=0)
    scores = score_bank(banks[SPEC], image_fingerprint(image, SPEC), name)
    gaps = means - scores
    assert gaps.min() > 0
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-5 * means.max())


def test_a_users_metric_is_averaged_over_the_tiles(banks: dict[BankSpec, np.ndarray]) -> None:
    image = image_of(3, 96, 96)
    tiles = [image[:, :64], image[:, 32:]]
    expected = np.mean([score_bank(banks[SPEC], image_fingerprint(tile, SPEC), OWN) for tile in tiles], axis=0)
    before = image_fingerprint(image, SPEC)
    np.testing.assert_allclose(score_bank(banks[SPEC], before, OWN), expected, rtol=1e-6)
    np.testing.assert_array_equal(before.tiles[0], tiles[0])  # though the metric wrote into its arrays


@pytest.mark.parametrize("name", LOW_PASS_METRICS)
def test_a_low_pass_metric_gives_every_image_the_same_scores(name: str, banks: dict[BankSpec, np.ndarray]) -> None:
    first, second = (image_fingerprint(image_of(3, 64, 96, seed=seed), SPEC) for seed in (1, 2))
    assert not uses_image(name)
    np.testing.assert_array_equal(score_bank(banks[SPEC], first, name), score_bank(banks[SPEC], second, name))


def test_random_scores_are_a_function_of_words_and_candidate() -> None:
    candidates = sample_candidates(50, seed=0)
    scores = random_scores(candidates, 1, "image")
    np.testing.assert_array_equal(scores[10:], random_scores(candidates[10:], 1, "image"))
    assert not np.array_equal(scores, random_scores(candidates, 1, "other image"))
    assert 0.3 < scores.mean() < 0.7
