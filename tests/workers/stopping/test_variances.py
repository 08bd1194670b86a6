import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stopping import Patience, RunningVariance, WindowedVariance

INF = float("inf")


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
