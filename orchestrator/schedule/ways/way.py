"""The way of an arm with one image: a state machine that knows neither Ray nor the store.

It receives events and returns what it wants next. `orchestrator.schedule.ways.image` combines the wishes of all arms of
an image.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

from orchestrator.arms.arm import Arm
from orchestrator.collect.fits import Chosen
from orchestrator.pick.decide import Decision
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.questions import Decide, Halve
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.wishes import TO_THE_END, Want, Wish
from orchestrator.score.score import Scored
from workers.names import FitName

Wishes = list[Wish]


class ArmStage(Enum):
    """The stages of an arm.

    COHORT: its members are fitted, up to the next rung or to the end.
    COHORT -> HALVING: all members have reached a rung; the worse ones end there. HALVING -> COHORT.
    COHORT -> DECIDING: all members have ended; they are put in order.
    DECIDING -> FULL: the best are fitted at full size. A cohort at full size needs no such fits: DECIDING -> READY.
    FULL -> READY: there is a result, or no member is left to try.
    WAITING -> COHORT or DECIDING: a lottery that prunes the network of another arm waits for that arm's pick.
    """

    WAITING = "waiting"
    COHORT = "cohort"
    HALVING = "halving"
    DECIDING = "deciding"
    FULL = "full"
    READY = "ready"


class Way:
    """An arm that fits a cohort, halves it at every rung that it has, decides, and fits the best at full size.

    Attributes:
        arm: the method.
        cohort: the members with their scores, best first.
        stage: see `ArmStage`.
        alive: the names that are still fitted: members that halving has kept, or a lottery's chains.
        running: the names whose fits it waits for.
        ended: the members that ended early, each with its number of iterations.
        decision: the order of the cohort, once decided.
        full: the fits at full size, the best first.
    """

    def __init__(self, image: InputImage, arm: Arm, cohort: Sequence[Scored], tally: Tally) -> None:
        self.arm, self.cohort = arm, tuple(cohort)
        self.stage = ArmStage.COHORT
        self.alive: list[FitName] = [scored.name for scored in cohort]
        self.running: set[FitName] = set()
        self.ended: dict[FitName, int] = {}
        self.decision: Decision | None = None
        self.full: list[FitName] = []
        self._image, self._tally = image, tally
        self._rungs_passed = 0
        self._untried: deque[FitName] = deque()

    @property
    def chosen(self) -> Chosen:
        """The fits and the decision of a ready way, to be collected."""
        if self.decision is None:
            raise ValueError(f"the arm {self.arm.name} has decided nothing yet")
        return Chosen(self.arm, self.cohort, self.decision, tuple(self.full), dict(self.ended))

    def begin(self) -> Wishes:
        """Fit the rest of the cohort up to the next rung, or to the end."""
        if not self.alive:
            return self._decide()
        self.stage = ArmStage.COHORT
        rungs = self.arm.rungs[self._rungs_passed :]
        return [self._want(self.alive, rungs[0] if rungs else TO_THE_END)]

    def on_fit(self, name: FitName, *, done: bool) -> Wishes:
        """React to a fit that has come as far as the arm wanted; ``done`` is False if it ended without a result."""
        self.running.discard(name)
        if self.stage is ArmStage.FULL:
            return self._on_full_fit(done=done)
        at_the_end = self._rungs_passed == len(self.arm.rungs)
        self._tally.add("cohort", int(at_the_end))
        if self.running:
            return []
        return self._decide() if at_the_end else self._halve()

    def on_contest_lost(self, name: FitName, iteration: int) -> Wishes:
        """React to a member that asynchronous halving has ended after so many iterations."""
        self.ended[name] = iteration
        return self.on_fit(name, done=False)

    def on_halved(self, alive: Sequence[FitName]) -> Wishes:
        """Go on from the rung with these members; the others end there."""
        self._tally.add("cohort", len(self.alive) - len(alive))
        rung = self.arm.rungs[self._rungs_passed]
        self.ended |= {name: rung for name in self.alive if name not in alive}
        self.alive = list(alive)
        self._rungs_passed += 1
        return self.begin()

    def on_decided(self, decision: Decision) -> Wishes:
        """Fit the best of the decided order at full size, unless the cohort has that size already."""
        self.decision = decision
        best = decision.order[: self.arm.full_fits]
        self.full = list(best)
        if self.arm.view != "full":
            self._tally.expect("full", len(best) - self.arm.refits)
        if self.arm.view == "full" or not best:
            self.stage = ArmStage.READY
            return []
        self.stage = ArmStage.FULL
        self._untried = deque(decision.order[len(best) :])
        return [self._want(best, TO_THE_END)]

    def _on_full_fit(self, *, done: bool) -> Wishes:
        self._tally.add("full")
        if not done and self._untried:
            # The next best takes the place of a pick that failed.
            self._tally.expect("full", 1)
            self.full.append(self._untried.popleft())
            return [self._want(self.full[-1:], TO_THE_END)]
        if not self.running:
            self.stage = ArmStage.READY
        return []

    def _halve(self) -> Wishes:
        self.stage = ArmStage.HALVING
        return [Halve(self._image, self.arm, tuple(self.alive), self.arm.rungs[self._rungs_passed])]

    def _decide(self) -> Wishes:
        self.stage = ArmStage.DECIDING
        return [Decide(self._image, self.arm, self.cohort, tuple(self.ended))]

    def _want(self, names: Sequence[FitName], until: int) -> Want:
        self.running |= set(names)
        return Want("full" if self.stage is ArmStage.FULL else self.arm.view, tuple(names), until)
