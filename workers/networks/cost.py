"""What a fit computes, counted in multiply-adds: the same on every machine."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from workers.networks.priors import prior_of
from workers.networks.search import SMALLEST_SIDE, Network


def multiply_adds(network: Network, height: int, width: int) -> int:
    """Multiply-adds of one step of a fit: those of all convolutions, forward and backward.

    A convolution takes as many for the gradient of its weights as for its output, and as many again for the gradient of
    its input, which the noise input does not need. Resizing, normalisation and activations are not counted; they are
    few. The sides of every level are in proportion to the image's, so a pass of the smallest image tells all.

    Args:
        network: the network; it is left as it was.
        height: of the output, a multiple of 32, at least 64.
        width: likewise.
    """
    counted: list[int] = []

    def count(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
        # A transposed convolution goes from each pixel of its input, a convolution to each of its output.
        pixels = (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output).shape[-2:].numel()
        products = layer.get_parameter("weight").numel() * pixels
        counted.append(products * (3 if inputs[0].requires_grad else 2))

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks: list[Any] = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.enable_grad():
            device = next(network.parameters()).device
            network(torch.zeros(1, *network.input_shape(SMALLEST_SIDE, SMALLEST_SIDE), device=device))
    finally:
        for hook in hooks:
            hook.remove()
    if network.size is not None:
        return sum(counted)
    # The deepest level of the smallest image has 2 x 2 pixels, and all sides are multiples of half of it.
    return sum(counted) * height * width // SMALLEST_SIDE**2


@cache
def prior_multiply_adds(prior: str, out_channels: int, width: int, input_channels: int) -> int:
    """`multiply_adds` of a prior by name for an image of 64 x 64; those of others are in proportion to their pixels.

    The arguments and errors are those of `workers.networks.memory.fit_bytes_per_pixel`.
    """
    network = prior_of(prior).build(out_channels, width, input_channels=input_channels, generator=torch.Generator())
    return multiply_adds(network, SMALLEST_SIDE, SMALLEST_SIDE)
