"""One step of a fit down its objective, as fits and their iterations with all pixels do it."""

from torch import Tensor
from torch.optim import Optimizer

from workers.networks import Network
from workers.objective import Objective
from workers.precision import Precision, forward_in


def descend(network: Network, optimizer: Optimizer, objective: Objective, precision: Precision) -> Tensor:
    """Change a network by one step of its optimiser; returns the output (1, C, H, W) that it had before."""
    with forward_in(precision, objective.device):
        output: Tensor = network(objective.input())
    output = output.float()
    loss = objective.loss(output)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return output.detach()
