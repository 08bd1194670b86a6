import hashlib
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.operators import Blur, Downsample, Identity, Operator, gaussian_kernel, motion_kernel

Array = NDArray[np.float64]


def sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def keys(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


CONTINUOUS: dict[str, Callable[[float], float]] = {
    "lanczos2": lambda t: sinc(t) * sinc(t / 2) if abs(t) < 2 else 0.0,
    "bicubic": keys,
    "box": lambda t: float(abs(t) < 0.5),
}


def sampling_matrix(operator: Downsample, side: int) -> Array:
    """Row i: the continuous kernel around the centre of measured pixel i, everything beyond the border put onto it."""
    factor = operator.factor
    matrix = np.zeros((side // factor, side))
    for i in range(side // factor):
        for j in range(-3 * factor, side + 3 * factor):
            weight = CONTINUOUS[operator.kernel]((j - ((i + 0.5) * factor - 0.5)) / factor)
            matrix[i, min(max(j, 0), side - 1)] += weight
    return matrix / matrix.sum(axis=1, keepdims=True)


def slow_blur(kernel: Array, x: Array) -> Array:
    """The sum of k(offset) x(position - offset), with the border's pixels beyond the border."""
    (rows, columns), (height, width) = kernel.shape, x.shape[-2:]
    y = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(rows, columns):
            source = np.clip(i - (a - rows // 2), 0, height - 1), np.clip(j - (b - columns // 2), 0, width - 1)
            y[..., i, j] += kernel[a, b] * x[..., source[0], source[1]]
    return y / kernel.sum()


def reference(operator: Operator, x: Array) -> Array:
    if isinstance(operator, Downsample):
        height, width = x.shape[-2:]
        return sampling_matrix(operator, height) @ x @ sampling_matrix(operator, width).T
    if isinstance(operator, Blur):
        return slow_blur(operator.kernel.astype(np.float64), x)
    return x


odd = st.sampled_from([1, 3, 5])
kernels = st.builds(
    lambda rows, columns, seed: np.random.default_rng(seed).uniform(-0.1, 1, (rows, columns)),
    odd,
    odd,
    st.integers(0, 99),
).filter(lambda kernel: kernel.sum() > 0.1)
operators: st.SearchStrategy[Operator] = st.one_of(
    st.just(Identity()),
    st.builds(Downsample, st.integers(1, 5), st.sampled_from(["lanczos2", "box", "bicubic"])),
    st.builds(Blur, kernels),
    st.sampled_from([Blur(gaussian_kernel(0.7)), Blur(motion_kernel(4, 0))]),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Operator, Array, Array, np.random.Generator]:
    """An operator, two images for it and a generator."""
    operator = draw(operators)
    height, width = (operator.scale * draw(st.integers(1, 6)) for _ in range(2))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), height, width)
    return operator, random.random(shape), random.random(shape), random


def apply(operator: Operator, x: Array) -> Array:
    return operator(torch.from_numpy(x)).numpy()


check = settings(deadline=None, derandomize=True)


@check
@given(cases())
def test_it_is_what_the_slow_formula_says(case: tuple) -> None:
    operator, x, _, _ = case
    np.testing.assert_allclose(apply(operator, x), reference(operator, x), rtol=0, atol=1e-12)


@check
@given(cases(), st.sampled_from([torch.float32, torch.float64]))
def test_type_device_and_layout_are_kept_and_the_size_is_scaled(case: tuple, dtype: torch.dtype) -> None:
    operator, x, _, _ = case
    batch, channels, height, width = x.shape
    image = torch.from_numpy(x).to(dtype)
    measured = operator(image)
    assert measured.dtype == dtype
    assert measured.shape == (batch, channels, height // operator.scale, width // operator.scale)
    torch.testing.assert_close(operator(image.to(memory_format=torch.channels_last)), measured, rtol=0, atol=1e-6)
    elsewhere = operator(image.to("meta"))
    assert (elsewhere.device.type, elsewhere.dtype, elsewhere.shape) == ("meta", dtype, measured.shape)


@check
@given(cases())
def test_single_precision_is_as_good_as_it_can_be(case: tuple) -> None:
    operator, x, _, _ = case
    single = operator(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(single, apply(operator, x), rtol=0, atol=5e-6)


@check
@given(cases(), st.floats(-3, 3))
def test_it_is_linear(case: tuple, factor: float) -> None:
    operator, x, other, _ = case
    together = apply(operator, x + factor * other)
    np.testing.assert_allclose(together, apply(operator, x) + factor * apply(operator, other), rtol=0, atol=1e-11)


@check
@given(cases())
def test_a_constant_stays_the_constant(case: tuple) -> None:
    operator, x, _, _ = case
    np.testing.assert_allclose(apply(operator, np.full_like(x, 0.7)), 0.7, rtol=0, atol=1e-12)


@check
@given(cases())
def test_its_gradient_is_the_adjoint(case: tuple) -> None:
    operator, x, _, random = case
    image = torch.from_numpy(x).requires_grad_()
    measured = operator(image)
    y = torch.from_numpy(random.random(measured.shape))
    (adjoint,) = torch.autograd.grad(measured, image, y)
    # <A x', y> = <x', A^T y> at another point than the one where the gradient was taken.
    other = torch.from_numpy(random.random(x.shape))
    assert float((operator(other) * y).sum()) == pytest.approx(float((other * adjoint).sum()), rel=1e-11)


@check
@given(cases())
def test_symmetric_says_whether_mirroring_commutes_with_measuring(case: tuple) -> None:
    operator, x, _, _ = case
    differences = [
        np.abs(apply(operator, np.flip(x, axis).copy()) - np.flip(apply(operator, x), axis)).max() for axis in (2, 3)
    ]
    if operator.symmetric:
        assert max(differences) < 1e-12


@pytest.mark.parametrize("axis", [0, 1])
def test_a_kernel_that_mirroring_changes_is_not_symmetric(axis: int) -> None:
    kernel = np.moveaxis(np.array([[1.0, 2.0, 3.0]]), 1, axis)
    assert not Blur(kernel).symmetric
    assert Blur(kernel + np.flip(kernel, axis)).symmetric


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_lanczos_spreads_an_impulse_by_its_formula(factor: int) -> None:
    side = 8 * factor
    impulse = torch.zeros(1, 1, side, side, dtype=torch.float64)
    row, column = 4 * factor, 4 * factor - 1
    impulse[..., row, column] = 1
    measured = Downsample(factor)(impulse)[0, 0].numpy()

    def line(position: int) -> list[float]:
        """The response of each measured pixel to an impulse, away from the borders."""
        halves = range(1 - 4 * factor, 4 * factor)
        offsets = [half / 2 / factor for half in halves if (half - (factor - 1)) % 2 == 0]
        total = sum(sinc(t) * sinc(t / 2) for t in offsets)
        distances = [(position - (i + 0.5) * factor + 0.5) / factor for i in range(8)]
        return [sinc(t) * sinc(t / 2) / total if abs(t) < 2 else 0.0 for t in distances]

    np.testing.assert_allclose(measured, np.outer(line(row), line(column)), rtol=0, atol=1e-14)
    assert np.count_nonzero(np.abs(measured) > 1e-9) == 16


def test_the_filter_of_factor_four_has_sixteen_taps_from_minus_15_8ths() -> None:
    # The response of measured pixel 2 to every column, away from the borders.
    columns = torch.eye(24, dtype=torch.float64)[:, None, None, :].expand(24, 1, 4, 24)
    taps = Downsample(4)(columns)[:, 0, 0, 2].numpy()
    assert np.flatnonzero(taps).tolist() == list(range(2, 18))
    offsets = np.arange(-15, 16, 2) / 8
    expected = np.sinc(offsets) * np.sinc(offsets / 2)
    np.testing.assert_allclose(taps[2:18], expected / expected.sum(), atol=1e-15)


def test_a_box_is_the_mean_of_blocks() -> None:
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    np.testing.assert_allclose(apply(Downsample(2, "box"), x), [[[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]])


def test_an_impulse_becomes_the_kernel_itself_not_its_mirror_image() -> None:
    kernel = np.arange(1.0, 16).reshape(3, 5)
    impulse = np.zeros((1, 1, 9, 9))
    impulse[0, 0, 4, 4] = 1
    np.testing.assert_allclose(apply(Blur(kernel), impulse)[0, 0, 3:6, 2:7], kernel / kernel.sum(), atol=1e-8)


@pytest.mark.parametrize("size", [(6, 8), (8, 6), (3, 3)])
def test_sides_that_are_no_multiples_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} .* multiples of 4"):
        Downsample(4)(torch.zeros(1, 1, *size))


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Downsample(0)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (np.ones((2, 3)), r"odd sides, not the shape \(2, 3\)"),
        (np.ones(3), r"odd sides, not the shape \(3,\)"),
        (np.ones((0, 3)), r"odd sides, not the shape \(0, 3\)"),
        (np.array([[1, np.nan, 1]]), "finite"),
        (np.array([[np.inf, -np.inf, 1]]), "finite"),
        (np.zeros((3, 3)), "sum to more than 0"),
        (np.array([[1.0, -2.0, 1.0]]), "sum to more than 0"),
        (np.array([[1e300, -1e300, 1e250]]), "cancel out"),
    ],
)
def test_a_kernel_that_cannot_blur_is_refused_in_one_line(kernel: Array, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Blur(kernel)
    assert "\n" not in str(error.value)


def test_kernels_of_any_magnitude_are_brought_to_sum_one() -> None:
    largest = np.finfo(np.float64).max
    for scale in (largest, 1, np.finfo(np.float64).tiny):
        np.testing.assert_array_equal(Blur(np.full((1, 3), scale)).kernel, np.full((1, 3), 1 / 3, dtype=np.float32))


def test_names_tell_everything() -> None:
    assert Identity().name == "identity"
    assert [Downsample(4).name, Downsample(2, "box").name, Downsample(3, "bicubic").name] == [
        "lanczos2 x4",
        "box x2",
        "bicubic x3",
    ]
    name = Blur(np.ones((1, 1))).name
    assert name == "blur 1x1 " + hashlib.sha256(b"1x1 " + np.float32(1).tobytes()).hexdigest()[:8]
    assert Blur(np.ones((1, 3))).name != Blur(np.ones((3, 1))).name
    assert Blur(np.ones((3, 3))).name[:9] == "blur 3x3 "


def test_blurs_of_equal_kernels_are_equal_also_in_another_process() -> None:
    blur = Blur(gaussian_kernel(1))
    assert blur == Blur(4 * gaussian_kernel(1)) == pickle.loads(pickle.dumps(blur))  # noqa: S301
    assert blur != Blur(gaussian_kernel(1.1))
    assert len({blur, Blur(gaussian_kernel(1)), Blur(gaussian_kernel(1.1))}) == 2


def test_the_kernel_is_the_operators_own() -> None:
    kernel = np.ones((3, 3))
    blur = Blur(kernel)
    kernel[:] = 0
    assert blur.kernel.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="read-only"):
        blur.kernel[0, 0] = 2


@pytest.mark.parametrize("operator", [Downsample(7, "bicubic"), Blur(np.ones((7, 9)))])
def test_first_used_in_inference_mode_it_still_serves_a_fit(operator: Operator) -> None:
    with torch.inference_mode():
        operator(torch.zeros(1, 1, 7, 7))
    image = torch.zeros(1, 1, 7, 7, requires_grad=True)
    operator(image).sum().backward()
    assert image.grad is not None


@pytest.mark.parametrize(("sigma", "side"), [(0.3, 3), (1.0, 7), (1.5, 11)])
def test_a_gaussian_reaches_three_sigma(sigma: float, side: int) -> None:
    kernel = gaussian_kernel(sigma)
    assert kernel.shape == (side, side)
    assert kernel.sum() == pytest.approx(1)
    centre = side // 2
    assert kernel[centre, centre + 1] / kernel[centre, centre] == pytest.approx(math.exp(-0.5 / sigma**2))
    assert Blur(kernel).symmetric


def test_motion_along_the_axes_weighs_pixels_by_how_far_it_crosses_them() -> None:
    np.testing.assert_allclose(motion_kernel(3, 0), [[0, 0, 0], [1 / 3] * 3, [0, 0, 0]])
    np.testing.assert_allclose(motion_kernel(4, 0)[2], [0.125, 0.25, 0.25, 0.25, 0.125])
    np.testing.assert_allclose(motion_kernel(4, 90), motion_kernel(4, 0).T, atol=1e-15)
    np.testing.assert_array_equal(motion_kernel(1, 30), [[1]])


def test_motion_turns_counterclockwise_as_seen() -> None:
    kernel = motion_kernel(5, 45)
    assert kernel[0, 4] == kernel[4, 0] > 0
    assert kernel[0, 0] == kernel[4, 4] == 0


@check
@given(st.integers(1, 15), st.floats(-360, 360))
def test_a_motion_sums_to_one_and_is_the_same_backwards(length: int, angle: float) -> None:
    kernel = motion_kernel(length, angle)
    assert kernel.shape == (2 * (length // 2) + 1,) * 2
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
