"""Priors: networks by name.

| name | network | noise input |
|---|---|---|
| ``158-1111101111001110001100001`` | a candidate of the search space | as deep as the caller wants |
| ``nas-dip-158-1111101111001110001100001`` | the same, as NAS-DIP has it | 32 channels |
| ``dip`` | DIP's encoder-decoder, 4 skip channels, bilinear upsampling | 32 channels |
| ``dip-inpaint`` | the same with skips of the full width, nearest upsampling | 32 channels |
| ``deep-decoder-64`` | the deep decoder with 64 channels (4 to 1024) | its own channels, at 1/32 of the size |
| ``dip-draw-2`` | the same network as ``dip``, in another draw (2 to 999) of weights and noise | as that |

Weights and noise are functions of a prior's name, among other words. So a draw needs no more than a name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from workers.names import DRAW
from workers.networks.blocks import initialise
from workers.networks.deep_decoder import DeepDecoder
from workers.networks.dip import DipNetwork
from workers.networks.search import Network, SearchNetwork
from workers.space import Candidate, InvalidCandidateError

NAS_DIP: dict[str, str] = {
    "denoise": "nas-dip-158-1111101111001110001100001",
    "inpaint": "nas-dip-86-1100001100101100101100101",
    "super-resolve": "nas-dip-119-1001011001011000011000011",
}
"""The networks that NAS-DIP (Chen et al., ECCV 2020) found, one for each task, as names of priors."""

_DIP_INPUT_CHANNELS = 32
_DIP_SKIP_CHANNELS = 4
MOST_DRAWS = 999
"""The largest number of a draw."""
_FEWEST_CHANNELS, _MOST_CHANNELS = 4, 1024


@dataclass(frozen=True)
class Prior:
    """A network by name; made by `prior_of`.

    Attributes:
        id: its name, of the characters a-z, 0-9 and dashes; `prior_of` finds the same prior by it.
        width_multiple: the width must be a multiple of this.
        architecture: (input channels, output channels, width) to the network.
        own_input_channels: the depth of its noise input, where it is part of the prior; None takes the caller's.
    """

    id: str
    width_multiple: int
    architecture: Callable[[int, int, int], Network] = field(compare=False, repr=False)
    own_input_channels: int | None = None

    def declare(self, out_channels: int, width: int, *, input_channels: int) -> Network:
        """The network on the meta device: all its shapes, no storage. Arguments and errors as for `build`."""
        if width < 1 or width % self.width_multiple:
            raise InvalidCandidateError(
                f"prior {self.id}: its width must be a multiple of {self.width_multiple}, not {width}"
            )
        with torch.device("meta"):
            return self.architecture(self.own_input_channels or input_channels, out_channels, width)

    def build(
        self, out_channels: int, width: int, *, input_channels: int, generator: torch.Generator | None = None
    ) -> Network:
        """Build the network on the CPU with fresh weights (PyTorch's default distributions).

        Args:
            out_channels: channels of the image.
            width: channels of every scale; the deep decoder ignores it.
            input_channels: depth of the noise input of a candidate; the other priors have their own.
            generator: the source of the weights; None takes PyTorch's global one.

        Raises:
            InvalidCandidateError: the network cannot be built at this width.
        """
        network = self.declare(out_channels, width, input_channels=input_channels)
        initialise(network, generator)
        return network


def _dip(in_channels: int, out_channels: int, width: int) -> Network:
    return DipNetwork(in_channels, out_channels, width, _DIP_SKIP_CHANNELS, "bilinear")


def _dip_inpaint(in_channels: int, out_channels: int, width: int) -> Network:
    return DipNetwork(in_channels, out_channels, width, width, "nearest")


def _deep_decoder(in_channels: int, out_channels: int, _width: int) -> Network:
    return DeepDecoder(in_channels, out_channels)


def draws_of(name: str, count: int) -> tuple[str, ...]:
    """The names of a prior in so many draws of weights and noise; the first one is its own."""
    return (name, *(f"{name}-draw-{number}" for number in range(2, count + 1)))


def prior_of(name: str) -> Prior:
    """The prior of this name; the head of this module lists the names.

    Raises:
        InvalidCandidateError: no network has this name.
    """
    if (match := DRAW.fullmatch(name)) and not DRAW.fullmatch(match[1]):
        prior = prior_of(match[1])
        return replace(prior, id=f"{prior.id}-draw-{match[2]}")
    if name == "dip":
        return Prior(name, 1, _dip, _DIP_INPUT_CHANNELS)
    if name == "dip-inpaint":
        return Prior(name, 1, _dip_inpaint, _DIP_INPUT_CHANNELS)
    if match := re.fullmatch(r"deep-decoder-([1-9][0-9]{0,3})", name):
        channels = int(match[1])
        if _FEWEST_CHANNELS <= channels <= _MOST_CHANNELS:
            return Prior(name, 1, _deep_decoder, channels)
    # Only text that looks like a candidate is read as one, because its errors repeat the text unchanged.
    if match := re.fullmatch(r"(nas-dip-|)([0-9]{1,9}-[0-9]*)", name):
        candidate = Candidate.parse(match[2])
        own_input_channels = _DIP_INPUT_CHANNELS if match[1] else None
        return Prior(
            match[1] + candidate.id,
            candidate.cell.width_multiple,
            partial(SearchNetwork, candidate),
            own_input_channels,
        )
    raise InvalidCandidateError(
        f"prior {name!r} does not exist; there are dip, dip-inpaint, deep-decoder-K with K from {_FEWEST_CHANNELS} to"
        f" {_MOST_CHANNELS}, candidates such as 158-1111101111001110001100001, nas-dip- before one of these, and"
        " -draw-2 to -draw-999 behind any of them"
    )
