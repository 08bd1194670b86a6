"""Deblurring: a blur by a known kernel, given by its weights or by name."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.tasks.degrading import NoiseLevel, add_gaussian, measure
from workers.tasks.task import Observation, Task

if TYPE_CHECKING:
    from workers.operators import Blur

Kernel = str | list[list[float]] | NDArray[Any]
"""``gaussian SIGMA`` or ``motion LENGTH DEGREES`` in pixels, or weights (rows, columns)."""

KERNELS = {"gaussian": ((0, 100),), "motion": ((1, 300), (-math.inf, math.inf))}
"""Kernels by name, and the bounds of the numbers that follow it. A larger kernel would blur everything away."""


@dataclass(frozen=True)
class Deblur(Task):
    """A blur by a known kernel, and perhaps Gaussian noise.

    Args:
        kernel: its name or its weights; see `workers.operators.Blur`.
        sigma: standard deviation of the noise in 8-bit grey levels, or the interval it is drawn from.

    Raises:
        ValueError: the kernel cannot be used.
    """

    kernel: Kernel = field(repr=False, compare=False)
    sigma: NoiseLevel = 0.0
    blur: "Blur" = field(init=False)
    name: ClassVar[str] = "deblur"
    room: ClassVar[float] = 2.0
    why_not_small: ClassVar[str] = (
        "an image to deblur cannot be made small, since the kernel would no longer be the one that blurred it"
    )

    def __post_init__(self) -> None:
        from workers.operators import Blur  # noqa: PLC0415

        object.__setattr__(self, "blur", Blur(kernel_of(self.kernel)))

    @property
    def operator(self) -> "Blur":
        """The blur."""
        return self.blur

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The blurred and noisy image, clipped to [0, 1]."""
        return Observation(add_gaussian(measure(self.operator, clean), self.sigma, random))


def named_kernel(value: str) -> tuple[str, list[float]] | None:
    """The name of a kernel and its numbers; None if the text names no kernel."""
    name, *words = value.split() or [""]
    bounds = KERNELS.get(name, ())
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    fit = len(numbers) == len(bounds) > 0 and all(map(math.isfinite, numbers)) and numbers[0] > 0
    within = fit and all(low <= number <= high for number, (low, high) in zip(numbers, bounds, strict=True))
    return (name, numbers) if within else None


def kernel_of(kernel: Kernel) -> NDArray[Any]:
    """The weights (rows, columns) of a kernel.

    Raises:
        ValueError: the text names no kernel, or the rows are not equally long.
    """
    from workers.operators import gaussian_kernel, motion_kernel  # noqa: PLC0415

    if isinstance(kernel, np.ndarray):
        return kernel
    if not isinstance(kernel, str):
        if len({len(row) for row in kernel}) != 1:
            raise ValueError("a kernel has rows of equal length")
        return np.array(kernel, dtype=np.float64)
    named = named_kernel(kernel)
    if named is None:
        raise ValueError(
            f"{kernel!r} is no kernel; write 'gaussian SIGMA' (up to 100 pixels) or 'motion LENGTH DEGREES' (1 to 300"
            " pixels)"
        )
    name, numbers = named
    return gaussian_kernel(numbers[0]) if name == "gaussian" else motion_kernel(round(numbers[0]), numbers[1])
