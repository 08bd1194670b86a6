"""When to stop a fit without seeing the truth.

*Held-out pixels.* A few observed pixels are hidden from the loss. For noise that is independent between pixels, the error
of the output on them estimates true error plus noise variance, whatever the architecture, with no knowledge of the noise's
strength. Its minimum over the iterations is where to stop; its value ranks architectures on the same pixels.

*Variance of the outputs* (Wang et al., "Early Stopping for Deep Image Prior", arXiv 2112.06074). Near their best the outputs
of a fit move little; while it learns the image, and again once it learns the noise, they move more. The minimum of their
variance over the last iterations is where to stop. It needs no pixel hidden and no independence of the noise, but it says
nothing of how good a network is: it picks an iteration, not an architecture.

Everything here lives on the fit's device and is updated without asking the host.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def held_out_mask(
    height: int, width: int, share: float, random: np.random.Generator, known: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Hide ``share`` of the known pixels: (height, width), true where hidden; whole pixels, so all channels of a hidden one.

    ``known`` is (height, width), true where a pixel was observed; None says that all were. Of two or more known pixels at
    least one is hidden and at least one kept; a single one is kept.
    """
    candidates = np.arange(height * width) if known is None else np.flatnonzero(known)
    count = max(0, min(max(1, round(share * candidates.size)), candidates.size - 1))
    mask = np.zeros(height * width, dtype=np.bool_)
    mask[candidates[random.choice(candidates.size, size=count, replace=False)]] = True
    return mask.reshape(height, width)


class Patience:
    """Keep the output where a criterion was least; stop after ``patience`` iterations without a lower one.

    With criteria e_1, e_2, ... of which e_f is the first finite one, the rule stops at the first t >= f with
    t - argmin(e_f..e_t) >= patience, and its answer is the output at the argmin. A criterion that is not finite is never
    the least, so one that is infinite while it warms up neither stops a fit nor is its result.

    Attributes:
        best_criterion: the least criterion so far; infinity before the first finite one.
        best_iteration: its iteration, counted from 1; 0 before the first finite one.
        best_output: the output there; zeros before the first finite one.
        stopped: whether patience has run out. Nothing changes afterwards, so the answer does not depend on how often the
            host looks.
    """

    def __init__(self, patience: int, output: Tensor) -> None:
        self.patience = patience
        device = output.device
        self.best_criterion = torch.full((), torch.inf, device=device)
        self.best_iteration = torch.zeros((), dtype=torch.int64, device=device)
        self.stopped = torch.zeros((), dtype=torch.bool, device=device)
        self.best_output = torch.zeros_like(output)

    @torch.no_grad()
    def update(self, iteration: int, criterion: Tensor, output: Tensor) -> None:
        """Take in the criterion (a scalar tensor) and the output of ``iteration``, counted from 1."""
        better = torch.isfinite(criterion) & (criterion < self.best_criterion) & ~self.stopped
        self.best_criterion = torch.where(better, criterion, self.best_criterion)
        self.best_iteration = torch.where(better, iteration, self.best_iteration)
        self.best_output = torch.where(better, output, self.best_output)
        begun = self.best_iteration > 0
        self.stopped = self.stopped | (begun & (iteration - self.best_iteration >= self.patience))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        return {name: getattr(self, name) for name in ("best_criterion", "best_iteration", "stopped", "best_output")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value.to(self.best_output.device))


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
        # The variance starts at zero, which would be its own minimum: it counts only once the start's weight in mean and
        # variance, (1 - alpha)^t, has fallen below exp(-3), that is 5%.
        self._warm_up = math.ceil(3 / alpha)
        self._seen = 0
        self._mean = torch.zeros_like(output_like)
        self._variance = torch.zeros((), dtype=output_like.dtype, device=output_like.device)

    @torch.no_grad()
    def update(self, output: Tensor) -> Tensor:
        """Take in the next output; returns the mean variance of its values (a scalar), infinity while it warms up."""
        self._seen += 1
        if self._seen == 1:
            self._mean = output.clone()
        else:
            deviation = output - self._mean
            self._variance = (1 - self.alpha) * (self._variance + self.alpha * deviation.square().mean())
            self._mean = self._mean + self.alpha * deviation
        return self._variance if self._seen > self._warm_up else torch.full_like(self._variance, torch.inf)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        return {"seen": torch.tensor(self._seen), "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict` of one made with the same arguments."""
        self._seen = int(state["seen"])
        self._variance = state["variance"].to(self._mean.device)
        self._mean = state["mean"].to(self._mean.device)


class WindowedVariance:
    """Variance of the last ``window`` outputs (ES-WMV, arXiv 2112.06074): mean squared deviation from their mean.

    Windows begin every ``stride`` outputs, so that one ends every ``stride`` outputs from the ``window``-th on. Each keeps
    only the mean of its outputs and the sum of squared deviations from it (Welford's recurrence, which does not cancel in
    float32). So it costs the memory of window / stride images, 10 by default, where the outputs themselves would be
    ``window`` images.

    Args:
        output_like: a tensor of the outputs' shape, type and device.
        window: how many outputs the variance is of.
        stride: every how many outputs it is known; ``window`` must be a multiple of it.

    Raises:
        ValueError: ``window`` is not a multiple of ``stride``.
    """

    def __init__(self, output_like: Tensor, window: int = 100, stride: int = 10) -> None:
        if window % stride:
            raise ValueError(f"the window, {window}, is not a multiple of its stride, {stride}")
        self.window = window
        self.stride = stride
        windows = window // stride
        self._seen = 0
        self._means = torch.zeros((windows, *output_like.shape), dtype=output_like.dtype, device=output_like.device)
        self._sums = torch.zeros(windows, dtype=output_like.dtype, device=output_like.device)

    @torch.no_grad()
    def update(self, output: Tensor) -> Tensor:
        """Take in the next output; returns the variance (a scalar, per value), infinity where no window ends."""
        variance = torch.full_like(self._sums[0], torch.inf)
        for index in range(len(self._means)):
            before = self._seen - index * self.stride
            if before < 0:
                break
            count = before % self.window + 1
            if count == 1:
                self._means[index] = output
                self._sums[index] = 0
            else:
                deviation = output - self._means[index]
                self._means[index] += deviation / count
                self._sums[index] += deviation.square().mean() * ((count - 1) / count)
            if count == self.window:
                variance = self._sums[index] / self.window
        self._seen += 1
        return variance

    def state_dict(self) -> dict[str, Tensor]:
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        return {"seen": torch.tensor(self._seen), "means": self._means.clone(), "sums": self._sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict` of one made with the same arguments."""
        self._seen = int(state["seen"])
        self._means.copy_(state["means"])
        self._sums.copy_(state["sums"])
