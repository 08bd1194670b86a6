"""What torch writes into the store, with the number of its format: checkpoints, and the weights that rounds begin from.

A checkpoint is the state of work that is not finished. It saves time and holds no result. So whatever is wrong with one, the work is begun anew: it is damaged, belongs to
another network, lacks something, or was written by a newer version. Begun anew, the work comes to the same result; and a
refusal, as for records of a newer format, would stop a run for want of a file that it does not need.

The weights that a chain's rounds begin from are a result. A newer format of theirs is refused.
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


class Work(Protocol):
    """What is done in iterations, and can be taken up again."""

    iteration: int

    def advance(self, iterations: int) -> float:
        """Do up to so many more; returns how far it has come."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that it is."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


def _without_number(saved: Saved) -> Saved:
    """Format 0: ``seconds`` and ``fit`` without a number."""
    return saved


_UPGRADES: tuple[Callable[[Saved], Saved], ...] = (_without_number,)
"""For each older format, from format 0 on, what makes the next of it; the present format is their number."""

_WEIGHTS_FORMAT = 1


def to_bytes(work: Work, seconds: float) -> bytes:
    """The state of work that has taken so many seconds, to be given to `take_up`."""
    file = io.BytesIO()
    torch.save({"format": len(_UPGRADES), "seconds": seconds, "fit": work.state_dict()}, file)
    return file.getvalue()


def take_up(work: Work, data: bytes) -> float:
    """Go on from a checkpoint with work that has just been made; without a usable one nothing is changed.

    Args:
        work: The work, with the arguments that it had when the checkpoint was written.
        data: The checkpoint.

    Returns:
        The seconds that the work had taken by then; 0.0 if it is begun anew.

    Raises:
        MemoryError: there is too little memory; so for torch.OutOfMemoryError.
    """
    fresh = copy.deepcopy(work.state_dict())
    try:
        saved = _read(data)
        seconds, state = float(saved["seconds"]), saved["fit"]
        network = getattr(work, "network", None)
        _check(state, fresh, list(fresh["logits"].values() if network is None else network.parameters()))
        work.load_state_dict(state)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        # Of many kinds, by what is wrong; some states are found out only when half of them has been loaded.
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
    """The weights of a network, on the CPU, to be given to `load_weights`."""
    file = io.BytesIO()
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    torch.save({"format": _WEIGHTS_FORMAT, "weights": weights}, file)
    return file.getvalue()


def load_weights(network: nn.Module, data: bytes, place: str) -> None:
    """Give a network the weights that were found at a place.

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
        # Of many kinds: the bytes are no weights, or not of this network.
        raise ValueError(str(error)) from None


def _weights_without_number(saved: Saved) -> Saved:
    """Format 0: the state of the network and nothing else."""
    return saved


def _check(state: Any, fresh: dict[str, Any], weights: Sequence[Tensor]) -> None:
    """Compare a state with that of the same work before its first iteration.

    Raises:
        ValueError: something is missing, too much, or of another type or shape.
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
            _check_moments(found["state"], weights if iteration else ())
        elif expected is not None:
            _check_same(found, expected, iteration, name)
        elif iteration:
            # The average of the outputs: there is none before the first iteration.
            _check_same(found, fresh["stopping"]["best_output"], iteration, name)


def _check_same(found: Any, expected: Any, iteration: int, name: str) -> None:
    if isinstance(expected, Tensor):
        # What is empty before the first iteration has one figure for each iteration.
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
    """Compare Adam's moments with what it fits, every part of which has some after the first iteration."""
    if not isinstance(state, Mapping) or set(state) != set(range(len(weights))):
        raise ValueError("the optimizer is of another network, or has come less far")
    for place, weight in enumerate(weights):
        like = {"step": torch.zeros(()), "exp_avg": weight, "exp_avg_sq": weight}
        _check_same(state[place], like, 0, f"optimizer.{place}")
