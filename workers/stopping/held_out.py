"""Held-out pixels.

A few observed pixels are hidden from the loss. For noise that is independent between pixels, the error of the output on
them estimates true error plus noise variance, whatever the architecture, with no knowledge of the noise's strength. Its
minimum over the iterations is where to stop; its value ranks architectures on the same pixels.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from workers.stopping.es_emv import ExponentialVarianceRule, RunningVariance
from workers.stopping.holes import copies_of_holes, has_holes
from workers.stopping.rule import MovingVariance, StoppingRule


class HeldOutRule(StoppingRule):
    """Least error on held-out pixels. Correlated noise misleads it, since a network learns such
    noise from the neighbours.
    """

    name: ClassVar[str] = "held-out"
    where_correlated: ClassVar[str] = ExponentialVarianceRule.name

    def variance(self, output_like: Tensor) -> MovingVariance:
        """The exponential variance, for the rule that takes this one's place."""
        return RunningVariance(output_like)

    def criterion(self, held_out_error: Tensor, variance: Tensor) -> Tensor:
        """The error on held-out pixels."""
        return held_out_error


def held_out_mask(
    height: int,
    width: int,
    share: float,
    random: np.random.Generator,
    known: NDArray[np.bool_] | None = None,
    *,
    shaped: bool = False,
) -> NDArray[np.bool_]:
    """Hide ``share`` of the known pixels: (height, width), true where hidden; whole pixels, so all
    channels of a hidden one.

    ``known`` is (height, width), true where a pixel was observed; None says that all were. Of two or more known pixels
    at least one is hidden and at least one kept; a single one is kept.

    If ``shaped``, hidden pixels resemble what is missing: they are copies of its holes, mirrored and shifted onto known
    pixels, as far as the share goes. An isolated hidden pixel is restored from its neighbours, the middle of a hole is
    not, so isolated ones tell little of how holes are filled. Where single pixels are missing here and there, single
    ones are hidden.
    """
    candidates = np.arange(height * width) if known is None else np.flatnonzero(known)
    count = max(0, min(max(1, round(share * candidates.size)), candidates.size - 1))
    mask = np.zeros(height * width, dtype=np.bool_)
    if shaped and known is not None and has_holes(known):
        mask = copies_of_holes(known, count, random).ravel()
        count -= int(mask.sum())
        candidates = np.flatnonzero(known.ravel() & ~mask)
    mask[candidates[random.choice(candidates.size, size=count, replace=False)]] = True
    return mask.reshape(height, width)
