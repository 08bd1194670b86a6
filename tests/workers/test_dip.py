import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.networks.blocks import initialise
from workers.networks.dip import DipNetwork
from workers.seeds import generator_of


def make(**overrides: object) -> DipNetwork:
    network = DipNetwork(
        **{"in_channels": 5, "out_channels": 3, "width": 8, "skip_channels": 4, "upsampling": "bilinear"} | overrides
    )
    initialise(network, generator_of("weights"))
    return network


def noise(channels: int, height: int, width: int) -> Tensor:
    return torch.rand(1, channels, height, width, generator=generator_of("input")) * 0.1


def test_the_papers_network_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        network = DipNetwork(32, 3, 128, 4, "bilinear")
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_217_831
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(weight.numel() for weight in weights) == 2_208_768


@pytest.mark.parametrize(("upsampling", "options"), [("bilinear", {"align_corners": False}), ("nearest", {})])
def test_the_output_is_that_of_the_papers_recursion(upsampling: str, options: dict[str, bool]) -> None:
    network = make(upsampling=upsampling, skip_channels=3)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):  # fresh ones all scale by 1 and shift by 0: mixed up, they would pass
                layer.weight.uniform_(0.5, 1.5, generator=generator_of("scales"))
                layer.bias.uniform_(-0.5, 0.5, generator=generator_of("shifts"))

    def normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        centred = x - x.mean((0, 2, 3), keepdim=True)
        spread = (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        return centred / spread * scale[:, None, None] + shift[:, None, None]

    def unit(x: Tensor, weights: list[Tensor], stride: int = 1) -> Tensor:
        kernel, bias, scale, shift = weights
        margin = kernel.shape[-1] // 2
        x = F.conv2d(F.pad(x, [margin] * 4, mode="reflect"), kernel, bias, stride)
        return F.leaky_relu(normalised(x, scale, shift), 0.2)

    def scale_and_below(x: Tensor, scale: int) -> Tensor:
        skip, encoder, merger = (
            list(blocks[scale].parameters()) for blocks in (network.skips, network.encoders, network.mergers)
        )
        below = unit(unit(x, encoder[:4], stride=2), encoder[4:])
        if scale < 4:
            below = scale_and_below(below, scale + 1)
        below = F.interpolate(below, scale_factor=2, mode=upsampling, **options)
        both = normalised(torch.cat([unit(x, skip), below], dim=1), *merger[:2])
        return unit(unit(both, merger[2:6]), merger[6:])

    x = noise(5, 64, 96)
    with torch.no_grad():
        expected = torch.sigmoid(F.conv2d(scale_and_below(x, 0), *network.output.parameters()))
        torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("out_channels", [1, 3])
def test_an_output_has_the_inputs_size_and_lies_between_0_and_1(out_channels: int) -> None:
    network = make(out_channels=out_channels)
    assert network.input_shape(64, 96) == (5, 64, 96)
    output = network(noise(*network.input_shape(64, 96)))
    assert output.shape == (1, out_channels, 64, 96)
    assert 0 < output.min() < output.max() < 1


def test_every_weight_receives_a_gradient() -> None:
    network = make()
    network(noise(5, 64, 64)).square().mean().backward()
    # The bias of a convolution that is normalised next cancels; its gradient is rounding noise, but must be there.
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(layer.weight.grad.any() for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d))


@pytest.mark.parametrize("size", [(32, 64), (64, 80), (0, 64)])
def test_a_side_the_network_cannot_halve_five_times_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        make()(torch.zeros(1, 5, *size))
