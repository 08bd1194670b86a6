"""The search space of ISNAS-DIP (arXiv 2111.15362, section 3; first used by NAS-DIP): 297
upsampling cells x 2^25 skips.

A candidate is an upsampling cell, used at every level of the decoder, and a 5x5 matrix of bits that says which encoder
scales feed which decoder levels. Its identity is plain text, ``158-1111101111001110001100001``: the id of the cell,
then the matrix row by row.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Self

LEVELS = 5
SKIP_BITS = LEVELS * LEVELS


class InvalidCandidateError(ValueError):
    """The text or the numbers do not name a network of the search space that can be built."""


@dataclass(frozen=True)
class Upsampler:
    """One upsampling cell: a resize by two, then (or before it) a convolution.

    ``order`` is ``resize_first`` or ``conv_first``. ``valid`` is false for the 27 cells of the original enumeration
    whose channel counts disagree, so that no network can be built with them.
    """

    index: int
    primitive: str
    convolution: str
    kernel: int
    activation: str
    order: str
    valid: bool

    @property
    def width_multiple(self) -> int:
        """The network's width must be a multiple of this: splitting and shuffling both cut the channels by four."""
        splits = self.convolution == "split_stack_sum"
        return 16 if splits and self.primitive == "pixel_shuffle" and self.order == "resize_first" else 4


_KERNELS = (1, 3, 5, 7)
_ACTIVATIONS = ("none", "ReLU", "LeakyReLU")
_CONVOLUTIONS = ("conv", "trans_conv", "split_stack_sum", "sep_conv", "depth_wise_conv")


def _enumerate_cells() -> Iterator[tuple[str, str, int, str, str]]:
    for primitive in ("bilinear", "bicubic", "nearest", "pixel_shuffle"):
        for convolution in _CONVOLUTIONS:
            for kernel in _KERNELS:
                for activation in _ACTIVATIONS:
                    yield primitive, convolution, kernel, activation, "resize_first"
        for activation in _ACTIVATIONS:
            yield primitive, "identity", 1, activation, "resize_first"
    for convolution in _CONVOLUTIONS:
        for kernel in _KERNELS:
            for activation in _ACTIVATIONS:
                yield "pixel_shuffle", convolution, kernel, activation, "conv_first"
    for kernel in _KERNELS:
        for activation in _ACTIVATIONS:
            yield "trans_conv", "identity", kernel, activation, "resize_first"


def _can_be_built(primitive: str, convolution: str) -> bool:
    # A pixel shuffle leaves C/4 channels: without a convolution nothing restores C, and a depth-wise one has more
    # groups than input channels (or, before the shuffle, groups that do not divide them).
    return not (primitive == "pixel_shuffle" and convolution in ("depth_wise_conv", "identity"))


@cache
def upsamplers() -> tuple[Upsampler, ...]:
    """All 324 cells in the order of the original enumeration; ``upsamplers()[158]`` is cell 158."""
    return tuple(
        Upsampler(index, *cell, valid=_can_be_built(cell[0], cell[1])) for index, cell in enumerate(_enumerate_cells())
    )


@cache
def valid_upsamplers() -> tuple[int, ...]:
    """The ids of the 297 cells that can be built, ascending."""
    return tuple(cell.index for cell in upsamplers() if cell.valid)


@dataclass(frozen=True, order=True)
class Candidate:
    """A network of the search space.

    ``skips`` holds 25 characters ``0``/``1``, row by row: row i = decoder level i+1 (1 is the finest), column 0 = the
    input, column j = encoder level j.

    Raises:
        InvalidCandidateError: the cell does not exist or cannot be built, or ``skips`` is not 25 bits.
    """

    upsampler: int
    skips: str

    def __post_init__(self) -> None:
        if not 0 <= self.upsampler < len(upsamplers()):
            raise InvalidCandidateError(
                f"candidate {self.id}: upsampler {self.upsampler} does not exist; ids run from 0 to"
                f" {len(upsamplers()) - 1}"
            )
        if len(self.skips) != SKIP_BITS or set(self.skips) - {"0", "1"}:
            raise InvalidCandidateError(f"candidate {self.id}: the skips must be {SKIP_BITS} characters 0 or 1")
        if not self.cell.valid:
            raise InvalidCandidateError(
                f"candidate {self.id}: upsampler {self.upsampler} ({self.cell.primitive}, {self.cell.convolution})"
                " cannot be built: its channel counts disagree (ids 237-251 and 300-311)"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``158-1111101111001110001100001``.

        Raises:
            InvalidCandidateError: the text is not a cell id, a dash and 25 bits, or names a network that cannot be
                built.
        """
        upsampler, dash, skips = text.strip().partition("-")
        if not dash or not (upsampler.isascii() and upsampler.isdigit()):
            raise InvalidCandidateError(
                f"candidate {text!r}: write an upsampler id, a dash and {SKIP_BITS} bits, as in"
                " 158-1111101111001110001100001"
            )
        return cls(int(upsampler), skips)

    @property
    def id(self) -> str:
        """The candidate's name everywhere: ``<upsampler>-<skips>``."""
        return f"{self.upsampler}-{self.skips}"

    @property
    def cell(self) -> Upsampler:
        """The upsampling cell behind the id."""
        return upsamplers()[self.upsampler]

    def skip(self, level: int, source: int) -> bool:
        """Whether decoder level ``level`` (0 = finest) receives source ``source`` (0 = input, j = encoder level j)."""
        return self.skips[level * LEVELS + source] == "1"

    def __str__(self) -> str:
        return self.id


def sample_candidates(count: int, seed: int, *, width: int = 128) -> list[Candidate]:
    """Draw ``count`` different candidates uniformly from those that a network of ``width`` channels can hold.

    The list for a larger count begins with the list for a smaller one, so that whatever was computed for the first
    hundred candidates serves a run over the first thousand.

    Raises:
        InvalidCandidateError: no cell fits the width.
    """
    cells = [index for index in valid_upsamplers() if width % upsamplers()[index].width_multiple == 0]
    if not cells:
        raise InvalidCandidateError(f"no network can be {width} channels wide; use a multiple of 4, or better of 16")
    stream = random.Random(f"candidates {seed}")  # noqa: S311 - a reproducible draw, not a secret
    drawn: dict[Candidate, None] = {}
    while len(drawn) < count:
        drawn.setdefault(Candidate(stream.choice(cells), f"{stream.getrandbits(SKIP_BITS):0{SKIP_BITS}b}"))
    return list(drawn)
