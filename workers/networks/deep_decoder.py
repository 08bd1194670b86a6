"""The deep decoder (arXiv 1810.03982, section 2): 1x1 convolutions and upsampling alone, with
fewer weights than pixels.

Without convolutions over space nothing but the bilinear upsampling ties neighbouring pixels together, so the network is
too small to fit noise well.
"""

from torch import Tensor, nn

from workers.networks.blocks import batch_norm
from workers.networks.layers import Convolution, Resize
from workers.networks.search import SIDE_MULTIPLE, Network, check_sides
from workers.space import LEVELS


class DeepDecoder(Network):
    """Six layers of ``channels``, the first five of which double the resolution.

    Maps (N, channels, h, w) to (N, out_channels, 32 h, 32 w) in (0, 1). A layer is a 1x1 convolution, upsampling where
    there is one, ReLU and batch normalisation; no convolution has a bias.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = channels
        layers: list[nn.Module] = []
        for level in range(LEVELS + 1):
            layers.append(Convolution(channels, channels, 1, bias=False))
            if level < LEVELS:
                layers.append(Resize("bilinear"))
            layers += [nn.ReLU(inplace=True), batch_norm(channels)]
        self.layers = nn.Sequential(*layers, Convolution(channels, out_channels, 1, bias=False), nn.Sigmoid())

    def input_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height / 32, width / 32).

        Raises:
            ValueError: a side is not a multiple of 32, or is below 64.
        """
        check_sides(height, width)
        return self.in_channels, height // SIDE_MULTIPLE, width // SIDE_MULTIPLE

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        out: Tensor = self.layers(x)
        return out
