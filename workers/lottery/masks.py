"""Masks: which weights of a network's convolutions are left.

A mask set has for the name of a convolution, as in ``named_modules()``, a bool tensor of its weight's shape, true where
the weight is kept. A convolution that is not in it is untouched. Biases and batch normalisation have no masks.
"""

import math
import weakref
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

Masks = dict[str, Tensor]

_BUFFER = "weight_mask"
_HOOK = "_weight_mask_hook"


def prunable(network: nn.Module, exempt: Sequence[str] = ()) -> dict[str, nn.Conv2d]:
    """The network's convolutions by name, in order, without those whose name matches a glob pattern of ``exempt``.

    Transposed convolutions, which some candidates upsample with, are not among them.

    Raises:
        ValueError: a pattern matches no convolution, or no convolution is left.
    """
    every = _convolutions(network)
    some = ", ".join(list(every)[:5])
    for pattern in exempt:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise ValueError(f"no convolution matches {pattern!r}; there are {some}, ...")
    left = {name: conv for name, conv in every.items() if not any(fnmatchcase(name, pattern) for pattern in exempt)}
    if not left:
        raise ValueError(f"{', '.join(map(repr, exempt))} leave no convolution to prune; there are {some}, ...")
    return left


def kept_after(prunable_weights: int, rate: float, rounds: int) -> int:
    """How many of ``prunable_weights`` are left after ``rounds`` rounds.

    A round takes ``rate`` of those that are left, rounded to whole weights (halves to even), but never the last one.
    """
    left = prunable_weights
    for _ in range(rounds):
        left = max(left - round(rate * left), 1)
    return left


def top(values: Mapping[str, Tensor], keep: int) -> Masks:
    """Keep exactly the ``keep`` weights with the largest values, over all layers together.

    Among equal values the earlier one goes first: by layer, then by place in the weight. The masks, which are on the
    CPU, are therefore a function of the values alone. Weights valued minus infinity are kept only when there are no
    others.

    Raises:
        ValueError: a value is not a number, or there are fewer weights than ``keep``.
    """
    flat = torch.cat([value.detach().cpu().double().flatten() for value in values.values()])
    if flat.isnan().any():
        raise ValueError("a weight is valued by what is not a number")
    if not 0 <= keep <= len(flat):
        raise ValueError(f"cannot keep {keep} of {len(flat)} weights")
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[flat.argsort(descending=True, stable=True)[:keep]] = True
    return unflatten(chosen, {name: value.shape for name, value in values.items()})


def unflatten(flat: Tensor, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Cut one flat tensor, layer after layer in C order, into the layers."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()])  # type: ignore[no-untyped-call]
    return {name: part.reshape(*shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


@torch.no_grad()
def apply(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set masked weights to zero and keep them zero in training. Masks applied before are replaced.

    A mask becomes a buffer ``weight_mask`` of its convolution, which follows the network to another device, and the
    weight's gradient is multiplied by it. An optimiser without weight decay leaves a weight at zero that has no
    gradient. The buffer is no part of the state dict, so that states of the network with and without masks are alike. A
    deep copy of a network does not hold its masks (PyTorch copies no gradient hooks): apply them to it as well.

    Raises:
        ValueError: a mask's name is not that of a convolution, or its shape is not the weight's.
    """
    every = _convolutions(network)
    for name, mask in masks.items():
        if name not in every:
            raise ValueError(f"there is no convolution {name!r} to mask")
        if mask.shape != every[name].weight.shape:
            shapes = f"{tuple(mask.shape)}, its weight {tuple(every[name].weight.shape)}"
            raise ValueError(f"the mask of {name} has the shape {shapes}")
    for name, conv in every.items():
        _release(conv)
        if name in masks:
            _hold(conv, masks[name])


def applied(network: nn.Module) -> Masks:
    """The masks that are applied to the network, where it is; empty if none are."""
    buffers = ((name, getattr(conv, _BUFFER, None)) for name, conv in _convolutions(network).items())
    return {name: mask.bool() for name, mask in buffers if mask is not None}


def sparsity(network: nn.Module, masks: Mapping[str, Tensor]) -> float:
    """The share of all the network's convolution weights that the masks take away, in [0, 1].

    The total includes exempt weights and those of transposed convolutions.
    """
    return sum(all_ - kept for kept, all_ in layer_counts(masks).values()) / convolution_weights(network)


def convolution_weights(network: nn.Module) -> int:
    """How many weights the network's convolutions have, those of transposed ones included."""
    kinds = nn.Conv2d | nn.ConvTranspose2d
    return sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, kinds))


def layer_counts(masks: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """For every masked layer: how many weights are kept, and how many there are."""
    return {name: (int(mask.sum()), mask.numel()) for name, mask in masks.items()}


def _convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}


def _hold(conv: nn.Conv2d, mask: Tensor) -> None:
    kept = mask.to(conv.weight.device, torch.bool)
    conv.weight.masked_fill_(~kept, 0)
    # As a float, in the weight's memory layout, it makes the product with the gradient a plain one.
    buffer = torch.empty_like(conv.weight, requires_grad=False).copy_(kept)
    conv.register_buffer(_BUFFER, buffer, persistent=False)
    # The weight must not keep its module alive, which keeps the weight alive.
    owner = weakref.ref(conv)

    def masked(gradient: Tensor) -> Tensor:
        # Moving a module replaces its buffers, so read the module's current one.
        holder = owner()
        return gradient if holder is None else gradient * holder.get_buffer(_BUFFER)

    vars(conv)[_HOOK] = conv.weight.register_hook(masked)  # type: ignore[no-untyped-call]


def _release(conv: nn.Conv2d) -> None:
    if _HOOK in vars(conv):
        vars(conv).pop(_HOOK).remove()
        delattr(conv, _BUFFER)
