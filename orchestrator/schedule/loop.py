"""The driver's loop: it waits until something ends, reports it to the scheduler, and carries out the scheduler's
actions.

The loop decides nothing itself. The driver holds records and references to results, never images.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from orchestrator.errors import HoursSpentError, RayLostError, RunCancelledError
from orchestrator.resources.share import with_gpus_seen
from orchestrator.run.claim import BEAT_S, Claim, hours_spent
from orchestrator.run.progress import Listener
from orchestrator.schedule.actions import Action, Ask, Compute, EndImage, Note, Start
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.capacity import Capacity, Sessions, alone, on_cluster, waits_for
from orchestrator.schedule.machines import Watch, autoscaler_says, with_gpu_memory
from orchestrator.schedule.ports import Answered, Arrivals, Crew, Endings, Share, Unanswered
from orchestrator.schedule.queue import QueueStanding
from orchestrator.schedule.scheduler import Scheduler
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.telemetry import Gauges

_WAIT_S = 1.0
_EXAMINED_WITHIN_S = 60.0
_FINISHED, _SESSION = "finished", "session"


class Loop:
    """Takes a run's images to their rows.

    Args:
        scheduler, banks, tally: the decisions of the run, and its counts.
        crew, ledger: do the work, and record the images that end early.
        arrivals: the images on their way to the store; None if all are there.
        listener, claim, gauges: receive the run's progress.
        watch: the machines.
        share: what trials may use.
        parallel: how many trials the settings allow at the same time; None: as many as there is room for.
        hours: the machine hours that the run may use, all attempts together; None: no bound.
        joined: whether the Ray is a cluster's, and not this run's own.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        banks: Banks,
        tally: Tally,
        crew: Crew,
        ledger: Endings,
        listener: Listener,
        claim: Claim,
        gauges: Gauges,
        watch: Watch,
        share: Share,
        parallel: int | None,
        hours: float | None,
        joined: bool,
        arrivals: Arrivals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler, self._banks, self._tally = scheduler, banks, tally
        self._crew, self._ledger, self._watch = crew, ledger, watch
        self._listener, self._claim, self._gauges = listener, claim, gauges
        self._share, self._parallel, self._joined, self._clock = share, parallel, joined, clock
        self._arrivals, self._hours = arrivals, hours
        self._under_way: dict[Any, Ask | Compute | str | tuple[str, int]] = {}
        self._sessions = Sessions()
        self._capacity: Capacity = alone(share.resources)
        self._gpus_seen: set[str] = set()
        self._standing = QueueStanding(0, 0.0, {}, 0)
        self._last_report = -BEAT_S

    def run(self, check_signals: Callable[[], None]) -> None:
        """Work until every image has its rows in the store. ``check_signals`` is called often and may raise to stop.

        Raises:
            StoreError: the store could no longer be written.
            ImagesUnavailableError: the folder of images that were still to be brought has vanished.
            RunFailedError: Tune failed too often, or nothing could be scored.
            SupersededError: another driver has taken the run over.
            RunCancelledError: somebody has cancelled the run.
            HoursSpentError: the run has used the machine hours that it may use.
            RayLostError: the queue of fits is gone.
        """
        self._look_around()
        self._watch.wait(_EXAMINED_WITHIN_S)
        self._do(self._banks.begin())
        self._let_sessions_idle()
        self._under_way[self._crew.finished()] = _FINISHED
        self._hear_of_arrivals(_WAIT_S)
        self._do(self._scheduler.admit(self._capacity.images))
        while self._scheduler.has_work:
            for reference in self._crew.wait(list(self._under_way), _WAIT_S):
                self._on_ready(reference)
            check_signals()
            self._check_claim()
            self._look_around()
            self._check_hours()
            self._hear_of_arrivals()
            self._do(self._scheduler.admit(self._capacity.images))
            self._ensure_session()
            self._report()
        self._report(at_once=True)
        self._crew.close()

    def _hear_of_arrivals(self, seconds: float = 0.0) -> None:
        for arrival in () if self._arrivals is None else self._arrivals.take(seconds):
            self._do(self._scheduler.on_arrival(arrival))
            self._let_sessions_idle()

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(jobs, first):
                self._crew.put(jobs, first=first)
            case Ask(question):
                self._under_way[self._crew.ask(question)] = action
            case Compute(part):
                self._under_way[self._crew.compute(part)] = action
            case EndImage(image, state, reason):
                # The queue comes first: this call fails if Ray is lost, and then no rows may be written for the image.
                self._crew.drop(image.id)
                if self._ledger.end(action):
                    self._listener.note(f"{image.name}: {state}: {reason}")
                else:
                    self._listener.note(f"{image.name}: another driver has finished it; {reason} here")
            case Note(text):
                self._listener.note(text)

    def _on_ready(self, reference: Any) -> None:
        """Report the result of work that has ended to the scheduler."""
        what = self._under_way.pop(reference)
        answer = self._crew.answer(reference)
        if isinstance(what, Ask):
            self._on_answer(what, answer)
        elif isinstance(what, Compute):
            self._on_computed(what, answer)
        elif isinstance(what, tuple):
            self._on_session_end(what[1], answer.reason if isinstance(answer, Unanswered) else None)
        elif isinstance(answer, Unanswered):
            # Without the queue the loop would wait for ever: no fit's end is reported any more.
            raise RayLostError(f"the queue of fits was lost ({answer.reason})")
        else:
            for finished in answer.value:
                self._do(self._scheduler.on_finished(finished))
            self._under_way[self._crew.finished()] = _FINISHED

    def _on_answer(self, ask: Ask, answer: Answered | Unanswered) -> None:
        if isinstance(answer, Answered):
            self._do(self._scheduler.on_answer(ask.question, answer.value))
        else:
            self._do(self._scheduler.on_no_answer(ask, answer.reason, lost=answer.lost, rejected=answer.rejected))

    def _on_computed(self, compute: Compute, answer: Answered | Unanswered) -> None:
        if isinstance(answer, Answered):
            self._do(self._banks.on_computed(compute.part))
        else:
            self._do(self._banks.on_failed(compute, answer.reason, draining=self._scheduler.draining))
        self._let_sessions_idle()

    def _on_session_end(self, number: int, failure: str | None) -> None:
        if failure is not None:
            self._listener.note(f"Tune stopped and is started again: {failure}")
        lost = self._crew.give_back(number)
        self._sessions.end(failure)
        self._let_sessions_idle()
        self._crew.put(lost, first=True)

    def _ensure_session(self) -> None:
        """Start a session where fits wait and none takes them."""
        if self._crew.wants_session(self._sessions.started):
            number = self._sessions.start()
            self._under_way[self._crew.start_session(number)] = (_SESSION, number)
            self._let_sessions_idle()

    def _let_sessions_idle(self) -> None:
        self._crew.set_may_idle(self._sessions.may_idle(banks_complete=self._banks.are_complete))

    def _look_around(self) -> None:
        """Look for machines that have joined or left, and adapt to them."""
        if not self._watch.look(self._standing.gpus_in_use):
            return
        with_gpus = [each for each in self._watch.found if each.machine.gpus]
        if self._share.resources.device == "cuda" and not {each.node for each in with_gpus} <= self._gpus_seen:
            # Ray may place a fit on any of them, so the smallest GPU counts.
            self._gpus_seen |= {each.node for each in with_gpus}
            self._share.resources = with_gpus_seen(self._share.resources, with_gpu_memory(with_gpus))
        if self._joined:
            machines = [each.machine for each in self._watch.found]
            self._capacity = on_cluster(self._share.resources, machines, self._parallel)
        self._crew.set_bound(self._capacity.bound)

    def _check_claim(self) -> None:
        """Stop if another driver has taken the run over or somebody has cancelled it."""
        self._claim.check()
        if self._claim.stop == "now":
            raise RunCancelledError("cancelled")
        if self._claim.stop == "drain":
            if not self._scheduler.draining:
                self._scheduler.draining = True
                self._crew.drain()
                self._crew.cancel_computing()
                self._listener.note("cancelled: no new work; what is under way goes on to its end")
            # The call for finished fits always waits, and sessions may still live; nothing else may be in progress.
            if len(self._under_way) <= 1 + self._sessions.live and not self._crew.under_way():
                raise RunCancelledError("cancelled; what was under way has ended")

    def _check_hours(self) -> None:
        """Stop if the run's machine hours are spent. Fits under way go on from their checkpoints one day."""
        if self._hours is None or self._claim.used(self._watch.usage).get("machine_hours", 0.0) < self._hours:
            return
        # A driver that resumes the run reads what has been used.
        self._report(at_once=True)
        raise HoursSpentError(hours_spent(self._hours))

    def _report(self, *, at_once: bool = False) -> None:
        stages = self._scheduler.stages(self._capacity.slots)
        self._listener.update(stages)
        if at_once or self._clock() - self._last_report >= BEAT_S:
            self._last_report = self._clock()
            self._standing = self._crew.standing()
            self._claim.report([asdict(stage) for stage in stages], self._waits_for(), self._watch.usage)
            self._gauges.show(stages, self._standing, self._watch.usage)

    def _waits_for(self) -> list[str]:
        return waits_for(
            self._standing.pending,
            self._share.resources,
            [each.machine for each in self._watch.found] if self._joined else None,
            scoring=not self._banks.are_complete and not self._tally.done("bank"),
            running=self._standing.running,
            autoscaler=autoscaler_says,
        )
