from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct, idct
from scipy.linalg import hadamard

from workers.sensing import Sensing, _dct, _hadamard, _inverse_dct

MATRICES = ("gaussian", "hadamard", "dct", "fourier")
shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@st.composite
def operators(draw: st.DrawFn) -> Sensing:
    matrix, shape, seed = draw(st.sampled_from(MATRICES)), draw(shapes), draw(st.integers(0, 99))
    return Sensing(matrix, draw(st.integers(1, Sensing(matrix, 1, shape).most)), shape, seed)


def dense(operator: Sensing) -> torch.Tensor:
    """M as a matrix (P m, n): its columns are the measurements of single values."""
    size = prod(operator.shape)
    columns = operator(torch.eye(size, dtype=torch.float64).reshape(size, *operator.shape))
    return columns.reshape(size, -1).T


@given(operators(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_it_is_linear_and_its_adjoint_is_the_transposed_matrix(operator: Sensing, seed: int) -> None:
    torch.manual_seed(seed)
    matrix = dense(operator)
    images = torch.randn(2, *operator.shape, dtype=torch.float64)
    measured = operator(images)
    assert measured.shape == (2, operator.parts, 1, operator.measurements)
    torch.testing.assert_close(measured.reshape(2, -1), images.reshape(2, -1) @ matrix.T)
    back = operator.adjoint(measured)
    torch.testing.assert_close(back.reshape(2, -1), measured.reshape(2, -1) @ matrix)


@given(operators())
@settings(max_examples=40, deadline=None)
def test_the_gradient_is_the_adjoint(operator: Sensing) -> None:
    image = torch.zeros(1, *operator.shape, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(1.0, operator.parts * operator.measurements + 1, dtype=torch.float64)
    (operator(image).reshape(-1) * weights).sum().backward()
    expected = operator.adjoint(weights.reshape(1, operator.parts, 1, -1))
    torch.testing.assert_close(image.grad, expected)


@given(operators())
@settings(max_examples=40, deadline=None)
def test_rows_have_the_norm_one_and_those_of_transforms_are_orthogonal(operator: Sensing) -> None:
    matrix = dense(operator)
    norms = matrix.square().sum(1)
    if operator.matrix == "gaussian":
        # A row is a sum of n squares of N(0, 1/n).
        assert abs(float(norms.mean()) - 1) < 6 * (2 / matrix.numel()) ** 0.5
        return
    # The imaginary part of a real frequency is nothing.
    assert all(abs(float(norm)) < 1e-6 or abs(float(norm) - 1) < 1e-6 for norm in norms)
    if operator.matrix in ("dct", "fourier"):
        torch.testing.assert_close(matrix @ matrix.T, torch.diag(norms), atol=1e-6, rtol=0)


@pytest.mark.parametrize("matrix", ["hadamard", "dct", "fourier"])
def test_all_rows_of_a_transform_keep_the_image(matrix: str) -> None:
    shape = (2, 4, 8)
    operator = Sensing(matrix, Sensing(matrix, 1, shape).most, shape)
    image = torch.randn(1, *shape, dtype=torch.float64)
    torch.testing.assert_close(operator.adjoint(operator(image)), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("matrix", MATRICES)
def test_more_measurements_have_all_those_of_fewer(matrix: str) -> None:
    few, many = (dense(Sensing(matrix, count, (1, 6, 6), 3)) for count in (5, 15))
    rows = {tuple(row) for row in many.numpy().round(6).tolist()}
    assert all(tuple(row) in rows for row in few.numpy().round(6).tolist())


@pytest.mark.parametrize("matrix", MATRICES)
def test_another_seed_is_another_matrix_and_the_same_is_the_same(matrix: str) -> None:
    first, again, other = (dense(Sensing(matrix, 9, (1, 6, 6), seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_gaussian_matrix_that_is_too_large_to_keep_is_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Sensing("gaussian", 37, (1, 8, 8), 5)
    monkeypatch.setattr("workers.sensing._BLOCK", 640)
    whole = dense(operator)
    monkeypatch.setattr("workers.sensing._KEPT", 0)
    torch.testing.assert_close(dense(operator), whole)
    measured = torch.randn(1, 1, 1, 37, dtype=torch.float64)
    torch.testing.assert_close(operator.adjoint(measured).reshape(1, -1), measured.reshape(1, -1) @ whole)


@pytest.mark.parametrize("matrix", MATRICES)
def test_what_networks_add_at_the_edges_is_not_measured(matrix: str) -> None:
    operator = Sensing(matrix, 7, (3, 5, 6))
    padded = torch.randn(1, 3, 32, 32)
    inside = padded[..., :5, :6].clone()
    torch.testing.assert_close(operator(padded), operator(inside))


@given(st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_cosine_transform_is_the_orthonormal_one(length: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((2, length))
    np.testing.assert_allclose(_dct(torch.from_numpy(x)).numpy(), dct(x, norm="ortho", axis=1), atol=1e-12)
    np.testing.assert_allclose(_inverse_dct(torch.from_numpy(x)).numpy(), idct(x, norm="ortho", axis=1), atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 8, 64])
def test_the_hadamard_transform_is_hadamards_matrix(length: int) -> None:
    x = np.random.default_rng(length).standard_normal((3, length))
    np.testing.assert_allclose(_hadamard(torch.from_numpy(x)).numpy(), x @ hadamard(length) / length**0.5, atol=1e-12)


def test_the_mean_is_always_among_the_frequencies_and_low_ones_are_likelier() -> None:
    operator = Sensing("fourier", 200, (1, 64, 64))
    constant = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    assert float(operator(constant).abs().max()) == pytest.approx(64)
    magnitude = dense(Sensing("fourier", 60, (1, 16, 16)))
    image = torch.arange(16.0, dtype=torch.float64).expand(16, 16).reshape(-1)
    assert float((magnitude @ image).square().sum() / image.square().sum()) > 0.9


@pytest.mark.parametrize(("matrix", "count", "most"), [("gaussian", 0, 48), ("dct", 49, 48), ("fourier", 31, 30)])
def test_too_few_and_too_many_measurements_are_refused(matrix: str, count: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"{count} measurements .* between 1 and {most}"):
        Sensing(matrix, count, (3, 4, 4))
