"""A recorder for CPUs: it records the operations of a step as a GPU would, and refuses what a GPU would refuse."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

REFUSED = {
    "_local_scalar_dense": "it asks the device for a value",
    "lift_fresh": "it copies numbers of Python's to the device",
    "nonzero": "the size of its result is a value of the device",
    "masked_select": "the size of its result is a value of the device",
}


class _Recording(TorchDispatchMode):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Sequence[Any], dict[str, Any], list[Tensor]]] = []
        self._generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        if name in REFUSED:
            raise RuntimeError(f"{name}: {REFUSED[name]}")
        if "normal" in name:
            drawn_from = kwargs.get("generator")
            if drawn_from is None or drawn_from.initial_seed() != self._generator.initial_seed():
                raise RuntimeError(f"{name}: another generator")
        results = func(*args, **kwargs)
        made = [each for each in tree_flatten(results)[0] if isinstance(each, Tensor)]
        self.operations.append((func, args, kwargs, made))
        return results


class Tape:
    """Records as `workers.recording.CudaRecorder` does. A recorded step has run once, other than on a GPU, so the
    first replay is left out.

    Attributes:
        replays: how often recorded steps were replayed.
        recorded: how many steps were recorded.
        queued: how often work was put beside that of others.
        waited: how often it was waited for.
    """

    def __init__(self, refuses: str | None = None) -> None:
        self.replays = self.recorded = self.queued = self.waited = 0
        self._refuses = refuses

    def beside(self) -> AbstractContextManager[None]:
        self.queued += 1
        return nullcontext()

    def wait(self) -> None:
        self.waited += 1

    def record(self, step: Callable[[], Tensor], generator: torch.Generator) -> tuple[Callable[[], None], Tensor]:
        if self._refuses is not None:
            raise RuntimeError(self._refuses)
        with _Recording(generator) as recording:
            values = step()
        self.recorded += 1
        fresh = True

        def replay() -> None:
            nonlocal fresh
            self.replays += 1
            if not fresh:
                for operation in recording.operations:
                    _repeat(*operation)
            fresh = False

        return replay, values


@torch.no_grad()
def _repeat(func: Any, args: Sequence[Any], kwargs: dict[str, Any], made: list[Tensor]) -> None:
    """Do an operation again, on the same tensors, and put its results where they were."""
    results = [each for each in tree_flatten(func(*args, **kwargs))[0] if isinstance(each, Tensor)]
    for place, result in zip(made, results, strict=True):
        if place.data_ptr() != result.data_ptr():
            place.copy_(result)
