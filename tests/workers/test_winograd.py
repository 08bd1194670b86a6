import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from workers.networks.winograd import winograd
from workers.seeds import generator_of


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(1, 7)),
    st.integers(1, 5),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_outputs_and_gradients_are_those_of_a_convolution(
    shape: tuple[int, int, int, int], leaving: int, padding: int, has_bias: bool, layout: torch.memory_format
) -> None:
    count, arriving, rows, columns = shape
    sides = (4 * rows + 2 - 2 * padding, 4 * columns + 2 - 2 * padding)
    generator = generator_of(*shape)
    x = torch.randn(count, arriving, *sides, generator=generator).to(memory_format=layout).requires_grad_()
    weight = (torch.randn(leaving, arriving, 3, 3, generator=generator) / (9 * arriving) ** 0.5).requires_grad_()
    bias = torch.randn(leaving, generator=generator).requires_grad_() if has_bias else None
    given_ = [x, weight] if bias is None else [x, weight, bias]
    expected = F.conv2d(x, weight, bias, padding=padding)
    output = winograd(x, weight, bias, padding)
    arriving_gradient = torch.randn(expected.shape, generator=generator)
    theirs = [expected, *torch.autograd.grad(expected, given_, arriving_gradient)]
    ours = [output, *torch.autograd.grad(output, given_, arriving_gradient)]
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * max(1.0, float(wanted.detach().abs().max())))


@pytest.mark.parametrize("padding", [0, 1])
def test_the_gradient_is_that_of_the_output(padding: int) -> None:
    generator = generator_of("x")
    shapes = ((2, 2, 10 - 2 * padding, 6 - 2 * padding), (3, 2, 3, 3), (3,))
    given_ = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(lambda *tensors: winograd(*tensors, padding), given_)


def test_rounding_errors_are_a_few_times_those_of_a_direct_convolution() -> None:
    # Both are compared with float64, at the papers' width.
    generator = generator_of("x")
    x = torch.randn(1, 128, 32, 32, generator=generator).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3, generator=generator) / (9 * 128) ** 0.5
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    errors = [
        float((output - exact).norm() / exact.norm())
        for output in (F.conv2d(x, weight, padding=1), winograd(x, weight, None, 1))
    ]
    assert errors[1] < 4e-6
    assert errors[1] < 20 * errors[0]
