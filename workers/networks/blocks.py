"""The blocks a search network is made of (arXiv 2111.15362, section 3 and supplement).

Every block maps (N, C, H, W) to (N, width, H', W'). Batch normalisation uses the batch's own statistics always, also
when a network is scored: a deep image prior has one image and no evaluation mode, so no running statistics are kept.
"""

import torch
from torch import nn

from workers.networks.layers import Convolution, NearestCell, Resize, SplitStackSum
from workers.space import Upsampler

SLOPE = 0.2


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with PyTorch's defaults, but without running statistics, which nothing would read."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> Convolution:
    """A convolution with bias and, for kernels over 1, reflection padding: the kind used
    everywhere outside the cells.
    """
    return Convolution(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, padding_mode="reflect")


def _unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        conv(in_channels, out_channels, kernel, stride),
        batch_norm(out_channels),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]


def encoder_block(in_channels: int, width: int) -> nn.Sequential:
    """Halve the resolution: 3x3 stride 2, then 3x3, each with batch normalisation and activation."""
    return nn.Sequential(*_unit(in_channels, width, 3, stride=2), *_unit(width, width, 3))


def down_block(in_channels: int, width: int) -> nn.Sequential:
    """Halve the resolution of a skip connection."""
    return nn.Sequential(*_unit(in_channels, width, 3, stride=2))


def skip_block(in_channels: int, width: int) -> nn.Sequential:
    """A skip connection between equal scales."""
    return nn.Sequential(*_unit(in_channels, width, 1))


def decoder_block(width: int) -> nn.Sequential:
    """Normalise the sum of a level's sources, then 3x3, 3x3, 1x1."""
    return nn.Sequential(batch_norm(width), *_unit(width, width, 3), *_unit(width, width, 3), *_unit(width, width, 1))


def output_block(width: int, out_channels: int) -> nn.Sequential:
    """To the image's channels, in (0, 1)."""
    return nn.Sequential(conv(width, out_channels, 1), nn.Sigmoid())


def _activation(name: str) -> list[nn.Module]:
    layers: dict[str, list[nn.Module]] = {
        "none": [],
        "ReLU": [nn.ReLU(inplace=True)],
        "LeakyReLU": [nn.LeakyReLU(SLOPE, inplace=True)],
    }
    return layers[name]


def _cell_convolution(name: str, in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    """The convolution of a cell: zero padding, since cells meet maps smaller than a kernel's reflection would need."""
    padding = (kernel - 1) // 2
    if name == "conv":
        return [Convolution(in_channels, out_channels, kernel, padding=padding, bias=False)]
    if name == "trans_conv":
        return [nn.ConvTranspose2d(in_channels, out_channels, kernel, padding=padding)]
    if name == "split_stack_sum":
        return [SplitStackSum(in_channels, out_channels, kernel)]
    if name == "sep_conv":
        return [
            Convolution(in_channels, in_channels, kernel, padding=padding, groups=in_channels, bias=False),
            Convolution(in_channels, out_channels, 1, bias=False),
        ]
    if name == "depth_wise_conv":
        return [Convolution(in_channels, out_channels, kernel, padding=padding, groups=out_channels, bias=False)]
    raise ValueError(f"no convolution is called {name!r}")


def upsampling_cell(cell: Upsampler, width: int) -> nn.Sequential:
    """Double the resolution of ``width`` channels as the cell says.

    The activation follows the resize and the convolution both; where there is no convolution of its own (identity cells
    and stride-2 transposed convolutions) it comes once.
    """
    shuffles = cell.primitive == "pixel_shuffle"
    if cell.primitive == "trans_conv":
        resize: nn.Module = nn.ConvTranspose2d(
            width, width, cell.kernel, stride=2, padding=(cell.kernel - 1) // 2, output_padding=1
        )
    else:
        resize = nn.PixelShuffle(2) if shuffles else Resize(cell.primitive)
    act = _activation(cell.activation)
    if cell.convolution == "identity":
        return nn.Sequential(resize, *act)
    if cell.order == "conv_first":
        return nn.Sequential(*_cell_convolution(cell.convolution, width, 4 * width, cell.kernel), *act, resize, *act)
    arriving = width // 4 if shuffles else width
    kind = NearestCell if cell.primitive == "nearest" else nn.Sequential
    return kind(resize, *act, *_cell_convolution(cell.convolution, arriving, width, cell.kernel), *act)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Give a network memory on the CPU, and draw its weights from an explicit generator
    with PyTorch's default distributions.

    PyTorch's own initialisers for convolutions are uniform on +-1/sqrt(fan in), weights and bias alike, but draw from
    the process-wide generator, whose state depends on whatever ran before.
    """
    # As `to_empty` does, whose way of asking a tensor for its like makes PyTorch import sympy for a second.
    module._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # type: ignore[no-untyped-call]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            bound = (layer.weight.shape[1] * layer.weight.shape[2] * layer.weight.shape[3]) ** -0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
