"""Fitting a deep image prior to one degraded image (arXiv 1711.10925), stopped blind.

An untrained network turns a fixed noise input into an image; Adam fits that image, seen through the degradation, to the
measurement. At every step fresh noise is added to the input, and an exponential average of the outputs
(`workers.averaging`) is the restored image. The network learns structure before it learns noise, so it must be stopped
in time: see `workers.stopping`.

The stopping rule of the settings ends a fit. Then the pixels that were hidden for it are of use, too: `Fit.reveal` goes
on with all of them (`workers.reveal`). Every fit also keeps the output at the least moving variance of its
outputs. That output is used where noise turns out to be correlated and held-out pixels mislead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.averaging import RunningAverage
from workers.correlation import residual_correlation
from workers.descent import descend
from workers.deterministic import deterministic_operations
from workers.fit_result import FitResult
from workers.networks import Network
from workers.networks.layers import prepare
from workers.networks.steps import Step, usual_step
from workers.noise import held_out_estimate, measured_weights
from workers.objective import Measurement, Objective
from workers.operators import Operator
from workers.optimiser import adam_of_groups
from workers.precision import Precision, convolutions_in
from workers.quality import Observer
from workers.recording import CudaRecorder, Recorder, Steps
from workers.reveal import Beginning, Reveal, StateAtStop
from workers.stopping import RULES, Patience


class FitDivergedError(RuntimeError):
    """The loss is no longer a finite number; the fit has no result."""


@dataclass(frozen=True)
class FitSettings:
    """The settings of one fit.

    Attributes:
        iterations: the most iterations (DIP: 3,000 for denoising).
        patience: the fit stops after this many iterations without a lower criterion of the stopping rule.
        stopping: the name of the stopping rule, one of `workers.stopping.RULES`.
        learning_rate: of Adam.
        input_noise: standard deviation of the noise added to the input at every step.
        average: weight of the past in the exponential average of the outputs, in [0, 1).
        debias: whether the average gives every output the weight that its age has; False lets it begin at the first
            output, as the papers' code does.
        neighbours_only: whether noise is taken for correlated by its nearest neighbours alone, as earlier versions did;
            see `workers.correlation.residual_correlation`.
        reveal: the share of the iterations up to the stop for which `Fit.reveal` goes on with all pixels, in [0, 1]; 0
            for none.
        deterministic: use only operations that add in a fixed order; see `workers.deterministic`. CPU fits do not need
            it.
        step: the way to compute the steps; all agree to rounding. None takes the usual one of the device.
        precision: the numbers in which the network is computed.
    """

    iterations: int = 3000
    patience: int = 300
    stopping: str = "held-out"
    learning_rate: float = 0.01
    input_noise: float = 1 / 30
    average: float = 0.99
    debias: bool = True
    neighbours_only: bool = False
    reveal: float = 0.25
    deterministic: bool = False
    step: Step | None = None
    precision: Precision = Precision.TF32


class Fit:
    """One network being fitted to one image, advanced in blocks of iterations.

    Inside a block nothing waits for the device: losses, averages, counters and the stopping rules stay there, and
    change in place, so that a GPU can record a step and replay it (`workers.recording`). A `state_dict` between blocks
    holds everything; a fit that loads it continues exactly as the first would have (bit for bit on a CPU with the same
    number of threads, and with ``deterministic`` on an equal GPU).

    Args:
        network: it is fitted in place.
        measurement: what the fit may see.
        operator: how the image was measured.
        settings: see there.
        seed: of the noise.
        device: where everything is computed.
        observers: they look at every averaged output.
        recorder: records the steps; None takes the device's own if ``settings.step`` says so.

    Attributes:
        iteration: how many iterations the device has been given.
        steps: what runs them.
    """

    def __init__(
        self,
        network: Network,
        measurement: Measurement,
        operator: Operator,
        settings: FitSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        observers: Sequence[Observer] = (),
        recorder: Recorder | None = None,
    ) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.iteration = 0
        self._operator, self._seed = operator, seed
        self._observers = observers
        self._objective = Objective(
            network, measurement, operator, input_noise=settings.input_noise, seed=seed, device=device
        )
        self.blind = bool(measurement.held_out.any())
        self.network = network.to(self.device)
        step = settings.step or usual_step(self.device.type)
        prepare(self.network, step)
        self._optimizer = adam_of_groups(self.network.rates(settings.learning_rate))
        if recorder is None and step is Step.GRAPH and self.device.type == "cuda":
            recorder = CudaRecorder(self.device)
        self._recorder = recorder
        self.steps = Steps(self._objective, recorder)
        image = torch.zeros(self._objective.size, device=self.device)
        self._average = RunningAverage(self._outputs(image), settings.average, debias=settings.debias)
        # The number of the output that was the best, of a network that gives several side by side.
        self._best = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._rule = RULES[settings.stopping]
        self._variance = self._rule.variance(image)
        self._stopping = Patience(settings.patience, image, begins=self.network.turn or 0)
        self._steady = Patience(settings.iterations, image)
        # Only where hidden pixels stop the fit they have nothing left to decide afterwards.
        reveals = settings.reveal and self.blind and settings.stopping == "held-out"
        asks = recorder is None and self.device.type == "cpu"
        self._at_stop = StateAtStop(self.network, asks=asks) if reveals else None
        self._curve: list[float] = []
        self._stopped = False

    @property
    def finished(self) -> bool:
        """Whether the stopping rule or the number of iterations has ended the fit."""
        return self._stopped or self.iteration >= self.settings.iterations

    def advance(self, iterations: int) -> float:
        """Run up to ``iterations`` more; returns the held-out error at the best iteration so far.

        Raises:
            FitDivergedError: the error is not a finite number.
        """
        return self.launch(iterations)()

    def launch(self, iterations: int) -> Callable[[], float]:
        """Begin what `advance` does, and let a GPU do it; the function that is returned waits for it and ends it."""
        turn, iterations = self.network.turn, min(iterations, self.settings.iterations - self.iteration)
        if turn is not None and self.iteration < turn:
            iterations = min(iterations, turn - self.iteration)
        elif turn == self.iteration:
            self._choose()
        with self._operations():
            figures = self.steps.run(self._step, iterations)
        self.iteration += iterations
        return partial(self._settle, figures)

    def _settle(self, figures: Sequence[Tensor]) -> float:
        self.steps.wait()
        errors, *observed = torch.stack(list(figures)).unbind(1)
        self._curve += errors.tolist()
        for observer, values in zip(self._observers, observed, strict=True):
            observer.keep(values)
        self._stopped = bool(self._stopping.stopped)
        # Iterations of a block after the rule has stopped are no part of the fit.
        if not np.isfinite(self._curve[: self._length]).all():
            raise FitDivergedError(f"the held-out error was no longer finite within iteration {self.iteration}")
        return self._curve[self._best_iteration - 1]

    @contextmanager
    def _operations(self) -> Iterator[None]:
        """The context in which everything on the device is computed."""
        fixed = deterministic_operations() if self.settings.deterministic else nullcontext()
        with convolutions_in(self.settings.precision), fixed:
            yield

    @property
    def _length(self) -> int:
        """Iterations that belong to the fit: up to where the rule stopped."""
        begun = max(self._best_iteration, self._stopping.begins)
        return begun + self.settings.patience if self._stopped else self.iteration

    @property
    def _best_iteration(self) -> int:
        """The iteration where the stopping rule's criterion was least; the last one while there is none."""
        return int(self._stopping.best_iteration) or self.iteration

    def _step(self) -> Tensor:
        """One iteration; returns the held-out error and the observers' figures. It is the same work every time."""
        output = descend(self.network, self._optimizer, self._objective, self.settings.precision)
        with torch.no_grad():
            self._average.update(output)
            count = self._average.count
            number, error, average = self._objective.judged(self._average.value)
            variance = self._variance.update(output if number is None else output.index_select(0, number))
            # Iterations of a block after the rule has stopped are no part of the fit.
            self._steady.update(count, variance.masked_fill(self._stopping.stopped, torch.inf), average)
            self._stopping.update(count, self._rule.criterion(error, variance), average)
            is_best = self._stopping.best_iteration == count
            if number is not None:
                self._best.copy_(torch.where(is_best, number, self._best))
            if self._at_stop is not None:
                self._at_stop.take(self.network, self._optimizer, is_best)
            return torch.stack([error, *(observer(average) for observer in self._observers)])

    def _outputs(self, image: Tensor) -> Tensor:
        """As many of an image (1, C, H, W) as the network gives."""
        return image.expand(self.network.members, *image.shape[1:]).clone()

    def _choose(self) -> None:
        """Go on with the best of several outputs alone."""
        chosen = self._average.value
        if self.network.members > 1:
            chosen = chosen.index_select(0, self._best)
        self.network.choose(self._best)
        self._average = RunningAverage(chosen, self.settings.average, debias=self.settings.debias)
        self._average.go_on(chosen, self.iteration)
        self.steps.forget()

    def reveal(self) -> Reveal | None:
        """The iterations with all pixels that follow the stop; None where hidden pixels did not stop the fit, or the
        settings want none.

        They are those of the network of this fit, which is set to its state at the stop. So nothing of the fit but its
        `result` may be used afterwards.
        """
        stop = int(self._stopping.best_iteration)
        if self._at_stop is None or not stop:
            return None
        self._at_stop.put_back(self.network, self._optimizer, stop)
        self._choose()
        hidden = self._objective.measurement
        everything = replace(hidden, held_out=np.zeros_like(hidden.held_out))
        self._average.go_on(self._stopping.best_output, stop)
        beginning = Beginning(
            self._average,
            stop,
            self.settings.reveal,
            precision=self.settings.precision,
            operations=self._operations,
            recorder=self._recorder,
        )
        objective = Objective(
            self.network,
            everything,
            self._operator,
            input_noise=self.settings.input_noise,
            seed=self._seed,
            device=self.device,
        )
        return Reveal(self.network, self._optimizer, objective, beginning)

    def result(self) -> FitResult:
        """The result so far. The curve ends where the stopping rule did."""
        last, stop = self._length, self._best_iteration
        output, padded = self._at_best(self._stopping)
        steady_output, steady_padded = self._at_best(self._steady) if self._steady.best_iteration else (output, padded)
        measured = self._objective.measurement
        held_out = held_out_estimate(self._seen(padded), measured.pixels, measured.held_out)
        error = None if held_out is None or not np.isfinite(held_out.standard_error) else held_out.standard_error
        return FitResult(
            output=output,
            held_out_error=self._curve[stop - 1] if self.blind else None,
            held_out_standard_error=error,
            stop_iteration=stop,
            iterations=last,
            held_out_curve=self._curve[:last],
            steady_output=steady_output,
            steady_iteration=int(self._steady.best_iteration) or stop,
            residual_correlation=residual_correlation(
                measured.pixels - self._seen(steady_padded),
                measured_weights(measured.pixels, measured.known),
                neighbours_only=self.settings.neighbours_only,
            ),
        )

    def _at_best(self, rule: Patience) -> tuple[NDArray[np.float32], Tensor]:
        """The output where the rule's value was least, at the image's size and as the network gave it."""
        padded = rule.best_output if rule.best_iteration else self._objective.judged(self._average.value)[2]
        height, width = self._objective.inside
        return padded[0, :, :height, :width].cpu().numpy().copy(), padded

    @torch.no_grad()
    def _seen(self, padded: Tensor) -> NDArray[np.float32]:
        """An output as it would have been measured: (C, h, w)."""
        with self._operations():
            return self._objective.seen(padded)

    def state_dict(self) -> dict[str, Any]:
        """Everything the fit is, as tensors and numbers: safe to load with ``torch.load(..., weights_only=True)``."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._objective.state_dict(),
            "average": self._average.value if self.iteration else None,
            "best": self._best,
            "stopping": self._stopping.state_dict(),
            "steady": self._steady.state_dict(),
            "variance": self._variance.state_dict(),
            "at_stop": {} if self._at_stop is None else self._at_stop.state_dict(),
            "curve": torch.tensor(self._curve, dtype=torch.float64),
            "stopped": self._stopped,
            "observers": [observer.state_dict() for observer in self._observers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a fit that was made with the same arguments."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._objective.load_state_dict(state["generator"])
        self._best.copy_(state["best"])
        if self.network.turn is not None and self.iteration > self.network.turn:
            self._choose()
        average = torch.zeros_like(self._average.value) if state["average"] is None else state["average"]
        self._average.go_on(average, self.iteration)
        self.steps.forget()
        self._stopping.load_state_dict(state["stopping"])
        self._steady.load_state_dict(state["steady"])
        self._variance.load_state_dict(state["variance"])
        if self._at_stop is not None:
            self._at_stop.load_state_dict(state["at_stop"])
        self._curve = state["curve"].tolist()
        self._stopped = state["stopped"]
        for observer, kept in zip(self._observers, state["observers"], strict=True):
            observer.load_state_dict(kept)
