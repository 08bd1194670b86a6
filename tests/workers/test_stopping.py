import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stopping import Patience, RunningVariance, WindowedVariance, held_out_mask

INF, NAN = float("inf"), float("nan")


def run_rule(criteria: list[float], patience: int) -> tuple[int, int | None, float]:
    rule = Patience(patience, torch.zeros(1, 1, 1, 1))
    stopped_at = None
    for iteration, criterion in enumerate(criteria, start=1):
        rule.update(iteration, torch.tensor(criterion), torch.full((1, 1, 1, 1), float(iteration)))
        if bool(rule.stopped) and stopped_at is None:
            stopped_at = iteration
    return int(rule.best_iteration), stopped_at, rule.best_output.item()


def test_it_stops_exactly_when_patience_has_run_out_and_keeps_the_output_of_the_minimum() -> None:
    assert run_rule([5, 4, 3, 4, 4, 4, 1], patience=3) == (3, 6, 3.0)


def test_a_lower_criterion_within_the_patience_starts_it_anew() -> None:
    assert run_rule([5, 4, 3, 4, 4, 2, 3], patience=4) == (6, None, 6.0)


def test_an_equal_criterion_is_no_improvement() -> None:
    assert run_rule([3, 3, 3], patience=2) == (1, 3, 1.0)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_criterion_that_is_not_finite_is_never_the_best(value: float) -> None:
    assert run_rule([value, 2, value], patience=9) == (2, None, 2.0)


@pytest.mark.parametrize("value", [NAN, INF])
def test_patience_counts_from_the_first_finite_criterion(value: float) -> None:
    assert run_rule([value] * 5, patience=2) == (0, None, 0.0)
    assert run_rule([value] * 5 + [1, value, value, 0], patience=2) == (6, 8, 6.0)


@settings(derandomize=True)
@given(st.lists(st.one_of(st.just(INF), st.floats(0, 10)), min_size=1, max_size=40), st.integers(1, 10))
def test_the_rule_is_the_one_in_its_docstring(criteria: list[float], patience: int) -> None:
    criteria = torch.tensor(criteria).tolist()
    expected = None
    for t in range(1, len(criteria) + 1):
        best = int(np.argmin(criteria[:t])) + 1
        if np.isfinite(criteria[best - 1]) and t - best >= patience:
            expected = t
            break
    best, stopped_at, _ = run_rule(criteria, patience)
    assert stopped_at == expected
    assert best == (int(np.argmin(criteria[:expected])) + 1 if np.isfinite(criteria).any() else 0)


def test_a_rule_goes_on_from_its_state() -> None:
    criteria = [INF, 3.0, 2.0, 4.0, 4.0, 4.0]
    first, second = (Patience(3, torch.zeros(1)) for _ in range(2))
    for iteration, criterion in enumerate(criteria, start=1):
        if iteration == 5:
            second.load_state_dict(first.state_dict())
        for rule in (first, second) if iteration >= 5 else (first,):
            rule.update(iteration, torch.tensor(criterion), torch.full((1,), float(iteration)))
    assert bool(second.stopped)
    assert second.state_dict() == first.state_dict()


@settings(derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.001, 0.5))
def test_the_mask_hides_its_share_and_leaves_something_to_fit(height: int, width: int, share: float) -> None:
    mask = held_out_mask(height, width, share, np.random.default_rng(0))
    assert mask.shape == (height, width)
    assert mask.sum() < height * width
    if height * width > 1:
        assert mask.sum() == pytest.approx(share * height * width, abs=1) or mask.sum() == 1


@settings(derandomize=True)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.001, 1), st.floats(0, 1))
def test_only_known_pixels_are_hidden_and_never_all_of_them(
    height: int, width: int, share: float, share_known: float
) -> None:
    random = np.random.default_rng(1)
    known = random.random((height, width)) < share_known
    mask = held_out_mask(height, width, share, random, known)
    count = known.sum()
    assert not (mask & ~known).any()
    assert mask.sum() == (np.clip(round(share * count), 1, count - 1) if count > 1 else 0)


def test_all_pixels_known_is_the_same_as_no_word_of_it() -> None:
    masks = [
        held_out_mask(9, 7, 0.2, np.random.default_rng(3), known) for known in (None, np.ones((9, 7), dtype=np.bool_))
    ]
    assert (masks[0] == masks[1]).all()
    assert masks[0].sum() == 13


def outputs(count: int, seed: int = 0, offset: float = 0.0) -> torch.Tensor:
    return offset + torch.rand(count, 1, 2, 3, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_the_running_variance_is_the_exponentially_weighted_one(alpha: float) -> None:
    x = outputs(60)
    rule = RunningVariance(x[0], alpha)
    values = [rule.update(each).item() for each in x]
    warm_up = round(3 / alpha)
    assert values[:warm_up] == [INF] * warm_up
    for last in range(warm_up, len(x)):
        past = x[: last + 1].double().numpy().reshape(last + 1, -1)
        weights = alpha * (1 - alpha) ** np.arange(last, -1, -1.0)
        weights[0] = (1 - alpha) ** last
        mean = weights @ past
        assert values[last] == pytest.approx((weights @ (past - mean) ** 2).mean(), rel=1e-4)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 70), st.integers(0, 99))
def test_the_windowed_variance_is_exact_whenever_a_window_ends(
    stride: int, windows: int, count: int, seed: int
) -> None:
    window = stride * windows
    # A large offset shows a recurrence that cancels.
    x = outputs(count, seed, offset=100.0)
    rule = WindowedVariance(x[0], window, stride)
    for seen, each in enumerate(x, start=1):
        value = rule.update(each).item()
        if seen >= window and seen % stride == 0:
            last = x[seen - window : seen].double().numpy()
            assert value == pytest.approx(last.var(axis=0).mean(), rel=1e-3, abs=1e-9)
        else:
            assert value == INF


def test_the_window_is_a_multiple_of_its_stride() -> None:
    with pytest.raises(ValueError, match="the window, 100, is not a multiple of its stride, 30"):
        WindowedVariance(torch.zeros(1), window=100, stride=30)


def variances(output_like: torch.Tensor) -> list[RunningVariance | WindowedVariance]:
    return [RunningVariance(output_like, alpha=0.3), WindowedVariance(output_like, window=12, stride=4)]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("cut", [0, 1, 7, 13, 20])
def test_variances_go_on_from_a_checkpoint_as_if_nothing_had_happened(which: int, cut: int) -> None:
    x = outputs(40)
    whole, first, second = (variances(x[0])[which] for _ in range(3))
    expected = torch.stack([whole.update(each) for each in x])
    for each in x[:cut]:
        first.update(each)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    second.load_state_dict(state)
    assert torch.equal(torch.stack([second.update(each) for each in x[cut:]]), expected[cut:])


def test_a_state_is_a_snapshot() -> None:
    x = outputs(30)
    for first, second in zip(variances(x[0]), variances(x[0]), strict=True):
        for each in x[:15]:
            first.update(each)
        second.load_state_dict(first.state_dict())
        expected = [first.update(each).item() for each in x[15:]]
        assert [second.update(each).item() for each in x[15:]] == expected


def test_nothing_asks_the_host() -> None:
    # A tensor on the meta device has no values: reading one there raises.
    output = torch.zeros(1, 3, 4, 4, device="meta")
    for variance in variances(output):
        rule = Patience(3, output)
        for iteration in range(1, 30):
            rule.update(iteration, variance.update(output), output)
        assert rule.best_output.device == output.device
