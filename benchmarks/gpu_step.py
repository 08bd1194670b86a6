"""A fit whose step makes nothing anew, so that a CUDA graph can record it once and replay it.

`workers.fitting.Fit` starts every operation from Python, and replaces old tensors by new ones. `StaticFit` computes the
same, but everything that outlives a step is updated in place, and the iteration is counted on the device. A recorded
step needs one call of the driver, where an ordinary one needs hundreds.

Words describe how a fit is run. One of these comes first:

- ``plain``: the loop of the research code, `benchmarks.fit.plain_loop`;
- ``ours``: `workers.fitting.Fit`;
- ``static``: `StaticFit`, started from Python at every step;
- ``graph``: `StaticFit`, recorded and replayed;

and any of these follow:

- ``fp32``: convolutions without TF32, which PyTorch uses by default;
- ``bf16``: autocast to bfloat16 (static and graph);
- ``tuned``: cuDNN tries its algorithms at the first step, and keeps the fastest (`torch.backends.cudnn.benchmark`);
- ``contiguous``: memory in PyTorch's own order instead of channels last (static and graph);
- ``unwatched``: no average, no held-out error, no stopping rule (static and graph);
- ``deterministic``: as with the setting `fit.deterministic` (not plain);
- ``unfilled``: PyTorch does not fill new memory with NaN, which it does while operations must be deterministic;
- ``compiled``: the network goes through `torch.compile` first (static and graph).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor

from benchmarks.fit import measurement, our_fit, picture, plain_loop
from workers.deterministic import deterministic_operations
from workers.fitting import FitSettings
from workers.networks import Network, prior_of
from workers.objective import Measurement, Objective
from workers.operators import Identity
from workers.seeds import generator_of
from workers.stopping import Patience, RunningVariance

WARM_UP = 3
"""Steps before one is recorded: the optimizer makes its state in the first, and libraries choose their algorithms."""
NEVER = 10**9


class InPlacePatience(Patience):
    """The rule of `workers.stopping`, in the same tensors all the time."""

    def update(self, iteration: Tensor, criterion: Tensor, output: Tensor) -> None:
        """Take in the criterion and the output of ``iteration``, a scalar on the device."""
        kept = self.state_dict()
        super().update(iteration, criterion, output)
        for name, tensor in kept.items():
            setattr(self, name, tensor.copy_(getattr(self, name)))


class InPlaceVariance(RunningVariance):
    """The outputs' moving variance, in the same tensors all the time; it takes the iteration instead of counting."""

    def update_at(self, iteration: Tensor, output: Tensor) -> Tensor:
        """Take in the output of ``iteration``; returns the variance, infinity while it warms up."""
        first = iteration == 1
        deviation = output - self._mean
        grown = (1 - self.alpha) * (self._variance + self.alpha * deviation.square().mean())
        self._variance.copy_(torch.where(first, 0.0, grown))
        self._mean.add_(deviation * torch.where(first, 1.0, self.alpha))
        return torch.where(iteration > self._warm_up, self._variance, torch.inf)


