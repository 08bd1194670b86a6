import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.networks.blocks import initialise
from workers.networks.deep_decoder import DeepDecoder
from workers.seeds import generator_of


def make(channels: int = 6, out_channels: int = 3) -> DeepDecoder:
    network = DeepDecoder(channels, out_channels)
    initialise(network, generator_of("weights"))
    return network


def noise(network: DeepDecoder, height: int, width: int) -> Tensor:
    return torch.rand(1, *network.input_shape(height, width), generator=generator_of("input")) * 0.1


@pytest.mark.parametrize(("channels", "parameters"), [(64, 25_536), (128, 100_224)])
def test_the_papers_networks_have_the_papers_numbers_of_parameters(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = DeepDecoder(channels, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_output_is_that_of_the_papers_formula() -> None:
    network = make()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):  # fresh ones all scale by 1 and shift by 0: mixed up, they would pass
                layer.weight.uniform_(0.5, 1.5, generator=generator_of("scales"))
                layer.bias.uniform_(-0.5, 0.5, generator=generator_of("shifts"))
    *layers, last = network.parameters()
    image = noise(network, 64, 96)
    expected = image[0].flatten(1)
    height, width = 2, 3
    with torch.no_grad():
        for level in range(6):
            weight, scale, shift = layers[3 * level : 3 * level + 3]
            expected = weight[:, :, 0, 0] @ expected
            if level < 5:
                grid = expected.reshape(1, -1, height, width)
                height, width = 2 * height, 2 * width
                expected = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)[0].flatten(1)
            expected = expected.clamp(min=0)
            deviation = expected.std(1, correction=0, keepdim=True)
            expected = (expected - expected.mean(1, keepdim=True)) / (deviation.square() + 1e-5).sqrt()
            expected = expected * scale[:, None] + shift[:, None]
        expected = torch.sigmoid(last[:, :, 0, 0] @ expected).reshape(1, 3, height, width)
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("out_channels", [1, 3])
def test_an_output_is_32_times_the_input_and_lies_between_0_and_1(out_channels: int) -> None:
    network = make(out_channels=out_channels)
    assert network.input_shape(64, 96) == (6, 2, 3)
    output = network(noise(network, 64, 96))
    assert output.shape == (1, out_channels, 64, 96)
    assert 0 < output.min() < output.max() < 1


def test_every_weight_receives_a_gradient() -> None:
    network = make(channels=8)
    network(noise(network, 64, 96)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("size", [(32, 64), (64, 80), (0, 64)])
def test_a_size_that_five_doublings_cannot_reach_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        make().input_shape(*size)
