"""The queue of fits between the driver and Tune: an actor, so that any session can take from it."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.fit.job import FitJob
from orchestrator.schedule.crashes import Crash


@dataclass(frozen=True)
class Finished:
    """A trial that ended: its fit is done, failed, paused at the rung it was to reach, or stopped in a contest.

    ``crash`` says why there is not even a record of it; of a stopped one, which has none either, ``iteration``,
    ``held_out_error`` and ``seconds`` are the last that it told.
    """

    job: FitJob
    state: Literal["done", "failed", "paused", "stopped"]
    crash: Crash | None = None
    iteration: int = 0
    held_out_error: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class QueueStanding:
    """How a queue stands.

    Fits that are ``running`` and the ``gpus_in_use`` by them; those that have been handed out and wait for a machine, by the
    share of a GPU that each needs (``pending``); those that have not been handed out (``waiting``).
    """

    running: int
    gpus_in_use: float
    pending: Mapping[float, int]
    waiting: int


PATIENCE_S = 5.0
"""How long a session without work keeps its CPUs from others that wait for them."""


class JobQueue:
    """The fits that may start, and what became of those that did. One per run; the driver fills and drains it.

    Every fit that was put is either waiting, running or told as finished, and told once.
    """

    def __init__(self, bound: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_taken = clock()
        self._waiting: deque[FitJob] = deque()
        self._running: dict[FitJob, int] = {}
        self._begun: set[FitJob] = set()
        self._bound = bound
        self._finished: list[Finished] = []
        self._something_finished = asyncio.Event()
        self._closed = False
        self._draining = False
        self._may_idle = True
        self._taking: int | None = None

    async def put(self, jobs: list[FitJob], *, first: bool) -> None:
        """Add fits, to be started in this order: before those that wait already, or after them."""
        if self._draining:
            return
        if first:
            self._waiting.extendleft(reversed(jobs))
        else:
            self._waiting.extend(jobs)

    async def set_bound(self, bound: int) -> None:
        """At most so many fits are handed out that are not finished; more would only wait elsewhere, in an order that is set."""
        self._bound = bound

    async def begin(self, job: FitJob) -> None:
        """A fit has its resources, and runs."""
        if job in self._running:
            self._begun.add(job)

    async def standing(self) -> "QueueStanding":
        """How many fits run, and what the others wait for."""
        pending = [job for job in self._running if job not in self._begun]
        gpus = Counter(1.0 if job.alone and job.gpus else job.gpus for job in pending)
        return QueueStanding(
            running=len(self._begun),
            gpus_in_use=sum(1.0 if job.alone and job.gpus else job.gpus for job in self._begun),
            pending=dict(gpus),
            waiting=len(self._waiting),
        )

    async def drop(self, image: str) -> None:
        """Forget the fits of an image that wait; those that run, and what is done for several images, go on."""
        self._waiting = deque(job for job in self._waiting if job.image.id != image or job.together)

    async def drain(self) -> None:
        """Hand out no fit any more; those that have been taken go on."""
        self._draining = True
        self._waiting.clear()

    async def under_way(self) -> int:
        """How many fits have been taken and are not yet told as finished."""
        return len(self._running) + len(self._finished)

    async def set_may_idle(self, may_idle: bool) -> None:
        """Whether a session without work may wait for more; while it waits it holds on to its CPUs and GPUs."""
        self._may_idle = may_idle

    async def close(self) -> None:
        """No fit will be added any more; sessions end when theirs have."""
        self._closed = True

    async def wants_session(self, session: int) -> bool:
        """Whether there is work that no session takes; the caller starts ``session`` then, which takes it."""
        if self._taking is not None or not self._waiting:
            return False
        self._taking = session
        return True

    async def take(self, session: int) -> FitJob | Literal["wait", "leave"]:
        """The next fit for a session; ``wait`` while there is none, ``leave`` if the session should end."""
        if self._waiting and len(self._running) >= self._bound:
            self._last_taken = self._clock()
            return "wait"
        if self._waiting:
            job = self._waiting.popleft()
            self._running[job] = session
            self._last_taken = self._clock()
            return job
        # Not at once: a session takes seconds to start, and the next fit is often only a decision away.
        idle = self._clock() - self._last_taken
        if self._closed or (not self._may_idle and idle > PATIENCE_S):
            return "leave"
        return "wait"

    async def leave(self, session: int) -> None:
        """A session takes no more fits; those it runs go on."""
        if self._taking == session:
            self._taking = None

    async def give_back(self, session: int) -> list[FitJob]:
        """A session ended: fits that it had taken and not finished. They wait no more; the caller decides."""
        await self.leave(session)
        lost = [job for job, holder in self._running.items() if holder == session]
        for job in lost:
            del self._running[job]
            self._begun.discard(job)
        return lost

    async def finish(self, finished: Finished) -> None:
        """A trial ended, well or not. What was given back meanwhile is no longer this trial's to end."""
        if self._running.pop(finished.job, None) is None:
            return
        self._begun.discard(finished.job)
        self._finished.append(finished)
        self._something_finished.set()

    async def finished(self) -> list[Finished]:
        """What has ended since the last call; waits a while for something to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._something_finished.wait(), timeout=5)
        self._something_finished.clear()
        ended, self._finished = self._finished, []
        return ended
