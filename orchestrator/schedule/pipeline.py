"""The driver's loop: every image through its stages, as many at a time as keep the workers busy.

The driver holds records and references to results, never images. It waits for whatever ends first - a part of a bank, a
scored image, a fit, a decision, a collected image - and starts what has become possible. No stage waits for all images.
"""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import partial
from itertools import cycle
from typing import Any, Literal

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.arms.resolve import Arm, chains_of, finds_apart, rounds_of
from orchestrator.collect.collect import Chosen, collect, let_go_of_the_rest, picked_network
from orchestrator.errors import (
    ImageRejectedError,
    RayLostError,
    RunCancelledError,
    RunFailedError,
    StoreError,
    StoreUnavailableError,
)
from orchestrator.fit.fit import fit_keys, record_once
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.pick.decide import Decision, decide, halve
from orchestrator.plan.make import Plan
from orchestrator.resources.cpus import cpu_count
from orchestrator.resources.share import Resources, with_gpus_seen
from orchestrator.run.claim import BEAT_S, Claim
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import TOGETHER
from orchestrator.run.progress import Listener, Stage
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.run.versions import check_code
from orchestrator.schedule.machines import Watch, autoscaler_says, with_gpu_memory
from orchestrator.schedule.queue import Crash, Finished, JobQueue, QueueStanding
from orchestrator.schedule.telemetry import Gauges
from orchestrator.schedule.tune import SessionSpec, run_session
from orchestrator.score.score import (
    BankPart,
    Scored,
    bank_of,
    bank_parts,
    candidates_of,
    compute_part,
    missing_parts,
    score_image,
)
from orchestrator.settings.config import ViewName
from workers.fingerprints import BankSpec
from workers.lottery.names import parse_chain

SESSIONS_THAT_MAY_FAIL = 3
MACHINES_THAT_MAY_BE_LOST = 20
"""So often a fit may lose its machine, which is no fault of its own, before it counts as failed."""
TRIALS_PER_SESSION = 400
TRIALS_PER_WORKER = 2
MOST_AT_ONCE = 1000
"""Trials that Tune may hold on a cluster that grows."""
LEAST_DEMAND = 8
"""So many fits at least may wait for machines that are not there yet."""
EXAMINED_WITHIN_S = 60.0
_LOOK_AHEAD = 1000


class ImageStage(Enum):
    """The way of an image.

    WAITING (for its turn and its bank) -> SCORING -> FITTING (its arms go their ways) -> COLLECTING -> ENDED. From anywhere
    an image may go to ENDED with rows that say why.
    """

    WAITING = "waiting"
    SCORING = "scoring"
    FITTING = "fitting"
    COLLECTING = "collecting"
    ENDED = "ended"


class ArmStage(Enum):
    """The way of an arm with an image.

    COHORT (its members are fitted, rung by rung) -> DECIDING -> FULL (the best are fitted at full size) -> READY. Between
    rungs it is HALVING. A cohort fitted at full size goes from DECIDING to READY. A lottery of the network that another arm
    picks is WAITING before; its cohort are the rounds of its chains.
    """

    WAITING = "waiting"
    COHORT = "cohort"
    HALVING = "halving"
    DECIDING = "deciding"
    FULL = "full"
    READY = "ready"


@dataclass
class ArmProgress:
    """One arm on its way with one image.

    ``running`` are the candidates whose fits it waits for, ``alive`` the members that halving has left and ``ended`` the
    others with the rung where they ended, ``untried`` those that may take the place of a pick that comes to nothing. Of a
    lottery, ``alive`` are the chains, and ``then`` has for a chain the one that begins with what it leaves.
    """

    arm: Arm
    cohort: list[Scored]
    alive: list[str]
    stage: ArmStage = ArmStage.COHORT
    rungs_passed: int = 0
    running: set[str] = field(default_factory=set)
    ended: dict[str, int] = field(default_factory=dict)
    decision: Decision | None = None
    untried: deque[str] = field(default_factory=deque)
    full: list[str] = field(default_factory=list)
    then: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> Chosen:
        """What is to be collected."""
        assert self.decision is not None  # noqa: S101 - an arm is ready only after its decision
        return Chosen(self.arm, self.cohort, self.decision, self.full, self.ended)


FitKey = tuple[ViewName, str]
_TO_THE_END = sys.maxsize


