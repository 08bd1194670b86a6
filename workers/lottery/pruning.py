"""Masks from the weights' magnitudes, from chance, and from the sensitivity of the loss to each weight."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workers.lottery.masks import Masks, prunable, top, unflatten
from workers.networks import Network
from workers.objective import Objective
from workers.seeds import generator_of


def magnitudes(network: Network, exempt: Sequence[str] = ()) -> dict[str, Tensor]:
    """The absolute value of every prunable weight, by layer."""
    return {name: conv.weight.detach().abs() for name, conv in prunable(network, exempt).items()}


def by_magnitude(
    network: Network, masks_before: Mapping[str, Tensor] | None, keep: int, exempt: Sequence[str] = ()
) -> Masks:
    """Keep the ``keep`` largest of the weights that are left, over all layers together.

    Between two fits from the same initial weights this is a round of iterative magnitude pruning (arXiv 1803.03635; for
    image priors arXiv 2410.24187). Weights pruned before stay pruned.

    Args:
        network: as it was fitted.
        masks_before: the weights that are left; None if all are.
        keep: how many weights to keep.
        exempt: patterns of layers to leave alone, see `workers.lottery.masks.prunable`; the same in all rounds.

    Raises:
        ValueError: fewer weights are left, the masks are not those of the prunable layers, or a weight is not a number.
    """
    values = magnitudes(network, exempt)
    if masks_before is not None:
        if masks_before.keys() != values.keys():
            raise ValueError("the masks before are not those of the layers to prune")
        left = sum(int(mask.sum()) for mask in masks_before.values())
        if keep > left:
            raise ValueError(f"cannot keep {keep} weights of the {left} that are left")
        # A weight that is left may have become zero too; it still comes before the pruned ones.
        values = {
            name: value.masked_fill(~masks_before[name].to(value.device), -torch.inf) for name, value in values.items()
        }
    return top(values, keep)


def at_random(network: Network, keep: int, exempt: Sequence[str], seed: int) -> Masks:
    """Keep the first ``keep`` weights of a random order, which is a function of the seed.

    The sparser of two masks from one seed keeps only weights that the other keeps too.

    Raises:
        ValueError: there are fewer weights than ``keep``.
    """
    shapes = {name: conv.weight.shape for name, conv in prunable(network, exempt).items()}
    weights = sum(shape.numel() for shape in shapes.values())
    order = torch.randperm(weights, generator=generator_of("random mask", seed), dtype=torch.float64)
    return top(unflatten(order, shapes), keep)


def by_sensitivity(network: Network, objectives: Sequence[Objective], exempt: Sequence[str] = ()) -> dict[str, Tensor]:
    """How much the loss depends on each weight being there, at initialisation (SNIP, arXiv 1810.02340, section 4.1).

    With c a factor of weight w that is 1, that is |dL/dc| = |w dL/dw|; L is the sum of the objectives' losses, each on
    one draw of its input noise. SNIP divides by the sum over all weights, which changes no order. Weights and gradients
    are as they were, but the objectives' noise has gone on by one draw.

    Args:
        network: on the objectives' device.
        objectives: the images.
        exempt: patterns of layers to leave alone, see `workers.lottery.masks.prunable`.

    Returns:
        Values for `workers.lottery.masks.top`.
    """
    weights = {name: conv.weight for name, conv in prunable(network, exempt).items()}
    values = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
    # Take the gradient of the sum one image after the other, so that only one is in memory at a time.
    for objective in objectives:
        loss = objective.loss(network(objective.input()))
        for value, gradient in zip(values.values(), torch.autograd.grad(loss, list(weights.values())), strict=True):
            value.add_(gradient)
    return {name: (value * weights[name].detach()).abs() for name, value in values.items()}