class StaticFit:
    """One network being fitted to one image, in place.

    Attributes:
        average: the averaged output.
        iteration: how many there have been, on the device.
        stopping: the rule that watches the held-out pixels.
        curve: the error on them after each iteration, zeros beyond the last.
    """

    def __init__(
        self,
        network: Network,
        measured: Measurement,
        words: set[str],
        *,
        device: str,
        seed: int = 0,
        patience: int = NEVER,
        iterations: int = 4000,
    ) -> None:
        self._words = words
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        layout = torch.contiguous_format if "contiguous" in words else torch.channels_last
        self._network = network.to(self._device).to(memory_format=layout)
        self._parameters = list(self._network.parameters())
        settings = FitSettings()
        self._past = settings.average
        self._objective = Objective(
            network, measured, Identity(), input_noise=settings.input_noise, seed=seed, device=device
        )
        self._optimizer = torch.optim.Adam(
            self._parameters, lr=settings.learning_rate, fused=True, capturable=self._on_gpu
        )
        if "compiled" in words:
            self._network = torch.compile(self._network, dynamic=False)
        self.average = torch.zeros(self._objective.size, device=device)
        self.iteration = torch.zeros((), dtype=torch.int64, device=device)
        self._variance = InPlaceVariance(self.average)
        self.stopping = InPlacePatience(patience, self.average)
        self._steady = InPlacePatience(NEVER, self.average)
        self.curve = torch.zeros(iterations, device=device)
        self._places = torch.arange(1, iterations + 1, device=device)
        self.generator = self._objective._generator
        self._graph: torch.cuda.CUDAGraph | None = None

    def step(self) -> None:
        """One iteration, started from Python."""
        with ExitStack() as stack:
            if "deterministic" in self._words:
                stack.enter_context(deterministic_operations())
            self._iterate()

    def _iterate(self) -> None:
        with self._precision():
            output = self._network(self._objective.input())
        output = output.float()
        loss = self._objective.loss(output)
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        if "unwatched" not in self._words:
            self._watch(output.detach())

    def _precision(self) -> AbstractContextManager[None]:
        # Casts are not cached between steps: a recorded one would otherwise read an earlier step's cast.
        return torch.autocast(self._device.type, torch.bfloat16, enabled="bf16" in self._words, cache_enabled=False)

    @torch.no_grad()
    def _watch(self, output: Tensor) -> None:
        self.iteration += 1
        # In double precision, so that the weight is that of `Fit` to the bit.
        self.average.lerp_(output, ((1 - self._past) / (1 - self._past ** self.iteration.double())).float())
        error = self._objective.held_out_error(self.average)
        self.curve.copy_(torch.where(self._places == self.iteration, error, self.curve))
        variance = self._variance.update_at(self.iteration, output)
        self._steady.update(self.iteration, variance.masked_fill(self.stopping.stopped, torch.inf), self.average)
        self.stopping.update(self.iteration, error, self.average)

    def warm_up(self) -> None:
        """The first steps, on a stream of their own, as recording requires."""
        if not self._on_gpu:
            self._steps(WARM_UP)
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._steps(WARM_UP)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()

    def record(self) -> "StaticFit":
        """Warm up and record a step; on a CPU there is nothing to record, and steps go on from Python."""
        self.warm_up()
        if self._on_gpu:
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph):
                self.step()
            self._graph = graph
        return self

    def advance(self, iterations: int) -> None:
        """Run ``iterations`` steps; the device may still be at work when this returns."""
        if self._graph is None:
            self._steps(iterations)
        else:
            for _ in range(iterations):
                self._graph.replay()

    def _steps(self, iterations: int) -> None:
        for _ in range(iterations):
            self.step()


def static_fit(prior: str, side: int, width: int, device: str, words: set[str]) -> StaticFit:
    """A `StaticFit` of the picture that all are timed on; not recorded yet."""
    network = prior_of(prior).build(3, width, input_channels=3, generator=generator_of("benchmark"))
    return StaticFit(network, measurement(picture(side)), words, device=device)


def runner(prior: str, side: int, width: int, device: str, how: str) -> Callable[[int], None]:
    """A function that runs so many iterations in the way that ``how`` says; PyTorch's
    switches stay as it wants them.
    """
    kind, *rest = how.split()
    words = set(rest)
    set_switches(words)
    if kind == "plain":
        return plain_loop(prior, side, width, device)
    if kind == "ours":
        return our_fit(prior, side, width, device, deterministic="deterministic" in words)
    fit = static_fit(prior, side, width, device, words)
    return (fit.record() if kind == "graph" else fit).advance


def set_switches(words: set[str]) -> None:
    """Set PyTorch's switches; what is recorded with them stays as it is."""
    torch.backends.cudnn.allow_tf32 = "fp32" not in words
    torch.backends.cudnn.benchmark = "tuned" in words
    torch.utils.deterministic.fill_uninitialized_memory = "unfilled" not in words
