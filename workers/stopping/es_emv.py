"""Exponential moving variance of the outputs (ES-EMV; Wang et al., "Early Stopping for Deep Image
Prior", arXiv 2112.06074).

Near their best the outputs of a fit move little; while it learns the image, and again once it learns the noise, they
move more. The minimum of their variance over the last iterations is where to stop. It needs no hidden pixels and no
independence of the noise, but it does not measure how good a network is: it picks an iteration, not an architecture.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from workers.stopping.rule import MovingVariance, StoppingRule


class RunningVariance:
    """Exponentially weighted variance of the outputs (ES-EMV, arXiv 2112.06074).

    With outputs x_1, x_2, ... of n values each, m_1 = x_1 and v_1 = 0,

        v_t = (1 - alpha) (v_{t-1} + alpha |x_t - m_{t-1}|^2 / n),    m_t = (1 - alpha) m_{t-1} + alpha x_t.

    It costs the memory of one image.

    Args:
        output_like: a tensor of the outputs' shape, type and device.
        alpha: weight of the newest output, in (0, 1).
    """

    def __init__(self, output_like: Tensor, alpha: float = 0.1) -> None:
        self.alpha = alpha
        # The variance starts at zero, which would be its own minimum: it counts only once the start's weight in mean
        # and variance, (1 - alpha)^t, has fallen below exp(-3), that is 5%.
        self._warm_up = math.ceil(3 / alpha)
        self._seen = torch.zeros((), dtype=torch.int64, device=output_like.device)
        self._mean = torch.zeros_like(output_like)
        self._variance = torch.zeros((), dtype=output_like.dtype, device=output_like.device)

    @torch.no_grad()
    def update(self, output: Tensor) -> Tensor:
        """Take in the next output; returns the mean variance of its values (a scalar), infinity while it warms up."""
        self._seen += 1
        first = self._seen == 1
        deviation = output - self._mean
        grown = (1 - self.alpha) * (self._variance + self.alpha * deviation.square().mean())
        self._variance.copy_(torch.where(first, 0.0, grown))
        torch.where(first, output, self._mean + self.alpha * deviation, out=self._mean)
        return torch.where(self._seen > self._warm_up, self._variance, torch.inf)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that `load_state_dict` needs to continue as if nothing had happened."""
        return {"seen": self._seen, "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict` of one made with the same arguments."""
        self._seen.copy_(state["seen"])
        self._variance.copy_(state["variance"])
        self._mean.copy_(state["mean"])


class ExponentialVarianceRule(StoppingRule):
    """Least exponential moving variance of the outputs."""

    name: ClassVar[str] = "es-emv"
    where_correlated: ClassVar[str] = "es-emv"

    def variance(self, output_like: Tensor) -> MovingVariance:
        """The exponential one."""
        return RunningVariance(output_like)

    def criterion(self, held_out_error: Tensor, variance: Tensor) -> Tensor:
        """The variance."""
        return variance
