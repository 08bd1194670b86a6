"""Layers that can be computed in more than one way (`workers.networks.steps`). All ways agree to rounding.

A network is built to be computed by PyTorch's own operations; `prepare` chooses another way for all of it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.networks.convolve import convolve, is_large
from workers.networks.resize import double
from workers.networks.steps import Step
from workers.networks.winograd import pays, winograd


class Convolution(nn.Conv2d):
    """PyTorch's convolution, with square kernels; ``step`` is the way to compute it."""

    step = Step.TORCH

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H', W')."""
        if self.step is Step.TORCH:
            return super().forward(x)
        scales = self.kernel_size == (1, 1) and self.groups == self.in_channels == self.out_channels
        if scales and self.bias is None:
            # PyTorch's own loop takes up to ten times as long.
            return x * self.weight.view(1, -1, 1, 1)
        by_winograd = self.step is Step.WINOGRAD and self.stride == (1, 1) and pays(self.weight, *x.shape[2:])
        by_parts = self.step is not Step.CONTIGUOUS and is_large(x)
        if self.groups > 1 or not (by_winograd or by_parts):
            return super().forward(x)
        padding = int(self.padding[0])
        if padding and self.padding_mode == "reflect":
            x, padding = F.pad(x, [padding] * 4, mode="reflect"), 0
        if by_winograd:
            return winograd(x, self.weight, self.bias, padding)
        return convolve(x, self.weight, self.bias, self.stride[0], padding)


class Resize(nn.Module):
    """Double height and width by interpolation, without aligned corners; ``step`` is the way to compute it."""

    step = Step.TORCH

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2H, 2W)."""
        if self.mode == "nearest":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        # On channels-last memory PyTorch's own bilinear interpolation is the faster one.
        if self.step is not Step.TORCH and (self.mode == "bicubic" or self.step is Step.CONTIGUOUS):
            return double(x, self.mode)
        return F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=False)


def prepare(network: nn.Module, step: Step) -> None:
    """Make a network compute its steps in a way, in place; its weights stay the same."""
    for layer in network.modules():
        if isinstance(layer, Convolution | Resize):
            layer.step = step
    layout = torch.contiguous_format if step is Step.CONTIGUOUS else torch.channels_last
    network.to(memory_format=layout)  # type: ignore[call-overload]
