import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from workers.networks.resize import WEIGHTS, double
from workers.seeds import generator_of

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 70), st.integers(1, 70))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WEIGHTS)), st.sampled_from(LAYOUTS), SHAPES)
def test_outputs_and_gradients_are_those_of_pytorch_to_rounding(
    mode: str, layout: torch.memory_format, shape: tuple[int, int, int, int]
) -> None:
    _, channels, height, width = shape
    x = torch.randn(shape, generator=generator_of(height, width))
    x = x.to(memory_format=layout).requires_grad_()
    expected = F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    doubled = double(x, mode)
    torch.testing.assert_close(doubled, expected, rtol=0, atol=2e-6)
    if channels > 1 < height * width:  # the memory of anything else has both formats
        assert doubled.is_contiguous(memory_format=layout)
    # Gradients arrive in any memory format.
    for arriving in LAYOUTS:
        weight = torch.randn(expected.shape, generator=generator_of("weight")).to(memory_format=arriving)
        (theirs,) = torch.autograd.grad(expected, x, weight, retain_graph=True)
        (ours,) = torch.autograd.grad(doubled, x, weight, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=8e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", sorted(WEIGHTS))
def test_the_gradient_is_that_of_the_output(mode: str, layout: torch.memory_format) -> None:
    x = torch.rand(2, 2, 5, 3, generator=generator_of("x"), dtype=torch.float64).to(memory_format=layout)
    assert torch.autograd.gradcheck(lambda value: double(value, mode), x.requires_grad_())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_activation_may_change_the_result_in_place(layout: torch.memory_format) -> None:
    x = torch.randn(1, 4, 6, 6, generator=generator_of("x")).to(memory_format=layout).requires_grad_()
    expected = F.leaky_relu(F.interpolate(x, scale_factor=2, mode="bicubic"), 0.2)
    ours = F.leaky_relu_(double(x, "bicubic"), 0.2)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(value.square().sum(), x)[0] for value in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)
