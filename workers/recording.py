"""Steps that a GPU records once and replays: one call instead of hundreds, and beside the steps of other fits.

Small networks leave a GPU waiting for Python, which starts every operation of a step by itself. A recorded step is
started by one call. This asks of the step that it is always the same work on the same memory: everything that outlives
it changes in place, what changes from one to the next is on the device, and the device is never asked for a value.
(NVIDIA, CUDA Programming Guide, "CUDA Graphs"; PyTorch, "CUDA semantics".)
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from workers.objective import Objective

WARM_UP = 3
"""Steps before one is recorded: the optimiser makes its state in the first, and libraries choose their algorithms."""


class Recorder(Protocol):
    """Records steps. Only GPUs do; tests have one for CPUs."""

    def beside(self) -> AbstractContextManager[object]:
        """Inside, work goes to a queue of its own on the device, which others do not wait for."""

    def wait(self) -> None:
        """Wait for all work of that queue."""

    def record(self, step: Callable[[], Tensor], generator: torch.Generator) -> tuple[Callable[[], None], Tensor]:
        """Record a step, without doing it.

        Args:
            step: draws its random numbers from ``generator`` alone.
            generator: goes on with every replay.

        Returns:
            A function that does the step, and the tensor in which every step leaves its values.

        Raises:
            RuntimeError: the step cannot be recorded.
        """


class CudaRecorder:
    """Records steps as CUDA graphs, in a CUDA stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def beside(self) -> Iterator[None]:
        """See `Recorder.beside`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def wait(self) -> None:
        """See `Recorder.wait`."""
        self._stream.synchronize()

    def record(self, step: Callable[[], Tensor], generator: torch.Generator) -> tuple[Callable[[], None], Tensor]:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            values = step()
        return graph.replay, values


class Steps:
    """The steps of a fit: started from Python, or recorded after the first few and replayed.

    Where recording fails, they go on from Python.

    Args:
        objective: the only source of the steps' random numbers.
        recorder: records the step; None starts all from Python.

    Attributes:
        failure: why the step could not be recorded; None if it could, or nobody tried.
    """

    def __init__(self, objective: Objective, recorder: Recorder | None) -> None:
        self._objective, self._recorder = objective, recorder
        self._recorded: tuple[Callable[[], None], Tensor] | None = None
        self._done = 0
        self.failure: str | None = None

    def run(self, step: Callable[[], Tensor], times: int) -> list[Tensor]:
        """Put a step, always the same, into the device's queue so many times.

        It is not kept: what it belongs to would have a part that refers back to it, and would leave its memory to the
        garbage collector.

        Args:
            step: one iteration; returns a tensor of values to keep.
            times: how often.

        Returns:
            The values of each time.
        """
        with nullcontext() if self._recorder is None else self._recorder.beside():
            try:
                return [self._next(step) for _ in range(times)]
            except BaseException:
                # What is queued would write to memory that others are given once this fit is gone.
                self.wait()
                raise

    def wait(self) -> None:
        """Wait until the device has done them."""
        if self._recorder is not None:
            self._recorder.wait()

    def forget(self) -> None:
        """Forget the recorded step, which holds its memory: the tensors that it changes are replaced by others."""
        self._recorded, self._done = None, 0

    def _next(self, step: Callable[[], Tensor]) -> Tensor:
        if self._recorder is not None and self._recorded is None and self._done == WARM_UP and self.failure is None:
            self._record(step, self._recorder)
        if self._recorded is not None:
            replay, values = self._recorded
            replay()
            # The next step writes to the same memory.
            return values.clone()
        self._done = min(self._done + 1, WARM_UP)
        return step()

    def _record(self, step: Callable[[], Tensor], recorder: Recorder) -> None:
        noise = self._objective.state_dict()
        try:
            self._recorded = recorder.record(step, self._objective.generator)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # A recording that failed did nothing, but may have left its mark on the generator.
            self.failure = str(error)
            self._objective.renew_generator(noise)
