import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from workers.networks.convolve import convolve
from workers.seeds import generator_of


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(7, 20), st.integers(7, 20)),
    st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1), (7, 1)]),
    st.booleans(),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_outputs_and_gradients_are_pytorchs(
    shape: tuple[int, int, int, int], how: tuple[int, int], has_bias: bool, layout: torch.memory_format
) -> None:
    kernel, stride = how
    generator = generator_of(*shape)
    x = torch.randn(shape, generator=generator).to(memory_format=layout).requires_grad_()
    weight = torch.randn(4, shape[1], kernel, kernel, generator=generator).requires_grad_()
    bias = torch.randn(4, generator=generator).requires_grad_() if has_bias else None
    given_ = [x, weight] if bias is None else [x, weight, bias]
    results = []
    for output in (
        F.conv2d(x, weight, bias, stride, kernel // 2),
        convolve(x, weight, bias, stride, kernel // 2),
    ):
        gradient = torch.randn(output.shape, generator=generator_of("gradient"))
        results.append([output, *torch.autograd.grad(output, given_, gradient)])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, float(theirs.detach().abs().max())))


def test_an_input_that_needs_no_gradient_gets_none() -> None:
    weight = torch.randn(2, 3, 3, 3).requires_grad_()
    convolve(torch.randn(1, 3, 8, 8), weight, None, 1, 1).sum().backward()
    assert weight.grad is not None
