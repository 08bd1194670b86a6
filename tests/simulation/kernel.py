"""Time, and processes that run one at a time: the same seed gives the same history.

A process is a name, a clock and some tasks. A task is ordinary code in a greenlet; it gives way wherever it waits: for
a time, for a `Signal`, or for the simulated store. Between two such points nothing else happens. A killed process never
goes on. A stopped one goes on later; if its machine was suspended, its clock has not noticed.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


@dataclass(eq=False)
class Process:
    """A process of the simulated world.

    Attributes:
        name: For the history.
        alive: False once it was killed or has ended.
        killed: Whether it was killed.
        stopped_until: When it goes on, if it is stopped.
        cut_until: Until when it cannot reach the store.
        lost_s: How far its clock is behind, because its machine was suspended.
        asked: When its last operation of the store began, and the one before.
        heard: When it last heard of its work, as a driver does.
        looked: When it last read the state of a claim.
        judged: How old that was by its own clock when it began to create a claim, at which key.
        operations: How many operations of the store it has begun.
        dies_at: It is killed in the operation of this number; 0: in none.
        held_up_at: It is stopped for long in the operation of this number, after its effect; 0: in none.
        on_death: What others do when it has been killed so.
        interrupted: Whether somebody has pressed Ctrl-C.
        leaving: Whether its machine will be taken away.
        wall_s: How far its machine's calendar clock is from the right time.
    """

    name: str
    alive: bool = True
    killed: bool = False
    operations: int = 0
    dies_at: int = 0
    held_up_at: int = 0
    on_death: Callable[[], None] = lambda: None
    interrupted: bool = False
    leaving: bool = False
    wall_s: float = 0.0
    stopped_until: float = 0.0
    cut_until: float = 0.0
    lost_s: float = 0.0
    asked: tuple[float, float] = (0.0, 0.0)
    heard: float = 0.0
    looked: float = 0.0
    judged: tuple[str, float] = ("", 0.0)


@dataclass(eq=False)
class Task:
    """Code of a process that runs on its own.

    Attributes:
        turn: Tells its present wait from earlier ones.
        confirmed: When it last saw whether the next claim is there.
        looked: When it last read the state of a claim, by its own clock.
    """

    process: Process
    greenlet: greenlet
    turn: int = 0
    confirmed: float = 0.0
    looked: float = 0.0
    ended: bool = False


@dataclass
class Kernel:
    """The clock of the world, and whose turn it is."""

    now: float = 0.0
    events: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, Task, int]] = []
        self._numbers = itertools.count()
        self._tasks: list[Task] = []
        self._hub = getcurrent()
        self._running: Task | None = None
        self._closed = False

    def tell(self, who: str, what: str) -> None:
        """Add a line to the history."""
        self.events.append(f"{self.now:9.3f}  {who:<12} {what}")

    def spawn(self, process: Process, code: Callable[[], Any]) -> Task:
        """Start a task of a process."""

        def run() -> None:
            try:
                code()
            except GreenletExit:
                pass
            except Exception as error:
                self.mistakes.append(f"{process.name} broke: {type(error).__name__}: {error}")
                self.tell(process.name, self.mistakes[-1])
            finally:
                task.ended = True

        task = Task(process, greenlet(run, self._hub))
        self._tasks.append(task)
        self._schedule(task, 0.0)
        return task

    def _schedule(self, task: Task, after: float) -> None:
        heapq.heappush(self._queue, (self.now + after, next(self._numbers), task, task.turn))

    def sleep(self, seconds: float) -> None:
        """Let the running task wait."""
        task = self.current()
        self._schedule(task, max(0.0, seconds))
        self._give_way(task)

    def clock(self) -> float:
        """The time by the clock of the running process."""
        return self.now - self.current().process.lost_s

    def current(self) -> Task:
        """The running task."""
        if self._closed or self._running is None:
            raise GreenletExit
        return self._running

    def _give_way(self, task: Task) -> None:
        self._hub.switch()
        if self._closed or not task.process.alive:
            raise GreenletExit
        task.turn += 1

    def wake(self, task: Task, turn: int) -> None:
        """Let a task go on that waits in this turn."""
        if task.turn == turn:
            self._schedule(task, 0.0)

    def die(self) -> None:
        """End the running task's process in the middle of what it does."""
        process = self.current().process
        self.tell(process.name, f"is killed in operation {process.operations} of the store")
        process.alive, process.killed = False, True
        process.on_death()
        self.sleep(0.0)

    def suspend(self, timeout: float) -> tuple[Task, int]:
        """Register the running task to go on after so many seconds; `give_way` follows."""
        task = self.current()
        self._schedule(task, timeout)
        return task, task.turn

    def give_way(self) -> None:
        """Wait, after `suspend`, until the time is over or somebody wakes the task."""
        self._give_way(self.current())

    def run(self, until: float, condition: Callable[[], bool] = lambda: False) -> None:
        """Let the world go on until a time, or a condition."""
        while self._queue and self._queue[0][0] <= until and not condition():
            when, _, task, turn = heapq.heappop(self._queue)
            if task.ended or not task.process.alive or turn != task.turn:
                continue
            self.now = max(self.now, when)
            if task.process.stopped_until > self.now:
                self._schedule(task, task.process.stopped_until - self.now)
                continue
            self._running = task
            task.greenlet.switch()
            self._running = None

    def close(self) -> None:
        """End all tasks that are left."""
        self._closed = True
        for task in self._tasks:
            if not task.ended and task.greenlet:
                task.greenlet.throw(GreenletExit)


class Signal:
    """Tasks wait for it, with a limit; setting it wakes them."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._waiting = kernel, list[tuple[Task, int]]()

    def wait(self, seconds: float) -> None:
        """Wait until it is set, at most so many seconds."""
        self._waiting.append(self._kernel.suspend(seconds))
        self._kernel.give_way()

    def set(self) -> None:
        """Wake who waits."""
        waiting, self._waiting = self._waiting, []
        for task, turn in waiting:
            self._kernel.wake(task, turn)


class Threading:
    """The part of the module `threading` that the product uses, for the tasks of one process after another."""

    def __init__(self, kernel: Kernel) -> None:
        outer = self
        self.kernel = kernel

        class Lock:
            def __init__(self) -> None:
                self._held, self._free = False, Signal(outer.kernel)

            def __enter__(self) -> None:
                while self._held:
                    self._free.wait(60.0)
                self._held = True

            def __exit__(self, *_: object) -> None:
                self._held = False
                self._free.set()

        class Event:
            def __init__(self) -> None:
                self._is_set, self._signal = False, Signal(outer.kernel)

            def set(self) -> None:
                self._is_set = True
                self._signal.set()

            def clear(self) -> None:
                self._is_set = False

            def is_set(self) -> bool:
                return self._is_set

            def wait(self, timeout: float) -> bool:
                if not self._is_set:
                    self._signal.wait(timeout)
                return self._is_set

        class Thread:
            def __init__(self, target: Callable[[], Any], **_: object) -> None:
                self._target = target
                self._task: Task | None = None

            def start(self) -> None:
                self._task = outer.kernel.spawn(outer.kernel.current().process, self._target)

            def join(self, timeout: float = 3600.0) -> None:
                end = outer.kernel.now + timeout
                while self._task is not None and not self._task.ended and outer.kernel.now < end:
                    outer.kernel.sleep(0.5)

        self.Lock, self.Event, self.Thread = Lock, Event, Thread
