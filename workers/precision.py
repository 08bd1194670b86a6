"""In which numbers a network is computed. Weights, losses, averages and all that is measured stay in float32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum

import torch


class Precision(StrEnum):
    """The numbers, by the name that settings have. CPUs know no TF32; there it is FP32.

    Attributes:
        TF32: GPUs round the factors of convolutions to 11 bits and add in float32: PyTorch's default.
        FP32: float32 throughout.
        BF16: bfloat16 where PyTorch's autocast has it, for the ways of steps that are PyTorch's own (TORCH, GRAPH).
    """

    TF32 = "tf32"
    FP32 = "fp32"
    BF16 = "bf16"


def forward_in(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a network's forward pass has this precision."""
    # A cast of weights that is kept from an earlier step would be read by all later ones, where steps are recorded.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision is Precision.BF16, cache_enabled=False)


@contextmanager
def convolutions_in(precision: Precision) -> Iterator[None]:
    """The context in which convolutions, and their gradients, are allowed TF32 or not. The switch is the process's."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and precision is not Precision.FP32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
