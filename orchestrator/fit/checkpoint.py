"""Files of torch in the store, with a format number: checkpoints, and the weights that rounds begin from.

A checkpoint is the state of unfinished work. It saves time and holds no result. So if anything is wrong with it, the
work begins again: the checkpoint may be damaged, belong to another network, lack something, or come from a newer
version. The work then comes to the same result. Records of a newer format are refused, but refusing a checkpoint would
stop a run because of a file that it does not need.

The weights that a chain's rounds begin from are a result. Their newer formats are refused.
"""

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from orchestrator.errors import NewerFormatError
from orchestrator.run.formats import check_format

Saved = dict[str, Any]


class Resumable(Protocol):
    """Work that is done in iterations and can be resumed from its state."""

    iteration: int

    def launch(self, iterations: int) -> Callable[[], float]:
        """Begin at most so many more iterations; the function that is returned ends them and returns the error that
        progress reports show."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state."""


def _without_number(saved: Saved) -> Saved:
    """Upgrade format 0, which has ``seconds`` and ``fit`` without a number."""
    return saved


def _without_state_at_stop(saved: Saved) -> Saved:
    """Upgrade format 1, whose fits do not keep their state at the stop: they hide pixels to the end."""
    fit = saved["fit"]
    return {**saved, "fit": {"at_stop": {}, **fit} if "stopping" in fit else fit}


def _without_best(saved: Saved) -> Saved:
    """Upgrade format 2, whose networks give one output each."""
    fit = saved["fit"]
    return {**saved, "fit": {"best": torch.zeros(1, dtype=torch.int64), **fit} if "stopping" in fit else fit}


_UPGRADES: tuple[Callable[[Saved], Saved], ...] = (_without_number, _without_state_at_stop, _without_best)
"""Functions that upgrade each older format to the next, from format 0 on; the current format is the number of them."""

_WEIGHTS_FORMAT = 1


def to_bytes(work: Resumable, seconds: float) -> bytes:
    """Serialise the state of work that has taken so many seconds; `take_up` reads it."""
    file = io.BytesIO()
    torch.save({"format": len(_UPGRADES), "seconds": seconds, "fit": work.state_dict()}, file)
    return file.getvalue()


def take_up(work: Resumable, data: bytes) -> float:
    """Resume work, which has just been made, from a checkpoint; an unusable checkpoint changes nothing.

    Args:
        work: The work, with the arguments that it had when the checkpoint was written.
        data: The checkpoint.

    Returns:
        The seconds that the work had taken until then; 0.0 if it begins again.

    Raises:
        MemoryError, torch.OutOfMemoryError: there is too little memory.
    """
    fresh = copy.deepcopy(work.state_dict())
    try:
        saved = _read(data)
        seconds, state = float(saved["seconds"]), saved["fit"]
        network = getattr(work, "network", None)
        outputs = 1 if network is None else network.members
        _check(state, fresh, list(fresh["logits"].values()) if network is None else network.fitted(), outputs)
        work.load_state_dict(state)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        # Errors of many kinds arrive here. Some states turn out to be wrong only after half of them has been loaded.
        work.load_state_dict(fresh)
        return 0.0
    return seconds


def _read(data: bytes) -> Saved:
    saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    number = saved.get("format", 0)
    if type(number) is not int or not 0 <= number <= len(_UPGRADES):
        raise ValueError(f"a checkpoint of format {number!r}")
    for upgrade in _UPGRADES[number:]:
        saved = upgrade(saved)
    return dict(saved)


def weights_to_bytes(network: nn.Module) -> bytes:
    """Serialise the weights of a network, on the CPU; `load_weights` reads them."""
    file = io.BytesIO()
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    torch.save({"format": _WEIGHTS_FORMAT, "weights": weights}, file)
    return file.getvalue()


def load_weights(network: nn.Module, data: bytes, place: str) -> None:
    """Load weights into a network; ``place`` says for messages where they were found.

    Raises:
        NewerFormatError: a newer version has written them.
        ValueError: these are no weights, or not of this network.
    """
    try:
        saved: Saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        number = check_format(saved.get("format", 0), _WEIGHTS_FORMAT, f"the weights {place}")
        network.load_state_dict(_weights_without_number(saved) if number == 0 else saved["weights"])
    except NewerFormatError:
        raise
    except Exception as error:
        # Errors of many kinds arrive here: the bytes are no weights, or not of this network.
        raise ValueError(str(error)) from None


def _weights_without_number(saved: Saved) -> Saved:
    """Return the weights in format 0, which is the state of the network and nothing else."""
    return saved


def _check(state: Any, fresh: dict[str, Any], weights: Sequence[Tensor], outputs: int) -> None:
    """Compare a state with the state of the same work before its first iteration.

    Raises:
        ValueError: a part is missing, superfluous, or of another type or shape.
    """
    if not isinstance(state, dict) or state.keys() != fresh.keys():
        raise ValueError("the state has other parts")
    iteration = state["iteration"]
    if type(iteration) is not int or iteration < 0:
        raise ValueError("the state does not say how far it has come")
    for name, expected in fresh.items():
        found = state[name]
        if name == "optimizer":
            _check_same(found["param_groups"], expected["param_groups"], iteration, name)
            # What goes on from a fit has moments from the start.
            _check_moments(found["state"], weights if iteration or expected["state"] else ())
        elif expected is not None:
            _check_same(found, expected, iteration, name)
        elif iteration:
            # This is the average of the outputs, which does not exist before the first iteration.
            _check_same(found[:1], fresh["stopping"]["best_output"], iteration, name)
            if len(found) not in (1, outputs):
                raise ValueError(f"{name} has another shape")


def _check_same(found: Any, expected: Any, iteration: int, name: str) -> None:
    if isinstance(expected, Tensor):
        # A tensor that is empty before the first iteration has one value for each iteration.
        shape = (iteration,) if expected.shape == (0,) else expected.shape
        if not isinstance(found, Tensor) or found.shape != shape or found.dtype != expected.dtype:
            raise ValueError(f"{name} has another type or shape")
    elif isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or found.keys() != expected.keys():
            raise ValueError(f"{name} has other parts")
        for key, each in expected.items():
            _check_same(found[key], each, iteration, f"{name}.{key}")
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        if not isinstance(found, Sequence) or len(found) != len(expected):
            raise ValueError(f"{name} has another length")
        for place, each in enumerate(expected):
            _check_same(found[place], each, iteration, f"{name}.{place}")
    elif type(found) is not type(expected):
        raise ValueError(f"{name} has another type")


def _check_moments(state: Any, weights: Sequence[Tensor]) -> None:
    """Compare Adam's moments with the weights that it fits: after the first iteration every weight has moments, but for
    those that come later, which a generator's do."""
    first = sum(weight.requires_grad for weight in weights)
    there = len(state) if isinstance(state, Mapping) else -1
    if there not in (first, len(weights)) or set(state) != set(range(there)):
        raise ValueError("the optimizer is of another network, or has come less far")
    for place, weight in enumerate(weights[:there]):
        like = {"step": torch.zeros(()), "exp_avg": weight, "exp_avg_sq": weight}
        _check_same(state[place], like, 0, f"optimizer.{place}")
