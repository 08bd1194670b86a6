"""One set of weights fitted to several images at once, for masks that serve them all (arXiv 2410.24187, Multi-LIP)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workers.fitting import FitDivergedError
from workers.networks import Network
from workers.objective import Objective
from workers.optimiser import adam


class JointFit:
    """A network being fitted to the sum of several images' losses, each image from a noise input of its own.

    Only its weights are of use: nothing is averaged, and nothing stops it. With one image they are those of
    `workers.fitting.Fit` after as many iterations. Of every image its input, target and weights are kept; what the
    backward pass needs, which is much more, is that of one image at a time.

    Args:
        network: its weights are trained in place.
        objectives: the images, on ``device``; their noise goes on with every iteration.
        learning_rate: of Adam.
        device: where to fit.
    """

    def __init__(
        self,
        network: Network,
        objectives: Sequence[Objective],
        *,
        learning_rate: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.iteration = 0
        self._objectives = objectives
        # Layout and optimiser are those of a fit, so that the weights are too.
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = adam(self.network.parameters(), learning_rate)

    def launch(self, iterations: int) -> Callable[[], float]:
        """The function that is returned does what `advance` does."""
        return partial(self.advance, iterations)

    def advance(self, iterations: int) -> float:
        """Run ``iterations`` more, at least one; returns the sum of the losses at the last.

        Raises:
            FitDivergedError: a loss is not a finite number.
        """
        losses = torch.stack([self._step() for _ in range(iterations)])
        if not losses.isfinite().all():
            raise FitDivergedError(f"the joint loss was no longer finite within iteration {self.iteration}")
        return float(losses[-1])

    def _step(self) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(objective) for objective in self._objectives]
        self._optimizer.step()
        self.iteration += 1
        return torch.stack(losses).sum()

    def _backward(self, objective: Objective) -> Tensor:
        """Add the gradients of one image; returns its loss."""
        loss = objective.loss(self.network(objective.input()))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue, safe to load with ``torch.load(..., weights_only=True)``."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "objectives": [objective.state_dict() for objective in self._objectives],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a fit that was made with the same arguments."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        for objective, kept in zip(self._objectives, state["objectives"], strict=True):
            objective.load_state_dict(kept)
