"""The driver's loop: every image through its stages, as many at a time as keep the workers busy.

The driver holds records and references to results, never images. It waits for whatever ends first - a part of a bank, a
scored image, a fit, a decision, a collected image - and starts what has become possible. No stage waits for all images.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import cycle
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from orchestrator.collecting import collect
from orchestrator.context import RunContext
from orchestrator.errors import ImageRejectedError, RunFailedError, StoreError
from orchestrator.fits import fit_keys, read_record
from orchestrator.ingest import InputImage
from orchestrator.job_queue import Finished, JobQueue
from orchestrator.jobs import FitJob, FitRecord
from orchestrator.picking import Decision, decide
from orchestrator.plan import Plan
from orchestrator.progress import Listener, Stage
from orchestrator.results import Row, RowState, rows_to_json
from orchestrator.scoring import BankPart, Scored, bank_of, bank_parts, candidates_of, compute_part, score_image
from orchestrator.trials import SessionSpec, run_session
from workers.fingerprints import BankSpec

SESSIONS_THAT_MAY_FAIL = 3
TRIALS_PER_WORKER = 2
_LOOK_AHEAD = 1000
_STORE_ERROR = f"{StoreError.__module__}.{StoreError.__qualname__}: "


class ImageStage(Enum):
    """The way of an image.

    WAITING (for its turn and its bank) -> SCORING -> COHORT (its shortlist is fitted) -> DECIDING -> FULL (the best are
    fitted at full size) -> COLLECTING -> ENDED. A cohort fitted at full size goes from DECIDING to COLLECTING. From
    anywhere an image may go to ENDED with a row that says why.
    """

    WAITING = "waiting"
    SCORING = "scoring"
    COHORT = "cohort"
    DECIDING = "deciding"
    FULL = "full"
    COLLECTING = "collecting"
    ENDED = "ended"


@dataclass
class Progress:
    """One image on its way."""

    image: InputImage
    previews: bool
    stage: ImageStage = ImageStage.WAITING
    shortlist: list[Scored] = field(default_factory=list)
    running: set[FitJob] = field(default_factory=set)
    decision: Decision | None = None
    untried: deque[str] = field(default_factory=deque)
    full: list[str] = field(default_factory=list)


def compute_bank_part(context: RunContext, part: BankPart) -> None:
    """A scoring task: fingerprint a chunk of candidates."""
    torch.set_num_threads(context.threads)
    compute_part(context.store, part, context.device)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)
class ImageWorker:
    """Does the short work on an image between its fits: score, decide, collect.

    It takes no CPU from the trials. An actor and not a task, because Ray ends idle workers beyond its number of CPUs, and
    a new one would import torch for every piece of work.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        torch.set_num_threads(context.threads)

    def score(self, image: InputImage, keep: int) -> list[Scored]:
        """See `score_image`."""
        return score_image(self._context, image, keep)

    def decide(self, image: InputImage, shortlist: list[Scored]) -> Decision:
        """See `decide`."""
        return decide(self._context, image, shortlist)

    def collect(  # noqa: D102 - see `collect`
        self, image: InputImage, shortlist: list[Scored], decision: Decision, full: list[str], *, previews: bool
    ) -> list[Row]:
        return collect(self._context, image, shortlist, decision, full, previews=previews)


