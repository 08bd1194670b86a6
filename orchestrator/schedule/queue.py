"""The queue of fits between the driver and Tune. It is an actor, so any session can take from it."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.fit.job import FitJob
from orchestrator.schedule.crashes import Crash
from workers.names import Chain


@dataclass(frozen=True)
class Finished:
    """A trial that ended: its fit is done, failed, paused at its rung, or stopped in a contest.

    A trial that crashed left no record; ``crash`` says why. A stopped one has no record either: ``iteration``,
    ``held_out_error`` and ``seconds`` are the last that it reported.
    """

    job: FitJob
    state: Literal["done", "failed", "paused", "stopped"]
    crash: Crash | None = None
    iteration: int = 0
    held_out_error: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class QueueStanding:
    """The state of a queue.

    Attributes:
        running: how many fits run.
        gpus_in_use: the GPUs that running fits use.
        pending: how many fits have been handed out and wait for a machine, by the share of a GPU that each needs.
        waiting: how many fits have not been handed out.
    """

    running: int
    gpus_in_use: float
    pending: Mapping[float, int]
    waiting: int


def _can_share(job: FitJob) -> bool:
    """Whether a fit may be one of several in a trial."""
    return not (job.alone or job.together or job.contest is not None or isinstance(job.name, Chain))


PATIENCE_S = 5.0
"""How many seconds a session without work keeps CPUs that others wait for."""


class JobQueue:
    """The fits that may start and the results of those that did. A run has one; its driver fills and drains it.

    Every fit that was added is waiting, running, or reported as finished exactly once.

    Args:
        bound: see `set_bound`.
        clock: returns the time in seconds.
        side_by_side: the most fits of one trial.
    """

    def __init__(
        self, bound: int = 1000, clock: Callable[[], float] = time.monotonic, *, side_by_side: int = 1
    ) -> None:
        self._clock, self._side_by_side = clock, side_by_side
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
        """Add fits, to be started in this order: before those that already wait, or after them."""
        if self._draining:
            return
        if first:
            self._waiting.extendleft(reversed(jobs))
        else:
            self._waiting.extend(jobs)

    async def set_bound(self, bound: int) -> None:
        """Limit how many fits are handed out at a time and not yet finished; more would only wait in Tune, in a fixed
        order."""
        self._bound = bound

    async def begin(self, job: FitJob) -> None:
        """Take note that a fit has its resources and runs."""
        if job in self._running:
            self._begun.add(job)

    async def standing(self) -> "QueueStanding":
        """Count the fits that run and the fits that wait, the latter by what they wait for."""
        pending = [job for job in self._running if job not in self._begun]
        gpus = Counter(1.0 if job.alone and job.gpus else job.gpus for job in pending)
        return QueueStanding(
            running=len(self._begun),
            gpus_in_use=sum(1.0 if job.alone and job.gpus else job.gpus for job in self._begun),
            pending=dict(gpus),
            waiting=len(self._waiting),
        )

    async def drop(self, image: str) -> None:
        """Drop the waiting fits of an image. Running fits go on, and so does work for several images."""
        self._waiting = deque(job for job in self._waiting if job.image.id != image or job.together)

    async def drain(self) -> None:
        """Hand out no more fits; those that have been taken go on."""
        self._draining = True
        self._waiting.clear()

    async def under_way(self) -> int:
        """How many fits have been taken and not yet reported as finished."""
        return len(self._running) + len(self._finished)

    async def set_may_idle(self, may_idle: bool) -> None:
        """Set whether a session without work may wait for more; while it waits, it keeps its CPUs and GPUs."""
        self._may_idle = may_idle

    async def close(self) -> None:
        """Announce that no more fits will be added; each session ends when its fits have ended."""
        self._closed = True

    async def wants_session(self, session: int) -> bool:
        """Whether there is work that no session takes. If so, the caller must start ``session``, which takes it."""
        if self._taking is not None or not self._waiting:
            return False
        self._taking = session
        return True

    async def take(self, session: int) -> FitJob | Literal["wait", "leave"]:
        """Take the next fit for a session; return ``wait`` while there is none, ``leave`` if the session should end."""
        if self._waiting and len(self._running) >= self._bound:
            self._last_taken = self._clock()
            return "wait"
        if self._waiting:
            job = self._waiting.popleft()
            self._running[job] = session
            self._last_taken = self._clock()
            return job
        # A session does not leave at once: a new one takes seconds to start, and the next fit often follows soon.
        idle = self._clock() - self._last_taken
        if self._closed or (not self._may_idle and idle > PATIENCE_S):
            return "leave"
        return "wait"

    async def take_beside(self, session: int, job: FitJob) -> tuple[FitJob, ...]:
        """Take the next fits, if they can share a GPU with a job in one trial: fits of networks that reserve the same
        share, as many as there is room for. Work that must be alone, in a contest or of a chain is not among them."""
        taken: list[FitJob] = []
        room = min(self._side_by_side, int(1 / job.gpus + 1e-3)) if job.gpus and _can_share(job) else 1
        while self._waiting and 1 + len(taken) < room and len(self._running) < self._bound:
            following = self._waiting[0]
            if not _can_share(following) or following.gpus != job.gpus:
                break
            taken.append(self._waiting.popleft())
            self._running[following] = session
        return tuple(taken)

    async def leave(self, session: int) -> None:
        """Take note that a session takes no more fits; those that it runs go on."""
        if self._taking == session:
            self._taking = None

    async def give_back(self, session: int) -> list[FitJob]:
        """Return the fits that an ended session had taken and not finished. They leave the queue; the caller
        decides."""
        await self.leave(session)
        lost = [job for job, holder in self._running.items() if holder == session]
        for job in lost:
            del self._running[job]
            self._begun.discard(job)
        return lost

    async def finish(self, finished: Finished) -> None:
        """Take note of a trial that ended, successfully or not. It is ignored if its fit was given back meanwhile."""
        if self._running.pop(finished.job, None) is None:
            return
        self._begun.discard(finished.job)
        self._finished.append(finished)
        self._something_finished.set()

    async def finished(self) -> list[Finished]:
        """Return the trials that ended since the last call; wait a few seconds for one."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._something_finished.wait(), timeout=5)
        self._something_finished.clear()
        ended, self._finished = self._finished, []
        return ended
