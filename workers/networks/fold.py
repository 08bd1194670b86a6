"""A nearest doubling folded into the convolution behind it.

A pixel of the doubled image is one of the image, so a kernel of k x k meets few pixels of the image: (k + 1) / 2 on an
axis, or (k + 3) / 2, by whether k is 4 n + 3 and whether the output's place is even. Its weights on equal pixels can be
added up first. So the four outputs of each pixel are four convolutions of the image with small kernels: for 5 x 5 they
take 36 products instead of 100, for 7 x 7 100 instead of 196.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_KERNEL, _SIDE = 5, 32
"""The least kernel and side of the image that are worth it. The small kernels of 3 x 3 take as many products in their
common frame.
"""


def pays(weight: Tensor, height: int, width: int) -> bool:
    """Whether `doubled_convolution` is faster than its two steps."""
    return weight.shape[2] >= _KERNEL and min(height, width) >= _SIDE


def doubled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Double by nearest neighbours, then convolve with zeros around: (N, C, H, W) to (N, C', 2H, 2W).

    Args:
        x: the image.
        weight: (C', C, k, k) with odd k; the doubled image is padded by (k - 1) / 2.
        bias: (C',).
    """
    leaving, arriving, kernel = weight.shape[:3]
    sums = _sums(kernel, weight.dtype)
    frame = sums.shape[1]
    # Output channel (o, p, q) gives the pixel (2 i + p, 2 j + q) of channel o, which is how a pixel shuffle reads them.
    halves = torch.matmul(sums.view(2 * frame, kernel), weight.reshape(-1, kernel, kernel))
    both = torch.matmul(halves, sums.view(2 * frame, kernel).t())
    both = both.view(leaving, arriving, 2, frame, 2, frame).permute(0, 2, 4, 1, 3, 5)
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    small = both.reshape(4 * leaving, arriving, frame, frame).contiguous(memory_format=layout)
    four = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(x, small, four, padding=frame // 2), 2)


@cache
def _sums(kernel: int, dtype: torch.dtype) -> Tensor:
    """(2, frame, kernel): which weights of a kernel meet which pixel of the image, for even and odd outputs."""
    reach = kernel // 2
    met = [[(parity + place - reach) // 2 for place in range(kernel)] for parity in (0, 1)]
    centre = max(max(map(abs, pixels)) for pixels in met)
    sums = torch.zeros(2, 2 * centre + 1, kernel, dtype=dtype)
    for parity, pixels in enumerate(met):
        for place, pixel in enumerate(pixels):
            sums[parity, centre + pixel, place] = 1
    return sums
