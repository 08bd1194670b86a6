import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stopping import Patience

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
