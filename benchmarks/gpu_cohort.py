"""How many iterations a second a cohort makes on one GPU: 15 networks of the search space, all
fitted to the same small image.

Small fits leave most of a large GPU idle. They can share it within one process, each recorded and replayed in a CUDA
stream of its own; or from processes of their own. The processes take turns on the GPU unless NVIDIA's MPS runs.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from statistics import median

import torch

from benchmarks.fit import measurement, picture
from benchmarks.gpu_common import Row, Setting, attempt, release, wait
from benchmarks.gpu_step import fit_of, runner, set_switches
from workers.fitting import Fit
from workers.recording import WARM_UP
from workers.space import sample_candidates

Advance = Callable[[int], object]


class Cohort:
    """The networks and how they are timed."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.count = 3 if setting.tiny else 15
        self.priors = [c.id for c in sample_candidates(self.count, seed=0, width=setting.width)]
        self.few, self.many = (2, 3) if setting.tiny else (8, 60)

    def rate(self, advance: Advance, iterations: int) -> float:
        """Iterations a second of all members together, where ``advance`` takes each so many
        further: the median of three.
        """
        advance(2)
        wait(self.setting.device)
        rates = []
        for _ in range(3):
            started = time.perf_counter()
            advance(iterations)
            wait(self.setting.device)
            rates.append(self.count * iterations / (time.perf_counter() - started))
        return median(rates)

    def in_turn(self, kind: str) -> float:
        """The rate of members that are advanced one after another."""
        setting = self.setting
        runs = [runner(prior, setting.sides[0], setting.width, setting.device, kind) for prior in self.priors]

        def advance(iterations: int) -> None:
            for run in runs:
                run(iterations)

        return self.rate(advance, self.few)

    def members(self, words: str) -> list[Fit]:
        """Recorded fits, once they have run."""
        setting = self.setting
        measured = measurement(picture(setting.sides[0]))
        return [fit_of(prior, measured, setting.width, setting.device, f"graph {words}") for prior in self.priors]

    def side_by_side(self, members: Sequence[Fit]) -> float:
        """The rate of members that all begin a block of iterations before any of them is waited for."""

        def advance(iterations: int) -> None:
            for settle in [member.launch(iterations) for member in members]:
                settle()

        return self.rate(advance, self.many)

    def one_by_one(self, members: Sequence[Fit]) -> float:
        """The rate of the same members, each waited for before the next begins."""

        def advance(iterations: int) -> None:
            for member in members:
                member.advance(iterations)

        return self.rate(advance, self.many)

    def in_processes(self, count: int) -> tuple[float, float]:
        """The rates of ``count`` members, each in a process of its own: ours, then graphs."""
        context = get_context("spawn")
        start = context.Barrier(count)
        with ProcessPoolExecutor(count, context, initializer=_set_start, initargs=(start,)) as pool:
            work = [pool.submit(_process, prior, self.setting) for prior in self.priors[:count]]
            ours, graphs = zip(*(each.result(timeout=90) for each in work), strict=True)
        return sum(ours), sum(graphs)


_start: Barrier | None = None
"""The barrier that processes wait at, in each of them."""


def _set_start(start: Barrier) -> None:
    global _start  # noqa: PLW0603 - a barrier reaches a process when it starts, and not with its work
    _start = start
    torch.set_num_threads(1)


def _process(prior: str, setting: Setting) -> tuple[float, float]:
    rates = []
    for kind in ("ours", "graph"):
        run = runner(prior, setting.sides[0], setting.width, setting.device, kind)
        run(4)
        wait(setting.device)
        if _start:
            _start.wait(timeout=60)
        iterations, started = 0, time.perf_counter()
        while time.perf_counter() - started < (0.5 if setting.tiny else 4):
            run(5)
            wait(setting.device)
            iterations += 5
        rates.append(iterations / (time.perf_counter() - started))
    return rates[0], rates[1]


def cohort(setting: Setting) -> Iterator[Row]:
    """The ways one by one: iterations a second of all together, and the ratio to the plain loop's."""
    all_of_them = Cohort(setting)
    plain: float | None = None

    def row(way: str, rate: float | str, seconds: float | None = None) -> Row:
        times = rate / plain if plain and isinstance(rate, float) else None
        return {
            "members": str(all_of_them.count),
            "way": way,
            "iterations/s": rate,
            "of the plain loop's": times,
            "s to record": seconds,
        }

    for kind in ("plain", "ours"):
        rate = attempt(lambda kind=kind: all_of_them.in_turn(kind))
        if kind == "plain" and isinstance(rate, float):
            plain = rate
        yield row(f"{kind}, one after another", rate)
    for words in ("", "bf16", "tuned"):
        members, way = all_of_them.members(words), f"graph {words}".strip()
        started = time.perf_counter()
        for member in members:
            member.advance(WARM_UP + 1)
        seconds = time.perf_counter() - started
        yield row(f"{way}, one after another", attempt(lambda m=members: all_of_them.one_by_one(m)), seconds)
        yield row(f"{way}, side by side", attempt(lambda m=members: all_of_them.side_by_side(m)), seconds)
        failures = {member.steps.failure for member in members} - {None}
        if failures:
            yield row(f"{way}: not recorded", "; ".join(sorted(map(str, failures)))[:200])
        del members
        release()
    set_switches(set())
    for count in (2,) if setting.tiny else (4, 8):
        rates = attempt(lambda count=count: all_of_them.in_processes(count))
        for kind, rate in zip(("ours", "graph"), rates if isinstance(rates, tuple) else [rates] * 2, strict=True):
            yield row(f"{kind}, {count} members in processes of their own", rate)
