import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stopping import HeldOutPatience, held_out_mask


def run_rule(errors: list[float], patience: int) -> tuple[int, int | None, float]:
    rule = HeldOutPatience(patience, torch.zeros(1, 1, 1, 1))
    stopped_at = None
    for iteration, error in enumerate(errors, start=1):
        rule.update(iteration, torch.tensor(error), torch.full((1, 1, 1, 1), float(iteration)))
        if bool(rule.stopped) and stopped_at is None:
            stopped_at = iteration
    return int(rule.best_iteration), stopped_at, rule.best_output.item()


def test_it_stops_exactly_when_patience_has_run_out_and_keeps_the_output_of_the_minimum() -> None:
    assert run_rule([5, 4, 3, 4, 4, 4, 1], patience=3) == (3, 6, 3.0)


def test_a_lower_error_within_the_patience_starts_it_anew() -> None:
    assert run_rule([5, 4, 3, 4, 4, 2, 3], patience=4) == (6, None, 6.0)


def test_an_equal_error_is_no_improvement() -> None:
    assert run_rule([3, 3, 3], patience=2) == (1, 3, 1.0)


def test_an_error_that_is_not_a_number_is_never_the_best() -> None:
    assert run_rule([float("nan"), 2, float("nan")], patience=9) == (2, None, 2.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 10))
def test_the_rule_is_the_one_in_its_docstring(errors: list[float], patience: int) -> None:
    errors = torch.tensor(errors).tolist()
    expected = None
    for t in range(1, len(errors) + 1):
        best = int(np.argmin(errors[:t])) + 1
        if t - best >= patience:
            expected = t
            break
    best, stopped_at, _ = run_rule(errors, patience)
    assert stopped_at == expected
    assert best == int(np.argmin(errors[:expected])) + 1


@settings(derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.001, 0.5))
def test_the_mask_hides_its_share_and_leaves_something_to_fit(height: int, width: int, share: float) -> None:
    mask = held_out_mask(height, width, share, np.random.default_rng(0))
    assert mask.shape == (height, width)
    assert mask.sum() < height * width
    if height * width > 1:
        assert mask.sum() == pytest.approx(share * height * width, abs=1) or mask.sum() == 1
