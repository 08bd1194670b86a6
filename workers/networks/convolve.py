"""Convolutions whose gradients are computed in the memory format that suits them.

On CPUs without AVX-512, oneDNN's gradient of the weights takes up to twice as long on channels-last memory as on
contiguous memory, while all else of a step is at least as fast there. For large inputs two copies cost less than that.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LARGE = 2**18
"""Elements of the input from which the copies pay."""


def is_large(x: Tensor) -> bool:
    """Whether `convolve` pays: for many pixels, or many channels."""
    return x.numel() >= _LARGE or (x.shape[1] >= 64 and 2 * x.numel() >= _LARGE)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """PyTorch's ``conv2d`` on channels-last memory, with the gradient of its weights on contiguous memory."""
    convolved: Tensor = _Convolve.apply(x, weight, bias, (stride, padding))  # type: ignore[no-untyped-call]
    return convolved


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.has_bias = how, bias is not None
        return F.conv2d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ([each] * 2 for each in ctx.how)

        def gradients(wanted: list[bool], layout: torch.memory_format) -> tuple[Tensor, Tensor, Tensor]:
            tensors = (tensor.contiguous(memory_format=layout) for tensor in (gradient, x, weight))
            found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
                *tensors, [len(weight)], stride, padding, [1, 1], False, [0, 0], 1, wanted
            )
            return found

        of_x = gradients([True, False, False], torch.channels_last)[0] if ctx.needs_input_grad[0] else None
        _, of_weight, of_bias = gradients([False, True, ctx.has_bias], torch.contiguous_format)
        return of_x, of_weight, of_bias if ctx.has_bias else None, None
