"""Layers that networks share and that can be computed in more than one way.

All ways agree to rounding. `workers.networks.steps` chooses one for a whole network; a layer by itself is PyTorch's.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from workers.networks.resize import double


class Convolution(nn.Conv2d):
    """PyTorch's convolution.

    Attributes:
        as_products: whether kernels of 1x1 that keep channels apart are computed as products; PyTorch's own loop takes
            up to ten times as long.
    """

    as_products = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H', W')."""
        scales = self.kernel_size == (1, 1) and self.groups == self.in_channels == self.out_channels
        if not (self.as_products and scales) or self.bias is not None:
            return super().forward(x)
        return x * self.weight.view(1, -1, 1, 1)


class Resize(nn.Module):
    """Double height and width by interpolation, without aligned corners.

    Attributes:
        as_products: whether bicubic interpolation, and bilinear of contiguous memory, are computed as matrix products.
            PyTorch's bilinear interpolation is faster where memory is channels-last.
    """

    as_products = False

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2H, 2W)."""
        if self.mode == "nearest":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        if self.as_products and (self.mode == "bicubic" or x.is_contiguous()):
            return double(x, self.mode)
        return F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=False)
