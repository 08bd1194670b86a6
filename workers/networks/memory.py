"""How much memory fitting a network takes, found without fitting it."""

from functools import cache

import torch
from torch import Tensor

from workers.networks.priors import prior_of

_SIDE = 128
_PEAK = 1.6
"""Peak over the memory that autograd keeps: gradients in flight, workspaces, Adam. Measured: 1.1 to 1.6 from 256
px up (docs/benchmarks.md).
"""


@cache
def fit_bytes_per_pixel(prior: str, out_channels: int, width: int, input_channels: int) -> float:
    """Bytes of memory at the peak of a fit, per pixel of the padded image.

    A forward pass on tensors without storage shows which ones autograd would keep for the backward pass. Weights are
    left out: they are small next to the activations of any image for which memory matters.

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
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    network = prior_of(prior).declare(out_channels, width, input_channels=input_channels)
    noise = torch.empty(1, *network.input_shape(_SIDE, _SIDE), device="meta")
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(noise)
    activations = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
    return _PEAK * activations / _SIDE**2
