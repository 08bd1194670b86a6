import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workers.networks.blocks import upsampling_cell
from workers.networks.layers import Convolution, Resize, prepare
from workers.networks.steps import Step
from workers.seeds import generator_of
from workers.space import upsamplers, valid_upsamplers

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIDES = st.integers(1, 20)


def assert_ways_agree(layer: nn.Module, x: torch.Tensor) -> None:
    """Outputs and all gradients, to the rounding of float32."""
    wanted = [x, *layer.parameters()]
    found = []
    for step in Step:
        prepare(layer, step)
        output = layer(x)
        weight = torch.randn(output.shape, generator=generator_of("weight"), dtype=x.dtype)
        found.append((output, *torch.autograd.grad(output, wanted, weight)))
    for theirs, *others in zip(*found, strict=True):
        for ours in others:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()) + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(4, 4, 1, 4), (4, 4, 3, 4), (8, 4, 1, 4), (4, 8, 1, 1), (4, 4, 3, 1)]),
    st.sampled_from(LAYOUTS),
    st.integers(1, 3),
    SIDES,
    SIDES,
)
def test_convolutions_agree_with_pytorchs(
    shape: tuple[int, int, int, int], layout: torch.memory_format, count: int, height: int, width: int
) -> None:
    arriving, leaving, kernel, groups = shape
    for bias in (False, True):
        layer = Convolution(arriving, leaving, kernel, padding=kernel // 2, groups=groups, bias=bias)
        layer = layer.to(memory_format=layout)  # type: ignore[call-overload]
        x = torch.randn(count, arriving, height, width, generator=generator_of(height, width))
        assert_ways_agree(layer, x.to(memory_format=layout).requires_grad_())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_interpolations_agree_with_pytorchs(mode: str, layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 6, generator=generator_of("x")).to(memory_format=layout).requires_grad_()
    assert_ways_agree(Resize(mode), x)


NEAREST = [cell for cell in valid_upsamplers() if upsamplers()[cell].primitive == "nearest"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cell", NEAREST)
def test_cells_that_begin_with_a_nearest_doubling_agree_with_pytorchs(cell: int, layout: torch.memory_format) -> None:
    # In float64, since PyTorch's own sums over so many pixels are the less exact ones in float32.
    layer = upsampling_cell(upsamplers()[cell], 4).double()
    x = torch.randn(1, 4, 32, 33, generator=generator_of("x"), dtype=torch.float64)
    x = x.to(memory_format=layout).requires_grad_()
    before = x.detach().clone()
    assert_ways_agree(layer, x)
    assert torch.equal(x, before)
