"""The work of a driver in the simulated world: fits, questions about images, and sessions, each a process of its own.

What the processes do with the store is the product's own code (`run_fit`, `answer`, the queue). Only the computing is
replaced (`tests.simulation.computing`).
"""

import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import ImageRejectedError, StoreError, StoreUnavailableError
from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.schedule.asha import ContestsOfImages
from orchestrator.schedule.crashes import Crash, crash_of
from orchestrator.schedule.ports import Answered, Unanswered
from orchestrator.schedule.questions import Collect, Question, Score
from orchestrator.schedule.queue import Finished, JobQueue, QueueStanding
from orchestrator.schedule.trial import run_job
from orchestrator.schedule.workers import answer
from orchestrator.score.bank import BankPart, compute_part
from orchestrator.settings import Config
from tests.simulation.kernel import Kernel, Process, Signal
from tests.simulation.runs import poison_of

DIED = "its worker process died"
LOST = "its machine was lost"
_ACTOR_TRIES = 6
"""Ray gives a question to the restarted worker five times more, and a lost task three times more to another."""
_TASK_TRIES = 4


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


@dataclass(eq=False)
class Trial:
    """A trial as Tune's schedulers see one."""

    config: dict[str, FitJob]
    trial_id: int


@dataclass
class Troubles:
    """How often what goes wrong, each a probability."""

    crash: float = 0.0
    node: float = 0.0
    worker: float = 0.0
    session: float = 0.0
    operations: int = 30


@dataclass(eq=False)
class SimulatedCrew:
    """The crew of one driver; see `orchestrator.schedule.ports.Crew`."""

    kernel: Kernel
    chance: random.Random
    driver: Process
    config: Config
    context_of: Callable[[Process], RunContext]
    troubles: Troubles
    slots: int = 2
    on_crash: Callable[[FitJob, Crash], None] = lambda job, crash: None
    on_start: Callable[[FitJob], None] = lambda job: None
    on_lost: Callable[[str], None] = lambda work: None
    admitted: dict[str, float] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = JobQueue(clock=lambda: self.kernel.now)
        self._faults = Process("faults")
        self._changed = Signal(self.kernel)
        self._calls: set[Reference] = set()
        self._trials: dict[int, list[Process]] = {}
        self._closed = False

    def _process(self, name: str) -> Process:
        process = Process(f"{self.driver.name}/{name}", stopped_until=0.0, cut_until=0.0)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """End all processes of the crew, as Ray does when its driver is gone."""
        self._closed = True
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
        name = f"{type(question).__name__} {question.image.id}"
        if isinstance(question, Score):
            self.admitted[question.image.id] = self.kernel.now
        deadly = isinstance(question, Collect) and poison_of(question.image) == "deadly"
        arm = getattr(question, "arm", None)
        asked = f"{name} {arm and arm.name} {getattr(question, 'iterations', '')}"
        return self._do(name, asked, lambda context: answer(context, question), _ACTOR_TRIES, deadly=deadly)

    def compute(self, part: BankPart) -> Reference:
        def work(context: RunContext) -> None:
            compute_part(context.store, part, context.config, context.score_device)

        return self._do("bank", f"bank {part.key}", work, _TASK_TRIES)

    def cancel_computing(self) -> None:
        for process in self.processes:
            if process.alive and process.name.startswith(f"{self.driver.name}/bank"):
                process.alive = False
                process.on_death()

    def _do(
        self, name: str, asked: str, work: Callable[[RunContext], Any], tries: int, *, deadly: bool = False
    ) -> Reference:
        """Let a process do work; another begins it anew where the process dies."""
        reference = Reference()

        def attempt(left: int) -> None:
            process = self._process(name)

            def died() -> None:
                if self._closed or reference.result is not None:
                    return
                if left > 1:
                    attempt(left - 1)
                    return
                self.on_lost(asked)
                self._settle(reference, Unanswered(LOST, lost=True))

            def code() -> None:
                try:
                    result: Answered | Unanswered | Exception = Answered(work(self.context_of(process)))
                except (StoreError, StoreUnavailableError) as error:
                    result = error
                except ImageRejectedError as error:
                    result = Unanswered(str(error), rejected=True)
                except Exception as error:
                    result = Unanswered(f"{type(error).__name__}: {error}")
                process.alive = False
                self._settle(reference, result)

            process.on_death = died
            if deadly or self.chance.random() < self.troubles.worker:
                process.dies_at = self.chance.randint(1, 3 if deadly else self.troubles.operations)
            self.kernel.spawn(process, code)

        attempt(tries)
        return reference

    # Sessions and trials.

    def start_session(self, number: int) -> Reference:
        reference, process = Reference(), self._process(f"tune {number}")
        trials = self._trials[number] = []
        breaks_at = self.kernel.now + (
            self.chance.uniform(1, 60) if self.chance.random() < self.troubles.session else 1e9
        )
        signal = Signal(self.kernel)
        contests = ContestsOfImages.of(self.config)

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
                    trials.append(self._start_trial(taken, signal, contests))
            while any(trial.alive for trial in trials):
                signal.wait(2.0)
            self._settle(reference, Answered(None))

        self.kernel.spawn(process, session)
        return reference

    def _start_trial(self, job: FitJob, signal: Signal, contests: ContestsOfImages) -> Process:
        process = self._process(f"{job.image.id} {job.view} {job.name}")
        at_once(self.queue.begin(job))
        self.on_start(job)
        trial = Trial({"job": job}, len(self.processes))
        contests.on_trial_add(None, trial)
        started = self.kernel.now

        def finish(finished: Finished) -> None:
            process.alive = False
            at_once(self.queue.finish(finished))
            self._changed.set()
            signal.set()

        def crash(text: str) -> None:
            found = crash_of(text)
            self.on_crash(job, found)
            contests.on_trial_remove(None, trial)
            finish(Finished(job, "failed", crash=found))

        def progress(iteration: int, error: float) -> None:
            result = {"iteration": iteration, "held_out_error": error}
            if contests.on_trial_result(None, trial, result) == ContestsOfImages.STOP:
                self.kernel.tell(process.name, f"is stopped at {iteration}")
                finish(Finished(job, "stopped", None, iteration, error, self.kernel.now - started))
                self.kernel.sleep(0.0)

        def work() -> None:
            try:
                record = run_job(
                    self.context_of(process), job, on_progress=progress, must_leave=lambda: process.leaving
                )
            except Exception as error:
                crash(f"{type(error).__module__}.{type(error).__qualname__}: {error}")
            else:
                contests.on_trial_complete(None, trial, {})
                finish(Finished(job, record.state, iteration=record.iterations or 0))

        def died() -> None:
            node = poison_of(job.image) != "fatal" and self.chance.random() < self.troubles.node
            crash("its node has died" if node else "the worker process has died")

        def trouble() -> None:
            self.kernel.sleep(self.chance.uniform(0, 20))
            if process.alive and self.chance.random() < 0.3:
                process.leaving = True
            elif process.alive:
                self.kernel.tell(process.name, "is killed")
                process.alive = False
                died()

        process.on_death = died
        if poison_of(job.image) == "fatal" and not job.together:
            process.dies_at = self.chance.randint(1, 2)
        elif self.chance.random() < self.troubles.crash:
            if self.chance.random() < 0.5:
                process.dies_at = self.chance.randint(1, self.troubles.operations)
            else:
                self.kernel.spawn(self._faults, trouble)
        self.kernel.spawn(process, work)
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
