"""The ways to compute a step of a fit. They agree to rounding and differ in speed."""

from enum import StrEnum

import torch

from workers.networks.layers import Convolution, Resize
from workers.networks.search import Network


class Step(StrEnum):
    """A way to compute the steps of a fit, by the name that records keep.

    TORCH takes PyTorch's own operation for every layer, on channels-last memory: the way of GPUs, and of earlier
    versions. The others replace what PyTorch does badly on CPUs (`workers.networks.layers`), each on the memory format
    that its name says.
    """

    TORCH = "torch"
    CHANNELS_LAST = "channels-last"
    CONTIGUOUS = "contiguous"

    def prepare(self, network: Network) -> Network:
        """Make a network compute its steps in this way, in place; its weights stay the same."""
        for layer in network.modules():
            if isinstance(layer, Convolution | Resize):
                layer.as_products = self is not Step.TORCH
        layout = torch.contiguous_format if self is Step.CONTIGUOUS else torch.channels_last
        return network.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]
