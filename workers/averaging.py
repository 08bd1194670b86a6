"""The running average of a fit's outputs, which is the restored image.

With outputs x_1, x_2, ... and weight b of the past, the average after t steps is

    (1 - b) (x_t + b x_{t-1} + ... + b^{t-1} x_1) / (1 - b^t).

The divisor is the sum of the weights (Adam corrects its moments alike: Kingma and Ba 2015, section 3). Without it, as
in the papers' code, the average begins at x_1: the untrained output keeps the weight b^{t-1}, which at b = 0.99 is 37 %
after 100 steps. The average would then say more about the start than about the fit.
"""

import torch
from torch import Tensor


class RunningAverage:
    """The average so far. It changes in place and counts on the device, so that a GPU can record an update.

    Args:
        like: a tensor of the outputs' shape, type and device.
        past: the weight of the past, in [0, 1).
        debias: whether every output has the weight that its age has; False begins at the first output.

    Attributes:
        value: the average; zeros before the first output.
        count: how many outputs there have been, a scalar.
    """

    def __init__(self, like: Tensor, past: float, *, debias: bool) -> None:
        self._past, self._debias = past, debias
        self.value = torch.zeros_like(like)
        self.count = torch.zeros((), dtype=torch.int64, device=like.device)

    @torch.no_grad()
    def update(self, output: Tensor) -> None:
        """Take in the next output."""
        self.count += 1
        self.value.lerp_(output, self._newest())

    def _newest(self) -> Tensor:
        """The weight of the newest output, a scalar: 1 at the first.

        The debiased average needs no memory of its own: a_t = a_{t-1} + w_t (x_t - a_{t-1}), w_t = (1 - b) / (1 - b^t).
        """
        if not self._debias:
            return torch.where(self.count == 1, 1.0, 1 - self._past)
        return ((1 - self._past) / (1 - self._past ** self.count.double())).float()

    def go_on(self, value: Tensor, count: int) -> None:
        """Go on from the average of so many outputs."""
        self.value.copy_(value)
        self.count.fill_(count)