class Pipeline:
    """Takes a plan's images from the store's inputs to rows of results."""

    def __init__(self, context: RunContext, plan: Plan, spec: SessionSpec, listener: Listener) -> None:
        self._context, self._plan, self._spec, self._listener = context, plan, spec, listener
        self._waiting = deque(
            Progress(image, previews=index < context.config.keep.report_images)
            for index, image in enumerate(plan.images)
        )
        self._active: dict[str, Progress] = {}
        self._handlers: dict[Any, Callable[[Any], None]] = {}
        self._bank_parts_left: dict[BankSpec, int] = {}
        self._broken_banks: dict[BankSpec, str] = {}
        self._done: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._queue: Any = ray.remote(num_cpus=0)(JobQueue).remote()
        actors: Any = ImageWorker
        self._workers = cycle([actors.remote(context) for _ in range(max(1, spec.parallel // TRIALS_PER_WORKER))])
        self._sessions = 0
        self._live_sessions = 0
        self._failed_sessions = 0
        # Enough images under way that a finished trial always finds another fit waiting.
        self._in_flight = max(4, 2 * spec.parallel)

    def run(self) -> None:
        """Work until every image has its row in the store.

        Raises:
            StoreError: the store could no longer be written.
            RunFailedError: Tune failed again and again.
        """
        images = len(self._waiting)
        self._total.update(
            scored=images, cohort=images * self._plan.cohort_size, full=images * self._plan.full_fits, collected=images
        )
        self._start_banks()
        self._when(self._queue.finished.remote(), self._on_finished_fits)
        self._admit()
        while self._active or self._waiting:
            ready, _ = ray.wait(list(self._handlers), num_returns=1, timeout=1.0)
            for reference in ready:
                self._handlers.pop(reference)(reference)
            self._admit()
            self._ensure_session()
            self._tell()
        ray.get(self._queue.close.remote())

    def _when(self, reference: Any, handler: Callable[[Any], None]) -> None:
        self._handlers[reference] = handler

    def _tell(self) -> None:
        running = Counter(progress.stage for progress in self._active.values())
        stages = [
            Stage("bank", self._done["bank"], self._total["bank"]),
            Stage("score", self._done["scored"], self._total["scored"], running[ImageStage.SCORING]),
            Stage("cohort", self._done["cohort"], self._total["cohort"], self._running_fits(ImageStage.COHORT)),
            Stage("full size", self._done["full"], self._total["full"], self._running_fits(ImageStage.FULL)),
            Stage("images", self._done["collected"], self._total["collected"], running[ImageStage.COLLECTING]),
        ]
        self._listener.update([stage for stage in stages if stage.total])

    def _running_fits(self, stage: ImageStage) -> int:
        waiting_or_running = sum(len(p.running) for p in self._active.values() if p.stage is stage)
        return min(waiting_or_running, self._spec.parallel)

    # A bank is a condition of scoring, but no barrier: images whose bank is there go on.

    def _start_banks(self) -> None:
        config, store = self._context.config, self._context.store
        candidates = candidates_of(config)
        specs = dict.fromkeys(spec for image in self._plan.images if (spec := bank_of(config, image)) is not None)
        for spec in specs:
            parts = [part for part in bank_parts(config, spec, candidates) if not store.exists(part.key)]
            self._bank_parts_left[spec] = len(parts)
            self._total["bank"] += len(parts)
            name = f"bank:{spec.width}x{spec.height}x{spec.channels}"
            # The numbers must be the task's own, not options of a call: only then does a worker that had a GPU end with
            # its task and give the memory back.
            task = ray.remote(num_cpus=self._spec.cpus, num_gpus=self._spec.gpus)(compute_bank_part).options(name=name)
            for part in parts:
                reference = task.remote(self._context, part)
                self._when(reference, partial(self._on_bank_part, spec))
        self._let_sessions_idle()

    def _on_bank_part(self, spec: BankSpec, reference: Any) -> None:
        try:
            ray.get(reference)
        except StoreError as error:
            raise StoreError(_message(error)) from None
        except RayError as error:
            self._broken_banks[spec] = _cause(error)
        self._bank_parts_left[spec] -= 1
        self._done["bank"] += 1
        self._let_sessions_idle()

    def _let_sessions_idle(self) -> None:
        # A session without work keeps its CPUs. With parts of a bank still to compute, or an older session that retries a
        # fit, each would wait for the other.
        alone = self._live_sessions <= 1 and not any(self._bank_parts_left.values())
        ray.get(self._queue.set_may_idle.remote(alone))

    def _admit(self) -> None:
        """Start scoring, for as many images as may be under way and have their bank."""
        not_yet: list[Progress] = []
        while self._waiting and len(self._active) < self._in_flight and len(not_yet) < _LOOK_AHEAD:
            progress = self._waiting.popleft()
            spec = bank_of(self._context.config, progress.image)
            if spec is not None and spec in self._broken_banks:
                self._end(progress, RowState.FAILED, f"its candidates could not be scored: {self._broken_banks[spec]}")
            elif spec is not None and self._bank_parts_left[spec]:
                not_yet.append(progress)
            else:
                self._active[progress.image.id] = progress
                progress.stage = ImageStage.SCORING
                reference = next(self._workers).score.remote(progress.image, self._plan.cohort_size)
                self._when(reference, partial(self._on_scored, progress))
        self._waiting.extendleft(reversed(not_yet))

    def _on_scored(self, progress: Progress, reference: Any) -> None:
        shortlist = self._outcome(progress, reference)
        if shortlist is None:
            return
        self._done["scored"] += 1
        progress.shortlist = shortlist
        progress.stage = ImageStage.COHORT
        self._fit(progress, self._context.config.cohort.view, [scored.candidate for scored in shortlist])

    def _fit(self, progress: Progress, view: Any, candidates: Sequence[str]) -> None:
        jobs = [FitJob(progress.image, self._context.config.method, view, candidate) for candidate in candidates]
        progress.running.update(jobs)
        # An image that is nearly done goes before one that has just begun: first results come early.
        ray.get(self._queue.put.remote(jobs, first=progress.stage is ImageStage.FULL))

    def _on_finished_fits(self, reference: Any) -> None:
        for finished in ray.get(reference):
            self._on_finished_fit(finished)
        self._when(self._queue.finished.remote(), self._on_finished_fits)

    def _on_finished_fit(self, finished: Finished) -> None:
        job = finished.job
        progress = self._active.get(job.image.id)
        if progress is None or job not in progress.running:
            return
        if finished.crash is not None:
            if finished.crash.startswith(_STORE_ERROR):
                # No fault of the candidate: nothing could be recorded from here on.
                raise StoreError(finished.crash.removeprefix(_STORE_ERROR))
            keys = fit_keys(self._context, job)
            if read_record(self._context.store, keys) is None:
                record = FitRecord(job.candidate, job.view, "failed", reason=finished.crash)
                self._context.store.put(keys.result, record.to_json())
            self._listener.note(f"{job.image.name}: the fit of {job.candidate} failed: {finished.crash}")
        progress.running.discard(job)
        if progress.stage is ImageStage.FULL:
            self._done["full"] += 1
            if not finished.done and progress.untried:
                # The next best takes the place of a pick that came to nothing.
                self._total["full"] += 1
                progress.full.append(progress.untried.popleft())
                self._fit(progress, "full", progress.full[-1:])
            if not progress.running:
                self._collect(progress)
        else:
            self._done["cohort"] += 1
            if not progress.running:
                self._decide(progress)

    def _decide(self, progress: Progress) -> None:
        progress.stage = ImageStage.DECIDING
        reference = next(self._workers).decide.remote(progress.image, progress.shortlist)
        self._when(reference, partial(self._on_decided, progress))

    def _on_decided(self, progress: Progress, reference: Any) -> None:
        decision: Decision | None = self._outcome(progress, reference)
        if decision is None:
            return
        progress.decision = decision
        best = decision.order[: self._context.config.pick.full_fits]
        progress.full = list(best)
        if self._context.config.cohort.view == "full":
            self._collect(progress)
            return
        self._total["full"] += len(best) - self._plan.full_fits
        if not best:
            self._collect(progress)
            return
        progress.stage = ImageStage.FULL
        progress.untried = deque(decision.order[len(best) :])
        self._fit(progress, "full", best)

    def _collect(self, progress: Progress) -> None:
        progress.stage = ImageStage.COLLECTING
        reference = next(self._workers).collect.remote(
            progress.image, progress.shortlist, progress.decision, progress.full, previews=progress.previews
        )
        self._when(reference, partial(self._on_collected, progress))

    def _on_collected(self, progress: Progress, reference: Any) -> None:
        if self._outcome(progress, reference) is None:
            return
        self._leave(progress)
        self._done["collected"] += 1

    def _outcome(self, progress: Progress, reference: Any) -> Any:
        """What a task of an image returned; None if the image has ended by it.

        Raises:
            StoreError: the store failed, which is no fault of the image.
        """
        try:
            return ray.get(reference)
        except StoreError as error:
            raise StoreError(_message(error)) from None
        except ImageRejectedError as error:
            self._end(progress, RowState.REJECTED, _cause(error))
        except RayError as error:
            self._end(progress, RowState.FAILED, _cause(error))
        return None

    def _end(self, progress: Progress, state: RowState, reason: str) -> None:
        """An image goes no further: its row says why, and what it would have needed is no longer counted."""
        row = Row(progress.image.name, self._context.config.method, state, reason=reason)
        self._context.store.put(self._context.layout.row(progress.image.id), rows_to_json([row]).encode())
        self._listener.note(f"{progress.image.name}: {state}: {reason}")
        if progress.stage in (ImageStage.WAITING, ImageStage.SCORING):
            self._total["scored"] -= 1
            self._total["cohort"] -= self._plan.cohort_size
        if progress.decision is None:
            self._total["full"] -= self._plan.full_fits
        self._total["collected"] -= 1
        self._leave(progress)

    def _leave(self, progress: Progress) -> None:
        progress.stage = ImageStage.ENDED
        self._active.pop(progress.image.id, None)

    def _ensure_session(self) -> None:
        """Start a session where fits wait and none takes them."""
        if ray.get(self._queue.wants_session.remote(self._sessions)):
            reference = run_session.options(name=f"tune:{self._sessions}").remote(
                self._context, self._queue, self._sessions, self._spec
            )
            number = self._sessions
            self._when(reference, partial(self._on_session_end, number))
            self._sessions += 1
            self._live_sessions += 1
            self._let_sessions_idle()

    def _on_session_end(self, number: int, reference: Any) -> None:
        reason = None
        try:
            ray.get(reference)
        except RayError as error:
            reason = _cause(error)
            self._failed_sessions += 1
            self._listener.note(f"Tune stopped and is started again: {reason}")
        self._live_sessions -= 1
        self._let_sessions_idle()
        lost = ray.get(self._queue.give_back.remote(number))
        if self._failed_sessions > SESSIONS_THAT_MAY_FAIL:
            raise RunFailedError(f"Tune failed {self._failed_sessions} times; the last time: {reason}")
        ray.get(self._queue.put.remote(lost, first=True))


def _message(error: Exception) -> str:
    """What an exception said where it was raised, on one line; Ray puts the remote traceback around it."""
    return " ".join(str(error.cause if isinstance(error, RayTaskError) else error).split())


def _cause(error: Exception) -> str:
    """What went wrong in a task, in one line."""
    if isinstance(error, ImageRejectedError):
        return _message(error)[:300]
    kind = type(error.cause if isinstance(error, RayTaskError) else error).__name__
    return f"{kind}: {_message(error)}"[:300]
