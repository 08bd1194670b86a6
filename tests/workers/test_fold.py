import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from workers.networks.fold import doubled_convolution
from workers.seeds import generator_of


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([1, 3, 5, 7]),
    st.booleans(),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_outputs_and_gradients_are_those_of_the_two_steps(
    shape: tuple[int, int, int, int], kernel: int, has_bias: bool, layout: torch.memory_format
) -> None:
    generator = generator_of(*shape, kernel)
    x = torch.randn(shape, generator=generator).to(memory_format=layout).requires_grad_()
    weight = (torch.randn(4, shape[1], kernel, kernel, generator=generator) / kernel).requires_grad_()
    bias = torch.randn(4, generator=generator).requires_grad_() if has_bias else None
    given_ = [x, weight] if bias is None else [x, weight, bias]
    doubled = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = F.conv2d(doubled, weight, bias, padding=kernel // 2)
    output = doubled_convolution(x, weight, bias)
    gradient = torch.randn(expected.shape, generator=generator)
    theirs = [expected, *torch.autograd.grad(expected, given_, gradient)]
    ours = [output, *torch.autograd.grad(output, given_, gradient)]
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(wanted.detach().abs().max())))
