"""The decisions of a run, without Ray and without a clock: which image starts, which fits are next, what ends.

The loop (`orchestrator.schedule.loop`) reports events to a `Scheduler` and carries out the actions that it returns. The
scheduler uses a `Ledger` where it must record something in the store before its next step.
"""

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from orchestrator.fit.job import FitJob
from orchestrator.plan.plan import Plan
from orchestrator.run.inputs import InputImage, Rejected
from orchestrator.run.layout import TOGETHER
from orchestrator.run.progress import Stage
from orchestrator.run.rows import RowState
from orchestrator.schedule.actions import Action, Ask, EndImage, Note, Start
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.crashes import Crash, History, Retry, decide
from orchestrator.schedule.questions import Assemble, Collect, Halve, PickNetwork, Question, Score
from orchestrator.schedule.queue import Finished
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.image import ImageStage, ImageWay, MasksWanted
from orchestrator.schedule.ways.way import ArmStage
from orchestrator.schedule.ways.wishes import FitKey
from orchestrator.score.bank import bank_of
from workers.names import Chain
from workers.tiles import Tiling

_LOOK_AHEAD = 1000


class Ledger(Protocol):
    """Records in the store that a decision depends on."""

    def failed(self, job: FitJob, reason: str) -> bool:
        """Record that a fit has failed for good; return False if another attempt has written a result meanwhile."""

    def tiling(self, image: InputImage) -> Tiling | None:
        """Return the tiles that an image is cut into, as an earlier attempt has recorded them; None for none."""

    def stopped(self, finished: Finished) -> None:
        """Record how far a fit came before its contest stopped it."""


@dataclass
class _Search:
    """A search for masks on all images together, and the chains that wait for its end."""

    history: History = field(default_factory=History)
    ended: bool = False
    waiting: list[MasksWanted] = field(default_factory=list)