@dataclass
class SharedFit:
    """A fit that one or several arms want, each until some iteration; at most one trial of it runs at a time.

    ``reached`` is how far it is known to have come; ``running`` how far the trial that runs will take it. A fit that has
    ended has reached all; ``done`` says whether it has a result. ``crashes`` counts its own and ``losses`` its machines'.
    """

    reached: int = 0
    running: int | None = None
    done: bool = True
    crashes: int = 0
    losses: int = 0
    waiting: list[tuple[int, ArmProgress]] = field(default_factory=list)


@dataclass
class JointSearch:
    """A chain whose masks are found on all images together, and who waits for its end."""

    fit: SharedFit = field(default_factory=SharedFit)
    ended: bool = False
    waiting: "list[tuple[Progress, ArmProgress, str]]" = field(default_factory=list)


@dataclass
class Progress:
    """One image on its way."""

    image: InputImage
    previews: bool
    stage: ImageStage = ImageStage.WAITING
    arms: list[ArmProgress] = field(default_factory=list)
    fits: dict[FitKey, SharedFit] = field(default_factory=dict)


def compute_bank_part(context: RunContext, part: BankPart) -> None:
    """A scoring task: fingerprint a chunk of candidates."""
    check_code(context.code)
    torch.set_num_threads(context.threads)
    compute_part(context.store, part, context.config, context.score_device)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=5)
