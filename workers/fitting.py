"""Fitting a deep image prior to one degraded image (arXiv 1711.10925), stopped blind.

An untrained network turns a fixed noise input into an image; Adam fits that image, seen through the degradation, to the
measurement. At every step fresh noise is added to the input, and an exponential average of the outputs is the restored
image. The network learns structure before it learns noise, so it must be stopped in time: see `workers.stopping`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.networks import noise_input
from workers.operators import Operator
from workers.seeds import generator_of
from workers.stopping import HeldOutPatience
from workers.views import pad


class FitDivergedError(RuntimeError):
    """The loss is no longer a finite number; the fit has no result."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is fitted.

    Attributes:
        iterations: the most iterations (DIP: 3,000 for denoising).
        patience: stop after so many iterations without a lower held-out error.
        learning_rate: of Adam.
        input_noise: standard deviation of the noise added to the input at every step.
        average: weight of the past in the exponential average of the outputs, in [0, 1).
    """

    iterations: int = 3000
    patience: int = 300
    learning_rate: float = 0.01
    input_noise: float = 1 / 30
    average: float = 0.99


@dataclass(frozen=True)
class Measurement:
    """What a fit may see: the measured image and which of its pixels are hidden from the loss.

    ``pixels`` is (C, H, W) in [0, 1], ``held_out`` (H, W) true where hidden. Both have the image's own size; the fit pads
    them by reflection, so a hidden pixel's mirror images are hidden too.
    """

    pixels: NDArray[np.float32]
    held_out: NDArray[np.bool_]


class Observer(Protocol):
    """Looks at a fit from outside; see `workers.quality.PsnrObserver`."""

    def __call__(self, average: Tensor) -> None:
        """Take in the averaged output (1, C, H, W) after an iteration."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the observer."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""


@dataclass(frozen=True)
class FitResult:
    """What a fit gives: all of it known without a clean image.

    ``output`` is the averaged output (C, H, W) at ``stop_iteration``, where the held-out error was least;
    ``held_out_curve`` has the error after each iteration. ``held_out_error`` is None where no pixel could be held out.
    """

    output: NDArray[np.float32]
    held_out_error: float | None
    stop_iteration: int
    iterations: int
    held_out_curve: list[float]


class Fit:
    """One network being fitted to one image, advanced in blocks of iterations.

    Inside a block nothing waits for the device: losses, averages and the stopping rule stay there. A `state_dict` between
    blocks holds everything; a fit that loads it continues exactly as the first would have (bit for bit on a CPU with the
    same number of threads).
    """

    def __init__(
        self,
        network: nn.Module,
        measurement: Measurement,
        operator: Operator,
        settings: FitSettings,
        *,
        input_channels: int,
        seed: int,
        device: torch.device | str = "cpu",
        observers: Sequence[Observer] = (),
    ) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.iteration = 0
        self._operator = operator
        self._observers = observers
        self._size = measurement.pixels.shape[1:]
        self._target = torch.from_numpy(pad(measurement.pixels)[None]).to(self.device)
        self._loss_weight, self._monitor_weight = self._weights(measurement)
        self.blind = bool(measurement.held_out.any())
        # Channels last is faster on CPUs (docs/benchmarks.md has how much) and what tensor cores want.
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate, fused=True)
        self._generator = generator_of("fit noise", seed, device=self.device)
        height, width = self._target.shape[2:]
        self._input = noise_input(input_channels, height, width, generator_of("fit input", seed)).to(self.device)
        self._average: Tensor | None = None
        self._stopping = HeldOutPatience(settings.patience, self._target)
        self._curve: list[float] = []
        self._stopped = False

    def _weights(self, measurement: Measurement) -> tuple[Tensor, Tensor]:
        """Per-pixel weights whose sum with squared differences is the mean over the kept, and over the hidden, pixels."""
        hidden = torch.from_numpy(pad(measurement.held_out[None])).to(self.device)
        height, width = self._size
        inside = torch.zeros_like(hidden)
        inside[:, :height, :width] = True
        channels = self._target.shape[1]
        kept = (~hidden).float()
        # An image of one pixel has nothing to hold out; the error watched is then the fitted one.
        watched = ((hidden if hidden.any() else ~hidden) & inside).float()
        return kept / (kept.sum() * channels), watched / (watched.sum() * channels)

    @property
    def finished(self) -> bool:
        """Whether the stopping rule or the number of iterations has ended the fit."""
        return self._stopped or self.iteration >= self.settings.iterations

    def advance(self, iterations: int) -> float:
        """Run up to ``iterations`` more; returns the least held-out error so far.

        Raises:
            FitDivergedError: the error is not a finite number.
        """
        errors = [self._step() for _ in range(min(iterations, self.settings.iterations - self.iteration))]
        self._curve += torch.stack(errors).tolist()
        self._stopped = bool(self._stopping.stopped)
        # What the rest of a block does after the rule has stopped is no part of the fit.
        if not np.isfinite(self._curve[: self._length]).all():
            raise FitDivergedError(f"the held-out error was no longer finite within iteration {self.iteration}")
        return float(self._stopping.best_error)

    @property
    def _length(self) -> int:
        """Iterations that belong to the fit: up to where the rule stopped."""
        return min(self.iteration, int(self._stopping.best_iteration) + self.settings.patience)

    def _step(self) -> Tensor:
        noise = torch.empty_like(self._input).normal_(0, self.settings.input_noise, generator=self._generator)
        output = self.network(self._input + noise)
        loss = ((self._operator(output) - self._target).square() * self._loss_weight).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.iteration += 1
        with torch.no_grad():
            output = output.detach()
            if self._average is None:
                self._average = output.contiguous().clone()
            else:
                self._average = self._average.lerp(output, 1 - self.settings.average)
            error = ((self._operator(self._average) - self._target).square() * self._monitor_weight).sum()
            self._stopping.update(self.iteration, error, self._average)
            for observer in self._observers:
                observer(self._average)
        return error

    def result(self) -> FitResult:
        """The result so far. The curve ends where the stopping rule did."""
        last = self._length
        height, width = self._size
        return FitResult(
            output=self._stopping.best_output[0, :, :height, :width].cpu().numpy().copy(),
            held_out_error=float(self._stopping.best_error) if self.blind else None,
            stop_iteration=int(self._stopping.best_iteration),
            iterations=last,
            held_out_curve=self._curve[:last],
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the fit is, as tensors and numbers: safe to load with ``torch.load(..., weights_only=True)``."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "average": self._average,
            "stopping": self._stopping.state_dict(),
            "curve": torch.tensor(self._curve, dtype=torch.float64),
            "stopped": self._stopped,
            "observers": [observer.state_dict() for observer in self._observers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a fit that was made with the same arguments."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._average = None if state["average"] is None else state["average"].to(self.device)
        self._stopping.load_state_dict(state["stopping"])
        self._curve = state["curve"].tolist()
        self._stopped = state["stopped"]
        for observer, kept in zip(self._observers, state["observers"], strict=True):
            observer.load_state_dict(kept)
