"""The least time that a step can take on this CPU: its products, and its traffic with memory.

The arithmetic floor is twice the multiply-adds of the step's convolutions (Winograd's and folded ones have fewer) over
the speed of a large matrix product. The memory floor lets every activation that the gradient needs be written once and
read once, and its gradient, too, at the speed of copying what fits no cache.
"""

import time
from collections.abc import Callable
from functools import cache
from statistics import median

import torch

from workers.networks.cost import prior_multiply_adds
from workers.networks.memory import kept_bytes_per_pixel
from workers.networks.search import SMALLEST_SIDE

_ROUNDS = 5


def seconds_of_thread(work: Callable[[], object]) -> float:
    """CPU time of this thread, which other work on the machine hardly touches; wall-clock time with more threads."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    work()
    return clock() - started


def _least(work: Callable[[], object]) -> float:
    work()
    return min(seconds_of_thread(work) for _ in range(_ROUNDS))


@cache
def products_per_second() -> float:
    """Multiply-adds of a matrix product of 1024 x 1024, per second."""
    a, b, out = (torch.randn(1024, 1024) for _ in range(3))
    return 1024**3 / _least(lambda: torch.mm(a, b, out=out))


@cache
def bytes_per_second() -> float:
    """Bytes read and written by copying 64 MB."""
    a = torch.zeros(2**24)
    b = torch.zeros_like(a)
    return 2 * 4 * a.numel() / _least(lambda: b.copy_(a))


def floors_ms(prior: str, width: int, side: int) -> tuple[float, float]:
    """The arithmetic and the memory floor of a step on an RGB image, in milliseconds."""
    products = prior_multiply_adds(prior, 3, width, 3) * side**2 / SMALLEST_SIDE**2
    traffic = 4 * kept_bytes_per_pixel(prior, 3, width, 3) * side**2
    return 1000 * products / products_per_second(), 1000 * traffic / bytes_per_second()


def medians(runs: list[Callable[[int], None]], iterations: int, rounds: int) -> list[float]:
    """Milliseconds per iteration of each, timed in turn: medians of the rounds."""
    for run in runs:
        run(2)
    times = [[seconds_of_thread(lambda run=run: run(iterations)) for run in runs] for _ in range(rounds)]
    return [1000 * median(each) / iterations for each in zip(*times, strict=True)]
