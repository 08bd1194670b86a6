"""When to stop a fit without seeing the truth, and how good it is: held-out pixels.

A few observed pixels are hidden from the loss. For noise that is independent between pixels, the error of the output on
them estimates true error plus noise variance, whatever the architecture, with no knowledge of the noise's strength. Its
minimum over the iterations is where to stop; its value ranks architectures on the same pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def held_out_mask(height: int, width: int, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Hide ``share`` of the pixels: (height, width), true where hidden; whole pixels, so all channels of a hidden one.

    At least one pixel is hidden, and at least one kept; an image of a single pixel has none to spare.
    """
    pixels = height * width
    count = min(max(1, round(share * pixels)), pixels - 1)
    mask = np.zeros(pixels, dtype=np.bool_)
    mask[random.choice(pixels, size=count, replace=False)] = True
    return mask.reshape(height, width)


class HeldOutPatience:
    """Keep the output where the held-out error was least; stop after ``patience`` iterations without a lower one.

    With errors e_1, e_2, ... the rule stops at the first t with t - argmin(e_1..e_t) >= patience, and its answer is the
    output at the argmin. Everything lives on the fit's device and is updated without asking the host, so the answer does
    not depend on how often the host looks.
    """

    def __init__(self, patience: int, output: Tensor) -> None:
        self.patience = patience
        device = output.device
        self.best_error = torch.full((), torch.inf, device=device)
        self.best_iteration = torch.zeros((), dtype=torch.int64, device=device)
        self.stopped = torch.zeros((), dtype=torch.bool, device=device)
        self.best_output = torch.zeros_like(output)

    @torch.no_grad()
    def update(self, iteration: int, error: Tensor, output: Tensor) -> None:
        """Take in the held-out error (a scalar tensor) and the output of ``iteration``, counted from 1."""
        better = (error < self.best_error) & ~self.stopped
        self.best_error = torch.where(better, error, self.best_error)
        self.best_iteration = torch.where(better, iteration, self.best_iteration)
        self.best_output = torch.where(better, output, self.best_output)
        self.stopped = self.stopped | (iteration - self.best_iteration >= self.patience)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        return {name: getattr(self, name) for name in ("best_error", "best_iteration", "stopped", "best_output")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value.to(self.best_output.device))
