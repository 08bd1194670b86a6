"""The network of the deep image prior (arXiv 1711.10925, supplement): an encoder-decoder with
thin, concatenated skips.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from workers.networks.blocks import SLOPE, batch_norm, conv, encoder_block, output_block, skip_block
from workers.networks.layers import Resize
from workers.networks.search import Network, check_sides
from workers.space import LEVELS


def _merge_block(skip_channels: int, width: int) -> nn.Sequential:
    """Normalise the concatenated skip and scale below, then 3x3, 1x1."""
    return nn.Sequential(
        batch_norm(skip_channels + width),
        conv(skip_channels + width, width, 3),
        batch_norm(width),
        nn.LeakyReLU(SLOPE, inplace=True),
        conv(width, width, 1),
        batch_norm(width),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class DipNetwork(Network):
    """Five scales of ``width`` channels; at each, ``skip_channels`` bypass the scales below and
    are concatenated with them.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W) in (0, 1); H and W must be multiples of 32 and at least 64.
    The paper's, for denoising: 32 channels in, width 128, 4 skip channels, bilinear upsampling.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        skip_channels: int,
        upsampling: Literal["bilinear", "nearest"],
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        arriving = [in_channels] + [width] * (LEVELS - 1)
        self.skips = nn.ModuleList(skip_block(channels, skip_channels) for channels in arriving)
        self.encoders = nn.ModuleList(encoder_block(channels, width) for channels in arriving)
        self.upsample = Resize(upsampling)
        self.mergers = nn.ModuleList(_merge_block(skip_channels, width) for _ in arriving)
        self.output = output_block(width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network.

        Raises:
            ValueError: a side is not a multiple of 32, or is below 64.
        """
        check_sides(*x.shape[-2:])
        bypassing = []
        for skip, encoder in zip(self.skips, self.encoders, strict=True):
            bypassing.append(skip(x))
            x = encoder(x)
        for merger in reversed(self.mergers):
            x = merger(torch.cat([bypassing.pop(), self.upsample(x)], dim=1))
        out: Tensor = self.output(x)
        return out