class Scheduler:
    """Takes a run's images from scoring to their rows.

    Every image ends in exactly one row per arm. No fit of an image runs twice at once. At most as many images as
    `admit` allows are in progress.

    Args:
        plan: the run.
        images: the run's images that have no rows yet, in order.
        banks: the fingerprints that scoring needs.
        ledger: records failed and stopped fits in the store.
        coming: how many files are still to arrive; each of them becomes an image, or is rejected.
        ended: the ids of images that have their rows.
        gpu_share: the share of a GPU that a fit reserves.
        tally: the counts of the run.
    """

    def __init__(
        self,
        plan: Plan,
        images: Sequence[InputImage],
        banks: Banks,
        ledger: Ledger,
        *,
        coming: int = 0,
        ended: Container[str] = (),
        gpu_share: Callable[[InputImage, FitKey], float],
        tally: Tally,
    ) -> None:
        self._coming, self._ended, self._arrived = coming, ended, 0
        self._plan, self._banks, self._ledger, self._gpu_share, self._tally = plan, banks, ledger, gpu_share, tally
        self._retries = plan.config.resources.retries
        shown = {image.id for image in plan.images[: plan.config.keep.report_images]}
        self._waiting = deque(self._way(image, previews=image.id in shown) for image in images)
        self._active: dict[str, ImageWay] = {}
        self._searches: dict[Chain, _Search] = {}
        self.draining = False
        self._expect(len(images) + coming)

    def _way(self, image: InputImage, *, previews: bool) -> ImageWay:
        return ImageWay(
            image,
            self._plan.arms,
            self._plan.config,
            previews=previews,
            gpu_share=self._gpu_share,
            tally=self._tally,
        )

    @property
    def has_work(self) -> bool:
        """Whether an image has not ended yet."""
        return bool(self._active or self._waiting or self._coming)

    def admit(self, at_once: int) -> list[Action]:
        """Start scoring images whose bank is complete, until ``at_once`` images are in progress."""
        actions: list[Action] = []
        not_yet: list[ImageWay] = []
        while not self.draining and self._waiting and len(self._active) < at_once and len(not_yet) < _LOOK_AHEAD:
            way = self._waiting.popleft()
            if self._banks.is_ready(bank_of(self._plan.config, way.image)):
                self._active[way.image.id] = way
                actions += self._settle(way.begin(self._banks.without, self._ledger.tiling(way.image)))
            else:
                not_yet.append(way)
        self._waiting.extendleft(reversed(not_yet))
        return actions

    def on_arrival(self, arrival: InputImage | Rejected) -> list[Action]:
        """React to an image that is in the store now, or to a file that cannot be used.

        Who brings the images writes the rows of rejected files.
        """
        self._coming -= 1
        if isinstance(arrival, Rejected):
            self._expect(-1)
            return [Note(f"{arrival.name}: rejected: {arrival.reason}")]
        self._arrived += 1
        if arrival.id in self._ended:
            self._expect(-1)
            return []
        previews = self._arrived <= self._plan.config.keep.report_images
        self._waiting.append(self._way(arrival, previews=previews))
        return self._banks.expect(bank_of(self._plan.config, arrival))

    def _expect(self, images: int) -> None:
        """Count the work of so many images more."""
        self._tally.expect("scored", images)
        self._tally.expect("cohort", images * self._plan.cohort_size)
        self._tally.expect("full", images * self._plan.full_fits)
        self._tally.expect("collected", images)

    def on_finished(self, finished: Finished) -> list[Action]:
        """React to a trial that has ended, successfully or not.

        Raises:
            StoreError: the store failed, which is no fault of the fit.
        """
        job = finished.job
        if job.together:
            return self._on_search_ended(finished)
        way, key = self._active.get(job.image.id), (job.view, job.name)
        if way is None or not way.waits_for(job):
            return []
        if finished.crash is not None:
            return self._on_crash(way, key, job, finished.crash)
        if job.tile is not None:
            return self._settle(way.on_tile(job, paused=finished.state == "paused"))
        if finished.state == "stopped":
            self._ledger.stopped(finished)
            return self._settle(way.on_stopped(key, finished.iteration))
        if finished.state == "paused":
            way.fits.paused(key)
        else:
            way.fits.ended(key, done=finished.state == "done")
        return self._settle(way.on_fit(key))

    def _on_crash(self, way: ImageWay, key: FitKey, job: FitJob, crash: Crash) -> list[Action]:
        again, history = self._again(job, crash, way.history(job))
        way.on_crash(job, history)
        if self.draining:
            return []
        if again is not None:
            note = f"{job.image.name}: the fit of {job.name} is taken up again: {crash.reason}"
            return [Note(note), Start((again,), first=True)]
        done = not self._ledger.failed(job, crash.reason)
        notes = [] if done else [Note(f"{job.image.name}: the fit of {job.name} failed: {crash.reason}")]
        if job.tile is not None:
            return [*notes, *self._settle(way.on_tile(job))]
        way.fits.ended(key, done=done)
        return [*notes, *self._settle(way.on_fit(key))]

    def on_answer(self, question: Question, answer: Any) -> list[Action]:
        """React to the answer of an image worker."""
        way = self._active.get(question.image.id)
        # The image may have ended while an arm's question was in progress; the answer no longer matters.
        if way is None:
            return []
        if isinstance(question, Score) and answer is None:
            self._uncount(way)
            self._leave(way)
            return [Note(f"{way.image.name}: another driver has finished it")]
        if isinstance(question, Collect):
            self._leave(way)
            self._tally.add("collected")
            return []
        if isinstance(question, Score):
            actions = way.on_scored(answer)
        elif isinstance(question, PickNetwork):
            actions = way.on_network_picked(answer)
        elif isinstance(question, Assemble):
            actions = way.on_assembled(question.name, answer)
        else:
            arm = way.way_of(question.arm)
            wishes = arm.on_halved(answer) if isinstance(question, Halve) else arm.on_decided(answer)
            actions = way.on_answer(arm, wishes)
        return self._settle(actions)

    def on_no_answer(self, ask: Ask, reason: str, *, lost: bool, rejected: bool = False) -> list[Action]:
        """React to a question without an answer: its worker was ``lost``, the image is ``rejected``, or the work
        failed.

        A lost worker need not be the image's fault, so the question is asked again, a few times. Failed work is not
        retried, because it would fail again.
        """
        way = self._active.get(ask.question.image.id)
        if way is None:
            return []
        if lost and ask.tries < self._retries:
            return [replace(ask, tries=ask.tries + 1)]
        return self._end(way, RowState.REJECTED if rejected else RowState.FAILED, reason)

    def stages(self, slots: int) -> list[Stage]:
        """Report the progress of all stages; at most ``slots`` fits count as running."""
        images = Counter(way.stage for way in self._active.values())

        def fits(stage: ArmStage) -> int:
            return min(
                slots, sum(len(arm.running) for way in self._active.values() for arm in way.ways if arm.stage is stage)
            )

        tally = self._tally
        stages = [
            Stage("bank", tally.done("bank"), tally.total("bank")),
            Stage("score", tally.done("scored"), tally.total("scored"), images[ImageStage.SCORING]),
            Stage("cohort", tally.done("cohort"), tally.total("cohort"), fits(ArmStage.COHORT)),
            Stage("full size", tally.done("full"), tally.total("full"), fits(ArmStage.FULL)),
            Stage("tiles", tally.done("tiles"), tally.total("tiles")),
            Stage("images", tally.done("collected"), tally.total("collected"), images[ImageStage.COLLECTING]),
        ]
        return [stage for stage in stages if stage.total]

    def _again(self, job: FitJob, crash: Crash, history: History) -> tuple[FitJob | None, History]:
        """Return the job to retry, or None if the fit counts as failed; and the fit's crashes so far."""
        decision = decide(crash, history, alone=job.alone, retries=self._retries)
        if isinstance(decision, Retry):
            return replace(job, alone=job.alone or decision.alone), decision.history
        return None, decision.history

    def _settle(self, actions: Iterable[Action | MasksWanted]) -> list[Action]:
        """Turn every wish for masks into a search that all images share; return all actions."""
        settled: list[Action] = []
        for action in actions:
            settled += self._want_masks(action) if isinstance(action, MasksWanted) else [action]
        return settled

    def _want_masks(self, wanted: MasksWanted) -> list[Action]:
        """Begin a chain if its masks have been searched on all images together; else let it wait for that search."""
        search = self._searches.get(wanted.chain)
        if search is not None and search.ended:
            return self._settle(wanted.image.on_masks_searched(wanted.way, wanted.chain))
        if search is not None:
            search.waiting.append(wanted)
            return []
        self._searches[wanted.chain] = _Search(waiting=[wanted])
        images = tuple(self._plan.images)
        gpus = max(self._gpu_share(image, ("full", wanted.chain)) for image in images)
        found = replace(wanted.chain, source=None)
        return [Start((FitJob(images[0], "full", found, gpus=gpus, together=images),), first=True)]

    def _on_search_ended(self, finished: Finished) -> list[Action]:
        """Begin the chains that waited for a search on all images; a chain records itself if there are no masks."""
        job = finished.job
        assert isinstance(job.name, Chain)  # noqa: S101 - only chains are searched on several images
        search = self._searches[replace(job.name, source=TOGETHER)]
        notes: list[Action] = []
        if finished.crash is not None:
            again, search.history = self._again(job, finished.crash, search.history)
            if self.draining:
                return []
            notes = [Note(f"the search for {job.name} on all images crashed: {finished.crash.reason}")]
            if again is not None:
                return [*notes, Start((again,), first=True)]
        search.ended = True
        waiting, search.waiting = search.waiting, []
        return notes + [
            action
            for each in waiting
            if not each.image.has_ended
            for action in self._settle(each.image.on_masks_searched(each.way, each.chain))
        ]

    def _end(self, way: ImageWay, state: RowState, reason: str) -> list[Action]:
        """End an image early: its rows give the reason."""
        self._uncount(way)
        self._leave(way)
        return [EndImage(way.image, state, reason)]

    def _uncount(self, way: ImageWay) -> None:
        """Take the remaining work of an image out of the totals."""
        if way.stage in (ImageStage.WAITING, ImageStage.SCORING):
            self._tally.expect("scored", -1)
            self._tally.expect("cohort", -self._plan.cohort_size)
        decided = sum(arm.arm.refits for arm in way.ways if arm.decision is not None)
        self._tally.expect("full", decided - self._plan.full_fits)
        self._tally.expect("tiles", 0 if way.tiles is None else -way.tiles.left)
        self._tally.expect("collected", -1)

    def _leave(self, way: ImageWay) -> None:
        way.stage = ImageStage.ENDED
        self._active.pop(way.image.id, None)
