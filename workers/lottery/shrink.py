"""Remove the channels that a mask has emptied: the same function in less time.

A mask makes nothing faster: dense kernels multiply by its zeros too. But a channel can be taken out if a mask leaves no
weight that leads to it, or none that leads from it, and the remaining kernels are smaller.

In DIP's network this changes nothing. A filter without weights gives its bias everywhere. Batch normalisation by the
batch's own statistics turns any constant into its shift; activation, resizing and reflection padding keep it constant.
The batch normalisation behind the next convolution takes away the constant's contribution. Only the last convolution
has none behind it: there a constant is a bias.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.lottery import masks
from workers.networks import Network
from workers.networks.blocks import SLOPE, batch_norm, conv
from workers.networks.dip import DipNetwork
from workers.space import LEVELS

_INPUT, _OUTPUT = "input", "output.0"


def shrink(network: Network) -> DipNetwork:
    """A smaller network that computes the same as one of DIP's with masks applied (`workers.lottery.masks.apply`).

    A channel stays if weights that the masks keep lead from the noise input to it and from it to the image. Masks alone
    decide, not values: a weight that is zero but not masked can still be trained. Input and image keep their channels,
    and every layer keeps at least one, needed or not. The given network is not changed. The new one has copies of the
    remaining weights, on the same device, with their masks applied.

    The function is equal up to rounding and so are, for any loss and input, the gradients of all remaining parameters.
    The removed part has no influence on the image, with one exception: constants that reach the last convolution. They
    become part of its bias. Before, their weights and shifts were trained together with that bias, and all together
    moved it further in a step.

    Rounding is large where masks have cut a layer off. Each batch normalisation multiplies the rounding of a constant,
    and of its gradient, by up to 316 (1 over the root of its epsilon). A chain of layers that carry nothing but
    constants therefore gives noise in float32, and its gradients can overflow. The new network keeps one channel of
    each such layer, and its noise differs.

    Raises:
        ValueError: it is no network of DIP.
    """
    if not isinstance(network, DipNetwork):
        raise ValueError(
            f"{type(network).__name__}: channels can be taken out of DIP's networks only; those of a search-space"
            " candidate are tied together, because its scales are added up"
        )
    applied = masks.applied(network)
    kept = _kept(network, applied)
    convolutions = masks.prunable(network)
    smaller = deepcopy(network)
    remaining = {}
    for name, sources in _sources().items():
        block, _, place = name.rpartition(".")
        arriving = torch.cat([kept[source] for source in sources])
        if len(sources) > 1:
            smaller.set_submodule(f"{block}.0", _norm_of(network.get_submodule(f"{block}.0"), arriving))
        if name != _OUTPUT:
            norm = f"{block}.{int(place) + 1}"
            smaller.set_submodule(norm, _norm_of(network.get_submodule(norm), kept[name]))
        smaller.set_submodule(name, _convolution_of(convolutions[name], kept[name], arriving))
        if name in applied:
            remaining[name] = applied[name][kept[name]][:, arriving]
    _fold(network, smaller, ~kept[_sources()[_OUTPUT][0]])
    masks.apply(smaller, remaining)
    return smaller


def _sources() -> dict[str, tuple[str, ...]]:
    """All convolutions in the order of a forward pass, each with those (or the input) whose channels it reads."""
    sources: dict[str, tuple[str, ...]] = {}
    below = _INPUT
    for level in range(LEVELS):
        sources[f"skips.{level}.0"] = (below,)
        sources[f"encoders.{level}.0"] = (below,)
        sources[f"encoders.{level}.3"] = (f"encoders.{level}.0",)
        below = f"encoders.{level}.3"
    for level in reversed(range(LEVELS)):
        sources[f"mergers.{level}.1"] = (f"skips.{level}.0", below)
        sources[f"mergers.{level}.4"] = (f"mergers.{level}.1",)
        below = f"mergers.{level}.4"
    sources[_OUTPUT] = (below,)
    return sources


def _kept(network: DipNetwork, applied: masks.Masks) -> dict[str, Tensor]:
    """The output channels of every convolution, and of the input, that stay: bool, (channels,)."""
    links = {}
    for name in _sources():
        weight = network.get_parameter(f"{name}.weight")
        links[name] = applied.get(name, torch.ones_like(weight, dtype=torch.bool)).any(3).any(2)
    image = links[_OUTPUT]
    varying = {_INPUT: image.new_ones(network.in_channels)}
    for name, sources in _sources().items():
        varying[name] = (links[name] & torch.cat([varying[source] for source in sources])).any(1)
    read = {name: torch.zeros_like(channels) for name, channels in varying.items()}
    read[_OUTPUT] = image.new_ones(len(image))
    for name, sources in reversed(_sources().items()):
        needed = (links[name] & read[name][:, None]).any(0)
        parts = torch.split(needed, [len(read[source]) for source in sources])
        for source, part in zip(sources, parts, strict=True):
            read[source] |= part
    kept = {name: varying[name] & read[name] for name in varying}
    for channels in kept.values():
        channels[0] |= not channels.any()
    return kept | {name: image.new_ones(len(kept[name])) for name in (_INPUT, _OUTPUT)}


def _norm_of(module: nn.Module, channels: Tensor) -> nn.BatchNorm2d:
    """A batch normalisation of some of its channels."""
    weight, bias = (module.get_parameter(name).detach()[channels] for name in ("weight", "bias"))
    norm = batch_norm(len(weight))
    norm.weight, norm.bias = nn.Parameter(weight), nn.Parameter(bias)
    return norm


def _convolution_of(old: nn.Conv2d, filters: Tensor, arriving: Tensor) -> nn.Conv2d:
    """Some filters of a convolution, reading some of its channels."""
    weight, bias = (old.get_parameter(name).detach()[filters] for name in ("weight", "bias"))
    weight = weight[:, arriving]
    with torch.device("meta"):  # elsewhere weights would be drawn from PyTorch's global generator, to no use
        new = conv(weight.shape[1], weight.shape[0], old.kernel_size[0], old.stride[0])
    new.weight, new.bias = nn.Parameter(weight), nn.Parameter(bias)
    return new


@torch.no_grad()
def _fold(network: DipNetwork, smaller: DipNetwork, removed: Tensor) -> None:
    """Add to the last bias the contribution of removed channels: their constants, or nothing by its masked weights."""
    constants = F.leaky_relu(network.get_parameter("mergers.0.5.bias")[removed], SLOPE)
    weight = network.get_parameter(f"{_OUTPUT}.weight")[:, removed, 0, 0]
    smaller.get_parameter(f"{_OUTPUT}.bias").add_(weight @ constants)
