"""The work of a driver in the simulated world: fits, questions about images, and sessions, each a process of its own.

What the processes do with the store is the product's own code (`run_fit`, `answer`, the queue). Only the computing is
replaced (`tests.simulation.computing`).
"""

import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import ImageRejectedError, StoreError, StoreUnavailableError
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.schedule.crashes import crash_of
from orchestrator.schedule.ports import Answered, Unanswered
from orchestrator.schedule.questions import Question, Score
from orchestrator.schedule.queue import Finished, JobQueue, QueueStanding
from orchestrator.schedule.workers import answer
from orchestrator.score.bank import BankPart
from tests.simulation.kernel import Kernel, Process, Signal

DIED = "its worker process died"
LOST = "its machine was lost"


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a call of the queue, which waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the call waits")


@dataclass(eq=False)
class Reference:
    """Work under way; its result once it is there."""

    result: Answered | Unanswered | Exception | None = None


@dataclass
class Troubles:
    """How often what goes wrong, each a probability."""

    crash: float = 0.0
    node: float = 0.0
    worker: float = 0.0
    session: float = 0.0


@dataclass(eq=False)
class SimulatedCrew:
    """The crew of one driver; see `orchestrator.schedule.ports.Crew`."""

    kernel: Kernel
    chance: random.Random
    driver: Process
    context_of: Callable[[Process], RunContext]
    troubles: Troubles
    slots: int = 2
    admitted: dict[str, float] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = JobQueue(clock=lambda: self.kernel.now)
        self._faults = Process("faults")
        self._changed = Signal(self.kernel)
        self._calls: set[Reference] = set()
        self._trials: dict[int, list[Process]] = {}

    def _process(self, name: str) -> Process:
        process = Process(f"{self.driver.name}/{name}", stopped_until=0.0, cut_until=0.0)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """End all processes of the crew, as Ray does when its driver is gone."""
        for process in self.processes:
            process.alive = False

    # Work and its results.

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        for _ in range(2):
            ready = [each for each in references if each.result is not None or self._is_answered(each)]
            self.driver.heard = self.kernel.now
            if ready:
                return [self.chance.choice(ready)]
            self._changed.wait(10 * seconds)
        return []

    def _is_answered(self, reference: Reference) -> bool:
        return reference in self._calls and bool(self.queue._finished)

    def answer(self, reference: Any) -> Answered | Unanswered:
        if reference in self._calls:
            self._calls.remove(reference)
            ended, self.queue._finished = self.queue._finished, []
            return Answered(ended)
        if isinstance(reference.result, Exception):
            raise reference.result
        assert reference.result is not None
        return reference.result

    def _settle(self, reference: Reference, result: Answered | Unanswered | Exception) -> None:
        reference.result = result
        self._changed.set()

    def ask(self, question: Question) -> Reference:
        reference, name = Reference(), type(question).__name__
        process = self._process(f"{name} {question.image.id}")
        if isinstance(question, Score):
            self.admitted[question.image.id] = self.kernel.now

        def work() -> None:
            if self.chance.random() < self.troubles.worker:
                self.kernel.sleep(self.chance.uniform(0, 3))
                self.kernel.tell(process.name, "is killed")
                self._settle(reference, Unanswered(LOST, lost=True))
                return
            try:
                result: Answered | Unanswered | Exception = Answered(answer(self.context_of(process), question))
            except (StoreError, StoreUnavailableError) as error:
                result = error
            except ImageRejectedError as error:
                result = Unanswered(str(error), rejected=True)
            except Exception as error:
                result = Unanswered(f"{type(error).__name__}: {error}")
            self._settle(reference, result)

        self.kernel.spawn(process, work)
        return reference

    def compute(self, part: BankPart) -> Any:
        raise AssertionError("no bank is needed")

    def cancel_computing(self) -> None:
        pass

    # Sessions and trials.

    def start_session(self, number: int) -> Reference:
        reference, process = Reference(), self._process(f"tune {number}")
        trials = self._trials[number] = []
        breaks_at = self.kernel.now + (
            self.chance.uniform(1, 60) if self.chance.random() < self.troubles.session else 1e9
        )
        signal = Signal(self.kernel)

        def session() -> None:
            while True:
                trials[:] = [trial for trial in trials if trial.alive]
                if self.kernel.now > breaks_at:
                    for trial in trials:
                        trial.alive = False
                    self.kernel.tell(process.name, "breaks")
                    self._settle(reference, Unanswered("Tune broke"))
                    return
                taken = at_once(self.queue.take(number)) if len(trials) < self.slots else "wait"
                if taken == "leave":
                    at_once(self.queue.leave(number))
                    break
                if taken == "wait":
                    signal.wait(2.0)
                else:
                    trials.append(self._start_trial(taken, signal))
            while any(trial.alive for trial in trials):
                signal.wait(2.0)
            self._settle(reference, Answered(None))

        self.kernel.spawn(process, session)
        return reference

    def _start_trial(self, job: FitJob, signal: Signal) -> Process:
        process = self._process(f"{job.image.id} {job.view} {job.name}")
        at_once(self.queue.begin(job))

        def finish(finished: Finished) -> None:
            process.alive = False
            at_once(self.queue.finish(finished))
            self._changed.set()
            signal.set()

        def work() -> None:
            try:
                record = run_fit(
                    self.context_of(process),
                    job,
                    lambda: None,  # type: ignore[arg-type,return-value]
                    problem=object(),  # type: ignore[arg-type]
                    clock=lambda: self.kernel.now,
                )
            except Exception as error:
                text = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
                finish(Finished(job, "failed", crash=crash_of(text)))
            else:
                finish(Finished(job, record.state, iteration=record.iterations or 0))

        def die() -> None:
            self.kernel.sleep(self.chance.uniform(0, 20))
            if process.alive:
                self.kernel.tell(process.name, "is killed")
                node = self.chance.random() < self.troubles.node
                process.alive = False
                text = "its node has died" if node else "the worker process has died"
                at_once(self.queue.finish(Finished(job, "failed", crash=crash_of(text))))
                self._changed.set()
                signal.set()

        self.kernel.spawn(process, work)
        if self.chance.random() < self.troubles.crash:
            self.kernel.spawn(self._faults, die)
        return process

    # The queue.

    def finished(self) -> Reference:
        reference = Reference()
        self._calls.add(reference)
        return reference

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        at_once(self.queue.put(list(jobs), first=first))

    def drop(self, image: str) -> None:
        at_once(self.queue.drop(image))

    def drain(self) -> None:
        at_once(self.queue.drain())

    def under_way(self) -> int:
        return int(at_once(self.queue.under_way()))

    def standing(self) -> QueueStanding:
        standing: QueueStanding = at_once(self.queue.standing())
        return standing

    def set_bound(self, bound: int) -> None:
        at_once(self.queue.set_bound(bound))

    def set_may_idle(self, may_idle: bool) -> None:
        at_once(self.queue.set_may_idle(may_idle))

    def wants_session(self, number: int) -> bool:
        return bool(at_once(self.queue.wants_session(number)))

    def give_back(self, number: int) -> list[FitJob]:
        for trial in self._trials.pop(number, []):
            trial.alive = False
        jobs: list[FitJob] = at_once(self.queue.give_back(number))
        return jobs

    def close(self) -> None:
        at_once(self.queue.close())
