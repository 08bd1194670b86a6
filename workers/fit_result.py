"""The result of a fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FitResult:
    """The result of a fit. All of it is known without a clean image.

    Attributes:
        output: the averaged output (C, H, W) at ``stop_iteration``, where the stopping rule's value was least.
        held_out_error: mean squared error of ``output`` on the held-out pixels; None where none could be held out.
        held_out_standard_error: the standard error of that mean; None where fewer than two pixels could be held out.
        stop_iteration: counted from 1.
        iterations: how many iterations belong to the fit: up to where the rule stopped.
        held_out_curve: the error on held-out pixels after each of them.
        steady_output: the averaged output at ``steady_iteration``, where the outputs' moving variance was least.
        steady_iteration: counted from 1.
        residual_correlation: how far the residual of ``steady_output`` is from independent noise; None where there are
            too few pixels. See `workers.correlation.residual_correlation`.
    """

    output: NDArray[np.float32]
    held_out_error: float | None
    held_out_standard_error: float | None
    stop_iteration: int
    iterations: int
    held_out_curve: list[float]
    steady_output: NDArray[np.float32]
    steady_iteration: int
    residual_correlation: float | None
