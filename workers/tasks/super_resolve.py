"""Super-resolution: fewer pixels than wanted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.tasks.degrading import clip, measure
from workers.tasks.task import Observation, PickRule, Task

if TYPE_CHECKING:
    from workers.operators import Downsample, DownsampleKernel


@dataclass(frozen=True)
class SuperResolve(Task):
    """Fewer pixels than wanted, without noise.

    Args:
        factor: side of the image over side of the observation.
        downsampling: the filter before sampling; see `workers.operators.Downsample`.
    """

    factor: int = 4
    downsampling: "DownsampleKernel" = "lanczos2"
    name: ClassVar[str] = "super-resolve"
    room: ClassVar[float] = 1.0
    pick_rule: ClassVar[PickRule] = "held-out+consensus"
    enlarges: ClassVar[bool] = True

    @property
    def operator(self) -> "Downsample":
        """Down-sampling."""
        from workers.operators import Downsample  # noqa: PLC0415

        return Downsample(self.factor, self.downsampling)

    def whole(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest part, from the top left, that has whole pixels after down-sampling.

        A simulation uses this part of a clean image, so a reference must be cropped to it too.

        Raises:
            ValueError: a side is smaller than the factor.
        """
        if min(height, width) < self.factor:
            raise ValueError(f"an image of {height} x {width} pixels is too small to be scaled down by {self.factor}")
        return height - height % self.factor, width - width % self.factor

    def why_not(self, shape: tuple[int, int, int]) -> str | None:
        """A side is smaller than the factor."""
        return f"too small to be made {self.factor} times smaller" if min(shape[1:]) < self.factor else None

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The down-sampled image, clipped to [0, 1]: kernels with negative weights overshoot at edges."""
        height, width = self.whole(*clean.shape[1:])
        return Observation(clip(measure(self.operator, clean[:, :height, :width])))
