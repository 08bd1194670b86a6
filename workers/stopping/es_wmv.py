"""Windowed moving variance of the outputs (ES-WMV, arXiv 2112.06074); `workers.stopping.es_emv` explains why its
minimum is where to stop.
"""

from typing import ClassVar

import torch
from torch import Tensor

from workers.stopping.rule import MovingVariance, StoppingRule


class WindowedVariance:
    """Variance of the last ``window`` outputs (ES-WMV, arXiv 2112.06074): mean squared deviation from their mean.

    Windows begin every ``stride`` outputs, so that one ends every ``stride`` outputs from the ``window``-th on. Each
    keeps only the mean of its outputs and the sum of squared deviations from it (Welford's recurrence, which does not
    cancel in float32). This costs the memory of window / stride images, 10 by default; the outputs themselves would be
    ``window`` images.

    Args:
        output_like: a tensor of the outputs' shape, type and device.
        window: the number of outputs in the variance.
        stride: the number of outputs between two values; ``window`` must be a multiple of it.

    Raises:
        ValueError: ``window`` is not a multiple of ``stride``.
    """

    def __init__(self, output_like: Tensor, window: int = 100, stride: int = 10) -> None:
        if window % stride:
            raise ValueError(f"the window, {window}, is not a multiple of its stride, {stride}")
        self.window = window
        self.stride = stride
        windows = window // stride
        self._seen = torch.zeros((), dtype=torch.int64, device=output_like.device)
        self._means = torch.zeros((windows, *output_like.shape), dtype=output_like.dtype, device=output_like.device)
        self._sums = torch.zeros(windows, dtype=output_like.dtype, device=output_like.device)

    @torch.no_grad()
    def update(self, output: Tensor) -> Tensor:
        """Take in the next output; returns the variance (a scalar, per value), infinity where no window ends."""
        variance = torch.full_like(self._sums[0], torch.inf)
        for index, (mean, total) in enumerate(zip(self._means, self._sums, strict=True)):
            # A window that has not begun is computed, too, and begins anew with its first output.
            before = self._seen - index * self.stride
            count = before % self.window + 1
            deviation = output - mean
            grown = total + deviation.square().mean() * ((count - 1).double() / count).to(total.dtype)
            torch.where(count == 1, output, mean + deviation / count, out=mean)
            total.copy_(torch.where(count == 1, 0.0, grown))
            ends = (before >= 0) & (count == self.window)
            variance = torch.where(ends, total / self.window, variance)
        self._seen += 1
        return variance

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that `load_state_dict` needs to continue as if nothing had happened."""
        return {"seen": self._seen, "means": self._means, "sums": self._sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict` of one made with the same arguments."""
        self._seen.copy_(state["seen"])
        self._means.copy_(state["means"])
        self._sums.copy_(state["sums"])


class WindowedVarianceRule(StoppingRule):
    """Least variance of the last outputs, in a window."""

    name: ClassVar[str] = "es-wmv"
    where_correlated: ClassVar[str] = "es-wmv"

    def variance(self, output_like: Tensor) -> MovingVariance:
        """The windowed one."""
        return WindowedVariance(output_like)

    def criterion(self, held_out_error: Tensor, variance: Tensor) -> Tensor:
        """The variance."""
        return variance
