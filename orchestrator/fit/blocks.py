"""Run work in blocks of iterations, with progress reports and checkpoints."""

import contextlib
from collections.abc import Callable, Iterator

from orchestrator.errors import DamagedError, NodeLeavingError, NotFoundError
from orchestrator.fit.checkpoint import Resumable, take_up, to_bytes
from orchestrator.run.context import RunContext


class BlockRunner:
    """Runs work in blocks, reports progress after each, and writes checkpoints from which another attempt can resume.

    Args:
        context: The run.
        key: The key of the checkpoint.
        on_progress: Called with the iteration and the error after every block.
        must_leave: Asked after every block whether this machine is being taken away.
        clock: Returns the time in seconds.

    Attributes:
        block: Iterations per block; the clock is read between blocks.
    """

    def __init__(
        self,
        context: RunContext,
        key: str,
        on_progress: Callable[[int, float], None],
        must_leave: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._context = context
        self._store, self._checkpoint_s, self._key = context.store, context.config.fit.checkpoint_s, key
        self.block = context.config.fit.block
        self._on_progress, self._must_leave, self._clock = on_progress, must_leave, clock
        self._before = 0.0
        self._started = self._saved = clock()

    def following(self, key: str, *, at: int) -> "BlockRunner":
        """Return a runner for the work that follows, with a checkpoint of its own. Progress reports say ``at``, where
        this work has ended, so that nobody takes the first iterations of what follows for those of this work."""
        on_progress = self._on_progress
        return BlockRunner(
            self._context, key, lambda iteration, error: on_progress(at, error), self._must_leave, self._clock
        )

    @property
    def seconds(self) -> float:
        """Seconds spent on the work, including earlier attempts whose checkpoint was found."""
        return self._before + self._clock() - self._started

    def restore(self, work: Resumable) -> None:
        """Resume the work from an earlier attempt's checkpoint, if there is one."""
        self._before = 0.0
        # Without a readable checkpoint the work begins again and comes to the same result.
        with contextlib.suppress(NotFoundError, DamagedError):
            self._before = take_up(work, self._store.get(self._key))
        self._started = self._saved = self._clock()

    def run(self, work: Resumable, last: int, finished: Callable[[], bool]) -> None:
        """Do what `blocks` does, without a pause."""
        for _ in self.blocks(work, last, finished):
            pass

    def blocks(self, work: Resumable, last: int, finished: Callable[[], bool]) -> Iterator[None]:
        """Advance the work until it is finished or has reached iteration ``last``. Pause in every block once it has
        begun: a GPU does it meanwhile, and blocks of other works can begin.

        Raises:
            NodeLeavingError: the machine is being taken away; there is a checkpoint.
        """
        while not finished() and work.iteration < last:
            settle = work.launch(min(self.block, last - work.iteration))
            yield
            error = settle()
            self._on_progress(work.iteration, error)
            leaving = self._must_leave()
            due = self._clock() - self._saved >= self._checkpoint_s
            if (leaving or due) and not finished():
                self.save(work)
                if leaving:
                    raise NodeLeavingError(f"its machine is being taken away at iteration {work.iteration}")

    def save(self, work: Resumable) -> None:
        """Write a checkpoint."""
        self._store.put(self._key, to_bytes(work, self.seconds))
        self._saved = self._clock()

    def forget(self) -> None:
        """Delete the checkpoint of work whose result is in the store."""
        self._store.delete(self._key)
