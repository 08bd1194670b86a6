"""The last iterations of a fit, which see every pixel.

A fit hides some pixels from its loss: they decide when it stops (`workers.fitting`). Then nothing is left for them to
decide. So the fit goes on from its state at the stop for a share of the iterations that it took to come there, now with
all pixels in its loss. The running average of its outputs goes on, too: it keeps the part that is not overfitted.

Nothing can judge this part, since no pixel is left that the fit has not seen. So its length is a share that is settled
beforehand, and every estimate of error is that of the output at the stop. `python -m benchmarks.reveal` measures what
it gains (docs/results.md).
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from workers.averaging import RunningAverage
from workers.descent import descend
from workers.networks import Network
from workers.objective import Objective
from workers.precision import Precision
from workers.recording import Recorder, Steps


class StateAtStop:
    """The weights, and Adam's moments, of the best iteration so far, as one vector.

    They are copied whenever an iteration is the best. Asking the device whether it is would stop a GPU's queue, so
    there the copy is a choice element by element.

    Args:
        network: the network of the fit.
        asks: whether the device is asked, which on a CPU saves the copies.
    """

    def __init__(self, network: Network, *, asks: bool) -> None:
        self._asks = asks
        fitted = network.fitted()
        size = sum(parameter.numel() for parameter in fitted)
        self._kept = torch.zeros(3 * size, device=fitted[0].device)

    @torch.no_grad()
    def take(self, network: Network, optimizer: Optimizer, when: Tensor) -> None:
        """Take the present state if ``when`` (a boolean scalar) is true."""
        if not self._asks:
            torch.where(when, torch.cat(_parts(network, optimizer)), self._kept, out=self._kept)
        elif when:
            torch.cat(_parts(network, optimizer), out=self._kept)

    @torch.no_grad()
    def put_back(self, network: Network, optimizer: Optimizer, iteration: int) -> None:
        """Set network and optimiser to the state that was taken, at this iteration."""
        parameters = network.fitted()
        parts = torch.split(self._kept, [parameter.numel() for parameter in parameters] * 3)
        count = len(parameters)
        since = float(optimizer.state[parameters[0]]["step"]) - iteration
        for place, parameter in enumerate(parameters):
            # A parameter that is not fitted yet has no moments.
            state = optimizer.state.get(parameter, {})
            moments = [parameter, *([state["exp_avg"], state["exp_avg_sq"]] if state else [])]
            for number, tensor in enumerate(moments):
                tensor.copy_(parts[number * count + place].view_as(tensor))
            if state:
                # What is fitted from a later iteration on has had fewer steps.
                state["step"].sub_(since).clamp_(min=0)

    def state_dict(self) -> dict[str, Tensor]:
        """The state that was taken."""
        return {"state": self._kept}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`."""
        self._kept.copy_(state["state"])


def _parts(network: Network, optimizer: Optimizer) -> list[Tensor]:
    parameters = network.fitted()
    states = [optimizer.state.get(parameter) for parameter in parameters]
    moments = [
        torch.zeros_like(parameter) if state is None else state[name]
        for name in ("exp_avg", "exp_avg_sq")
        for parameter, state in zip(parameters, states, strict=True)
    ]
    return [tensor.reshape(-1) for tensor in (*parameters, *moments)]


@dataclass(frozen=True)
class Beginning:
    """What a reveal begins with.

    Attributes:
        average: of the outputs (1, C, H, W) up to the stop, padded; it goes on.
        stop: the iteration of the stop, counted from 1.
        share: the share of ``stop`` that is to come, in (0, 1].
        precision: that of the fit.
        operations: makes the context in which everything on the device is computed.
        recorder: records the steps, or None.
    """

    average: RunningAverage
    stop: int
    share: float
    precision: Precision
    operations: Callable[[], AbstractContextManager[None]]
    recorder: Recorder | None


class Reveal:
    """A fit that goes on with all pixels. Like a fit, it advances in blocks and resumes from its `state_dict`.

    Args:
        network: in its state at the stop; it is fitted in place.
        optimizer: likewise.
        objective: hides no pixel.
        beginning: what the fit has come to.

    Attributes:
        iteration: how many iterations it has had.
        iterations: how many it takes in all, at least one.
    """

    def __init__(self, network: Network, optimizer: Optimizer, objective: Objective, beginning: Beginning) -> None:
        self.network, self._optimizer, self._objective, self._beginning = network, optimizer, objective, beginning
        self.iteration = 0
        self.iterations = max(1, math.ceil(beginning.share * beginning.stop))
        self._average = beginning.average
        self.steps = Steps(objective, beginning.recorder)

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.iterations

    def advance(self, iterations: int) -> float:
        """Run up to ``iterations`` more; returns the error of the averaged output on all known pixels.

        It is not a finite number where the fit has diverged.
        """
        return self.launch(iterations)()

    def launch(self, iterations: int) -> Callable[[], float]:
        """Begin what `advance` does, and let a GPU do it; the function that is returned waits for it and ends it."""
        iterations = min(iterations, self.iterations - self.iteration)
        with self._beginning.operations():
            self.steps.run(self._step, iterations)
        self.iteration += iterations
        return self._settle

    def _settle(self) -> float:
        self.steps.wait()
        with self._beginning.operations():
            return float(self._objective.held_out_error(self._average.value))

    def _step(self) -> Tensor:
        """One iteration; the value that it leaves is the average's count."""
        self._average.update(descend(self.network, self._optimizer, self._objective, self._beginning.precision))
        return self._average.count

    def output(self) -> NDArray[np.float32] | None:
        """The averaged output (C, H, W); None where the fit has diverged."""
        height, width = self._objective.inside
        output: NDArray[np.float32] = self._average.value[0, :, :height, :width].cpu().numpy().copy()
        return output if np.isfinite(output).all() else None

    def state_dict(self) -> dict[str, Any]:
        """Everything the reveal is, as tensors and numbers: safe to load with ``weights_only=True``."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._objective.state_dict(),
            "average": self._average.value,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a reveal that was made with the same arguments."""
        self.iteration = state["iteration"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._objective.load_state_dict(state["generator"])
        self._average.go_on(state["average"], self._beginning.stop + self.iteration)
        self.steps.forget()
