"""How much memory fitting a network takes, found without fitting it."""

from functools import cache

import torch
from torch import Tensor

from workers.networks.priors import prior_of
from workers.networks.search import SMALLEST_SIDE

_PEAK = 1.6
"""Peak over the memory that autograd keeps: gradients in flight, workspaces, Adam. Measured: 1.1 to 1.6 from 256
px up (docs/benchmarks.md).
"""


def fit_bytes_per_pixel(prior: str, out_channels: int, width: int, input_channels: int) -> float:
    """Bytes of memory at the peak of a fit, per pixel of the padded image. For arguments and errors see
    `kept_bytes_per_pixel`.
    """
    return _PEAK * kept_bytes_per_pixel(prior, out_channels, width, input_channels)


@cache
def kept_bytes_per_pixel(prior: str, out_channels: int, width: int, input_channels: int) -> float:
    """Bytes that a step of a fit keeps for its backward pass, per pixel of the padded image.

    A forward pass of the smallest image shows which tensors autograd keeps for the backward pass. Weights are left out:
    they are small next to the activations of any image for which memory matters. Tensors without storage ("meta")
    would do too, but PyTorch imports its compiler for them, which costs seconds.

    Args:
        prior: the network's name, see `workers.networks.priors.prior_of`.
        out_channels: channels of the image.
        width: channels of every scale, for priors that have no width of their own.
        input_channels: depth of the noise input, likewise.

    Raises:
        InvalidCandidateError: no network has this name, or it cannot be built at this width.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4:  # what is kept once per channel does not grow with the image
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    network = prior_of(prior).build(out_channels, width, input_channels=input_channels, generator=torch.Generator())
    noise = torch.zeros(1, *network.input_shape(SMALLEST_SIDE, SMALLEST_SIDE))
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(noise)
    activations = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
    return activations / SMALLEST_SIDE**2