class ImageWorker:
    """Does the short work on an image between its fits: score, halve, decide, collect.

    It takes no CPU from the trials. An actor and not a task, because Ray ends idle workers beyond its number of CPUs, and
    a new one would import torch for every piece of work.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        torch.set_num_threads(context.threads)

    def score(self, image: InputImage, without: set[str]) -> dict[str, list[Scored]]:
        """See `score_image`."""
        return score_image(self._context, image, without)

    def halve(self, image: InputImage, arm: Arm, cohort: list[str], iterations: int) -> list[str]:
        """See `halve`."""
        return halve(self._context, image, arm, cohort, iterations)

    def decide(self, image: InputImage, arm: Arm, cohort: list[Scored], ended: list[str]) -> Decision:
        """See `decide`."""
        return decide(self._context, image, arm, cohort, ended)

    def picked_network(self, image: InputImage, chosen: Chosen) -> str | None:
        """See `picked_network`."""
        return picked_network(self._context, image, chosen)

    def collect(self, image: InputImage, chosen: list[Chosen], previews: bool) -> list[Row]:
        """See `collect`."""
        return collect(self._context, image, chosen, previews=previews)


class Question:
    """What an image worker is to do: one of its methods, and the arguments."""

    def __init__(self, what: Literal["score", "halve", "decide", "picked_network", "collect"], *of: Any) -> None:
        self.what, self.of = what, of


class Pipeline:
    """Takes a plan's images from the store's inputs to rows of results."""

    def __init__(
        self, context: RunContext, plan: Plan, resources: Resources, listener: Listener, claim: Claim, *, joined: bool
    ) -> None:
        self._context, self._plan, self._listener, self._claim = context, plan, listener, claim
        self._resources, self._joined = resources, joined
        at_once = 2 * resources.parallel
        if joined and plan.config.resources.parallel is None:
            at_once = MOST_AT_ONCE
        self._spec = SessionSpec(TRIALS_PER_SESSION, at_once, resources.threads)
        # What an earlier attempt has brought to its end has its rows.
        ended = set(context.store.keys(context.layout.rows))
        if plan.continued is not None:
            let_go_of_the_rest(context, {image.id for image in plan.images if context.layout.row(image.id) in ended})
        self._waiting = deque(
            Progress(image, previews=index < context.config.keep.report_images)
            for index, image in enumerate(plan.images)
            if context.layout.row(image.id) not in ended
        )
        self._active: dict[str, Progress] = {}
        self._searches: dict[str, JointSearch] = {}
        self._handlers: dict[Any, Callable[[Any], None]] = {}
        self._bank_parts_left: dict[BankSpec, int] = {}
        self._bank_tasks: set[Any] = set()
        self._without: set[str] = set()
        self._done: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        # What the driver cannot do without is where it is: other machines may be taken away.
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        self._session_options = {"scheduling_strategy": here}
        self._queue: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(JobQueue).remote()
        actors: Any = ImageWorker
        actor = actors.options(scheduling_strategy=here)
        # On a cluster the trials are elsewhere, and may become many more.
        workers = max(1, (cpu_count() if joined else resources.parallel) // TRIALS_PER_WORKER)
        self._workers = cycle([actor.remote(context) for _ in range(workers)])
        self._watch = Watch(context, trusted=[node])
        self._gpus_seen: set[str] = set()
        self._gauges = Gauges(context.run)
        self._clock = time.monotonic
        self._told = -BEAT_S
        self._standing = QueueStanding(0, 0.0, {}, 0)
        self._sessions = 0
        self._live_sessions = 0
        self._failed_sessions = 0
        self._draining = False
        self._slots = resources.parallel

    def run(self, heed_signals: Callable[[], None] = lambda: None) -> None:
        """Work until every image has its row in the store.

        ``heed_signals`` is called again and again, and may raise KeyboardInterrupt.

        Raises:
            StoreError: the store could no longer be written.
            RunFailedError: Tune failed again and again.
            RayLostError: Ray is gone.
            SupersededError: another driver has taken the run over.
            RunCancelledError: somebody has cancelled it.
        """
        try:
            self._run(heed_signals)
        except RayError as error:
            raise RayLostError(f"Ray was lost ({_cause(error)})") from error

    def _run(self, heed_signals: Callable[[], None]) -> None:
        images = len(self._waiting)
        self._total.update(
            scored=images, cohort=images * self._plan.cohort_size, full=images * self._plan.full_fits, collected=images
        )
        self._look_around()
        self._watch.wait(EXAMINED_WITHIN_S)
        self._start_banks()
        self._when(self._queue.finished.remote(), self._on_finished_fits)
        self._admit()
        while self._active or self._waiting:
            ready, _ = ray.wait(list(self._handlers), num_returns=1, timeout=1.0)
            for reference in ready:
                self._handlers.pop(reference)(reference)
            heed_signals()
            self._heed_claim()
            self._look_around()
            self._admit()
            self._ensure_session()
            self._tell()
        self._tell(at_once=True)
        ray.get(self._queue.close.remote())

    @property
    def _in_flight(self) -> int:
        """Enough images under way that a finished trial always finds another fit waiting."""
        return max(4, 2 * self._slots)

    def _look_around(self) -> None:
        """See which machines there are: they may become more, and fewer."""
        if not self._watch.look(self._standing.gpus_in_use):
            return
        with_gpus = [each for each in self._watch.found if each.machine.gpus]
        if self._resources.device == "cuda" and not {each.node for each in with_gpus} <= self._gpus_seen:
            # A fit may be placed on any of them, so that the smallest counts.
            self._gpus_seen |= {each.node for each in with_gpus}
            self._resources = with_gpus_seen(self._resources, with_gpu_memory(with_gpus))
        bound = 2 * self._resources.parallel
        if self._joined:
            self._slots = sum(self._resources.slots(each.machine) for each in self._watch.found)
            wanted = self._context.config.resources.parallel
            # What waits for machines is what makes an autoscaler start some: twice as much as there is place for, and more.
            # Not all there is, because its order is settled then.
            bound = wanted or min(2 * self._slots + max(LEAST_DEMAND, self._slots), MOST_AT_ONCE)
        ray.get(self._queue.set_bound.remote(bound))

    def _waits_for(self) -> list[str]:
        """What the run waits for, a line each."""
        lines = []
        cpus = f"{self._resources.threads} CPU{'s' if self._resources.threads > 1 else ''}"
        if self._joined or not self._standing.running:
            for gpus, count in self._standing.pending.items():
                each = f"{cpus} and {gpus:g} GPU" if gpus else cpus
                lines.append(f"{count} fits wait for a machine with {each} each")
        if any(self._bank_parts_left.values()) and not self._done["bank"]:
            gpus = self._resources.score_gpus
            lines.append(f"scoring waits for a machine with {f'{cpus} and {gpus:g} GPU' if gpus else cpus}")
        if lines and self._joined:
            machines = [each.machine for each in self._watch.found]
            has = f"{sum(m.cpus for m in machines)} CPUs and {sum(m.gpus for m in machines)} GPUs"
            plural = "are" if len(machines) != 1 else "is"
            lines.append(f"there {plural} {len(machines)} machine{'s' if len(machines) != 1 else ''} with {has}")
            lines += [f"autoscaler: {said}" for said in autoscaler_says()]
        return lines

    def _heed_claim(self) -> None:
        """Stop where the run is no longer ours, or nobody's."""
        self._claim.check()
        if self._claim.stop == "now":
            raise RunCancelledError("cancelled")
        if self._claim.stop == "drain":
            if not self._draining:
                self._draining = True
                ray.get(self._queue.drain.remote())
                for task in self._bank_tasks:
                    ray.cancel(task)
                self._listener.note("cancelled: no new work; what is under way goes on to its end")
            # Beside the question for finished fits, which is always asked, nothing is under way.
            if len(self._handlers) <= 1 + self._live_sessions and not ray.get(self._queue.under_way.remote()):
                raise RunCancelledError("cancelled; what was under way has ended")

    def _when(self, reference: Any, handler: Callable[[Any], None]) -> None:
        self._handlers[reference] = handler

    def _tell(self, *, at_once: bool = False) -> None:
        running = Counter(progress.stage for progress in self._active.values())
        stages = [
            Stage("bank", self._done["bank"], self._total["bank"]),
            Stage("score", self._done["scored"], self._total["scored"], running[ImageStage.SCORING]),
            Stage("cohort", self._done["cohort"], self._total["cohort"], self._running_fits(ArmStage.COHORT)),
            Stage("full size", self._done["full"], self._total["full"], self._running_fits(ArmStage.FULL)),
            Stage("images", self._done["collected"], self._total["collected"], running[ImageStage.COLLECTING]),
        ]
        stages = [stage for stage in stages if stage.total]
        self._listener.update(stages)
        if at_once or self._clock() - self._told >= BEAT_S:
            self._told = self._clock()
            self._standing = ray.get(self._queue.standing.remote())
            self._claim.tell([asdict(stage) for stage in stages], self._waits_for(), self._watch.usage)
            self._gauges.show(stages, self._standing, self._watch.usage)

    def _running_fits(self, stage: ArmStage) -> int:
        waiting_or_running = sum(
            len(arm.running) for progress in self._active.values() for arm in progress.arms if arm.stage is stage
        )
        return min(waiting_or_running, self._slots)

    # A bank is a condition of scoring, but no barrier: images whose bank is there go on.

    def _start_banks(self) -> None:
        config, store = self._context.config, self._context.store
        candidates = candidates_of(config)
        images = [progress.image for progress in self._waiting]
        specs = dict.fromkeys(spec for image in images if (spec := bank_of(config, image)) is not None)
        for spec in specs:
            parts = missing_parts(store, config, spec, candidates)
            self._bank_parts_left[spec] = len(parts)
            self._total["bank"] += len(parts)
            for part in parts:
                self._start_bank_part(part, 0)
        self._let_sessions_idle()

    def _start_bank_part(self, part: BankPart, tries: int) -> None:
        # The numbers must be the task's own, not options of a call: only then does a worker that had a GPU end with its task
        # and give the memory back.
        resources = self._resources
        task = ray.remote(num_cpus=resources.threads, num_gpus=resources.score_gpus)(compute_bank_part)
        name = f"bank:{part.spec.width}x{part.spec.height}x{part.spec.channels}"
        reference = task.options(name=name).remote(self._context, part)
        self._bank_tasks.add(reference)
        self._when(reference, partial(self._on_bank_part, part, tries))

    def _on_bank_part(self, part: BankPart, tries: int, reference: Any) -> None:
        self._bank_tasks.discard(reference)
        try:
            ray.get(reference)
        except StoreError as error:
            raise _as_raised(error) from None
        except RayError as error:
            if not self._draining:
                if tries < self._context.config.resources.retries:
                    self._start_bank_part(part, tries + 1)
                    return
                self._do_without(part, _cause(error))
        self._bank_parts_left[part.spec] -= 1
        self._done["bank"] += 1
        self._let_sessions_idle()

    def _do_without(self, part: BankPart, reason: str) -> None:
        """Leave out candidates whose fingerprints cannot be computed.

        Raises:
            RunFailedError: it is all of them.
        """
        self._without.add(part.key)
        parts = bank_parts(self._context.config, part.spec, candidates_of(self._context.config))
        if all(each.key in self._without for each in parts):
            raise RunFailedError(f"no candidate could be scored: {reason}")
        self._listener.note(f"{len(part.candidates)} candidates cannot be scored and are left out: {reason}")

    def _let_sessions_idle(self) -> None:
        # A session without work keeps its CPUs. With parts of a bank still to compute, or an older session that retries a
        # fit, each would wait for the other.
        alone = self._live_sessions <= 1 and not any(self._bank_parts_left.values())
        ray.get(self._queue.set_may_idle.remote(alone))

    def _admit(self) -> None:
        """Start scoring, for as many images as may be under way and have their bank."""
        not_yet: list[Progress] = []
        while (
            not self._draining and self._waiting and len(self._active) < self._in_flight and len(not_yet) < _LOOK_AHEAD
        ):
            progress = self._waiting.popleft()
            spec = bank_of(self._context.config, progress.image)
            if spec is not None and self._bank_parts_left[spec]:
                not_yet.append(progress)
            else:
                self._active[progress.image.id] = progress
                progress.stage = ImageStage.SCORING
                self._ask(
                    progress, partial(self._on_scored, progress), Question("score", progress.image, self._without)
                )
        self._waiting.extendleft(reversed(not_yet))

    def _on_scored(self, progress: Progress, cohorts: dict[str, list[Scored]]) -> None:
        self._done["scored"] += 1
        progress.stage = ImageStage.FITTING
        wanted: list[FitKey] = []
        # What all arms want is known before anything starts: how a fit is begun depends on who shares it.
        for arm in self._plan.arms:
            cohort = cohorts.get(arm.name, [])
            way = ArmProgress(arm, cohort, [scored.candidate for scored in cohort])
            progress.arms.append(way)
            if arm.method is None:
                wanted += self._want_cohort(progress, way)
            elif arm.networks is None:
                way.stage = ArmStage.WAITING
            else:
                wanted += self._want_chains(progress, way, arm.networks[0])
        self._serve(progress, list(dict.fromkeys(wanted)))

    def _want_chains(self, progress: Progress, way: ArmProgress, network: str) -> list[FitKey]:
        """A lottery's arm wants its chains, each once it can begin."""
        way.stage = ArmStage.COHORT
        config, arm = self._plan.config, way.arm
        chains = chains_of(config, arm, network)
        rounds = [chain.round(number) for chain in chains for number in rounds_of(config, chain)]
        way.cohort = [Scored(name, float(place)) for place, name in enumerate(rounds)]
        way.alive = [str(chain) for chain in chains]
        way.then = {str(chain.dense): str(chain) for chain in chains if not finds_apart(config, chain)}
        way.running = set(way.alive)
        together = [str(chain) for chain in chains if chain.source is not None and config.lottery.tickets is None]
        begin = [name for name in way.alive if name not in (*way.then.values(), *together)]
        wanted = self._want(progress, way, arm.view, begin, _TO_THE_END)
        return wanted + [key for name in together for key in self._want_found(progress, way, name)]

    def _want_found(self, progress: Progress, way: ArmProgress, name: str) -> list[FitKey]:
        """A chain whose masks are found on all images together is wanted once they are there."""
        search = self._searches.get(name)
        if search is None:
            search = self._searches[name] = JointSearch()
            images = self._plan.images
            gpus = max(self._resources.gpu_share(self._plan.config, image, "full", name) for image in images)
            chain = replace(parse_chain(name), source=None)
            job = FitJob(images[0], "full", str(chain), gpus=gpus, together=tuple(images))
            ray.get(self._queue.put.remote([job], first=True))
        if not search.ended:
            search.waiting.append((progress, way, name))
            return []
        return self._want(progress, way, way.arm.view, [name], _TO_THE_END)

    def _on_found(self, finished: Finished) -> None:
        """A search on all images has ended: their chains can begin, and say themselves if there are no masks."""
        job = finished.job
        name = str(replace(parse_chain(job.candidate), source=TOGETHER))
        search = self._searches[name]
        if finished.crash is not None:
            again = self._again(search.fit, job, finished.crash)
            if self._draining:
                return
            self._listener.note(f"the search for {job.candidate} on all images crashed: {finished.crash.reason}")
            if again is not None:
                ray.get(self._queue.put.remote([again], first=True))
                return
        search.ended = True
        waiting, search.waiting = search.waiting, []
        for progress, way, chain in waiting:
            if progress.stage is not ImageStage.ENDED:
                self._serve(progress, self._want(progress, way, way.arm.view, [chain], _TO_THE_END))

    def _want_cohort(self, progress: Progress, way: ArmProgress) -> list[FitKey]:
        """An arm wants what is left of its cohort fitted up to its next rung, or to the end."""
        way.stage = ArmStage.COHORT
        until = way.arm.rungs[way.rungs_passed] if way.rungs_passed < len(way.arm.rungs) else _TO_THE_END
        return self._want(progress, way, way.arm.view, way.alive, until)

    def _want(
        self, progress: Progress, way: ArmProgress, view: ViewName, candidates: Sequence[str], until: int
    ) -> list[FitKey]:
        """An arm wants these fits taken as far as that; it hears of each when it has come there."""
        way.running |= set(candidates)
        for candidate in candidates:
            progress.fits.setdefault((view, candidate), SharedFit()).waiting.append((until, way))
        return [(view, candidate) for candidate in candidates]

    def _serve(self, progress: Progress, keys: Sequence[FitKey]) -> None:
        """Tell the arms whose wishes for these fits are fulfilled, and start what the others wait for."""
        served: list[tuple[ArmProgress, str, bool]] = []
        jobs: list[FitJob] = []
        urgent = False
        for view, candidate in keys:
            fit = progress.fits[view, candidate]
            served += [(way, candidate, fit.done) for until, way in fit.waiting if until <= fit.reached]
            fit.waiting = [(until, way) for until, way in fit.waiting if until > fit.reached]
            if fit.waiting and fit.running is None:
                # The nearest rung first: a decision there may make the rest unnecessary.
                fit.running = min(until for until, _ in fit.waiting)
                until = None if fit.running == _TO_THE_END else fit.running
                ways = [way for _, way in fit.waiting]
                contest = ways[0].arm.name if all(way.arm.asynchronous for way in ways) and view != "full" else None
                gpus = self._resources.gpu_share(self._context.config, progress.image, view, candidate)
                jobs.append(FitJob(progress.image, view, candidate, until, contest, gpus))
                urgent = urgent or any(way.stage is ArmStage.FULL for way in ways)
        if jobs:
            # An image that is nearly done goes before one that has just begun: first results come early.
            ray.get(self._queue.put.remote(jobs, first=urgent))
        for way, candidate, done in served:
            self._on_fit_served(progress, way, candidate, done=done)

    def _on_finished_fits(self, reference: Any) -> None:
        for finished in ray.get(reference):
            self._on_finished_fit(finished)
        self._when(self._queue.finished.remote(), self._on_finished_fits)

    def _on_finished_fit(self, finished: Finished) -> None:
        job = finished.job
        if job.together:
            self._on_found(finished)
            return
        progress = self._active.get(job.image.id)
        fit = None if progress is None else progress.fits.get((job.view, job.candidate))
        if progress is None or fit is None or fit.running is None:
            return
        if finished.crash is not None:
            again = self._again(fit, job, finished.crash)
            if self._draining:
                return
            if again is not None:
                self._listener.note(
                    f"{job.image.name}: the fit of {job.candidate} is taken up again: {finished.crash.reason}"
                )
                ray.get(self._queue.put.remote([again], first=True))
                return
            failed = FitRecord(job.candidate, job.view, "failed", reason=finished.crash.reason)
            record = record_once(self._context.store, fit_keys(self._context, job).result, failed)
            if record.state == "failed":
                self._listener.note(f"{job.image.name}: the fit of {job.candidate} failed: {finished.crash.reason}")
            finished = replace(finished, state=record.state)
        reached, fit.running = fit.running, None
        if finished.state == "stopped":
            self._on_stopped(progress, fit, finished)
        else:
            fit.reached = reached if finished.state == "paused" else _TO_THE_END
            fit.done = finished.state != "failed"
        self._serve(progress, [(job.view, job.candidate)])

    def _again(self, fit: SharedFit, job: FitJob, crash: Crash) -> FitJob | None:
        """A fit whose trial crashed, to be taken up once more; None if it has had its chances.

        Raises:
            StoreError: the store failed, which is no fault of the fit.
        """
        if crash.cause == "store":
            raise StoreError(crash.reason)
        if crash.cause == "store unavailable":
            raise StoreUnavailableError(crash.reason)
        if crash.cause == "memory":
            return None if job.alone else replace(job, alone=True)
        if crash.cause == "node":
            fit.losses += 1
            return job if fit.losses <= MACHINES_THAT_MAY_BE_LOST else None
        fit.crashes += 1
        return job if fit.crashes <= self._context.config.resources.retries else None

    def _on_stopped(self, progress: Progress, fit: SharedFit, finished: Finished) -> None:
        """A contest has ended a fit, for the arms that take part in it; others that want it meanwhile have it begun again."""
        job = finished.job
        record = FitRecord(
            job.candidate,
            job.view,
            "paused",
            held_out_error=finished.held_out_error,
            iterations=finished.iteration,
            seconds=round(finished.seconds, 3),
        )
        self._context.store.create(fit_keys(self._context, job).rung(finished.iteration), record.to_json())
        losers = [way for _, way in fit.waiting if way.arm.asynchronous]
        fit.waiting = [(until, way) for until, way in fit.waiting if not way.arm.asynchronous]
        for way in losers:
            way.ended[job.candidate] = finished.iteration
            self._on_fit_served(progress, way, job.candidate, done=False)

    def _on_fit_served(self, progress: Progress, way: ArmProgress, candidate: str, *, done: bool) -> None:
        way.running.discard(candidate)
        follower = way.then.pop(candidate, None)
        if follower is not None:
            # It begins with what the other has left, and says itself if that is nothing.
            self._serve(progress, self._want(progress, way, way.arm.view, [follower], _TO_THE_END))
        if way.stage is ArmStage.FULL:
            self._done["full"] += 1
            if not done and way.untried:
                # The next best takes the place of a pick that came to nothing.
                self._total["full"] += 1
                way.full.append(way.untried.popleft())
                self._serve(progress, self._want(progress, way, "full", way.full[-1:], _TO_THE_END))
            elif not way.running:
                self._ready(progress, way)
            return
        last_round = way.rungs_passed == len(way.arm.rungs)
        self._done["cohort"] += last_round
        if not way.running:
            image, arm = progress.image, way.arm
            if not last_round:
                way.stage = ArmStage.HALVING
                question = Question("halve", image, arm, way.alive, arm.rungs[way.rungs_passed])
                self._ask(progress, partial(self._on_halved, progress, way), question)
            else:
                way.stage = ArmStage.DECIDING
                question = Question("decide", image, arm, way.cohort, list(way.ended))
                self._ask(progress, partial(self._on_decided, progress, way), question)

    def _on_halved(self, progress: Progress, way: ArmProgress, alive: list[str]) -> None:
        self._done["cohort"] += len(way.alive) - len(alive)
        rung = way.arm.rungs[way.rungs_passed]
        way.ended |= {candidate: rung for candidate in way.alive if candidate not in alive}
        way.alive = alive
        way.rungs_passed += 1
        self._serve(progress, self._want_cohort(progress, way))

    def _on_decided(self, progress: Progress, way: ArmProgress, decision: Decision) -> None:
        way.decision = decision
        best = decision.order[: way.arm.full_fits]
        way.full = list(best)
        if way.arm.view != "full":
            self._total["full"] += len(best) - way.arm.refits
        if way.arm.view == "full" or not best:
            self._ready(progress, way)
            return
        way.stage = ArmStage.FULL
        way.untried = deque(decision.order[len(best) :])
        self._serve(progress, self._want(progress, way, "full", best, _TO_THE_END))

    def _ready(self, progress: Progress, way: ArmProgress) -> None:
        """An arm has what it wanted; the image is collected once all have."""
        way.stage = ArmStage.READY
        picker = next((other for other in progress.arms if other.arm.method is None), None)
        if way is picker and any(other.stage is ArmStage.WAITING for other in progress.arms):
            question = Question("picked_network", progress.image, way.chosen)
            self._ask(progress, partial(self._on_picked_network, progress), question)
        if progress.stage is not ImageStage.FITTING or any(
            other.stage is not ArmStage.READY for other in progress.arms
        ):
            return
        progress.stage = ImageStage.COLLECTING
        chosen = [arm.chosen for arm in progress.arms]
        question = Question("collect", progress.image, chosen, progress.previews)
        self._ask(progress, partial(self._on_collected, progress), question)

    def _on_picked_network(self, progress: Progress, network: str | None) -> None:
        """The lotteries that waited for it prune it."""
        for way in [way for way in progress.arms if way.stage is ArmStage.WAITING]:
            if network is None:
                way.stage = ArmStage.DECIDING
                self._ask(
                    progress,
                    partial(self._on_decided, progress, way),
                    Question("decide", progress.image, way.arm, way.cohort, []),
                )
            else:
                self._serve(progress, self._want_chains(progress, way, network))

    def _on_collected(self, progress: Progress, rows: list[Row]) -> None:
        self._leave(progress)
        self._done["collected"] += 1

    def _ask(self, progress: Progress, handler: Callable[[Any], None], question: Question, tries: int = 0) -> None:
        """Let an image worker do something for an image, and hand over what it returns."""
        reference = getattr(next(self._workers), question.what).remote(*question.of)
        self._when(reference, partial(self._on_answer, progress, handler, question, tries))

    def _on_answer(
        self, progress: Progress, handler: Callable[[Any], None], question: Question, tries: int, reference: Any
    ) -> None:
        """An image worker has answered, or the image ends by what became of the question.

        Raises:
            StoreError: the store failed, which is no fault of the image.
        """
        try:
            outcome = ray.get(reference)
        except StoreError as error:
            raise _as_raised(error) from None
        except ImageRejectedError as error:
            self._end(progress, RowState.REJECTED, _cause(error))
        except RayError as error:
            # What the work itself raised would be raised again. A worker that is gone is no fault of this image alone.
            lost = not isinstance(error, RayTaskError)
            if lost and tries < self._context.config.resources.retries and progress.stage is not ImageStage.ENDED:
                self._ask(progress, handler, question, tries + 1)
            else:
                self._end(progress, RowState.FAILED, _cause(error))
        else:
            # What another arm still had under way for an image that has ended leads nowhere.
            if progress.stage is not ImageStage.ENDED:
                handler(outcome)

    def _end(self, progress: Progress, state: RowState, reason: str) -> None:
        """An image goes no further: its rows say why, and what it would have needed is no longer counted."""
        if progress.stage is ImageStage.ENDED:
            return
        # First, since it fails where Ray itself is lost, which is no fault of the image.
        ray.get(self._queue.drop.remote(progress.image.id))
        rows = [Row(progress.image.name, arm.name, state, reason=reason) for arm in self._plan.arms]
        self._context.store.create(self._context.layout.row(progress.image.id), rows_record(rows))
        self._listener.note(f"{progress.image.name}: {state}: {reason}")
        if progress.stage in (ImageStage.WAITING, ImageStage.SCORING):
            self._total["scored"] -= 1
            self._total["cohort"] -= self._plan.cohort_size
        decided = sum(way.arm.refits for way in progress.arms if way.decision is not None)
        self._total["full"] -= self._plan.full_fits - decided
        self._total["collected"] -= 1
        self._leave(progress)

        if self._context.config.keep.fits != "all":
            self._context.store.delete_all(self._context.layout.fits(progress.image.id))

    def _leave(self, progress: Progress) -> None:
        progress.stage = ImageStage.ENDED
        self._active.pop(progress.image.id, None)

    def _ensure_session(self) -> None:
        """Start a session where fits wait and none takes them."""
        if ray.get(self._queue.wants_session.remote(self._sessions)):
            reference = run_session.options(name=f"tune:{self._sessions}", **self._session_options).remote(
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


def _as_raised(error: StoreError) -> StoreError:
    """A store's error without the remote traceback that Ray puts around it."""
    kind = StoreUnavailableError if isinstance(error, StoreUnavailableError) else StoreError
    return kind(_message(error))


def _message(error: Exception) -> str:
    """What an exception said where it was raised, on one line; Ray puts the remote traceback around it."""
    return " ".join(str(error.cause if isinstance(error, RayTaskError) else error).split())


def _cause(error: Exception) -> str:
    """What went wrong in a task, in one line."""
    if isinstance(error, ImageRejectedError):
        return _message(error)[:300]
    kind = type(error.cause if isinstance(error, RayTaskError) else error).__name__
    return f"{kind}: {_message(error)}"[:300]
