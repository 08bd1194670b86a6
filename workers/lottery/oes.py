"""Optimal Eye Surgeon (arXiv 2406.05288): a mask learnt on random weights that are themselves never trained.

Every weight w has a probability p to be kept. At every step a mask m is drawn, relaxed so that it has a gradient
(Gumbel-softmax, arXiv 1611.01144), and Adam lowers

    L(w m) + strength * sum of KL(Bernoulli(p) || Bernoulli(prior)),    p = sigmoid(logits),
    m = sigmoid((logits + log u - log(1 - u)) / temperature),           u uniform on (0, 1)

in the logits, which begin at 0. The weights with the largest logits make the mask. The released code takes 60,000 steps
with a strength of 1e-9 and the share to keep as the prior, for 2.2 million weights. The loss is a mean over pixels and
the divergence a sum over weights, so a strength holds for one number of weights: with fewer, the same one pulls less.
The default keeps the authors' balance (`strength_for`). Their code masks biases and batch normalisation as well; here
only weights of convolutions are masked, as by every other method, so that masks of equal sparsity compare.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from workers.fitting import FitDivergedError
from workers.lottery.masks import prunable
from workers.networks import Network
from workers.objective import Objective
from workers.optimiser import adam
from workers.seeds import generator_of

_SMALLEST = 1e-7
"""The least distance of u from 0 and from 1, where the logarithms diverge."""

_AUTHORS_STRENGTH = 1e-9
_AUTHORS_WEIGHTS = 2_208_768
"""The convolution weights of DIP's network for denoising at 128 channels."""


def strength_for(weights: int) -> float:
    """The strength with which the divergence of so many weights counts as much as in the authors' network."""
    return _AUTHORS_STRENGTH * _AUTHORS_WEIGHTS / weights


class MaskSearch:
    """Mask probabilities being learnt for one or more images, advanced in blocks of iterations.

    The network keeps its weights; it is moved to the device and laid out as for a fit. A `state_dict` between blocks
    holds everything; a search that loads it continues exactly as the first would have (bit for bit on a CPU with the
    same number of threads). What the backward pass needs is that of one image at a time.

    Args:
        network: with its initial weights.
        objectives: the images, on ``device``; the loss is the sum of theirs, and their noise goes on with every
            iteration.
        exempt: patterns of layers to leave alone, see `workers.lottery.masks.prunable`.
        prior: the share of weights to keep, in (0, 1).
        strength: of the pull towards the prior; None: `strength_for` the number of weights.
        seed: of the masks that are drawn.
        learning_rate: of Adam.
        temperature: of the relaxation; the lower, the nearer masks are to 0 and 1.
        device: where to search.

    Raises:
        ValueError: the prior is not in (0, 1), or ``exempt`` does not fit the network.
    """

    def __init__(
        self,
        network: Network,
        objectives: Sequence[Objective],
        *,
        exempt: Sequence[str] = (),
        prior: float,
        strength: float | None,
        seed: int,
        learning_rate: float = 0.01,
        temperature: float = 0.2,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 < prior < 1:
            raise ValueError(f"the share of weights to keep, {prior}, is not between 0 and 1")
        self.iteration = 0
        self._objectives = objectives
        self._prior = prior
        self._temperature = temperature
        self._generator = generator_of("mask search", seed, device=device)
        self._network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._weights = {name: conv.weight.detach() for name, conv in prunable(self._network, exempt).items()}
        weights = sum(weight.numel() for weight in self._weights.values())
        self._strength = strength_for(weights) if strength is None else strength
        self._logits = {name: torch.zeros_like(weight, requires_grad=True) for name, weight in self._weights.items()}
        self._optimizer = adam(self._logits.values(), learning_rate)

    def launch(self, iterations: int) -> Callable[[], float]:
        """The function that is returned does what `advance` does."""
        return partial(self.advance, iterations)

    def advance(self, iterations: int) -> float:
        """Run ``iterations`` more, at least one; returns the loss at the last, with the pull towards the prior.

        Raises:
            FitDivergedError: a loss is not a finite number.
        """
        losses = torch.stack([self._step() for _ in range(iterations)])
        if not losses.isfinite().all():
            raise FitDivergedError(f"the loss of the masks was no longer finite within iteration {self.iteration}")
        return float(losses[-1])

    def logits(self) -> dict[str, Tensor]:
        """The logits so far, by layer: values for `workers.lottery.masks.top`."""
        return {name: logits.detach() for name, logits in self._logits.items()}

    def _step(self) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        masked = {name: weight * self._draw(self._logits[name]) for name, weight in self._weights.items()}
        # The images' gradients meet at the masked weights and go on from there together.
        meeting = {name: weight.detach().requires_grad_() for name, weight in masked.items()}
        pull = self._strength * self._divergence()
        losses = [self._backward(objective, meeting) for objective in self._objectives]
        torch.autograd.backward([*masked.values(), pull], [*(weight.grad for weight in meeting.values()), None])
        self._optimizer.step()
        self.iteration += 1
        return torch.stack([*losses, pull.detach()]).sum()

    def _backward(self, objective: Objective, weights: dict[str, Tensor]) -> Tensor:
        """Add one image's gradients of the weights that the network runs with; returns its loss."""
        replaced = {f"{name}.weight": weight for name, weight in weights.items()}
        loss = objective.loss(functional_call(self._network, replaced, (objective.input(),)))
        torch.autograd.backward(loss, inputs=list(weights.values()))
        return loss.detach()

    def _draw(self, logits: Tensor) -> Tensor:
        """A relaxed mask of a layer."""
        uniform = torch.empty_like(logits, requires_grad=False).uniform_(generator=self._generator)
        return ((logits + uniform.logit(_SMALLEST)) / self._temperature).sigmoid()

    def _divergence(self) -> Tensor:
        """The sum over all weights of KL(Bernoulli(p) || Bernoulli(prior)), a scalar."""
        logits = torch.cat([logits.flatten() for logits in self._logits.values()])
        kept = logits.sigmoid()
        # Unlike logarithms of p and 1 - p, these neither overflow nor cancel.
        towards_one = F.logsigmoid(logits) - math.log(self._prior)
        towards_zero = F.logsigmoid(-logits) - math.log1p(-self._prior)
        return (kept * towards_one + (1 - kept) * towards_zero).sum()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue except the network's weights; safe to load with
        ``torch.load(..., weights_only=True)``.
        """
        return {
            "iteration": self.iteration,
            "logits": self.logits(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "objectives": [objective.state_dict() for objective in self._objectives],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a search that was made with the same arguments."""
        self.iteration = state["iteration"]
        for name, logits in self._logits.items():
            logits.copy_(state["logits"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        for objective, kept in zip(self._objectives, state["objectives"], strict=True):
            objective.load_state_dict(kept)
