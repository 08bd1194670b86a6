"""Patience: keep the output where a criterion was least, and stop when no lower value comes."""

import torch
from torch import Tensor


class Patience:
    """Keep the output where a criterion was least; stop after ``patience`` iterations without a lower one.

    With criteria e_1, e_2, ... of which e_f is the first finite one, the rule stops at the first t >= f with t -
    argmin(e_f..e_t) >= patience, and its answer is the output at the argmin. A criterion that is not finite is never
    the least, so one that is infinite while it warms up neither stops a fit nor is its result. Patience begins after
    iteration ``begins``.

    Everything changes in place, so that a GPU can record an update and replay it.

    Attributes:
        best_criterion: the least criterion so far; infinity before the first finite one.
        best_iteration: its iteration, counted from 1; 0 before the first finite one.
        best_output: the output there; zeros before the first finite one.
        stopped: whether patience has run out. Nothing changes afterwards, so the answer does not depend on how often
            the host looks.
    """

    def __init__(self, patience: int, output: Tensor, *, begins: int = 0) -> None:
        self.patience, self.begins = patience, begins
        device = output.device
        self.best_criterion = torch.full((), torch.inf, device=device)
        self.best_iteration = torch.zeros((), dtype=torch.int64, device=device)
        self.stopped = torch.zeros((), dtype=torch.bool, device=device)
        self.best_output = torch.zeros_like(output)

    @torch.no_grad()
    def update(self, iteration: int | Tensor, criterion: Tensor, output: Tensor) -> None:
        """Take in the criterion (a scalar tensor) and the output of ``iteration``, counted from 1."""
        better = torch.isfinite(criterion) & (criterion < self.best_criterion) & ~self.stopped
        self.best_criterion.copy_(torch.where(better, criterion, self.best_criterion))
        self.best_iteration.copy_(torch.where(better, iteration, self.best_iteration))
        torch.where(better, output, self.best_output, out=self.best_output)
        begun = self.best_iteration > 0
        self.stopped |= begun & (iteration - self.best_iteration.clamp(min=self.begins) >= self.patience)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything `load_state_dict` needs to go on as if nothing had happened."""
        return {name: getattr(self, name) for name in ("best_criterion", "best_iteration", "stopped", "best_output")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        for name, value in state.items():
            getattr(self, name).copy_(value)
