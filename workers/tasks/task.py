"""The base of all tasks: the forward model, simulation of an observation, and the traits that the
rest of the code asks for.

Images are (C, H, W) float32 in [0, 1]; all randomness comes from the generator handed in. Nothing here imports torch
before an operator is asked for, so that commands which only list runs stay light.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from workers.noise import Estimate

if TYPE_CHECKING:
    from workers.operators import Operator

PickRule = Literal["held-out", "consensus", "held-out+consensus"]
"""How one network of a cohort is chosen without seeing the truth."""


@dataclass(frozen=True, eq=False)
class Observation:
    """An image as it was observed.

    Attributes:
        pixels: (C, h, w) in [0, 1], 0 where unknown; of a task that measures the whole image (P, 1, m), of any size.
        known: (h, w), true where observed; None where everything is.
        shape: (C, H, W) of the image, where a task measures it as a whole; else None.
    """

    pixels: NDArray[np.float32]
    known: NDArray[np.bool_] | None = None
    shape: tuple[int, int, int] | None = None


class Task(ABC):
    """A degradation of images, and its consequences for their restoration.

    A task overrides the traits in which it differs from noise that is independent between the pixels of the image
    itself.

    Attributes:
        name: as in the settings. It is also the seed word of a simulated degradation, so it must stay as it is.
        pick_rule: the rule that picks from a cohort where the settings have ``auto``.
        prior: the name of the network that DIP takes for the task.
        correlated_noise: whether the noise is known to be correlated between pixels, so that held-out pixels mislead.
        residual_tells: whether the residual of a fit shows if the noise is correlated. A blur correlates it in any
            case, a low-resolution pixel holds many pixels, and between missing pixels there are too few neighbours.
        stacks: whether the held-out pixels are a sample of the restored image's own, so that weights by which fits are
            combined may be made from them. It is False where that was not measured to help.
        first_rung: the share of a fit's iterations before which its held-out error does not tell how it will end, in
            (0, 1). Networks that begin fast are not those that end best.
        needs_masks: whether pixels are missing, so that a mask must mark them.
        enlarges: whether the restored image is larger than the given one, by the setting ``task.factor``.
        room: how far the restored image may go beyond the range of what was measured, in such ranges: a blur takes the
            peaks away, and a hole may hold more than its surroundings.
        why_not_small: why a cohort cannot be fitted to the image made small; None where it can.
        sees_whole: whether every measured value depends on the whole image, so that no part of it can be fitted either.
    """

    name: ClassVar[str]
    pick_rule: ClassVar[PickRule] = "held-out"
    prior: ClassVar[str] = "dip"
    correlated_noise: ClassVar[bool] = False
    residual_tells: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    first_rung: ClassVar[float] = 0.5
    needs_masks: ClassVar[bool] = False
    enlarges: ClassVar[bool] = False
    why_not_small: ClassVar[str | None] = None
    sees_whole: ClassVar[bool] = False
    room: ClassVar[float] = 0.0

    @property
    def operator(self) -> "Operator":
        """The forward model; only known pixels of its result are compared with the observation.

        Where a task measures the image as a whole it leads from the image to the observation's `picture`.
        """
        from workers.operators import Identity  # noqa: PLC0415

        return Identity()

    def operator_of(self, observation: Observation) -> "Operator":
        """The forward model of this observation: from the image to its pixels."""
        return self.operator

    def picture(self, observation: Observation) -> NDArray[np.float32]:
        """The observation as an image without restoration: (C, h, w)."""
        return observation.pixels

    def why_not(self, shape: tuple[int, int, int]) -> str | None:
        """Why a clean image of the shape (C, H, W) cannot be degraded; None where it can."""
        return None

    @abstractmethod
    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """Observe a clean image (C, H, W) in [0, 1]; equal generators give equal observations."""

    def estimated_noise(self, observation: Observation, output: NDArray[np.float32]) -> Estimate | None:
        """The variance of the observation's noise, estimated from the residual of a fit's output (C, H, W).

        None where it cannot be estimated.
        """
        return None

    def psnr_interval(
        self, held_out: Estimate, observation: Observation, output: NDArray[np.float32], *, masked: bool
    ) -> tuple[float, float] | None:
        """The interval of PSNR, in dB, that the held-out error of an output (C, H, W) allows.

        None where it is not informative: held-out pixels do not cover the details that a low-resolution or blurred
        pixel loses.

        Args:
            held_out: mean squared error on the held-out pixels.
            observation: the one that was fitted.
            output: the network's output at the image's size.
            masked: whether the known pixels come from the user's mask and not from a simulation.
        """
        return None
