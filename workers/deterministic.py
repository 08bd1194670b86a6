"""Gradients that are added up in a fixed order, so that fits on equal GPUs come out byte-equal.

PyTorch has no deterministic CUDA gradient of reflection padding and of bicubic upsampling, and only slow ones of
replication padding and of bilinear upsampling (`torch.use_deterministic_algorithms` has the list). All four are linear
with known weights, so here their gradients are sums of slices, one after the other. The forward passes are PyTorch's
own, which compute each pixel of the output by itself; they give the same bytes with and without this module.

Convolutions become cuDNN's deterministic ones. cuDNN promises equal bits for equal versions on GPUs of one architecture
(its documentation, "Reproducibility (Determinism)"), but where memory is short PyTorch takes another of its algorithms.
Neither PyTorch nor cuFFT documents whether the Fourier transforms of a blur vary. Nothing here multiplies matrices, so
cuBLAS, which would need an environment variable, is not involved.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from workers.networks.resize import WEIGHTS


@contextmanager
def deterministic_operations() -> Iterator[None]:
    """Inside this context, operations and their gradients give equal bytes for equal input, or raise.

    The bytes are equal on equal GPUs with equal versions, and on a CPU with the same number of threads. PyTorch's own
    switch belongs to the process and is restored at the end, so only one thread of a process may use the context at a
    time.
    """
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    # `torch.use_deterministic_algorithms` does the same, but imports a compiler, which takes a second more.
    torch.set_deterministic_debug_mode("error")
    # Benchmarks would choose among algorithms by the clock.
    torch.backends.cudnn.benchmark = False
    try:
        with _Replacements():
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark


class _Replacements(TorchFunctionMode):
    """Replaces padding and upsampling by those of this module for every caller, so networks
    and operators need not know.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.pad:
            func = _pad
        elif func is F.interpolate:
            func = _interpolate
        return func(*args, **(kwargs or {}))


def _pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    if mode in ("reflect", "replicate") and x.ndim == len(pad) == 4:
        padded: Tensor = _Pad.apply(x, tuple(pad), mode)  # type: ignore[no-untyped-call]
        return padded
    return F.pad(x, pad, mode, value)


def _interpolate(
    x: Tensor,
    size: int | None = None,
    scale_factor: float | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **others: Any,
) -> Tensor:
    if mode in WEIGHTS and scale_factor == 2 and not align_corners and not any(others.values()):
        doubled: Tensor = _Double.apply(x, mode)  # type: ignore[no-untyped-call]
        return doubled
    return F.interpolate(x, size, scale_factor, mode, align_corners, **others)


# Both forward passes call the same as `F.pad` and `F.interpolate`. These two replace some of it by compositions with
# slow gradients where operations must be deterministic.


class _Pad(Function):
    """Pad (N, C, H, W) on its sides: with mirrored pixels (``reflect``) or the outermost ones (``replicate``)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: tuple[int, int, int, int], mode: str) -> Tensor:
        ctx.padding, ctx.mode = padding, mode
        pad = torch.ops.aten.reflection_pad2d if mode == "reflect" else torch.ops.aten.replication_pad2d
        padded: Tensor = pad(x, padding)
        return padded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        left, right, top, bottom = ctx.padding
        return _unpad(_unpad(gradient, -2, top, bottom, ctx.mode), -1, left, right, ctx.mode), None, None


class _Double(Function):
    """Double (N, C, H, W) to (N, C, 2H, 2W), without aligned corners."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mode: str) -> Tensor:
        ctx.mode = mode
        upsample = torch.ops.aten.upsample_bilinear2d if mode == "bilinear" else torch.ops.aten.upsample_bicubic2d
        doubled: Tensor = upsample(x, [2 * side for side in x.shape[2:]], False)
        return doubled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _halve(_halve(gradient, -2, ctx.mode), -1, ctx.mode), None


def _unpad(gradient: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """The adjoint of padding along an axis: what lies beyond an edge is added where it was taken from."""
    if before == after == 0:
        return gradient
    length = gradient.shape[axis] - before - after
    inner = gradient.narrow(axis, before, length).clone()
    beyond = gradient.narrow(axis, 0, before), gradient.narrow(axis, before + length, after)
    if mode == "reflect":
        inner.narrow(axis, 1, before).add_(beyond[0].flip(axis))
        inner.narrow(axis, length - 1 - after, after).add_(beyond[1].flip(axis))
    else:
        inner.narrow(axis, 0, 1).add_(beyond[0].sum(axis, keepdim=True))
        inner.narrow(axis, length - 1, 1).add_(beyond[1].sum(axis, keepdim=True))
    return inner


def _halve(gradient: Tensor, axis: int, mode: str) -> Tensor:
    """The adjoint of doubling an axis, which repeats the outermost pixels and weighs neighbours."""
    length = gradient.shape[axis] // 2
    margin = max(WEIGHTS[mode])
    shape = list(gradient.shape)
    shape[axis] = length + 2 * margin
    # Channels last, as fits keep what they upsample.
    extended = torch.empty(
        shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
    ).zero_()
    even, odd = gradient.unflatten(axis, (length, 2)).unbind(axis)  # type: ignore[no-untyped-call]
    for offset, weight in WEIGHTS[mode].items():
        extended.narrow(axis, margin + offset, length).add_(odd, alpha=weight)
        extended.narrow(axis, margin - offset, length).add_(even, alpha=weight)
    return _unpad(extended, axis, margin, margin, "replicate")
