"""Convolutions of 3x3 with fewer products: Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308).

A tile of 6 x 6 inputs gives 4 x 4 outputs. With transforms B, G and A of tile, kernel and product it takes 36 products
for each pair of channels instead of 144:

    y = A' [(G w G') * (B' x B)] A,

where the products of all tiles and channels are 36 matrix products. All transforms are linear, so the gradients are the
transposed steps in reverse order, with as few products. Rounding errors are a few times those of a direct convolution.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_OUT, _KERNEL = 4, 3
_TILE = _OUT + _KERNEL - 1

_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHT = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # times 1 / 24
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


_CHANNELS, _SIDE = 64, 32
"""From so many channels and pixels on the products that are saved outweigh the transforms."""


def pays(weight: Tensor, height: int, width: int) -> bool:
    """Whether `winograd` can compute a convolution to this size of output, and may be faster."""
    whole = height % _OUT == width % _OUT == 0
    return whole and may_pay(weight) and min(height, width) >= _SIDE


def may_pay(weight: Tensor) -> bool:
    """Whether `winograd` may be faster at some size of output."""
    return weight.shape[2] == _KERNEL and min(weight.shape[:2]) >= _CHANNELS


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Convolve, on channels-last memory.

    Args:
        x: (N, C, H, W).
        weight: (C', C, 3, 3).
        bias: (C',).
        padding: how many zeros are put around the input; the output's sides must be multiples of 4.
    """
    convolved: Tensor = _Winograd.apply(x, weight, bias, padding)  # type: ignore[no-untyped-call]
    return convolved


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        # The transformed tiles take twice the memory of the input, so they are made again for the gradient.
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.has_bias = padding, bias is not None
        count, _, height, width = x.shape
        rows, columns = ((side + 2 * padding - _KERNEL + 1) // _OUT for side in (height, width))
        tiles, kernels = _tiles(x, padding), _kernels(weight)
        leaving = kernels.shape[2]
        products = torch.bmm(tiles, kernels).view(_TILE**2, -1)
        made = torch.mm(_transform(x.dtype)[2], products).view(_OUT, _OUT, count, rows, columns, leaving)
        shape = (count, leaving, rows * _OUT, columns * _OUT)
        output = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        view = output.permute(0, 2, 3, 1)
        view.view(count, rows, _OUT, columns, _OUT, leaving).copy_(made.permute(2, 3, 0, 4, 1, 5))
        if bias is not None:
            view += bias
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        to_input, to_weight, to_output = _transform(x.dtype)
        count, leaving, height, width = gradient.shape
        rows, columns = height // _OUT, width // _OUT
        last = gradient.permute(0, 2, 3, 1).contiguous()
        tiled = last.view(count, rows, _OUT, columns, _OUT, leaving).permute(2, 4, 0, 1, 3, 5)
        products = torch.mm(to_output.t(), tiled.reshape(_OUT**2, -1)).view(_TILE**2, -1, leaving)
        of_kernels = torch.bmm(_tiles(x, ctx.padding).transpose(1, 2), products)
        of_weight = torch.mm(to_weight.t(), of_kernels.view(_TILE**2, -1))
        of_weight = of_weight.view(_KERNEL, _KERNEL, -1, leaving).permute(3, 2, 0, 1)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_tiles = torch.bmm(products, _kernels(weight).transpose(1, 2)).view(_TILE**2, -1)
            parts = torch.mm(to_input.t(), of_tiles).view(_TILE, _TILE, count, rows, columns, -1)
            of_x = _add_up(parts, ctx.padding)
        return of_x, of_weight, last.sum((0, 1, 2)) if ctx.has_bias else None, None


@cache
def _transform(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of both axes at once: of tiles (36, 36), of kernels (36, 9), of products (16, 36)."""
    made = (torch.tensor(matrix, dtype=torch.float64) for matrix in (_INPUT, _WEIGHT, _OUTPUT))
    tile, kernel, product = (torch.kron(matrix, matrix) for matrix in made)
    return tile.to(dtype), (kernel / 24**2).to(dtype), product.to(dtype)


def _tiles(x: Tensor, padding: int) -> Tensor:
    """The transformed tiles, (36, N rows columns, C)."""
    padded = F.pad(x, [padding] * 4) if padding else x
    last = padded.permute(0, 2, 3, 1).contiguous()
    count, height, width, channels = last.shape
    rows, columns = (height - _KERNEL + 1) // _OUT, (width - _KERNEL + 1) // _OUT
    line = width * channels
    strides = (line, channels, height * line, _OUT * line, _OUT * channels, 1)
    cut = last.as_strided((_TILE, _TILE, count, rows, columns, channels), strides)
    return torch.mm(_transform(x.dtype)[0], cut.reshape(_TILE**2, -1)).view(_TILE**2, -1, channels)


def _kernels(weight: Tensor) -> Tensor:
    """The transformed kernels, (36, C, C')."""
    leaving, arriving = weight.shape[:2]
    flat = weight.permute(2, 3, 1, 0).reshape(_KERNEL**2, -1)
    return torch.mm(_transform(weight.dtype)[1], flat).view(_TILE**2, arriving, leaving)


def _add_up(parts: Tensor, padding: int) -> Tensor:
    """Tiles that overlap by two, (6, 6, N, rows, columns, C), added up: (N, C, H, W) without the padding."""
    _, _, count, rows, columns, channels = parts.shape
    wide = parts.new_zeros(_TILE, count, rows, (columns + 1) * _OUT, channels)
    for step in (0, 1):
        some = parts[:, step * _OUT : (step + 1) * _OUT].permute(0, 2, 3, 4, 1, 5)
        place = wide.narrow(3, step * _OUT, columns * _OUT).view(_TILE, count, rows, columns, _OUT, channels)
        place[..., : some.shape[4], :] += some
    width = columns * _OUT + _KERNEL - 1
    tall = parts.new_zeros(count, (rows + 1) * _OUT, width, channels)
    for step in (0, 1):
        some = wide[step * _OUT : (step + 1) * _OUT, :, :, :width].permute(1, 2, 0, 3, 4)
        place = tall.narrow(1, step * _OUT, rows * _OUT).view(count, rows, _OUT, width, channels)
        place[:, :, : some.shape[2]] += some
    inside = tall[:, padding : rows * _OUT + _KERNEL - 1 - padding, padding : width - padding]
    return inside.permute(0, 3, 1, 2)
