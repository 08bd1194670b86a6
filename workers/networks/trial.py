"""Which way to compute the steps of a fit is fastest here: a few steps of each, in turn.

What is fastest depends on the network, the size, the processor and PyTorch's libraries, and no rule was found that says
so beforehand. The clock decides, so two trials may come to different ways: whoever asks keeps the answer.
"""

import copy
import time
from collections.abc import Callable
from functools import partial

import torch

from workers.networks.cost import multiply_adds
from workers.networks.layers import differing_steps, prepare
from workers.networks.search import Network
from workers.networks.steps import Step, usual_step

_LONG_STEP = 10**9
"""Multiply-adds."""

_ROUNDS = 4
_CLEARLY = 0.99
"""Another way must take less than this share of the usual one's time. A larger gain would be given away by the usual
one, a smaller one is within the clock's noise.
"""


def is_worth_a_trial(network: Network, height: int, width: int) -> bool:
    """Whether a step is long enough for a way other than the usual one to gain something; the clock has no say."""
    return multiply_adds(network, height, width) >= _LONG_STEP


def fastest_step(network: Network, height: int, width: int, clock: Callable[[], float] | None = None) -> Step:
    """Find the fastest way on this CPU with the present number of threads.

    Args:
        network: it is left as it is.
        height: of the output, a multiple of 32, at least 64.
        width: likewise.
        clock: returns seconds. By default those of this thread, which other work on the machine hardly touches; with
            more threads those on the wall.
    """
    clock = clock or (time.thread_time if torch.get_num_threads() == 1 else time.perf_counter)
    usual = usual_step("cpu")
    steps = [usual, *(step for step in differing_steps(network) if step is not usual)]
    tries = {step: _one_step(network, step, height, width) for step in steps}
    for one in tries.values():
        one()
    times: dict[Step, list[float]] = {step: [] for step in steps}
    for _ in range(_ROUNDS):
        for step, one in tries.items():
            started = clock()
            one()
            times[step].append(clock() - started)
    # The least time of each: other work on the machine only adds to it.
    best = min(steps, key=lambda step: min(times[step]))
    return best if min(times[best]) < _CLEARLY * min(times[usual]) else usual


def _one_step(network: Network, step: Step, height: int, width: int) -> Callable[[], None]:
    # A copy, since memory formats leave traces in the strides of small weights.
    tried = copy.deepcopy(network)
    prepare(tried, step)
    noise = torch.full((1, *tried.input_shape(height, width)), 0.05)
    return partial(_forwards_and_backwards, tried, noise)


def _forwards_and_backwards(network: Network, noise: torch.Tensor) -> None:
    network.zero_grad(set_to_none=True)
    network(noise).square().mean().backward()
