"""The optimiser of fits and of learnt masks."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor


class _Adam(torch.optim.Adam):
    """PyTorch's, without the wrapper of its step that imports the compiler."""

    step = torch.no_grad()(getattr(torch.optim.Adam.step, "__wrapped__", torch.optim.Adam.step))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. Whether a GPU can record a step is said by this machine, not by the one before."""
        capturable = self.defaults["capturable"]
        super().load_state_dict(state)
        for group in self.param_groups:
            group["capturable"] = capturable


def adam(parameters: Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Make `adam_of_groups` with one learning rate."""
    return adam_of_groups([(list(parameters), learning_rate)])


def adam_of_groups(groups: Sequence[tuple[Sequence[Tensor], float]]) -> torch.optim.Adam:
    """Make Adam (Kingma and Ba, arXiv 1412.6980) with PyTorch's defaults and its fused step, which a GPU can record.

    Args:
        groups: parameters, and the learning rate of each group.

    The first optimiser of a process makes PyTorch import its compiler, for two CPU-seconds, only to keep that away from
    some methods. Nothing here is compiled, so these methods are said to be kept away from it already. Where another
    version of PyTorch does not look for that word, the import comes back and nothing else changes.
    """
    kind = cast(Any, torch.optim.Optimizer)
    for method in (kind.add_param_group, kind.zero_grad, kind.state_dict, kind.load_state_dict):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            vars(plain).setdefault("__dynamo_disable", plain)
    on_gpu = any(each.is_cuda for parameters, _ in groups for each in parameters)
    return _Adam(
        [{"params": list(parameters), "lr": rate} for parameters, rate in groups], fused=True, capturable=on_gpu
    )
