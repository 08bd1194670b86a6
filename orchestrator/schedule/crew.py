"""All that a run's driver uses of Ray: the queue of fits, image workers, scoring tasks and sessions of Tune."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.fit.job import FitJob
from orchestrator.resources.cpus import cpu_count
from orchestrator.resources.place import ray_place
from orchestrator.resources.share import Resources
from orchestrator.run.context import RunContext
from orchestrator.schedule.answers import answer_of
from orchestrator.schedule.capacity import MOST_AT_ONCE
from orchestrator.schedule.ports import Answered, Unanswered
from orchestrator.schedule.questions import Question
from orchestrator.schedule.queue import JobQueue, QueueStanding
from orchestrator.schedule.session import SessionSpec, session_task
from orchestrator.schedule.workers import ImageWorkers, compute_bank_part
from orchestrator.score.bank import BankPart

Reference = Any
"""A reference to the result of a Ray task; it is hashable."""

_TRIALS_PER_SESSION = 400
_TRIALS_PER_WORKER = 2


class RayCrew:
    """A run's actors and tasks on the Ray at hand.

    The queue, the image workers and the sessions run on the driver's machine, because the driver needs them and other
    machines may be taken away.
    """

    def __init__(self, context: RunContext, resources: Resources, *, joined: bool) -> None:
        self._context, self._resources = context, resources
        self.node: str = ray.get_runtime_context().get_node_id()
        self._here = NodeAffinitySchedulingStrategy(self.node, soft=False)
        self._queue: Any = ray.remote(num_cpus=0, scheduling_strategy=self._here)(JobQueue).remote(
            side_by_side=context.config.resources.side_by_side
        )
        # On a cluster the trials run elsewhere, and there may be many more of them.
        trials = cpu_count() if joined else resources.parallel
        self._workers = ImageWorkers(context, max(1, trials // _TRIALS_PER_WORKER), self._here)
        grows = joined and context.config.resources.parallel is None
        at_once = MOST_AT_ONCE if grows else 2 * resources.parallel
        # The files of a Ray of our own are removed with it. Those of others may be open to all users of the machine.
        place = ray_place() if joined else ray._private.worker._global_node.get_session_dir_path()
        self._spec = SessionSpec(_TRIALS_PER_SESSION, at_once, resources.threads, str(place))
        self._parts: set[Reference] = set()

    def wait(self, references: Sequence[Reference], seconds: float) -> list[Reference]:
        """Wait until a reference is ready, at most so many seconds; return a list of at most one."""
        ready, _ = ray.wait(list(references), num_returns=1, timeout=seconds)
        self._parts -= set(ready)
        return list(ready)

    def answer(self, reference: Reference) -> Answered | Unanswered:
        """Fetch the result of a task that is ready; see `answer_of`."""
        return answer_of(reference)

    def ask(self, question: Question) -> Reference:
        """Let an image worker answer a question."""
        return self._workers.ask(question)

    def compute(self, part: BankPart) -> Reference:
        """Compute a part of a bank."""
        # These numbers must be defaults of the task and not options of the call: only then does Ray end a worker that
        # had a GPU with its task, which frees the GPU's memory.
        task = ray.remote(num_cpus=self._resources.threads, num_gpus=self._resources.score_gpus)(compute_bank_part)
        name = f"bank:{part.spec.width}x{part.spec.height}x{part.spec.channels}"
        reference = task.options(name=name).remote(self._context, part)
        self._parts.add(reference)
        return reference

    def cancel_computing(self) -> None:
        """Cancel all scoring tasks that have not ended."""
        for reference in self._parts:
            ray.cancel(reference)

    def start_session(self, number: int) -> Reference:
        """Start a session of Tune that takes fits from the queue."""
        session: Any = session_task.options(name=f"tune:{number}", scheduling_strategy=self._here)
        return session.remote(self._context, self._queue, number, self._spec)

    # Calls to the queue: each waits for the queue's answer, so that they arrive in order.

    def finished(self) -> Reference:
        """Return a reference to the list of trials that finished since the last call; see `JobQueue.finished`."""
        return self._queue.finished.remote()

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        """See `JobQueue.put`."""
        ray.get(self._queue.put.remote(list(jobs), first=first))

    def drop(self, image: str) -> None:
        """See `JobQueue.drop`."""
        ray.get(self._queue.drop.remote(image))

    def drain(self) -> None:
        """See `JobQueue.drain`."""
        ray.get(self._queue.drain.remote())

    def under_way(self) -> int:
        """See `JobQueue.under_way`."""
        return int(ray.get(self._queue.under_way.remote()))

    def standing(self) -> QueueStanding:
        """See `JobQueue.standing`."""
        standing: QueueStanding = ray.get(self._queue.standing.remote())
        return standing

    def set_bound(self, bound: int) -> None:
        """See `JobQueue.set_bound`."""
        ray.get(self._queue.set_bound.remote(bound))

    def set_may_idle(self, may_idle: bool) -> None:
        """See `JobQueue.set_may_idle`."""
        ray.get(self._queue.set_may_idle.remote(may_idle))

    def wants_session(self, number: int) -> bool:
        """See `JobQueue.wants_session`."""
        return bool(ray.get(self._queue.wants_session.remote(number)))

    def give_back(self, number: int) -> list[FitJob]:
        """See `JobQueue.give_back`."""
        jobs: list[FitJob] = ray.get(self._queue.give_back.remote(number))
        return jobs

    def close(self) -> None:
        """See `JobQueue.close`."""
        ray.get(self._queue.close.remote())
