"""Layers that can be computed in more than one way (`workers.networks.steps`). All ways agree to rounding.

A network is built to be computed by PyTorch's own operations; `prepare` chooses another way for all of it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.networks.convolve import convolve, is_large
from workers.networks.fold import doubled_convolution
from workers.networks.fold import pays as pays_folded
from workers.networks.resize import double
from workers.networks.steps import Step
from workers.networks.winograd import may_pay, pays, winograd

_Activation = nn.ReLU | nn.LeakyReLU


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


class SplitStackSum(nn.Module):
    """Cut the channels into four contiguous groups, sum the groups, convolve: (N, C, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Convolution(in_channels // 4, out_channels, kernel, padding=(kernel - 1) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.conv(self.sum_of(x))
        return out

    @staticmethod
    def sum_of(x: Tensor) -> Tensor:
        """The sum of the groups: (N, C / 4, H, W)."""
        first, second, third, fourth = x.chunk(4, dim=1)
        return first + second + third + fourth


class NearestCell(nn.Sequential):
    """A nearest doubling and what follows it; ``step`` is the way to compute it."""

    step = Step.TORCH

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, 2H, 2W)."""
        if self.step is Step.TORCH:
            return self._one_by_one(x)
        layers = list(self)
        place = next(place for place, layer in enumerate(layers) if not isinstance(layer, Resize | _Activation))
        layer, following = layers[place], layers[place + 1 :]
        weight, bias = _folding(layer)
        if weight is None or not pays_folded(weight, *x.shape[2:]):
            return self._one_by_one(x)
        # Activations and sums of channels do the same before the doubling. Others use the image, too: it stays.
        for activation in layers[1:place]:
            x = F.leaky_relu(x, activation.negative_slope if isinstance(activation, nn.LeakyReLU) else 0.0)
        if isinstance(layer, SplitStackSum):
            x = layer.sum_of(x)
        x = doubled_convolution(x, weight, bias)
        for after in following:
            x = after(x)
        return x

    def _one_by_one(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out


def _folding(layer: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The weight and bias by which a layer convolves all channels of a doubled image; no weight if it does not."""
    if isinstance(layer, SplitStackSum):
        return layer.conv.weight, None
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight.transpose(0, 1).flip(2, 3), layer.bias
    if isinstance(layer, Convolution) and layer.groups == 1:
        return layer.weight, layer.bias
    return None, None


def prepare(network: nn.Module, step: Step) -> None:
    """Make a network compute its steps in a way, in place; its weights stay the same."""
    operations = Step.TORCH if step is Step.GRAPH else step
    for layer in network.modules():
        if isinstance(layer, Convolution | Resize | NearestCell):
            layer.step = operations
    layout = torch.contiguous_format if step is Step.CONTIGUOUS else torch.channels_last
    network.to(memory_format=layout)  # type: ignore[call-overload]


def differing_steps(network: nn.Module) -> list[Step]:
    """Return the ways that differ for a network on a CPU, where GRAPH is TORCH: without large convolutions of 3x3
    WINOGRAD is CHANNELS_LAST."""
    by_winograd = any(isinstance(layer, Convolution) and may_pay(layer.weight) for layer in network.modules())
    same = {Step.GRAPH} if by_winograd else {Step.GRAPH, Step.WINOGRAD}
    return [step for step in Step if step not in same]
