"""The base of all stopping rules, and the traits that the rest of the code asks for."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from torch import Tensor


class MovingVariance(Protocol):
    """A variance of the outputs of a fit over its last iterations."""

    def update(self, output: Tensor) -> Tensor:
        """Take in the next output; returns the mean variance of its values (a scalar),
        infinity where there is none yet.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that `load_state_dict` needs to continue as if nothing had happened."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""


class StoppingRule(ABC):
    """A criterion whose least value over the iterations marks where to stop.

    Attributes:
        name: as in the settings.
        where_correlated: the name of the rule whose result is taken where noise turns out to be correlated between
            pixels: the rule's own name if such noise does not mislead its criterion.
    """

    name: ClassVar[str]
    where_correlated: ClassVar[str]

    @abstractmethod
    def variance(self, output_like: Tensor) -> MovingVariance:
        """The variance that is followed in every fit, for outputs of this shape, type and device.

        The output at its minimum is kept next to that of the rule's own criterion.
        """

    @abstractmethod
    def criterion(self, held_out_error: Tensor, variance: Tensor) -> Tensor:
        """The criterion of an iteration (a scalar).

        Args:
            held_out_error: mean squared error of the averaged output on the held-out pixels.
            variance: the moving variance of the outputs, infinity where there is none yet.
        """
