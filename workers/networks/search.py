"""A network of the search space: an encoder and a decoder of five scales with the candidate's cell and skips."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from workers.networks.blocks import (
    decoder_block,
    down_block,
    encoder_block,
    initialise,
    output_block,
    skip_block,
    upsampling_cell,
)
from workers.space import LEVELS, Candidate, InvalidCandidateError

SIDE_MULTIPLE: int = 2**LEVELS
SMALLEST_SIDE = 2 * SIDE_MULTIPLE
"""At half of it the deepest level has a side of 1: nothing for reflection padding and batch
normalisation to work on.
"""


def _block_makers(
    candidate: Candidate, in_channels: int, out_channels: int, width: int
) -> dict[str, Callable[[], nn.Module]]:
    """Every block the search space declares, by name, unbuilt. Levels count from 1 in names, as in the papers."""

    cell = partial(upsampling_cell, candidate.cell, width)
    makers: dict[str, Callable[[], nn.Module]] = {}
    for level in range(1, LEVELS + 1):
        arriving = in_channels if level == 1 else width
        makers[f"enc{level}"] = partial(encoder_block, arriving, width)
        makers[f"skip{level}"] = partial(skip_block, arriving, width)
        makers[f"up{level}"] = cell
        makers[f"dec{level}"] = partial(decoder_block, width)
        if level < LEVELS:
            makers[f"skip_down_{level}_{level + 1}"] = partial(down_block, arriving, width)
            makers[f"skip_up_{level + 1}_{level}"] = cell
    makers["output"] = partial(output_block, width, out_channels)
    return makers


def parameter_count(network: nn.Module) -> int:
    """How many trainable parameters a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def _used_blocks(candidate: Candidate) -> set[str]:
    used = {f"{kind}{level}" for kind in ("enc", "up", "dec") for level in range(1, LEVELS + 1)} | {"output"}
    for level in range(LEVELS):
        for source in range(LEVELS):
            if not candidate.skip(level, source):
                continue
            if source == level:
                used.add(f"skip{level + 1}")
            used |= {f"skip_down_{at + 1}_{at + 2}" for at in range(source, level)}
            used |= {f"skip_up_{at + 1}_{at}" for at in range(level + 1, source + 1)}
    return used


def check_sides(height: int, width: int) -> None:
    """Refuse an image that five halvings do not divide.

    Raises:
        ValueError: a side is not a multiple of 32, or is below 64.
    """
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE or min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"the image is {width}x{height}; sides must be multiples of {SIDE_MULTIPLE} and at least {SMALLEST_SIDE}"
        )


class Network(nn.Module):
    """A deep image prior: maps a noise input (N, C, h, w) to images (N, out_channels, H, W) in (0, 1).

    Attributes:
        in_channels: depth of the noise input.
        members: how many images it gives side by side for one noise input; the hidden pixels choose among them.
        turn: the iterations after which it goes on with one of them alone (`choose`); None seeks all to the end.
        size: (H, W) of its images where they have one size alone; None where they are as large as is asked for.
    """

    in_channels: int
    members: int = 1
    turn: int | None = None
    size: tuple[int, int] | None = None

    def input_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the noise input for an output of ``height`` x ``width``, multiples of 32 and at least 64."""
        return self.in_channels, height, width

    def fitted(self) -> list[nn.Parameter]:
        """The parameters that are fitted."""
        return list(self.parameters())

    def rates(self, learning_rate: float) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters that are fitted, in groups, and the learning rate of each."""
        return [(self.fitted(), learning_rate)]

    def choose(self, member: Tensor) -> None:
        """Go on with one of its ``members`` alone, by its number, a tensor (1,)."""


class SearchNetwork(Network):
    """The network of a candidate. Made by `build`; blocks that no skip bit uses do not exist.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W) in (0, 1); H and W must be multiples of 32 and at least 64.
    """

    def __init__(self, candidate: Candidate, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.candidate = candidate
        self.in_channels, self.out_channels, self.width = in_channels, out_channels, width
        used = _used_blocks(candidate)
        makers = _block_makers(candidate, in_channels, out_channels, width)
        self.blocks = nn.ModuleDict({name: make() for name, make in makers.items() if name in used})

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network.

        Raises:
            ValueError: a side is not a multiple of 32, or is below 64.
        """
        check_sides(*x.shape[-2:])
        blocks = self.blocks
        sources = [x]
        for level in range(1, LEVELS + 1):
            sources.append(blocks[f"enc{level}"](sources[-1]))
        chained: dict[tuple[int, int], Tensor] = {}
        below = sources[LEVELS]
        for level in reversed(range(LEVELS)):
            total = blocks[f"up{level + 1}"](below)
            for source in range(LEVELS):
                if self.candidate.skip(level, source):
                    arriving = self._at_level(source, level, sources, chained)
                    total = total + (blocks[f"skip{level + 1}"](arriving) if source == level else arriving)
            below = blocks[f"dec{level + 1}"](total)
        out: Tensor = blocks["output"](below)
        return out

    def _at_level(
        self, source: int, level: int, sources: list[Tensor], chained: dict[tuple[int, int], Tensor]
    ) -> Tensor:
        """The encoder's scale ``source`` brought to the resolution of ``level``; chains share their common blocks.

        It is a method, not a function within `forward`: a recursive one would keep all its tensors alive in a cycle.
        """
        if source == level:
            return sources[source]
        if (source, level) not in chained:
            before = level - 1 if source < level else level + 1
            name = f"skip_down_{level}_{level + 1}" if source < level else f"skip_up_{level + 2}_{level + 1}"
            chained[source, level] = self.blocks[name](self._at_level(source, before, sources, chained))
        return chained[source, level]

    def declared_parameters(self) -> int:
        """How many parameters the search space declares for this candidate, also in blocks that no skip bit uses.

        It is the count the papers report. The module itself holds ``sum(p.numel() for p in parameters())``.
        """
        with torch.device("meta"):
            makers = _block_makers(self.candidate, self.in_channels, self.out_channels, self.width)
            return sum(parameter.numel() for make in makers.values() for parameter in make().parameters())


def noise_input(channels: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """The fixed input of a deep image prior (arXiv 1711.10925): (1, channels, height, width), uniform on [0, 0.1]."""
    return torch.rand(1, channels, height, width, generator=generator) * 0.1


def build(
    candidate: Candidate,
    in_channels: int = 3,
    out_channels: int = 3,
    width: int = 128,
    *,
    generator: torch.Generator | None = None,
) -> SearchNetwork:
    """Build a candidate's network on the CPU with fresh weights (PyTorch's default distributions).

    Args:
        candidate: the upsampling cell and the skips.
        in_channels: depth of the noise input; ISNAS-DIP uses the image's own channels, DIP and NAS-DIP use 32.
        out_channels: channels of the image.
        width: channels of every scale; a multiple of 4, or of 16 where a pixel shuffle meets split-stack-sum.
        generator: the source of the weights; None takes PyTorch's global one.

    Raises:
        InvalidCandidateError: the candidate cannot be built at this width.
    """
    if width < 1 or width % candidate.cell.width_multiple:
        raise InvalidCandidateError(
            f"candidate {candidate.id}: its width must be a multiple of {candidate.cell.width_multiple}, not {width}"
        )
    # Build without storage first: PyTorch would otherwise draw every weight from its global generator, to no use.
    with torch.device("meta"):
        network = SearchNetwork(candidate, in_channels, out_channels, width)
    initialise(network, generator)
    return network
