"""A world for the scheduler without Ray, store or clock: chance, or a test, decides what fits,
image workers and machines do.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.fit.job import FitJob
from orchestrator.pick.decide import Decision
from orchestrator.plan.plan import Plan
from orchestrator.run.inputs import InputImage, Inputs, Source
from orchestrator.schedule.actions import Action, Ask, Compute, EndImage, Note, Start
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.crashes import MACHINES_THAT_MAY_BE_LOST, Cause, Crash
from orchestrator.schedule.questions import Assemble, Collect, Decide, Halve, PickNetwork, Question, Score
from orchestrator.schedule.queue import Finished
from orchestrator.schedule.scheduler import Scheduler
from orchestrator.schedule.tally import Tally
from orchestrator.score.score import Scored
from orchestrator.settings import Config
from workers.names import Chain, FitName, PriorName, Round
from workers.tiles import Tiling, tiling_of

NETWORKS = ("dip", "dip-inpaint", "deep-decoder-64", "deep-decoder-128", "deep-decoder-32")
RETRIES = 2


def settings(*arms: str | dict[str, Any], **more: Any) -> Config:
    """Settings of a run whose arms name their networks, so that no bank is needed."""
    wanted = {
        "arms": list(arms),
        "cohort": {"first_rung": 100, "iterations": 400},
        "fit": {"iterations": 800},
        "lottery": {"rounds": 2, "initialisations": 2},
        "resources": {"retries": RETRIES},
        **more,
    }
    return Config.model_validate(wanted)


def arm(name: str, *networks: str, **more: Any) -> dict[str, Any]:
    """An arm with a cohort of its own."""
    return {"name": name, "networks": list(networks or NETWORKS[:4]), "view": "crop", "rule": "held-out", **more}


def image(number: int) -> InputImage:
    """An image by number."""
    name = f"image{number}"
    return InputImage(
        f"{name}.png", f"{name}-0000000{number % 10}", f"{number:064x}.png", None, f"{name}.png", 96, 96, 3
    )


def plan_of(config: Config, images: int) -> Plan:
    """A plan that knows of no machines."""
    return Plan("run", config, None, False, Inputs([image(number) for number in range(images)], []), Source("images"))


FitId = tuple[str, str, FitName]


@dataclass
class World:
    """Carries out a scheduler's actions one at a time, in an order of its own, and checks the invariants at every step.

    ``results`` has, for every fit that has ended, whether it has a result; ``rows`` how often each image got its rows.
    """

    plan: Plan
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    trouble: float = 0.0
    at_once: int = 3
    tally: Tally = field(default_factory=Tally)
    waiting: list[FitJob] = field(default_factory=list)
    running: list[FitJob] = field(default_factory=list)
    asked: list[Ask] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: dict[FitId, bool] = field(default_factory=dict)
    paused: dict[FitId, int] = field(default_factory=dict)
    begun: Counter[FitId] = field(default_factory=Counter)
    crashes: Counter[tuple[FitId, Cause]] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    ended: dict[str, EndImage] = field(default_factory=dict)
    late_results: bool = False
    coming: int = 0
    done_before: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        banks = Banks({}, {}, retries=RETRIES, tally=self.tally, find=lambda spec: ([], []))
        self.scheduler = Scheduler(
            self.plan,
            self.plan.images[: len(self.plan.images) - self.coming],
            banks,
            self,
            coming=self.coming,
            ended=self.done_before,
            gpu_share=lambda image, key: 0.25,
            tally=self.tally,
        )

    # The ledger of the scheduler.

    def failed(self, job: FitJob, reason: str) -> bool:
        """Records a failure, unless chance has another attempt's result there already."""
        won = not (self.late_results and self.chance.random() < 0.3)
        self.results[self._id(job)] = not won
        return won

    def tiling(self, image: InputImage) -> Tiling | None:
        """Cuts the images where the settings ask for it."""
        if self.plan.config.fit.tile == "auto":
            return None
        return tiling_of(image.height, image.width, int(self.plan.config.fit.tile), 16)

    def stopped(self, finished: Finished) -> None:
        """Records where a contest stopped a fit."""
        self.paused[self._id(finished.job)] = finished.iteration

    # One step at a time.

    def begin(self) -> None:
        """The images' turn."""
        self.do(self.scheduler.admit(self.at_once))

    def do(self, actions: Iterable[Action]) -> None:
        """Carry out actions."""
        for action in actions:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Ask):
                self.asked.append(action)
            elif isinstance(action, EndImage):
                self.waiting = [job for job in self.waiting if job.image.id != action.image.id or job.together]
                self.rows[action.image.id] += 1
                self.ended[action.image.id] = action
            elif isinstance(action, Note):
                self.notes.append(action.text)
            else:
                assert not isinstance(action, Compute)

    def _start(self, start: Start) -> None:
        if self.scheduler.draining:
            return
        for job in start.jobs:
            mine = self._id(job)
            assert all(self._id(other) != mine for other in (*self.waiting, *self.running)), f"{mine} runs twice"
            assert self.results.get(mine) is None or job.together, f"{mine} has ended and is begun again"
            self.begun[mine] += 1
        self.waiting = [*start.jobs, *self.waiting] if start.first else [*self.waiting, *start.jobs]

    def step(self) -> bool:
        """Let one thing happen that can happen; False if nothing can."""
        while self.waiting and len(self.running) < self.at_once:
            self.running.append(self.waiting.pop(0))
        possible: list[Callable[[], None]] = [lambda job=job: self.end(job) for job in self.running]  # type: ignore[misc]
        possible += [lambda ask=ask: self.answer(ask) for ask in self.asked]  # type: ignore[misc]
        if not possible:
            return False
        self.chance.choice(possible)()
        self.do(self.scheduler.admit(self.at_once))
        return True

    def run(self, *, drain_after: int | None = None, steps: int = 20_000) -> None:
        """Until nothing can happen any more."""
        self.begin()
        for number in range(steps):
            if number == drain_after:
                self.scheduler.draining = True
                self.waiting.clear()
            if not self.step():
                return
        raise AssertionError("it came to no end")

    # The possible events.

    def end(self, job: FitJob) -> None:
        """A trial ends: by itself, at its rung, in a contest, or in a crash."""
        if self.chance.random() < self.trouble:
            self.crash(job, self.chance.choice(("worker", "node", "memory")))
            return
        mine = self._id(job)
        if job.contest is not None and self.chance.random() < 0.3:
            self.finish(Finished(job, "stopped", iteration=100, held_out_error=0.1, seconds=1.0))
        elif job.until is not None and self.chance.random() < 0.8:
            self.paused[mine] = job.until
            self.finish(Finished(job, "paused"))
        else:
            done = self.chance.random() >= self.trouble / 2
            self.results[mine] = done
            self.finish(Finished(job, "done" if done else "failed"))

    def crash(self, job: FitJob, cause: Cause) -> None:
        """A trial leaves no record."""
        mine = self._id(job)
        if cause != "memory" or job.alone:
            self.crashes[mine, cause] += 1
        if cause == "memory":
            assert not job.alone or self.crashes[mine, "memory"] == 1, f"{mine} was alone and is tried again"
        self.finish(Finished(job, "failed", crash=Crash(cause, f"{cause} trouble")))
        assert self.crashes[mine, "worker"] <= RETRIES + 1
        assert self.crashes[mine, "node"] <= MACHINES_THAT_MAY_BE_LOST + 1

    def finish(self, finished: Finished) -> None:
        """Report to the scheduler."""
        self.running.remove(finished.job)
        self.do(self.scheduler.on_finished(finished))

    def answer(self, ask: Ask) -> None:
        """An image worker answers, is lost, or fails."""
        self.asked.remove(ask)
        if self.chance.random() < self.trouble / 3:
            lost = self.chance.random() < 0.8
            self.do(
                self.scheduler.on_no_answer(ask, "trouble", lost=lost, rejected=not lost and self.chance.random() < 0.5)
            )
            return
        answer = self.answer_to(ask.question)
        if isinstance(ask.question, Collect):
            self.rows[ask.question.image.id] += 1
        self.do(self.scheduler.on_answer(ask.question, answer))

    def answer_to(self, question: Question) -> Any:
        """The answer of an image worker, from what is known of the fits."""
        match question:
            case Score():
                return {
                    each.name: [Scored(PriorName(network), float(at)) for at, network in enumerate(each.networks or ())]
                    for each in self.plan.arms
                    if not each.is_lottery
                }
            case Halve(of, _, cohort, iterations):
                for name in cohort:
                    assert self._came(of, question.arm.view, name, iterations), (
                        f"{name} was asked about before its rung"
                    )
                return [name for name in cohort if self.chance.random() < 0.7] or [cohort[0]]
            case Decide(of, by, cohort, ended):
                order, failed = [], {}
                for scored in cohort:
                    if scored.name not in ended:
                        done = self._has_result(of, by.view, scored.name)
                        (order.append(scored.name) if done else failed.update({scored.name: "failed"}))
                return Decision(by.rule, order, failed)
            case PickNetwork(_, chosen):
                return chosen.full[0].network if chosen.full else None
            case Assemble():
                return self._assembled(question)
            case Collect(of, chosen, _):
                for each in chosen:
                    for name in each.full if each.arm.view != "full" else ():
                        assert (of.id, "full", name) in self.results, f"{name} is collected and has not ended"
                return []

    def _assembled(self, question: Assemble) -> str:
        of, name, until = question.image, question.name, question.until
        places = [f"full-{tile}" for tile in question.tiling.tiles]
        for place in places:
            assert self._came(of, place, name, until or sys.maxsize), f"{name} is assembled too early"
        whole, tiles = (of.id, "full", name), [(of.id, place, name) for place in places]
        if until is not None and not all(tile in self.results for tile in tiles):
            self.paused[whole] = until
            return "paused"
        self.results[whole] = all(self.results[tile] for tile in tiles)
        return "done" if self.results[whole] else "failed"

    def _came(self, of: InputImage, view: str, name: FitName, iterations: int) -> bool:
        mine = (of.id, view, name)
        return mine in self.results or self.paused.get(mine, 0) >= iterations

    def _has_result(self, of: InputImage, view: str, name: FitName) -> bool:
        if isinstance(name, Round):
            chain = (of.id, view, name.chain)
            assert chain in self.results, f"{name} is decided about and its chain has not ended"
            return self.results[chain]
        assert (of.id, view, name) in self.results, f"{name} is decided about and has not ended"
        return self.results[of.id, view, name]

    @staticmethod
    def _id(job: FitJob) -> FitId:
        together = isinstance(job.name, Chain) and job.together
        return ("all images" if together else job.image.id, job.place, job.name)

    def assert_all_ended(self) -> None:
        """Every image has exactly one set of rows, and nothing is left over."""
        assert not self.scheduler.has_work
        assert self.rows == Counter({each.id: 1 for each in self.plan.images})
