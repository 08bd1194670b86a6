from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.stacking import (
    FOLDS,
    RIDGES,
    Combination,
    HeldOut,
    Moments,
    Weighting,
    best_of,
    inverse_error_weights,
    mean_of,
    simplex_weights,
    stacked,
)

ERRORS = st.integers(1, 6).flatmap(
    lambda members: arrays(np.float64, (members, 24), elements=st.floats(-1, 1, allow_subnormal=False))
)
WAYS: list[Weighting] = [best_of, stacked, mean_of(0.0)]


def products_of(errors: np.ndarray) -> np.ndarray:
    products: np.ndarray = errors @ errors.T / errors.shape[1]
    return products


def held_out(errors: np.ndarray, seed: int = 0) -> HeldOut:
    """Members with these errors (K, C, n) on pixels that are all 0.5."""
    return HeldOut(0.5 + errors, np.full(errors.shape[1:], 0.5), np.random.default_rng(seed))


def noisy_members(count: int = 4, pixels: int = 2000, seed: int = 0) -> np.ndarray:
    """Errors of members of differing quality that have noise in common: (K, 3, n)."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.1, (3, pixels))
    return noise + np.linspace(0.03, 0.06, count)[:, None, None] * random.normal(size=(count, 3, pixels))


def assert_on_the_simplex(weights: np.ndarray) -> None:
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


@settings(deadline=None, derandomize=True)
@given(ERRORS, st.sampled_from(RIDGES))
def test_weights_are_on_the_simplex_and_no_convex_combination_is_better(errors: np.ndarray, ridge: float) -> None:
    products = products_of(errors)
    weights = simplex_weights(products, ridge)
    assert_on_the_simplex(weights)
    count = len(products)
    difference = np.trace(products) / count - products.mean()
    if not np.isfinite(ridge) or difference <= 1e-9:
        return

    def penalised(w: np.ndarray) -> float:
        return float(w @ products @ w + ridge * difference * w @ w)

    least = penalised(weights)
    for other in [*np.eye(count), *np.random.default_rng(0).dirichlet(np.ones(count), 20)]:
        assert least <= penalised(other) + 1e-9


@settings(deadline=None, derandomize=True)
@given(ERRORS)
def test_the_least_ridge_is_never_worse_than_the_best_member_on_the_same_pixels(errors: np.ndarray) -> None:
    products = products_of(errors)
    weights = simplex_weights(products)
    difference = max(0.0, float(np.trace(products) / len(products) - products.mean()))
    assert weights @ products @ weights <= products.diagonal().min() + RIDGES[0] * difference + 1e-12


@settings(deadline=None, derandomize=True)
@given(ERRORS, st.randoms(use_true_random=False))
def test_the_order_of_the_members_does_not_matter(errors: np.ndarray, random: Random) -> None:
    order = list(range(len(errors)))
    random.shuffle(order)
    products = products_of(errors)
    straight, permuted = (simplex_weights(each, 0.1) for each in (products, products[np.ix_(order, order)]))
    np.testing.assert_allclose(permuted, straight[order], atol=1e-5)


def test_two_members_are_weighted_as_the_textbook_says() -> None:
    # Independent errors of variances 1 and 3: weights 3/4 and 1/4, error 3/4.
    products = np.diag([1.0, 3.0])
    weights = simplex_weights(products)
    np.testing.assert_allclose(weights, [0.75, 0.25], atol=1e-5)
    # What all have in common changes nothing, also where it is much more.
    np.testing.assert_allclose(simplex_weights(products + 1e4), [0.75, 0.25], atol=1e-4)


def test_a_larger_ridge_draws_towards_equal_weights() -> None:
    products = np.diag([1.0, 3.0])
    firsts = [simplex_weights(products, ridge)[0] for ridge in RIDGES]
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[-1] == 0.5


@pytest.mark.parametrize("way", WAYS)
def test_one_member_has_all_the_weight(way: Weighting) -> None:
    errors = noisy_members(1)
    combination = held_out(errors).combined(way)
    np.testing.assert_array_equal(combination.weights, [1])
    assert combination.error is not None
    assert combination.error.value == pytest.approx(np.square(errors).mean())


def test_equal_members_have_equal_weights() -> None:
    errors = np.repeat(noisy_members(1), 3, axis=0)
    np.testing.assert_allclose(held_out(errors).combined(stacked).weights, 1 / 3)


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_is_not_finite_has_no_weight(way: Weighting) -> None:
    errors = noisy_members(3)
    errors[1, 0, 7] = np.nan
    combination = held_out(errors).combined(way)
    without = held_out(errors[[0, 2]]).combined(way)
    assert combination.weights[1] == 0
    np.testing.assert_array_equal(combination.weights[[0, 2]], without.weights)
    assert combination.error == without.error
    with pytest.raises(ValueError, match="nothing to combine"):
        held_out(errors[1:2]).combined(way)


@pytest.mark.parametrize("pixels", [0, 1, 2, 19])
def test_of_a_few_pixels_nothing_is_learnt(pixels: int) -> None:
    errors = noisy_members(3, pixels)
    combination = held_out(errors).combined(stacked)
    np.testing.assert_allclose(combination.weights, 1 / 3)
    if pixels < 2:
        assert combination.error is None
    else:
        assert combination.error is not None
        assert combination.error.value == pytest.approx(np.square(errors.mean(axis=0)).mean())


def test_no_pixel_has_a_part_in_the_weights_that_it_judges() -> None:
    errors = noisy_members(4, 60)
    spoiled = errors.copy()
    spoiled[0, :, 13] = 50.0
    clean, other = (held_out(each).combined(stacked) for each in (errors, spoiled))
    assert clean.error is not None
    assert other.error is not None
    # Its own fold is judged with weights that do not know of it.
    fold = np.random.default_rng(0).permutation(60) % FOLDS
    kept = Moments(
        np.array(
            [
                each @ each.T / 3
                for number in range(FOLDS)
                if number != fold[13]
                for each in [errors[:, :, fold == number].reshape(4, -1)]
            ]
        ),
        np.full(FOLDS - 1, 12.0),
    )
    own = float(np.square(stacked(kept) @ spoiled[:, :, 13]).mean())
    assert other.error.value * 60 > own > 100


def test_the_cross_validated_error_is_that_on_pixels_nobody_has_seen() -> None:
    # Many members and few pixels: weights flatter themselves on the pixels that they were made from.
    own, flattered, unseen = [], [], []
    for seed in range(30):
        errors = noisy_members(8, 460, seed)
        seen, fresh = errors[:, :, :60], errors[:, :, 60:]
        combination = held_out(seen, seed).combined(stacked)
        assert combination.error is not None
        own.append(combination.error.value)
        flattered.append(np.square(np.tensordot(combination.weights, seen, 1)).mean())
        unseen.append(np.square(np.tensordot(combination.weights, fresh, 1)).mean())
    assert np.mean(flattered) < np.mean(unseen)
    assert np.mean(own) == pytest.approx(np.mean(unseen), rel=0.03)


def test_its_standard_error_is_the_spread_over_draws_of_pixels() -> None:
    found = [held_out(noisy_members(4, 300, seed)).combined(stacked) for seed in range(60)]
    values = [each.error.value for each in found if each.error is not None]
    told = [each.error.standard_error for each in found if each.error is not None]
    assert np.mean(told) == pytest.approx(np.std(values, ddof=1), rel=0.4)


def test_stacking_beats_the_best_member_and_the_mean_where_members_differ() -> None:
    errors = np.concatenate([noisy_members(4), noisy_members(1, seed=9) * 3])
    fresh = errors[:, :, 1000:]
    made = held_out(errors[:, :, :1000])

    def error(combination: Combination) -> float:
        return float(np.square(np.tensordot(combination.weights, fresh, 1)).mean())

    pick, mean, stack = (error(made.combined(way)) for way in (best_of, mean_of(0.01), stacked))
    assert stack < mean
    assert stack < pick
    assert stack < np.square(fresh.mean(axis=0)).mean()


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
    assert inverse_error_weights(np.array(errors, dtype=np.float64), noise) == pytest.approx(weights, abs=1e-9)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 1))
def test_weights_sum_to_one_and_less_error_weighs_no_less(errors: list[float], noise: float) -> None:
    weights = inverse_error_weights(np.array(errors, dtype=np.float64), noise)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(errors)]) <= 1e-12).all()
